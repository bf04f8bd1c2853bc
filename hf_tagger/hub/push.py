"""A finished run goes to the Hub, in one commit.

One commit is all or nothing: nobody ever finds half of a model. What goes wrong on the way becomes a
:class:`PushError` that says what happened, where everything lies, and the command to try again. A second push of the
same run commits nothing; one of another run replaces the first's files and leaves those of others alone.
"""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..convert.merge_adapter import merge
from ..errors import HfTaggerError
from ..models.adapter_loading import adapter_base
from ..training.lora import MERGED_FOLDER
from .shared_files import CARD, is_outdated, shared_files

# Status of the Hub's answer → what it means for whoever pushes.
_MEANING = {
    400: "the Hub refuses what was sent",
    401: "the Hub does not accept the token: log in again by `hf auth login`, or correct HF_TOKEN",
    402: "the Hub asks for a paid plan: a private repository may need one, or there is no room left",
    403: "the token must not do this: it needs write access to that namespace (https://huggingface.co/settings/tokens)",
    404: "the Hub does not find it: check the name, and that the token may see it",
    409: "something else changed the repository at the same time",
    412: "something else changed the repository at the same time",
    413: "the Hub says that it is too large",
    429: "too many requests: wait a few minutes",
}
_SERVER_TROUBLE = "the Hub has trouble of its own, which usually passes"
_SHOWN = 300  # characters of what the Hub or another library says


class PushError(HfTaggerError):
    """A push did not succeed; the run's folder is whole."""


@dataclass(frozen=True)
class Target:
    """Where a run goes.

    Attributes:
        repo: ``name`` (below the user whose token it is) or ``namespace/name``; made if it is not there.
        private: Whether a new repository is private; None takes the account's default.
        branch: The branch, made if it is not there; None is the main one.
        merged: Of a LoRA adapter, push the whole model that contains it.
    """

    repo: str
    private: bool | None = None
    branch: str | None = None
    merged: bool = False

    def command(self, folder: str | Path) -> str:
        """The command line that pushes a run there."""
        options = ["--private"] * bool(self.private) + ["--merged"] * self.merged
        options += ["--branch", self.branch] if self.branch else []
        return shlex.join(["python", "scripts/push.py", str(folder), self.repo, *options])


def push_run(folder: str | Path, target: Target) -> str:
    """Pushes a finished run.

    Args:
        folder: The run's folder.
        target: Where it goes.

    Returns:
        A sentence that says where it is.

    Raises:
        PushError: If the Hub cannot be reached or refuses; with the command to try again.
        HfTaggerError: If the folder holds no finished run, or an adapter that nobody else could load.
    """
    run = Path(folder).expanduser()
    model = _model_folder(run, target)
    shared_files(run, model, target.repo)  # first: an unfinished run makes no repository
    try:
        return _push(run, model, target)
    except (HTTPError, OSError, ValueError, RuntimeError, LookupError) as error:
        text = (
            f"The push to {target.repo} failed: {_hidden(_explain(error))}\nA push is one commit, all of it or "
            f"nothing. Everything is on disk in {folder}. To try again:\n  {target.command(folder)}"
        )
        raise PushError(text) from error


def _push(run: Path, model: Path, target: Target) -> str:
    validate_repo_id(target.repo)
    token = get_token()
    if token is None:
        raise OSError("there is no token on this machine; log in by `hf auth login`, or set HF_TOKEN.")
    api = HfApi(token=token, library_name="hf_tagger")
    repo = api.create_repo(target.repo, private=target.private, exist_ok=True).repo_id
    if target.private and not api.model_info(repo).private:
        raise ValueError(f"{repo} is there already, and it is public; choose another name, or make it private first.")
    if target.branch:
        api.create_branch(repo, branch=target.branch, exist_ok=True)
    before = api.model_info(repo, revision=target.branch)
    files = shared_files(run, model, repo)
    adds = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
    there = [file.rfilename for file in before.siblings or ()]
    deletes = [CommitOperationDelete(path_in_repo=name) for name in there if is_outdated(name, files)]
    with warnings.catch_warnings():  # predictions are Parquet files in a model's repository on purpose
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
        commit = api.create_commit(
            repo,
            [*deletes, *adds],
            commit_message=f"Push the run {run.resolve().name} with hf_tagger",
            revision=target.branch,
            parent_commit=before.sha,
        )
    is_new = commit.oid != before.sha
    told = f"{len(files)} files in commit {commit.oid[:7]}" if is_new else "nothing had changed since the last push"
    return f"Pushed: {api.endpoint}/{repo}{f'/tree/{target.branch}' if target.branch else ''} ({told})"


def _model_folder(run: Path, target: Target) -> Path:
    """The folder of the model to push; a merged one is made if it is not there.

    Raises:
        HfTaggerError: If there is no adapter to merge, or if the adapter's base is a folder of this machine.
    """
    base = adapter_base(run)
    if base is None:
        if target.merged:
            raise HfTaggerError(f"--merged: {run} holds no LoRA adapter; push it without.")
        return run
    if target.merged:
        merged = run / MERGED_FOLDER
        if not (merged / CARD).exists():  # written last
            merge(str(run), str(merged))
        return merged
    if Path(base).is_absolute():
        raise HfTaggerError(
            f"The adapter in {run} was trained on {base}, a folder that nobody else has. Push the whole model:\n"
            f"  {Target(target.repo, target.private, target.branch, merged=True).command(run)}"
        )
    return run


def _explain(error: Exception) -> str:
    """What happened, in a sentence or two."""
    cause = error
    while not isinstance(cause, HTTPError) and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__  # the client wraps what went wrong with one of several files
    where = f" ({_short(error)})" if cause is not error else ""
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code
        meaning = _MEANING.get(status, _SERVER_TROUBLE if status >= 500 else "the Hub refuses")
        said = cause.server_message or str(cause).split("\n")[0]
        return f"{meaning}. It answered {status}: {_short(said)}{where}"
    if isinstance(cause, HFValidationError):
        return f"the Hub refuses this name: {_short(cause)}"
    if isinstance(cause, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, which keeps the client from the network; unset it."
    if isinstance(cause, HTTPError):
        reason = _short(cause) or type(cause).__name__
        return f"the connection to {constants.ENDPOINT} cannot be made, or broke off: {reason}{where}"
    if isinstance(cause, JSONDecodeError):
        return f"what answered at {constants.ENDPOINT} is not the Hub, or has trouble: its answer is no JSON."
    return _short(error)


def _short(said: object) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def _hidden(text: str) -> str:
    """The text without the token, should a server or a proxy have sent it back."""
    token = get_token()
    return text.replace(token, "hf_…") if token else text
