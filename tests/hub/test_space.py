"""A Space: what is written, with a model of a folder or of the Hub, and what is refused."""

import ast
import json
import shutil
import sys
from email.message import Message
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import HfApi, SpaceCard
from packaging.requirements import Requirement
from packaging.version import Version
from small_taggers import FITTED, LABELS, MULTI, save, song
from tiny_encoders import build_tagger, save_encoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from local_hub import TOKEN, LocalHub
from tiny_runs import client_of

from hf_tagger import ModelArguments
from hf_tagger.errors import HfTaggerError
from hf_tagger.hub import space as space_module
from hf_tagger.hub.space import GRADIO_VERSION, requirement, write_space
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.lora import add_lora

REPO = "someone/some-tagger"
LICENCE = "---\nlicense: other\nlicense_name: mine\nlicense_link: https://host/mine\n---\n# A tagger\n"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """Folder of a tagger with thresholds and a card."""
    folder = save(tmp_path_factory.mktemp("runs") / "my_run", fit=FITTED)
    (folder / "README.md").write_text(LICENCE)
    return folder


@pytest.fixture(scope="module")
def space(tagger, tmp_path_factory):
    """Folder of the tagger's Space."""
    return write_space(str(tagger), str(tmp_path_factory.mktemp("spaces") / "space")).folder


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assigned(folder):
    """Name → expression of what app.py assigns on its first level, and proof that it is Python."""
    tree = ast.parse((folder / "app.py").read_text(encoding="utf-8"))
    return {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}


def test_a_space_of_a_folder_is_app_requirements_card_and_the_model_alone(space, tagger):
    model = {"model/config.json", "model/preprocessor_config.json", "model/model.safetensors"}
    assert names(space) == {"app.py", "requirements.txt", "README.md"} | model
    assert ast.unparse(assigned(space)["MODEL"]) == "Path(__file__).parent / 'model'"
    copy = Tagger.from_pretrained(space / "model", "cpu")
    assert copy(song(5)) == Tagger.from_pretrained(tagger, "cpu")(song(5))
    assert copy.thresholds == FITTED.thresholds


def test_nothing_in_it_names_a_folder_of_this_machine(space, tagger):
    assert [name for name in names(space) if str(tagger.parent).encode() in (space / name).read_bytes()] == []


def test_where_its_encoder_came_from_on_this_machine_is_not_told(tmp_path):
    base = save_encoder("hubert", tmp_path / "secret" / "base")
    arguments = ModelArguments(model_name_or_path=str(base), pooling="attention", window_seconds=1.0)
    plan = plan_model(arguments)
    run = tmp_path / "run"
    build_model(plan, LABELS, MULTI).save_pretrained(run)
    plan.feature_extractor.save_pretrained(run)
    assert str(tmp_path) in (run / "config.json").read_text()
    write_space(str(run), str(tmp_path / "space"))
    for file in (tmp_path / "space").rglob("*.*"):
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
    Tagger.from_pretrained(tmp_path / "space" / "model")


@pytest.mark.parametrize("card", ["---\nlicense: a: b\n---\n", "---\n- a list\n---\n", b"---\nlicense: m\xfcll\n---\n"])
def test_a_card_that_nobody_can_read_costs_the_licence_only(tagger, tmp_path, card):
    shutil.copytree(tagger, tmp_path / "run")
    (tmp_path / "run" / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    write_space(str(tmp_path / "run"), str(tmp_path / "space"))
    assert "license" not in SpaceCard.load(tmp_path / "space" / "README.md").data.to_dict()


def test_the_card_tells_the_hub_what_to_run_and_repeats_the_models_licence(space):
    card = SpaceCard.load(space / "README.md")
    assert card.data.to_dict() == {
        "title": "Music tags by my_run", "emoji": "🎵", "colorFrom": "blue", "colorTo": "indigo", "sdk": "gradio",
        "sdk_version": GRADIO_VERSION, "python_version": "3.12", "app_file": "app.py",
        "tags": ["music", "music-tagging", "audio-classification", "hf_tagger"],
        "license": "other", "license_name": "mine", "license_link": "https://host/mine",
    }  # fmt: skip
    assert f"which of {len(LABELS)} tags fit" in card.text
    assert "The model lies in `model/`." in card.text
    assert "\n# Music tags by my_run\n" in card.text


def test_the_gradio_of_the_card_and_its_python_are_allowed_by_the_package(root):
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = (line for line in project.splitlines() if line.startswith("space = "))
    (needed,) = (Requirement(text) for text in ast.literal_eval(line.split(" = ", 1)[1]))
    assert needed.name == "gradio"
    assert Version(GRADIO_VERSION) in needed.specifier
    assert 'requires-python = ">=3.10,<3.14"' in project


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.0", "hf_tagger[space]==1.2.0"),
        ("1.2.0.dev0", "hf_tagger[space] @ git+https://host/repository"),
        ("1.2.0rc1", "hf_tagger[space] @ git+https://host/repository"),
    ],
)
def test_a_release_is_required_by_its_number_and_what_is_none_from_the_repository(monkeypatch, version, expected):
    package = Message()
    package["Version"] = version
    package["Project-URL"] = "Repository, https://host/repository"
    monkeypatch.setattr(space_module.metadata, "metadata", lambda name: package)
    assert requirement() == expected
    assert Requirement(expected).extras == {"space"}


