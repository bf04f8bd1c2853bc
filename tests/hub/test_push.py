"""Pushing a run by the real client to a Hub on this machine: what goes there, and what happens when it goes wrong."""

import json
import re
import shlex
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, constants
from script_runner import launch_processes, load_script
from tiny_encoders import save_encoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from local_hub import TOKEN, LocalHub, StoredFile
from tiny_runs import client_of, train

from hf_tagger import TaggingArguments
from hf_tagger.command_line import run_script
from hf_tagger.errors import HfTaggerError, RecipeError
from hf_tagger.hub.push import PushError, Target, push_run
from hf_tagger.hub.shared_files import shared_files, shared_recipe
from hf_tagger.recipe import parse_recipe
from hf_tagger.training.push_check import warn_of_push

REPO = "someone/some-tagger"
WRITTEN = {
    "README.md", "config.json", "confusion_matrix.png", "curves.png", "history.json", "metrics.json",
    "model.safetensors", "precision_recall.png", "predictions_test.parquet", "predictions_validation.parquet",
    "preprocessor_config.json", "recipe.yaml", "reliability.png", "report.html", "roc.png", "skipped_clips.csv",
    "split.csv",
}  # fmt: skip
CODE = {"modeling_short_cnn.py", "configuration_short_cnn.py", "feature_extraction_waveform.py"}  # and their siblings
CHANGED = {"README.md", "recipe.yaml", "skipped_clips.csv"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run, checkpoints and TensorBoard's files included."""
    return train(tmp_path_factory.mktemp("push") / "run", "--report_to", "tensorboard")


@pytest.fixture
def hub(monkeypatch):
    with LocalHub() as server, client_of(server, monkeypatch):
        yield server


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pushed(run):
    """What belongs into the repository of a run of the tests; which code a model needs, transformers finds."""
    code = {path.name for path in run.glob("*.py")}
    assert code >= CODE
    return WRITTEN | code


def refusal(run, target):
    with pytest.raises(PushError) as caught:
        push_run(run, target)
    return str(caught.value)


def run_again(message):
    """Runs the command that a message ends with."""
    python, script, *argv = shlex.split(message.splitlines()[-1])
    assert (python, script) == ("python", "scripts/push.py")
    load_script("push").main(argv)


def test_a_run_goes_to_the_hub_in_one_commit_without_checkpoints_and_logs(run, hub):
    before = content(run)
    told = push_run(run, Target("some-tagger"))  # the user's name comes from the token
    assert hub.titles(REPO) == ["initial commit", "Push the run run with hf_tagger"]
    assert set(hub.files(REPO)) == pushed(run) | {".gitattributes"}
    assert f"{hub.url}/{REPO} ({len(pushed(run))} files in commit" in told
    assert {name for name in pushed(run) if hub.files(REPO)[name] != (run / name).read_bytes()} == CHANGED
    assert content(run) == before
    assert any(path.parts[0].startswith("checkpoint-") for path in before)  # so that the list above says something
    assert any("tfevents" in path.name for path in before)
    assert not [request for request in hub.unknown if REPO in request]


def test_large_files_go_to_the_storage_which_sees_no_token(run, hub):
    push_run(run, Target(REPO))
    uploads = [request for request in hub.requests if request.endpoint == "upload"]
    assert len(uploads) == sum(name.endswith((".safetensors", ".parquet", ".png")) for name in pushed(run))
    assert {request.authorization for request in uploads} == {None}
    assert {request.authorization for request in hub.requests} == {None, f"Bearer {TOKEN}"}


def test_nothing_that_is_shared_names_a_folder_of_this_machine(run, hub):
    push_run(run, Target(REPO))
    place = str(run.parent).encode()
    assert {name for name, found in hub.files(REPO).items() if place in found} == set()
    assert {name for name in pushed(run) if place in (run / name).read_bytes()} == CHANGED
    skipped = hub.files(REPO)["skipped_clips.csv"].decode().splitlines()
    assert skipped[0] == "id,split,reason"
    assert len(skipped) == 2
    assert skipped[1].startswith("low/03")


def test_the_pushed_recipe_is_the_experiment_and_can_be_read_again(run, hub, tmp_path):
    push_run(run, Target(REPO))
    (tmp_path / "recipe.yaml").write_bytes(hub.files(REPO)["recipe.yaml"])
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    ours = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe == {name: value for name, value in ours.items() if name not in
                      ("dataset_root", "cache_dir", "output_dir", "push_to_hub", "hub_token")}  # fmt: skip
    _, model, training = parse_recipe([str(tmp_path / "recipe.yaml"), "--dataset_root", str(run.parent / "music")])
    assert model.model_config == {"num_channels": 4}
    assert not training.pushes_to_hub
    assert hub.files(REPO)["recipe.yaml"].startswith(b"# accelerate launch scripts/finetune.py recipe.yaml\n")


def test_of_paths_in_a_recipe_the_last_part_is_shared_and_names_of_the_hub_as_they_are(tmp_path):
    recipe = {
        "model_name_or_path": str(tmp_path / "mert"), "hub_id": "someone/music", "hub_model_id": "someone/tagger",
        "hub_revision": "try", "push_to_hub": True, "model_config": {"a": [str(tmp_path / "b"), 3]},
        "base": "m-a-p/MERT-v1-95M", "loss": None,
    }  # fmt: skip
    assert shared_recipe(recipe) == {
        "model_name_or_path": "mert", "hub_id": "someone/music", "model_config": {"a": ["b", 3]},
        "base": "m-a-p/MERT-v1-95M", "loss": None,
    }  # fmt: skip


def test_the_pushed_card_names_the_repository(run, hub):
    push_run(run, Target(REPO))
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    ours = ModelCard((run / "README.md").read_text(encoding="utf-8"))
    assert f'pipeline("audio-classification", model="{REPO}", trust_remote_code=True)' in card.text
    assert "\n# some-tagger\n" in card.text
    assert "\n# run\n" in ours.text
    assert card.data.model_name == "some-tagger"
    assert [(result.metric_type, result.metric_value) for result in card.data.eval_results] == [
        (result.metric_type, result.metric_value) for result in ours.data.eval_results
    ]
    pictures = re.findall(r"^!\[.*\]\((.+)\)$", card.text, re.MULTILINE)
    assert pictures
    assert set(pictures) <= pushed(run)


def test_a_path_within_an_address_of_the_card_stays(run, tmp_path):
    """As /data, which is a usual dataset_root, in https://host/data/x."""
    copy = shutil.copytree(run, tmp_path / "copy")
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text()) | {"model_name_or_path": "/data"}
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = (copy / "README.md").read_text() + "\nhttps://host/data/x, https://host/datasets, from /data.\n"
    (copy / "README.md").write_text(text)
    card = shared_files(copy, copy, REPO)["README.md"].decode()
    assert card.endswith("\nhttps://host/data/x, https://host/datasets, from data.\n")


