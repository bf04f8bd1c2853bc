"""What of a run belongs into a repository, and in which form.

Into it go the model with its code and feature extractor, and what tells how good it is and how it was made: card,
report, pictures, numbers, predictions, recipe, split and skipped clips. Checkpoints, states of optimizers, logs,
``training_args.bin`` (a pickle) and whatever else lies in the folder stay here.

Nothing that is shared names a folder of this machine: the files that do are shared in another form, which is made here
and leaves the run as it is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ..errors import HfTaggerError
from ..recipe_values import load_yaml

COMMAND = "accelerate launch scripts/finetune.py recipe.yaml"
"""What repeats a run whose recipe was shared."""

CARD = "README.md"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors", "adapter_model.safetensors")
_MODEL = (*_WEIGHTS, "config.json", "preprocessor_config.json", "adapter_config.json", "*.py")
_REPORTS = (
    CARD,
    "report.html",
    "*.png",
    "metrics.json",
    "history.json",
    "predictions_*.parquet",
    "recipe.yaml",
    "split.csv",
    "skipped_clips.csv",
    "leaks.json",
    "short_clips.json",
    "robustness.json",
)
# Fields of a recipe that are of this machine or of this push, not of the experiment.
_NOT_SHARED = ("dataset_root", "cache_dir", "output_dir", "push_to_hub")
_NOT_SHARED_PREFIX = "hub_"
_NOT_SHARED_BUT_DATA = ("hub_id", "hub_config")  # the dataset on the Hub

# What card.py writes with model_card.md.j2.
_MODEL_ARGUMENT = re.compile(
    r'(?:(?<=pipeline\("audio-classification", model=)|(?<=pipeline\("music-tagging", model=))"((?:[^"\\]|\\.)*)"'
)
_ADAPTER_PARAGRAPH = re.compile(r"^This is a LoRA adapter with its head:.*\n\n?", re.MULTILINE)
_DOWNLOAD_FIRST = (
    " `pipeline` takes the name of a repository that holds an adapter for its base: download it, as above."
)
_TITLE = re.compile(r"^# .*$", re.MULTILINE)
_IMPORT = "from transformers import pipeline\n"
_CODE_ARGUMENT = re.compile(r", trust_remote_code=\w+")
_CODE_SENTENCE = re.compile(r" `trust_remote_code=\w+` runs the modelling code that lies beside the weights\.")


def is_outdated(path: str, pushed: Collection[str]) -> bool:
    """Whether a file in a repository belongs to an earlier run, and would speak for a model that is no longer there.

    An adapter beside a whole model would even be loaded. Code and pictures of other names do no harm, and may be
    somebody's own.
    """
    patterns = [pattern for pattern in (*_MODEL, *_REPORTS) if not pattern.startswith("*")]
    return path not in pushed and any(fnmatch(path, pattern) for pattern in patterns)


def shared_files(run: Path, model: Path, repo: str) -> dict[str, Path | bytes]:
    """Path in the repository → the file, or its content where the shared form is another.

    Args:
        run: The run's folder.
        model: Where the model lies: the same, or that of the merged model.
        repo: The repository, as the card's snippet names it.

    Raises:
        HfTaggerError: If the run is not finished.
    """
    found: dict[str, Path | bytes] = {path.name: path for path in _matches(run, _REPORTS)}
    found |= {path.name: path for path in _matches(model, _MODEL)}
    lacking = [name for name in (CARD, "config.json", "preprocessor_config.json") if name not in found]
    if not any(fnmatch(name, pattern) for name in found for pattern in _WEIGHTS):
        lacking.append("weights (model.safetensors or adapter_model.safetensors)")
    if lacking:
        raise HfTaggerError(
            f"{run} is no finished run: there is no {', no '.join(lacking)}. scripts/finetune.py and "
            f"scripts/finetune_no_trainer.py leave what can be pushed."
        )
    recipe = {}
    if "recipe.yaml" in found:
        recipe = load_yaml(_text(found["recipe.yaml"]))[0]
        found["recipe.yaml"] = f"# {COMMAND}\n{recipe_text(recipe)}".encode()
    if "skipped_clips.csv" in found:
        found["skipped_clips.csv"] = _without_paths(_text(found["skipped_clips.csv"]))
    config = json.loads(_text(found["config.json"]))
    if forget_places(config):
        found["config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    has_code = any(name.endswith(".py") for name in found)
    card = shared_card(_text(found[CARD]), repo, recipe, "adapter_config.json" in found, has_code)
    found[CARD] = card.encode()
    return dict(sorted(found.items()))


def shared_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without what is of this machine; of a path, such as that of a pretrained model, its last part."""
    return {
        name: _shared_value(value)
        for name, value in recipe.items()
        if name not in _NOT_SHARED and (name in _NOT_SHARED_BUT_DATA or not name.startswith(_NOT_SHARED_PREFIX))
    }


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """The YAML of the shared recipe."""
    return yaml.safe_dump(shared_recipe(recipe), sort_keys=False, allow_unicode=True, width=120)