@pytest.mark.parametrize("title", ['What\'s "this"? {1} \\n', "# Musik: ☕ & more", " two\nlines "])
def test_any_title_is_possible(tagger, tmp_path, title):
    folder = write_space(str(tagger), str(tmp_path / "space"), title).folder
    expected = " ".join(title.split())
    assert ast.literal_eval(assigned(folder)["TITLE"]) == expected
    assert SpaceCard.load(folder / "README.md").data.title == expected


def test_a_model_of_the_hub_is_named_and_not_copied(tagger, tmp_path):
    with LocalHub() as hub, pytest.MonkeyPatch.context() as monkeypatch, client_of(hub, monkeypatch):
        api = HfApi(endpoint=hub.url, token=TOKEN)
        api.create_repo(REPO)
        api.upload_folder(repo_id=REPO, folder_path=tagger)
        space = write_space(REPO, str(tmp_path / "space"))
    assert names(space.folder) == {"app.py", "requirements.txt", "README.md"}
    assert (space.has_model, space.labels, space.title) == (False, 3, "Music tags by some-tagger")
    assert ast.literal_eval(assigned(space.folder)["MODEL"]) == REPO
    card = SpaceCard.load(space.folder / "README.md")
    assert (card.data.models, card.data.license) == ([REPO], "other")
    assert f"[{REPO}](https://huggingface.co/{REPO})" in card.text


def test_a_stock_model_without_a_card_makes_a_space_without_a_licence(tmp_path):
    for part in build_tagger(save_encoder("ast", tmp_path / "encoder")):
        part.save_pretrained(tmp_path / "stock")
    folder = write_space(str(tmp_path / "stock"), str(tmp_path / "space")).folder
    metadata = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert {"license", "models"} & metadata.keys() == set()
    assert json.loads((folder / "model" / "config.json").read_text())["model_type"] == "audio-spectrogram-transformer"
    assert Tagger.from_pretrained(folder / "model", "cpu")(song(1)) == Tagger.from_pretrained(
        tmp_path / "stock", "cpu"
    )(song(1))


def test_of_an_adapter_the_space_holds_one_whole_model(tmp_path):
    base = save_encoder("hubert", tmp_path / "base")
    plan = plan_model(ModelArguments(model_name_or_path=str(base), window_seconds=0.5, lora={"rank": 2}))
    torch.manual_seed(0)
    model = add_lora(build_model(plan, LABELS, MULTI), plan.arguments.lora, str(base)).eval()
    for part in (model, plan.feature_extractor):
        part.save_pretrained(tmp_path / "adapter")
    folder = write_space(str(tmp_path / "adapter"), str(tmp_path / "space")).folder
    expected = Tagger.from_pretrained(tmp_path / "adapter", "cpu")(song(1))
    shutil.rmtree(base)
    assert names(folder / "model") == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert Tagger.from_pretrained(folder / "model", "cpu")(song(1)) == expected
    assert str(tmp_path) not in (folder / "model" / "config.json").read_text()


def test_what_is_no_tagger_makes_no_space(tmp_path):
    encoder = save_encoder("hubert", tmp_path / "encoder")
    with pytest.raises(HfTaggerError, match="encoder"):
        write_space(str(encoder), str(tmp_path / "space"))
    with pytest.raises(HfTaggerError, match=r"^nothing/here/at/all holds no model"):
        write_space("nothing/here/at/all", str(tmp_path / "space"))
    assert not (tmp_path / "space").exists()


def test_a_folder_that_holds_something_is_left_alone(tagger, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(HfTaggerError, match="exists and is not an empty folder; nothing was written"):
            write_space(str(tagger), str(output))
    assert names(tmp_path) == {"mine.txt"}