def test_a_second_push_commits_nothing_and_one_of_another_run_leaves_nothing_of_the_first(run, hub, tmp_path):
    push_run(run, Target(REPO))
    assert "nothing had changed" in push_run(run, Target(REPO))
    assert len(hub.titles(REPO)) == 2
    repository = hub.repositories[REPO]
    theirs = {"LICENSE": b"mine", "training.py": b"mine", "old/metrics.json": b"mine"}
    outdated = {"adapter_model.safetensors": b"x", "adapter_config.json": b"{}", "predictions_train.parquet": b"x"}
    files = {name: StoredFile(found) for name, found in {**theirs, **outdated}.items()}
    repository.add("main", "of others", {**repository.at("main").files, **files})
    other = shutil.copytree(run, tmp_path / "other")
    (other / "leaks.json").write_text("{}")
    push_run(other, Target(REPO))
    assert set(hub.files(REPO)) == pushed(run) | {".gitattributes", "leaks.json"} | theirs.keys()
    assert hub.titles(REPO)[2:] == ["of others", "Push the run other with hf_tagger"]


def test_a_branch_is_made_and_the_main_one_left_alone(run, hub):
    told = push_run(run, Target(REPO, branch="try"))
    assert hub.titles(REPO) == ["initial commit"]
    assert set(hub.files(REPO, "try")) == pushed(run) | {".gitattributes"}
    assert f"{REPO}/tree/try" in told


def test_private_means_private_also_where_a_public_repository_is_there_already(run, hub):
    push_run(run, Target(REPO, private=True))
    assert hub.repositories[REPO].private
    push_run(run, Target("someone/public"))
    assert not hub.repositories["someone/public"].private
    message = refusal(run, Target("someone/public", private=True, branch="secret"))
    assert "secret" not in hub.repositories["someone/public"].branches
    assert "someone/public is there already, and it is public" in message
    assert message.endswith(f"python scripts/push.py {run} someone/public --private --branch secret")


