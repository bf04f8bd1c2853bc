"""One shard of a store of decoded clips: an Arrow file, written by whoever locks it first."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from datasets import Features, Value
from datasets.arrow_writer import ArrowWriter
from filelock import FileLock, Timeout

from ..audio import load_mono, to_pcm16
from ..errors import AudioDecodingError
from ._flac import to_flac

logger = logging.getLogger(__name__)

STORE_FORMATS = ("pcm", "flac", "lengths")
"""Columns of samples that a store may have: 16-bit samples as they are, the same as FLAC, or none but their number."""

# A file costs 2 ms at every start, and a few ms when it is written. So there are few of a large dataset, and of a small
# one no more than keep its processes busy to the end; an interruption loses at most one a process. 16 MB of mp3 are ten
# minutes or more: of long recordings a shard holds fewer.
_MOST_SHARDS, _USUAL_CLIPS, _USUAL_BYTES = 256, 16, 1 << 24
# Of a record batch: a few clips, or one that is longer. Writing needs some times as much memory.
_BATCH_BYTES = 1 << 24


class Shard(NamedTuple):
    """A file of the clips ``[start:stop]`` of a split."""

    path: Path
    start: int
    stop: int


def shards_of(folder: Path, clips: int, encoded_bytes: int = 0) -> list[Shard]:
    """How so many clips, of so many bytes as they come, are divided into files: the same on every machine."""
    few = min(_USUAL_CLIPS, clips * _USUAL_BYTES // max(encoded_bytes, 1))
    size = max(few, -(-clips // _MOST_SHARDS), 1)
    count = -(-clips // size)
    return [
        Shard(folder / f"{number:05d}-of-{count:05d}.arrow", number * size, min((number + 1) * size, clips))
        for number in range(count)
    ]


def store_features(store_format: str) -> Features:
    """The columns of a store."""
    # Samples are int16 little-endian, or FLAC; large_binary: a few clips of an hour pass the 2 GB of "binary".
    samples = {} if store_format == "lengths" else {store_format: Value("large_binary")}
    rest = {"scale": Value("float32"), "num_samples": Value("int64"), "reason": Value("string")}
    return Features({"id": Value("string"), **samples, **rest})


def write_shard(shard: Shard, rows: Iterable[dict], store_format: str, sampling_rate: int) -> tuple[Shard, bool]:
    """Decodes the clips of a shard, unless it is there already or another process is writing it.

    Args:
        shard: What to write.
        rows: Its rows, with ``id`` and encoded ``audio``.
        store_format: One of :data:`STORE_FORMATS`.
        sampling_rate: Rate of the samples in Hz.

    Returns:
        The shard, and whether it is whole now.
    """
    lock_path = shard.path.with_name(f"{shard.path.name}.lock")
    lock = FileLock(lock_path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return shard, False
    except OSError as error:  # a folder that cannot be written will say so when the shard is
        logger.debug("%s cannot be locked: %s", shard.path, error)
    try:
        if not shard.path.exists():
            _write(shard.path, rows, store_format, sampling_rate)
    finally:
        lock.release()
    remove_lock(lock_path)
    return shard, True


def remove_lock(path: Path) -> None:
    """Removes the lock of a whole shard, or what was written of it in vain: they mean nothing to anybody."""
    # Windows keeps a file that another process has opened.
    with contextlib.suppress(PermissionError):
        path.unlink(missing_ok=True)


def _write(path: Path, rows: Iterable[dict], store_format: str, sampling_rate: int) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "wb") as file:
            with ArrowWriter(features=store_features(store_format), stream=file) as writer:
                waiting = 0
                for row in rows:
                    clip = _decode(row, store_format, sampling_rate)
                    writer.write(clip)
                    waiting += len(clip.get(store_format) or b"")
                    if waiting > _BATCH_BYTES:
                        writer.write_examples_on_file()
                        waiting = 0
                writer.finalize(close_stream=False)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(partial, path)
        except FileNotFoundError:
            if not path.exists():  # else another process, which decoded the same, found it whole and cleaned up
                raise
    finally:
        partial.unlink(missing_ok=True)


def _decode(row: dict, store_format: str, sampling_rate: int) -> dict:
    try:
        pcm, scale = to_pcm16(load_mono(encoded_audio(row["audio"]), sampling_rate))
    except AudioDecodingError as error:
        clip = {"id": row["id"], "scale": 0.0, "num_samples": 0, "reason": str(error)}
        return clip if store_format == "lengths" else clip | {store_format: None}
    clip = {"id": row["id"], "scale": scale, "num_samples": len(pcm), "reason": None}
    if store_format == "pcm":
        clip["pcm"] = pcm.astype("<i2").tobytes()
    elif store_format == "flac":
        clip["flac"] = to_flac(pcm, sampling_rate)
    return clip


def encoded_audio(audio: dict) -> str | bytes:
    """The file of an undecoded ``Audio`` value: its bytes or its path."""
    return audio["bytes"] if audio["bytes"] is not None else audio["path"]
