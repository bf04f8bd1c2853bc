"""A Hub on this machine: the part of the Hugging Face Hub's API that its client speaks, on loopback and in memory.

What a request and an answer look like was read in huggingface_hub 2.4 (``hf_api.py``, ``_commit_api.py``, ``lfs.py``,
``file_download.py``). Large files go by LFS: the client takes Xet wherever hf_xet is installed, whatever the server
says, unless ``HF_HUB_DISABLE_XET=1`` (``LocalHub.environment`` sets it).

As on the Hub, a commit is all or nothing, large files are read from another host, which must never see a token, and
every endpoint can fail: ``hub.fail("commit", 500)``, ``hub.cut("upload")``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_secretOfTheTests"
USER = "someone"
_LFS_SUFFIXES = (".safetensors", ".parquet", ".png")
_LFS_FROM = 10_000_000  # bytes
_REPOSITORY = r"(?P<repo>[^/]+/[^/]+)"
# Name of an endpoint, method, path. The names are what faults and the record of requests go by.
_ROUTES = (
    ("whoami", "GET", "/api/whoami-v2"),
    ("create", "POST", "/api/repos/create"),
    ("validate", "POST", "/api/validate-yaml"),
    ("preupload", "POST", f"/api/models/{_REPOSITORY}/preupload/(?P<revision>[^/]+)"),
    ("commit", "POST", f"/api/models/{_REPOSITORY}/commit/(?P<revision>[^/]+)"),
    ("branch", "POST", f"/api/models/{_REPOSITORY}/branch/(?P<revision>[^/]+)"),
    ("tree", "GET", f"/api/models/{_REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?"),
    ("info", "GET", f"/api/models/{_REPOSITORY}(?:/revision/(?P<revision>[^/]+))?"),
    ("batch", "POST", rf"/{_REPOSITORY}\.git/info/lfs/objects/batch"),
    ("upload", "PUT", "/lfs/(?P<oid>[0-9a-f]{64})"),
    ("storage", "GET", "/lfs/(?P<oid>[0-9a-f]{64})"),
    ("resolve", "HEAD", f"/{_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("resolve", "GET", f"/{_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
)


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit; ``is_large`` if it went by LFS."""

    content: bytes
    is_large: bool = False

    @property
    def oid(self) -> str:
        """SHA-256 of a large file, git's blob id of any other."""
        if self.is_large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    """One state of a repository."""

    oid: str
    title: str
    files: dict[str, StoredFile]


@dataclass
class Repository:
    """Branch → commits, the oldest first."""

    private: bool = False
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        """The newest commit of a branch, or a commit by its id."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((made for commits in self.branches.values() for made in commits if made.oid == revision), None)

    def add(self, branch: str, title: str, files: dict[str, StoredFile]) -> Commit:
        """Commits; what the repository holds changes at this one assignment."""
        commits = self.branches.get(branch, [])
        state = json.dumps([branch, title, len(commits), sorted((path, file.oid) for path, file in files.items())])
        made = Commit(hashlib.sha1(state.encode()).hexdigest(), title, files)
        self.branches[branch] = [*commits, made]
        return made


@dataclass
class Fault:
    """What happens at an endpoint: an answer with a status, or, without one, a connection that is cut.

    ``done`` says whether the server does first what was asked, so that the client misses the answer only.
    """

    endpoint: str
    status: int | None
    message: str
    times: int
    done: bool = False


@dataclass(frozen=True)
class Request:
    """A request that came in."""

    endpoint: str
    path: str
    authorization: str | None


class Refusal(Exception):
    """An answer with an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **content):
        super().__init__(message)
        self.status, self.code, self.content = status, code, {"error": message, **content}