# Name → (what goes wrong, what the message says).
FAULTS = {
    "500 on commit": (lambda hub: hub.fail("commit", 500), r"trouble of its own.*answered 500: asked to fail"),
    "500 on preupload": (lambda hub: hub.fail("preupload", 500), r"trouble of its own.*answered 500"),
    "503 in the upload": (lambda hub: hub.fail("upload", 503), r"answered 503.*uploading '.*' to the Hub"),
    "cut in the upload": (lambda hub: hub.cut("upload"), r"cannot be made, or broke off.*uploading '.*' to the Hub"),
    "cut on commit": (lambda hub: hub.cut("commit"), "cannot be made, or broke off"),
    "401": (lambda hub: hub.users.clear(), r"does not accept the token.*hf auth login.*401: Invalid credentials"),
    "403 on commit": (lambda hub: hub.fail("commit", 403), r"needs write access.*answered 403"),
    "409 on commit": (lambda hub: hub.fail("commit", 409), r"changed the repository at the same time.*409"),
    "400 on the card": (lambda hub: hub.fail("validate", 400), r"refuses what was sent.*Invalid metadata in README"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_loses_nothing_and_the_printed_command_pushes_once_it_is_over(run, hub, fault, capsys):
    before, users = content(run), dict(hub.users)
    happen, sentence = FAULTS[fault]
    happen(hub)
    message = refusal(run, Target(REPO, private=True))
    assert re.search(sentence, message, re.DOTALL), message
    assert f"The push to {REPO} failed: " in message
    assert f"Everything is on disk in {run}. To try again:\n" in message
    assert TOKEN not in message
    assert all(hub.titles(repo) == ["initial commit"] for repo in hub.repositories)  # or there is none at all
    assert content(run) == before

    hub.heal()
    hub.users.update(users)
    run_again(message)
    assert f"Pushed: {hub.url}/{REPO}" in capsys.readouterr().out
    assert set(hub.files(REPO)) == pushed(run) | {".gitattributes"}
    assert len(hub.titles(REPO)) == 2
    assert hub.repositories[REPO].private


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, "refuses what was sent"), (402, "asks for a paid plan"), (404, "does not find it"),
        (412, "changed the repository at the same time"), (413, "too large"), (418, "the Hub refuses. It"),
        (429, "wait a few minutes"), (500, "trouble of its own"), (503, "trouble of its own"),
    ],
)  # fmt: skip
def test_every_status_is_explained_and_what_the_hub_said_repeated(run, hub, status, meaning):
    hub.fail("create", status, "said by the Hub")
    message = refusal(run, Target(REPO))
    assert meaning in message
    assert f"answered {status}: said by the Hub" in message
    assert hub.repositories == {}


def test_a_connection_that_is_cut_at_once_is_no_traceback(run, hub):
    hub.cut("create")
    assert f"the connection to {hub.url} cannot be made, or broke off: " in refusal(run, Target(REPO))


def test_a_fault_of_a_moment_is_not_even_noticed(run, hub):
    hub.fail("preupload", 503, times=2)
    hub.cut("upload", times=2)
    push_run(run, Target(REPO))
    assert set(hub.files(REPO)) == pushed(run) | {".gitattributes"}


def test_a_commit_whose_answer_got_lost_is_not_made_twice(run, hub):
    hub.cut("commit", times=1, done=True)
    message = refusal(run, Target(REPO))
    assert len(hub.titles(REPO)) == 2
    run_again(message)
    assert len(hub.titles(REPO)) == 2


def test_a_change_by_others_during_the_push_is_seen(run, hub, monkeypatch):
    find, repository = hub.readable, []

    def change_after_info(repo, user):
        repository.append(find(repo, user))
        if len(repository) == 3:  # after the client asked for the newest commit
            repository[0].add("main", "of others", dict(repository[0].at("main").files))
        return repository[-1]

    monkeypatch.setattr(hub, "readable", change_after_info)
    assert "answered 412: A commit has happened since" in refusal(run, Target(REPO))
    assert hub.titles(REPO) == ["initial commit", "of others"]


