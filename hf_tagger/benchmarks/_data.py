"""Recordings as a dataset of ours: what a recipe with ``dataset_name: folder`` loads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from datasets.utils.logging import disable_progress_bar

from ..arguments import DataArguments
from ..data import load_tagging_dataset
from ..data.pcm import PreparedClips, prepare_clips


def training_clips(paths: Sequence[Path], sampling_rate: int, cache: Path, **options: object) -> PreparedClips:
    """The recordings as training clips, decoded and kept if the options say so.

    Args:
        paths: Audio files of one folder, at least four; its ``metadata.csv`` is written. The last two are left out.
        sampling_rate: Rate in Hz.
        cache: Where the store is kept.
        **options: Further fields of ``DataArguments``.
    """
    disable_progress_bar()
    folder = paths[0].parent
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label", "split"])
        for number, path in enumerate(paths):
            split = {0: "validation", 1: "test"}.get(len(paths) - 1 - number, "train")  # no dataset is without them
            writer.writerow([path.name, "ab"[number % 2], split])
    arguments = DataArguments(
        dataset_name="folder", dataset_root=str(folder), protocol="given", cache_dir=str(cache), **options
    )
    clips, _ = prepare_clips(load_tagging_dataset(arguments, sampling_rate), arguments, sampling_rate)
    return clips["train"]
