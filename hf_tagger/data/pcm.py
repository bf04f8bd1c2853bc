"""Prepared clips: every clip decoded, mixed to mono and resampled once, then read as 16-bit samples.

This is where training gets its samples; :mod:`~hf_tagger.data.store` keeps them in memory-mapped Arrow files, as they
are or as FLAC.

A clip that cannot be used becomes a row without samples and with a reason; :func:`prepare_clips` leaves it out, counts
it, and stops the run only if there are too many.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from datasets import Audio, Dataset

from ..audio import load_mono, to_pcm16
from ..cores import usable_cores
from ..data_arguments import DataArguments
from ..errors import DatasetError
from ._flac import read_flac
from .base import SINGLE_LABEL, SkippedClip, TaggingDatasetDict, examples
from .shards import encoded_audio
from .store import open_store

logger = logging.getLogger(__name__)

_SAMPLES = ("pcm", "flac")  # columns that a store may keep its samples in
_PCM_BYTES = 2


class PreparedClips:
    """The usable clips of one split: random access to samples, labels, ids and groups.

    Args:
        rows: The split's rows ``id, audio, labels, group``, and ``unknown_labels`` where there are such.
        store: The store's rows, aligned with ``rows``, with samples in the column ``pcm`` or ``flac``; without samples
            (``pcm_store: false``) clips are decoded at every read.
        usable: Positions of the usable clips in both.
        sampling_rate: Rate of the samples in Hz.
        store_folder: The folder of all stores, for what else is computed from the clips.
    """

    def __init__(
        self,
        rows: Dataset,
        store: Dataset,
        usable: Sequence[int],
        sampling_rate: int,
        store_folder: Path | None = None,
    ):
        usable = np.asarray(usable, dtype=np.int64)
        self.sampling_rate, self.store_folder = sampling_rate, store_folder
        table = rows.select(usable).remove_columns("audio")
        self.ids: list[str] = table["id"][:]
        self.groups: list[str] = table["group"][:]
        self.labels: list = table["labels"][:]
        has_unknown = "unknown_labels" in table.column_names
        self.unknown_labels: list[list[int]] = table["unknown_labels"][:] if has_unknown else [[] for _ in usable]
        """Of every clip the labels of which it is not known whether it carries them."""
        self.num_samples: np.ndarray = np.asarray(store["num_samples"][:], dtype=np.int64)[usable]
        self._scale = np.asarray(store["scale"][:], dtype=np.float32)[usable]
        self._positions = usable
        # The store's fingerprint is the hash of its clips' files; which of them are used belongs to it.
        self.fingerprint: str = hashlib.sha256(f"{store._fingerprint} {usable.tolist()}".encode()).hexdigest()
        self._column = next((name for name in _SAMPLES if name in store.column_names), None)
        self._store = None if self._column is None else store.select_columns(self._column)
        self._open()
        self._audio = rows.select(usable).cast_column("audio", Audio(decode=False)) if self._column is None else None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labelled(self) -> list[int]:
        """Positions of the clips whose labels are known."""
        return [index for index, label in enumerate(self.labels) if label is not None]

    def __getstate__(self) -> dict:
        # For worker processes that are spawned: the store travels as its path, not as its samples.
        return {name: value for name, value in vars(self).items() if name not in ("_chunks", "_chunk_starts")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._open()

    def read(self, index: int, start: int = 0, stop: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Samples ``[start:stop]`` of a clip; from the store only these samples are touched.

        Args:
            index: Position of the clip.
            start: First sample.
            stop: Sample after the last one; None or more than the clip has: to its end.
            out: Where to write them, float32 of at least as many samples; what lies behind them stays as it is.

        Returns:
            float32 ``[samples]``: the beginning of ``out`` where that is given, else a new array.
        """
        start, stop, _ = slice(start, stop).indices(int(self.num_samples[index]))
        pcm = self._decoded(index, start, stop) if self._column is None else self._stored(index, start, stop)
        samples = np.empty(len(pcm), dtype=np.float32) if out is None else out[: len(pcm)]
        np.copyto(samples, pcm)  # faster than one multiplication from int16, which NumPy does in small buffers
        return np.multiply(samples, self._scale[index], out=samples)

    def _open(self) -> None:
        """Views into the memory-mapped files: of every record batch the bounds of its clips, in bytes, and its content.

        Arrow's own way to one value (``column[i]``) copies the whole clip.
        """
        chunks = self._store.data.column(self._column).chunks if self._column else []
        self._chunk_starts = np.cumsum([0] + [len(chunk) for chunk in chunks])
        self._chunks = []
        for chunk in chunks:
            _, bounds, content = chunk.buffers()
            bounds = np.frombuffer(bounds, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            self._chunks.append((bounds, content))

    def _stored(self, index: int, start: int, stop: int) -> np.ndarray:
        position = self._positions[index]
        number = int(np.searchsorted(self._chunk_starts, position, side="right")) - 1
        bounds, content = self._chunks[number]
        first, last = bounds[position - self._chunk_starts[number] :][:2].tolist()
        if self._column == "flac":
            return read_flac(content.slice(first, last - first), start, stop)
        return np.frombuffer(content, "<i2", max(stop - start, 0), first + start * _PCM_BYTES)

    def _decoded(self, index: int, start: int, stop: int) -> np.ndarray:
        # Through 16 bits as well, so that all ways give the same samples to the last bit.
        return to_pcm16(load_mono(encoded_audio(self._audio[index]["audio"]), self.sampling_rate))[0][start:stop]


def prepare_clips(
    dataset: TaggingDatasetDict, arguments: DataArguments, sampling_rate: int
) -> tuple[dict[str, PreparedClips], list[SkippedClip]]:
    """Decodes what is not decoded yet and leaves out what cannot be used.

    Processes of one or several nodes that prepare the same clips at the same time share the work.

    Args:
        dataset: Rows ``id, audio, labels, group`` of every split.
        arguments: ``pcm_store``, ``store_format``, ``cache_dir``, ``preprocessing_num_workers`` and
            ``max_skipped_share`` are read.
        sampling_rate: Rate of the model in Hz.

    Returns:
        The usable clips of every split, and all clips left out so far (those left out while loading included).

    Raises:
        DatasetError: If more than ``max_skipped_share`` of the clips cannot be used, if a split has none left, or if
            the store cannot be written. The store keeps what was decoded.
    """
    prepared, skipped = {}, list(dataset.skipped)
    folder = store_folder(arguments)
    store_format = arguments.store_format if arguments.pcm_store else "lengths"
    processes = arguments.preprocessing_num_workers or usable_cores()
    for split, rows in dataset.items():
        description = f"Decoding {split} clips to {sampling_rate} Hz"
        store = open_store(rows, folder, store_format, sampling_rate, processes, description)
        reasons = store["reason"][:]
        usable = [position for position, reason in enumerate(reasons) if reason is None]
        damaged = [position for position, reason in enumerate(reasons) if reason is not None]
        if damaged:
            sources = rows.select(damaged).cast_column("audio", Audio(decode=False))
            skipped += [
                SkippedClip(row["id"], split, row["audio"]["path"] or "", reasons[position])
                for row, position in zip(sources, damaged, strict=True)
            ]
        prepared[split] = PreparedClips(rows, store, usable, sampling_rate, folder)
    _report(dataset, prepared, skipped, arguments)
    if skipped and dataset.problem_type == SINGLE_LABEL and "train" in prepared:
        seen = set(prepared["train"].labels)
        lost = [name for index, name in enumerate(dataset.label_names) if index not in seen]
        if lost:
            raise DatasetError(f"No training clip that can be used is left for {examples(lost)}; see the list above.")
    return prepared, skipped


def write_skipped_clips(skipped: Sequence[SkippedClip], path: str | os.PathLike) -> None:
    """Writes ``skipped_clips.csv``: id, split, path, reason; only the header if nothing was skipped."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", "path", "reason"])
        writer.writerows([clip.id, clip.split, clip.path, clip.reason] for clip in skipped)


def store_folder(arguments: DataArguments) -> Path:
    """Where stores of decoded clips and embeddings are kept."""
    return Path(arguments.cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "hf_tagger").expanduser()


def _report(
    dataset: TaggingDatasetDict,
    prepared: dict[str, PreparedClips],
    skipped: Sequence[SkippedClip],
    arguments: DataArguments,
) -> None:
    if not skipped:
        return
    loaded = {clip.id for clip in dataset.skipped}
    damaged = [clip for clip in skipped if clip.id not in loaded]
    listing = "\n".join(f"  {clip.id} ({clip.split}): {clip.reason} [{clip.path}]" for clip in damaged)
    total = sum(map(len, dataset.values()))
    if len(damaged) > arguments.max_skipped_share * total:
        raise DatasetError(
            f"{len(damaged)} of {total} clips cannot be used, more than max_skipped_share "
            f"{arguments.max_skipped_share:g} allows. Repair them, or raise max_skipped_share:\n{listing}"
        )
    empty = [split for split, clips in prepared.items() if not len(clips) and len(dataset[split])]
    if empty:
        raise DatasetError(f"No usable clip is left in {examples(empty)}:\n{listing}")
    if damaged:
        logger.warning("%d of %d clips are skipped (see skipped_clips.csv):\n%s", len(damaged), total, listing)