def test_without_a_token_nothing_is_asked(run, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    message = refusal(run, Target(REPO))
    assert "no token on this machine; log in by `hf auth login`, or set HF_TOKEN" in message
    assert hub.requests == []


class Page(BaseHTTPRequestHandler):
    """What answers with a page, as the login of a guest network does."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *arguments):
        """Nothing."""


def test_offline_and_unreachable_hubs_and_what_is_no_hub_are_told_apart(run, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal(run, Target(REPO))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://no-such-host.invalid")
    assert "the connection to http://no-such-host.invalid cannot be made" in refusal(run, Target(REPO))
    with HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{page.server_port}")
        assert "is not the Hub, or has trouble: its answer is no JSON" in refusal(run, Target(REPO))
        page.shutdown()


def test_a_failure_of_xet_is_a_message_too(run, hub, monkeypatch):
    """The Hub of the tests does not speak Xet, by which the real one takes large files."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert re.search(r"404.*xet-write-token", refusal(run, Target(REPO)))
    assert hub.titles(REPO) == ["initial commit"]


@pytest.mark.parametrize("repo", ["a/b/c", "some tagger", "-tagger", "a..b", "x" * 100])
def test_a_name_that_the_hub_would_refuse_is_told_before_anything_is_asked(run, hub, repo):
    assert "the Hub refuses this name: " in refusal(run, Target(repo))
    assert hub.requests == []


def test_the_namespace_of_others_is_refused(run, hub):
    message = refusal(run, Target("others/tagger"))
    assert re.search(r"needs write access.*403: You don't have the rights .* under the namespace 'others'", message)
    assert hub.repositories == {}


def test_a_token_that_a_server_sends_back_is_not_shown(run, hub):
    hub.fail("commit", 500, f"Authorization: Bearer {TOKEN} was not expected")
    message = refusal(run, Target(REPO))
    assert "Bearer hf_… was not expected" in message
    assert TOKEN not in message


@pytest.mark.parametrize("missing", ["README.md", "config.json", "preprocessor_config.json", "model.safetensors"])
def test_what_is_no_finished_run_makes_no_repository(run, hub, tmp_path, missing):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoint-*", missing))
    with pytest.raises(HfTaggerError, match=rf"is no finished run: there is no .*{missing}"):
        push_run(copy, Target(REPO))
    with pytest.raises(HfTaggerError, match=r"--merged: .* holds no LoRA adapter"):
        push_run(run, Target(REPO, merged=True))
    assert hub.requests == []


def test_an_encoder_that_was_read_from_a_folder_forgets_where(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    place = str(tmp_path / "ast")
    encoder = {"_name_or_path": place, "hidden_size": 3, "inner": {"_name_or_path": "MIT/ast"}}
    (copy / "config.json").write_text(json.dumps(config | {"encoder": encoder}))
    pushed = json.loads(shared_files(copy, copy, REPO)["config.json"])
    assert pushed == config | {"encoder": {"hidden_size": 3, "inner": {"_name_or_path": "MIT/ast"}}}


# What a recipe does.


@pytest.mark.parametrize("script", ["finetune", "finetune_no_trainer"])
def test_a_recipe_pushes_once_when_everything_is_written(tmp_path, hub, capfd, script):
    run = train(
        tmp_path / "some-tagger", "--push_to_hub", "--hub_private_repo", "true", "--num_train_epochs", "3",
        script=script,
    )  # fmt: skip
    assert hub.titles(REPO) == ["initial commit", "Push the run some-tagger with hf_tagger"]
    assert (hub.calls("create"), hub.calls("commit")) == (1, 1)
    assert set(hub.files(REPO)) == pushed(run) | {".gitattributes"}
    assert hub.repositories[REPO].private
    assert {name for name in pushed(run) if hub.files(REPO)[name] != (run / name).read_bytes()} == CHANGED
    output = capfd.readouterr()
    assert output.out.index("Results on the test split") < output.out.index(f"Pushed: {hub.url}/{REPO}")
    assert yaml.safe_load((run / "recipe.yaml").read_text())["push_to_hub"] is True
    assert TOKEN not in output.out + output.err
    assert {path for path, found in content(run).items() if TOKEN.encode() in found} == set()
    assert {name for name, found in hub.files(REPO).items() if TOKEN.encode() in found} == set()


def test_a_failed_push_leaves_a_finished_run_its_numbers_and_the_command(tmp_path, hub, capsys, monkeypatch):
    hub.fail("commit", 500)
    run, flags = tmp_path / "run", ["--push_to_hub", "--hub_model_id", REPO, "--hub_revision", "try"]
    with pytest.raises(SystemExit) as caught:
        run_script(lambda argv: train(run, *flags))
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert "Results on the test split" in output.out
    assert output.err.rstrip().endswith(f"python scripts/push.py {run} {REPO} --branch try")
    assert output.err.count("error: The push to") == 1
    assert {path.name for path in run.iterdir()} >= pushed(run)
    assert f'model="{REPO}"' in (run / "README.md").read_text()  # hub_model_id says where it lives
    hub.heal()
    run_again(output.err)
    assert set(hub.files(REPO, "try")) == pushed(run) | {".gitattributes"}


def test_a_run_that_could_not_be_pushed_as_it_is_warns_before_it_trains(tmp_path, hub, monkeypatch, caplog):
    caplog.set_level("WARNING")
    warn_of_push(TaggingArguments(push_to_hub=True))
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    warn_of_push(TaggingArguments())
    assert caplog.records == []
    warn_of_push(TaggingArguments(push_to_hub=True))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    warn_of_push(TaggingArguments(push_to_hub=True))
    first, second = (record.message for record in caplog.records)
    assert "there is no token on this machine" in first
    assert "HF_HUB_OFFLINE is set" in second


def test_trainer_reads_that_nothing_is_to_be_pushed_and_the_recipe_that_it_is():
    arguments = TaggingArguments(push_to_hub=True, output_dir="runs/some-tagger")
    assert (arguments.push_to_hub, arguments.pushes_to_hub) == (False, True)
    assert arguments.with_values({"learning_rate": 0.1}).pushes_to_hub
    assert arguments.hub_repository == "some-tagger"
    with pytest.raises(RecipeError, match="log in by `hf auth login`, or set HF_TOKEN"):
        TaggingArguments(hub_token=TOKEN)


def test_an_adapter_of_a_folder_of_this_machine_is_only_pushed_merged(tmp_path, hub, capsys, monkeypatch):
    save_encoder("mert", tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    flags = ["--model_name_or_path", "base", "--model_config", "{}", "--window_seconds", "0.5", "--lora.rank", "2"]
    with pytest.raises(RecipeError, match=r"push_to_hub: the adapter would need .*lora\.save_merged: true"):
        parse_recipe([*flags, "--push_to_hub"])
    assert not parse_recipe(flags)[2].pushes_to_hub
    run = train(tmp_path / "some-tagger", *flags, "--max_steps", "2", "--push_to_hub", "--lora.save_merged")
    assert hub.titles(REPO) == ["initial commit", "Push the run some-tagger with hf_tagger"]
    there = set(hub.files(REPO))
    assert {"model.safetensors", "modeling_mert.py", "recipe.yaml", "metrics.json", "curves.png"} <= there
    assert not there & {"adapter_model.safetensors", "adapter_config.json"}
    assert (run / "adapter_model.safetensors").exists()
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert card.data.library_name == "transformers"
    assert card.data.base_model is None  # base could be a name on the Hub, but here it is a folder
    assert "LoRA adapter" not in card.text
    assert f'model="{REPO}", trust_remote_code=True)' in card.text
    assert {name for name, found in hub.files(REPO).items() if str(tmp_path).encode() in found} == set()

    before = len(hub.requests)
    with pytest.raises(HfTaggerError, match=r"was trained on .*base, a folder that nobody else has") as caught:
        push_run(run, Target(REPO))
    assert len(hub.requests) == before
    run_again(str(caught.value))
    assert "nothing had changed since the last push" in capsys.readouterr().out


@pytest.mark.slow  # two processes import everything
def test_of_two_processes_one_pushes(tmp_path, monkeypatch):
    with LocalHub() as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        finished = launch_processes(
            2, "scripts/finetune.py", "recipes/quickstart.yaml", "--synthetic_clips", "60", "--max_steps", "2",
            "--model_config.num_channels", "4", "--ddp_backend", "gloo", "--use_cpu", "--report_to", "none",
            "--cache_dir", tmp_path / "cache", "--output_dir", tmp_path / "some-tagger", "--push_to_hub",
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        assert (hub.calls("create"), hub.calls("commit")) == (1, 1)
        assert "model.safetensors" in hub.files(REPO)
        assert TOKEN not in finished.stdout + finished.stderr