class LocalHub:
    """The server; ``with LocalHub() as hub`` runs it. A new one has the user ``someone``, whose token is ``TOKEN``."""

    def __init__(self):
        self.users = {TOKEN: USER}
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.unknown: list[str] = []
        self._faults: list[Fault] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # Another host by name, as the real storage is: the client must not send it the token.
        self.storage_url = f"http://localhost:{self._server.server_port}"
        self._lock = threading.Lock()

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home, token: str | None = TOKEN) -> dict[str, str]:
        """Variables that lead the real client here: for a new process, which reads them when it imports the client."""
        given = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return given if token is None else {**given, "HF_TOKEN": token}

    def fail(self, endpoint: str, status: int, message: str = "asked to fail", times: int = 1_000) -> None:
        """The endpoint's next requests are answered with an error."""
        self._faults.append(Fault(endpoint, status, message, times))

    def cut(self, endpoint: str, times: int = 1_000, done: bool = False) -> None:
        """The endpoint's next requests end with a reset connection, in the middle of the body if there is one."""
        self._faults.append(Fault(endpoint, None, "", times, done))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Path → content of the newest commit."""
        return {path: file.content for path, file in self.repositories[repo].at(revision).files.items()}

    def titles(self, repo: str, branch: str = "main") -> list[str]:
        """Titles of a branch's commits, the oldest first; the first is that of the new repository."""
        return [commit.title for commit in self.repositories[repo].branches[branch]]

    def calls(self, endpoint: str) -> int:
        """How often an endpoint was asked."""
        return sum(request.endpoint == endpoint for request in self.requests)

    def take_fault(self, endpoint: str) -> Fault | None:
        """The fault that is due at an endpoint."""
        with self._lock:
            for fault in self._faults:
                if fault.endpoint == endpoint and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def user(self, authorization: str | None) -> str | None:
        """Who asks; None without a token.

        Raises:
            Refusal: If the token is not known.
        """
        if authorization is None:
            return None
        token = authorization.removeprefix("Bearer ")
        if token not in self.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.users[token]

    def readable(self, repo: str, user: str | None) -> Repository:
        """The repository, if it is there and this user may read it."""
        found = self.repositories.get(repo)
        if found is None or (found.private and user != repo.split("/")[0]):
            raise Refusal(401 if user is None else 404, "Repository not found", "RepoNotFound")
        return found

    def writable(self, repo: str, user: str | None) -> Repository:
        """The repository, if this user may write to it."""
        found = self.readable(repo, user)
        if user != repo.split("/")[0]:
            raise Refusal(403 if user else 401, "you don't have the rights to write to this repository")
        return found


