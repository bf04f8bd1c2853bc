"""The PCM store: every clip decoded, mixed to mono and resampled once, kept as 16-bit samples in memory-mapped Arrow.

This is the only place that decodes for training. A store is one Arrow file a split (and a process), written by
``datasets``' own ``map``: to a temporary name first, and renamed when it is whole, so that no half store is ever read.
Its name is a hash of the clips' paths, sizes and times of change, so that a changed file is decoded again.

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
import pyarrow as pa
from datasets import Audio, Dataset, Features, Value

from ..arguments import DataArguments
from ..audio import load_mono, to_pcm16
from ..errors import AudioDecodingError, DatasetError
from .base import SINGLE_LABEL, SkippedClip, TaggingDatasetDict, examples

logger = logging.getLogger(__name__)

_STORE_VERSION = 1  # part of a store's name; raise it when decoding or the columns change
_WRITER_BATCH = 16  # clips a record batch: a few MB each, so that writing needs little memory
_FEATURES = Features(
    {
        "id": Value("string"),
        "pcm": Value("large_binary"),  # int16 little-endian; large: 16 clips of an hour pass the 2 GB of "binary"
        "scale": Value("float32"),
        "num_samples": Value("int64"),
        "reason": Value("string"),
    }
)


class PreparedClips:
    """The usable clips of one split: random access to samples, labels, ids and groups.

    Args:
        rows: The split's rows ``id, audio, labels, group``, and ``unknown_labels`` where there are such.
        store: The store's rows, aligned with ``rows``; without samples (``pcm_store: false``) clips are decoded at
            every read.
        usable: Positions of the usable clips in both.
        sampling_rate: Rate of the samples in Hz.
    """

    def __init__(self, rows: Dataset, store: Dataset, usable: Sequence[int], sampling_rate: int):
        usable = np.asarray(usable, dtype=np.int64)
        self.sampling_rate = sampling_rate
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
        self._store = store.select_columns("pcm")
        self._in_store = store.data.column("pcm").null_count < len(store)
        self._open()
        self._audio = None if self._in_store else rows.select(usable).cast_column("audio", Audio(decode=False))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def store_folder(self) -> Path:
        """The folder of the store, for what else is computed from it."""
        return Path(self._store.cache_files[0]["filename"]).parent

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

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples ``[start:stop]`` of a clip as float32; from the store only these samples are touched."""
        pcm = self._stored(index) if self._in_store else self._decoded(index)
        return pcm[start:stop].astype(np.float32) * self._scale[index]

    def _open(self) -> None:
        """Views into the memory-mapped file: of every record batch the bounds of its clips, in bytes, and its samples.

        Arrow's own way to one value (``column[i]``) copies the whole clip.
        """
        chunks = self._store.data.column("pcm").chunks
        self._chunk_starts = np.cumsum([0] + [len(chunk) for chunk in chunks])
        self._chunks = []
        for chunk in chunks if self._in_store else ():
            _, bounds, samples = chunk.buffers()
            bounds = np.frombuffer(bounds, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            self._chunks.append((bounds, np.frombuffer(samples, dtype="<i2")))

    def _stored(self, index: int) -> np.ndarray:
        position = self._positions[index]
        number = int(np.searchsorted(self._chunk_starts, position, side="right")) - 1
        bounds, samples = self._chunks[number]
        first, last = bounds[position - self._chunk_starts[number] :][:2] // samples.itemsize
        return samples[first:last]

    def _decoded(self, index: int) -> np.ndarray:
        # Through 16 bits as well, so that both ways give the same samples to the last bit.
        return to_pcm16(load_mono(_source(self._audio[index]["audio"]), self.sampling_rate))[0]


def prepare_clips(
    dataset: TaggingDatasetDict, arguments: DataArguments, sampling_rate: int
) -> tuple[dict[str, PreparedClips], list[SkippedClip]]:
    """Decodes what is not decoded yet and leaves out what cannot be used.

    Args:
        dataset: Rows ``id, audio, labels, group`` of every split.
        arguments: ``pcm_store``, ``cache_dir``, ``preprocessing_num_workers`` and ``max_skipped_share`` are read.
        sampling_rate: Rate of the model in Hz.

    Returns:
        The usable clips of every split, and all clips left out so far (those left out while loading included).

    Raises:
        DatasetError: If more than ``max_skipped_share`` of the clips cannot be used, if a split has none left, or if
            the store cannot be written. The store keeps what was decoded.
    """
    prepared, skipped = {}, list(dataset.skipped)
    for split, rows in dataset.items():
        store = _build_store(rows, arguments, sampling_rate, split)
        reasons = store["reason"][:]
        usable = [position for position, reason in enumerate(reasons) if reason is None]
        damaged = [position for position, reason in enumerate(reasons) if reason is not None]
        if damaged:
            sources = rows.select(damaged).cast_column("audio", Audio(decode=False))
            skipped += [
                SkippedClip(row["id"], split, row["audio"]["path"] or "", reasons[position])
                for row, position in zip(sources, damaged, strict=True)
            ]
        prepared[split] = PreparedClips(rows, store, usable, sampling_rate)
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
    """Where PCM stores and embeddings are kept."""
    return Path(arguments.cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "hf_tagger").expanduser()


def _build_store(rows: Dataset, arguments: DataArguments, sampling_rate: int, split: str) -> Dataset:
    folder = store_folder(arguments)
    encoded = rows.select_columns(["id", "audio"]).cast_column("audio", Audio(decode=False))
    if not len(rows):
        return Dataset.from_dict({name: [] for name in _FEATURES}, features=_FEATURES)
    key = _store_key(encoded, sampling_rate, arguments.pcm_store)
    processes = min(arguments.preprocessing_num_workers or usable_cores(), len(rows))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store = encoded.map(
            _decode_row,
            fn_kwargs={"sampling_rate": sampling_rate, "keep_samples": arguments.pcm_store},
            remove_columns=["audio"],
            features=_FEATURES,
            cache_file_name=str(folder / f"pcm-{key}.arrow"),
            new_fingerprint=key,
            load_from_cache_file=True,
            writer_batch_size=_WRITER_BATCH,
            num_proc=processes if processes > 1 else None,
            desc=f"Decoding {split} clips to {sampling_rate} Hz",
        )
    # RuntimeError: datasets' word for a decoding process that was killed, for want of memory mostly.
    except (OSError, RuntimeError, pa.ArrowException) as error:
        raise DatasetError(
            f"The PCM store could not be written to {folder}: {error}. The unfinished part is not used. Free some "
            f"space (an hour of audio takes {sampling_rate * 2 * 3600 / 1e6:.0f} MB), set cache_dir to another disk, "
            f"or set pcm_store: false."
        ) from error
    return store


def usable_cores() -> int:
    """Cores that this process may use, which a cluster's scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _store_key(encoded: Dataset, sampling_rate: int, keep_samples: bool) -> str:
    digest = hashlib.sha256(f"{_STORE_VERSION} {sampling_rate} {keep_samples}".encode())
    for row in encoded:
        digest.update(f"\n{row['id']}\t".encode())
        path, content = row["audio"]["path"], row["audio"]["bytes"]
        if content is not None:
            digest.update(hashlib.sha256(content).digest())
        else:
            try:
                status = os.stat(path)
                digest.update(f"{path}\t{status.st_size}\t{status.st_mtime_ns}".encode())
            except OSError:  # decoding will say why this clip cannot be used
                digest.update(f"{path}\tunreadable".encode())
    return digest.hexdigest()[:32]


def _decode_row(row: dict, sampling_rate: int, keep_samples: bool) -> dict:
    try:
        pcm, scale = to_pcm16(load_mono(_source(row["audio"]), sampling_rate))
    except AudioDecodingError as error:
        return {"id": row["id"], "pcm": None, "scale": 0.0, "num_samples": 0, "reason": str(error)}
    content = pcm.astype("<i2").tobytes() if keep_samples else None
    return {"id": row["id"], "pcm": content, "scale": scale, "num_samples": len(pcm), "reason": None}


def _source(audio: dict) -> str | bytes:
    return audio["bytes"] if audio["bytes"] is not None else audio["path"]


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
