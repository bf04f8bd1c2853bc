"""Recordings as a dataset of ours: what a recipe with ``dataset_name: folder`` loads."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

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
    with _no_progress_bars():
        clips, _ = prepare_clips(load_tagging_dataset(arguments, sampling_rate), arguments, sampling_rate)
    return clips["train"]


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """None of datasets, between the tables."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