def shared_card(text: str, repo: str, recipe: Mapping[str, Any], is_adapter: bool, has_code: bool) -> str:
    """A run's card as it stands in a repository.

    Args:
        text: The card in the run's folder.
        repo: The repository.
        recipe: The run's recipe as it was written.
        is_adapter: Whether a LoRA adapter is pushed. transformers takes a repository that holds one for its base
            model, without the head and the labels (5.23, ``pipelines/__init__.py``), unless it is a folder: the
            snippet downloads it first.
        has_code: Whether modelling code is pushed.
    """
    name = repo.split("/")[-1]
    argument = f"snapshot_download({json.dumps(repo)})" if is_adapter else json.dumps(repo)
    before = _MODEL_ARGUMENT.search(text)
    text = _MODEL_ARGUMENT.sub(lambda _: argument, text)
    if is_adapter:
        text = text.replace(_IMPORT, f"from huggingface_hub import snapshot_download\n{_IMPORT}")
        text = _ADAPTER_PARAGRAPH.sub(lambda found: f"{found[0].rstrip()}{_DOWNLOAD_FIRST}\n\n", text)
    else:
        text = _ADAPTER_PARAGRAPH.sub("", text)
    if not has_code:
        text = _CODE_SENTENCE.sub("", _CODE_ARGUMENT.sub("", text))
    places = {place: Path(place).name for place in _places(recipe.values())}
    if before:
        places |= dict.fromkeys(_places([json.loads(f'"{before[1]}"')]), repo)
    for place in sorted(places, key=len, reverse=True):  # the inner folder before the one around it
        whole = rf"(?<![\w./~-]){re.escape(place)}(?![\w-])"  # not within a URL
        text = re.sub(whole, lambda _, name=places[place]: name, text)
    card = ModelCard(text, ignore_metadata_errors=True)
    card.text = _TITLE.sub(lambda _: f"# {name}", card.text, count=1)
    card.data.library_name = "peft" if is_adapter else "transformers"
    if card.data.get("model_name"):
        card.data.model_name = name
    return str(card)


def forget_places(config: dict[str, Any]) -> bool:
    """Takes out of a configuration where its encoder was read from, if that was a folder; nothing reads it again.

    Returns:
        Whether there was such a place.
    """
    found = _is_place(config.get("_name_or_path"))
    if found:
        del config["_name_or_path"]
    return any([found, *(forget_places(value) for value in config.values() if isinstance(value, dict))])


def _matches(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]


def _text(file: Path | bytes) -> str:
    return file.read_text(encoding="utf-8") if isinstance(file, Path) else file.decode()


def _is_place(value: object) -> bool:
    """Whether a value is a path that means something on this machine only."""
    return isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute())


def _places(values: Iterable[object]) -> set[str]:
    """All such paths within nested values."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, Mapping):
            found |= _places(value.values())
        elif isinstance(value, list):
            found |= _places(value)
        elif _is_place(value):
            found.add(value)
    return found


def _shared_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _shared_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shared_value(inner) for inner in value]
    return Path(value).name if _is_place(value) else value


def _without_paths(text: str) -> bytes:
    """``skipped_clips.csv`` without the column of paths; the ids name the clips."""
    written = io.StringIO(newline="")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    kept = [name for name in rows.fieldnames or () if name != "path"]
    writer = csv.DictWriter(written, kept, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()
