"""A Gradio Space of a tagger: a page that tags what somebody drops or records, ready to be run or pushed.

It is an app of one file, its requirements and a card whose metadata the Hub reads. A model of the Hub is named; that of
a folder is copied, whole (a LoRA adapter within its base), so that the page runs where only the Space is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from huggingface_hub import ModelCard, SpaceCard, SpaceCardData

from ..convert.checkpoint import new_folder
from ..tagging import Tagger
from ..training.checkpoints import expanded
from .model_cards import LICENSE_FIELDS, read_model_card
from .shared_files import forget_places
from .templates import fill_template

APP, CARD, REQUIREMENTS, MODEL_FOLDER = "app.py", "README.md", "requirements.txt", "model"
GRADIO_VERSION = "6.31.0"
"""What the Hub installs for the page: the version that the tests ran."""

_PYTHON_VERSION = "3.12"
_APP_TEMPLATE = Path(__file__).with_name("space_app.py.j2")
_CARD_TEMPLATE = Path(__file__).with_name("space_card.md.j2")
_PACKAGE = "hf_tagger"
_TAGS = ["music", "music-tagging", "audio-classification", _PACKAGE]


@dataclass(frozen=True)
class Space:
    """What was written.

    Attributes:
        folder: Where.
        title: Of the page.
        labels: Number of labels that the model knows.
        has_model: Whether a copy of the model lies in it.
    """

    folder: Path
    title: str
    labels: int
    has_model: bool


def write_space(model: str, output: str, title: str | None = None) -> Space:
    """Writes a Space.

    Args:
        model: Folder of a run, or a repository on the Hub. It is loaded, so that no Space is made of what is no tagger.
        output: Folder for the Space, new or empty.
        title: Of the page; default: one with the model's name.

    Raises:
        HfTaggerError: If the folder holds files, or if the model cannot be read or has no trained head.
    """
    folder = new_folder(output)
    tagger = Tagger.from_pretrained(model, device="cpu")
    source = Path(expanded(model))
    is_folder = source.exists()
    name = source.resolve().name if is_folder else model.split("/")[-1]
    title = " ".join((title or f"Music tags by {name}").split())
    card = read_model_card(model)

    folder.mkdir(parents=True, exist_ok=True)
    if is_folder:
        tagger.model.save_pretrained(folder / MODEL_FOLDER)
        tagger.feature_extractor.save_pretrained(folder / MODEL_FOLDER)
        for code in (folder / MODEL_FOLDER).glob("*.py"):  # the page runs the package's own
            code.unlink()
        config = json.loads((folder / MODEL_FOLDER / "config.json").read_text(encoding="utf-8"))
        if forget_places(config):
            (folder / MODEL_FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    variables = {"title": title, "repo": None if is_folder else model, "labels": len(tagger.label_names)}
    files = {
        APP: fill_template(_APP_TEMPLATE, model_folder=MODEL_FOLDER, **variables),
        REQUIREMENTS: f"{requirement()}\n",
        CARD: fill_template(_CARD_TEMPLATE, metadata=_card_data(title, variables["repo"], card).to_yaml(), **variables),
    }
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    SpaceCard.load(folder / CARD)  # its metadata can be read
    return Space(folder, title, len(tagger.label_names), is_folder)


def requirement() -> str:
    """What a Space installs: this version of the package or, if it is none that was released, its repository."""
    package = metadata.metadata(_PACKAGE)
    version = package["Version"]
    if re.fullmatch(r"[\d.]+", version):
        return f"{_PACKAGE}[space]=={version}"
    urls = dict(entry.split(", ", 1) for entry in package.get_all("Project-URL"))
    return f"{_PACKAGE}[space] @ git+{urls['Repository']}"


def _card_data(title: str, repo: str | None, card: ModelCard | None) -> SpaceCardData:
    of_model = card.data.to_dict() if card else {}
    licenses = {name: of_model[name] for name in LICENSE_FIELDS if of_model.get(name)}
    return SpaceCardData(
        title=title,
        emoji="🎵",
        colorFrom="blue",
        colorTo="indigo",
        sdk="gradio",
        sdk_version=GRADIO_VERSION,
        python_version=_PYTHON_VERSION,
        app_file=APP,
        models=[repo] if repo else None,
        tags=_TAGS,
        **licenses,
    )
