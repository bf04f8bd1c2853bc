"""The output folder of a run: who may write to it, and where an interrupted run goes on."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

from ..arguments import ModelArguments, TaggingArguments
from ..errors import RunFolderError
from ..recipe_values import load_yaml, write_recipe

logger = logging.getLogger(__name__)

# What a run leaves, by name. Nothing else is ever deleted.
_RUN_FILES = [
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "adapter_config.json",
    "config.json",
    "preprocessor_config.json",
    "recipe.yaml",
    "metrics.json",
    "costs.json",
    "history.json",
    "leaks.json",
    "emissions.csv",
    "short_clips.json",
    "short_clips.png",
    "robustness.json",
    "robustness.png",
    "curves.png",
    "confusion_matrix.png",
    "per_tag_ap.png",
    "roc.png",
    "precision_recall.png",
    "reliability.png",
    "report.html",
    "skipped_clips.csv",
    "split.csv",
    "README.md",
    "training_args.bin",
    "trainer_state.json",
]
_RUN_PATTERNS = (
    "checkpoint-*",
    "model-*-of-*.safetensors",
    "merged",
    "search.*",
    "best_recipe.yaml",
    "predictions_*.parquet",
    "events.out.tfevents.*",
    "runs",
    "studies",
)
# A checkpoint fits nothing else than the data and the model it was trained with.
_FIXED_ON_RESUME = (
    "dataset_name",
    "protocol",
    "tags",
    "synthetic_clips",
    "split_seed",
    "hub_id",
    "hub_config",
    "label_column",
    "label_columns",
    "model_type",
    "model_name_or_path",
    "model_config",
    "lora",
)
_MARKS = ("recipe.yaml", "config.json", "metrics.json", "checkpoint-*")  # any of them says: a run was here


def open_run_folder(arguments: TaggingArguments, model: ModelArguments) -> str | None:
    """Makes sure that a run may write to its folder, and finds the checkpoint to go on from. Deletes nothing.

    Args:
        arguments: ``output_dir``, ``overwrite_output_dir`` and ``resume_from_checkpoint`` (None, ``last`` or the
            path of a checkpoint) are read.
        model: The model must not be loaded from a folder that is about to be overwritten.

    Returns:
        The checkpoint to resume from, or None to start at the beginning.

    Raises:
        RunFolderError: If another run is there and neither ``overwrite`` nor ``resume`` is given, if the path is a
            file, or if the checkpoint to resume from is not whole.
    """
    folder, resume, overwrite = (
        Path(arguments.output_dir),
        arguments.resume_from_checkpoint,
        arguments.overwrite_output_dir,
    )
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"output_dir {folder} is a file; it must be a folder.")
    if resume and overwrite:
        raise RunFolderError("Both resume_from_checkpoint and overwrite_output_dir are set; keep one of them.")
    if resume and resume != "last":
        resume = str(Path(resume).expanduser())
        if not _is_whole(Path(resume)):
            raise RunFolderError(f"{resume} is no whole checkpoint: it has no readable trainer_state.json.")
        return resume
    found = sorted({path.name for mark in _MARKS for path in folder.glob(mark)})
    if resume:
        checkpoint = last_checkpoint(folder)
        if checkpoint is None and {"metrics.json", "config.json"} & set(found):
            raise RunFolderError(
                f"output_dir {folder} holds a finished run without checkpoints, so there is nothing to resume. Choose "
                f"another output_dir."
            )
        if checkpoint is None:
            logger.warning("No checkpoint in %s yet: training starts at the beginning.", folder)
        return checkpoint
    if arguments.process_index != 0:
        return None
    if found and not overwrite:
        raise RunFolderError(
            f"output_dir {folder} already holds a run ({', '.join(found)}). Choose another output_dir, go on with "
            f"it by --resume_from_checkpoint, or delete it by --overwrite_output_dir."
        )
    source = model.model_name_or_path
    if found and source is not None and Path(source).expanduser().resolve().is_relative_to(folder.resolve()):
        raise RunFolderError(f"model_name_or_path {source} lies in output_dir {folder}, which would be overwritten.")
    folder.mkdir(parents=True, exist_ok=True)
    return None


def start_run(recipe: dict, arguments: TaggingArguments) -> None:
    """Takes possession of the run's folder, when everything that can be checked before training has been checked.

    An earlier run is deleted if ``overwrite_output_dir`` says so, and the recipe is written down.

    Args:
        recipe: The resolved recipe.
        arguments: The training arguments.

    Raises:
        RunFolderError: If a run is resumed with other data or another model.
    """
    if arguments.process_index != 0:
        return
    folder = Path(arguments.output_dir)
    if arguments.overwrite_output_dir:
        _clear(folder)
    path = folder / "recipe.yaml"
    if arguments.resume_from_checkpoint and path.exists():
        _compare(load_yaml(path.read_text(encoding="utf-8"))[0], recipe)
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, path)


def _compare(before: object, recipe: dict) -> None:
    """Says what differs from the recipe that a resumed run had; other data or another model are refused."""
    before = before if isinstance(before, dict) else {}
    changed = [name for name in {**before, **recipe} if before.get(name) != recipe.get(name)]
    if not changed:
        return
    listing = "; ".join(f"{name} {before.get(name)!r} → {recipe.get(name)!r}" for name in changed)
    if set(changed) & set(_FIXED_ON_RESUME):
        raise RunFolderError(
            f"The checkpoint belongs to another experiment: {listing}. Resume with the recipe of the run, or choose "
            f"another output_dir."
        )
    logger.warning("The run is resumed with another recipe: %s", listing)


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint that was written to its end, or None.

    Trainer writes ``trainer_state.json`` last, so a checkpoint without a readable one was cut off by a crash.
    """
    steps = {}
    for path in Path(folder).glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match:
            steps[int(match[1])] = path
    for step in sorted(steps, reverse=True):
        if _is_whole(steps[step]):
            return str(steps[step])
        logger.warning("%s was cut off while it was written; it is not used.", steps[step])
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return any(checkpoint.glob("*.safetensors"))


def _clear(folder: Path) -> None:
    for pattern in (*_RUN_FILES, *_RUN_PATTERNS):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