class _Handler(BaseHTTPRequestHandler):
    """One connection. Methods named as endpoints return an answer's JSON, or None if they have answered themselves."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two small writes, the second of which would wait 40 ms
    hub: LocalHub

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        self.query, self.body = parse_qs(parts.query), None
        endpoint, values = self._route(parts.path)
        authorization = self.headers.get("Authorization")
        self.hub.requests.append(Request(endpoint, parts.path, authorization))
        fault = self.hub.take_fault(endpoint)
        try:
            if fault is not None and fault.status is None and not fault.done:
                self._cut()
                return
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if fault is not None and fault.status is not None:
                raise Refusal(fault.status, fault.message)
            if endpoint == "unknown":
                self.hub.unknown.append(f"{self.command} {self.path}")
                raise Refusal(404, f"{self.path} is not part of this Hub")
            self.user = None if endpoint in ("upload", "storage") else self.hub.user(authorization)
            handle: Callable[..., dict | list | None] = getattr(self, f"_{endpoint}")
            answer = handle(**values)
            if fault is not None:
                self._cut()
            elif answer is not None:
                self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        except Refusal as refusal:
            headers = {"Content-Type": "application/json", "X-Error-Message": refusal.content["error"]}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._send(refusal.status, json.dumps(refusal.content).encode(), headers)

    do_GET = do_POST = do_PUT = do_HEAD = _handle

    def log_message(self, *arguments) -> None:
        """Nothing: the tests look at ``LocalHub.requests``."""

    def _route(self, path: str) -> tuple[str, dict[str, str]]:
        for endpoint, method, pattern in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return endpoint, {name: unquote(value) for name, value in match.groupdict().items() if value}
        return "unknown", {}

    def _cut(self) -> None:
        """Resets the connection; half of the body was read, if not all of it."""
        if self.body is None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
        # With a linger of 0 s, close sends a reset instead of an orderly end (socket(7)).
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _whoami(self) -> dict:
        if self.user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return {"type": "user", "name": self.user, "orgs": []}

    def _create(self) -> dict:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.user
        repo = f"{owner}/{asked['name']}"
        if self.user is None:
            raise Refusal(401, "Invalid username or password.")
        if owner != self.user:
            raise Refusal(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        if repo in self.hub.repositories:
            raise Refusal(409, "You already created this model repo", url=f"{self.hub.url}/{repo}")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))  # the second: before 2.0
        made = self.hub.repositories[repo] = Repository(private)
        made.add("main", "initial commit", {".gitattributes": StoredFile(b"*.safetensors filter=lfs\n")})
        return {"url": f"{self.hub.url}/{repo}", "name": repo}

    def _validate(self) -> dict:
        return {"errors": [], "warnings": []}

    def _preupload(self, repo: str, revision: str) -> dict:
        here = self._commit_at(self.hub.writable(repo, self.user), revision).files
        return {
            "files": [
                {
                    "path": asked["path"],
                    "uploadMode": "lfs"
                    if asked["path"].endswith(_LFS_SUFFIXES) or asked["size"] > _LFS_FROM
                    else "regular",
                    "shouldIgnore": False,
                    "oid": here[asked["path"]].oid if asked["path"] in here else None,
                }
                for asked in json.loads(self.body)["files"]
            ]
        }

    def _batch(self, repo: str) -> dict:
        self.hub.writable(repo, self.user)
        answers = []
        for asked in json.loads(self.body)["objects"]:
            actions = {"upload": {"href": f"{self.hub.storage_url}/lfs/{asked['oid']}"}}
            answers.append(asked if asked["oid"] in self.hub.objects else {**asked, "actions": actions})
        return {"transfer": "basic", "objects": answers}

    def _upload(self, oid: str) -> dict:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "the content is not that of the object")
        self.hub.objects[oid] = self.body
        return {}

    def _commit(self, repo: str, revision: str) -> dict:
        repository = self.hub.writable(repo, self.user)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        before = self._commit_at(repository, revision)
        if header.get("parentCommit", before.oid) != before.oid:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(before.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = StoredFile(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refusal(400, f"the object of {value['path']} was never uploaded")
                files[value["path"]] = StoredFile(self.hub.objects[value["oid"]], is_large=True)
            elif line["key"] == "deletedFile" and files.pop(value["path"], None) is None:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        made = repository.add(revision, header["summary"], files)
        return {"success": True, "commitOid": made.oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{made.oid}"}

    def _branch(self, repo: str, revision: str) -> dict:
        repository = self.hub.writable(repo, self.user)
        if revision in repository.branches:
            raise Refusal(409, f"Reference {revision} already exists")
        repository.branches[revision] = list(repository.branches["main"])
        return {}

    def _info(self, repo: str, revision: str = "main") -> dict:
        repository = self.hub.readable(repo, self.user)
        commit = self._commit_at(repository, revision)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        return {"id": repo, "sha": commit.oid, "private": repository.private, "siblings": siblings, "tags": []}

    def _tree(self, repo: str, revision: str, path: str = "") -> list:
        commit = self._commit_at(self.hub.readable(repo, self.user), revision)
        below = {name: file for name, file in commit.files.items() if name.startswith(f"{path}/" if path else "")}
        if path and not below:
            raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
        recursive = self.query.get("recursive", [""])[0].lower() == "true"
        rows, folders = [], set()
        for name, file in sorted(below.items()):
            rest = name[len(path) :].strip("/")
            if "/" in rest and not recursive:
                folders.add(f"{path}/{rest.split('/')[0]}".strip("/"))
                continue
            large = {"oid": file.oid, "size": len(file.content), "pointerSize": 128} if file.is_large else None
            row = {"type": "file", "path": name, "size": len(file.content), "oid": file.oid}
            rows.append({**row, "lfs": large} if large else row)
        return rows + [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        commit = self._commit_at(self.hub.readable(repo, self.user), revision)
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        file = commit.files[path]
        if not file.is_large:
            self._send(200, file.content, {**headers, "ETag": f'"{file.oid}"'})
            return
        headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-Etag": f'"{file.oid}"'}
        self._send(302, b"", {**headers, "Location": f"{self.hub.storage_url}/lfs/{file.oid}"})

    def _storage(self, oid: str) -> None:
        self._send(200, self.hub.objects[oid], {"ETag": f'"{oid}"'})

    @staticmethod
    def _commit_at(repository: Repository, revision: str) -> Commit:
        found = repository.at(revision)
        if found is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found
