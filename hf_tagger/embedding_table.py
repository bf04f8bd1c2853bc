"""Embeddings as a Parquet file, one row a clip or a window, written as they are computed.

The column ``embedding`` is a list of one length in all rows, so that ``numpy.stack(frame["embedding"])`` is a matrix
``[rows, hidden]``. With all layers a row holds them one after the other, the encoder's input first; the schema's
metadata says how many: ``.reshape(rows, layers, -1)``. The metadata also says what the vectors are (see
:func:`describe`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from . import __version__
from .audio import load_mono
from .command_line import output_file
from .data.base import TaggingDatasetDict
from .data.pcm import PreparedClips
from .embedder import ClipEmbeddings, Embedder
from .errors import AudioDecodingError, HfTaggerError

_ROW_GROUP_BYTES = 1 << 24


class Clip(NamedTuple):
    """A clip on its way into the table.

    Attributes:
        columns: Its values in the columns beside the embedding.
        waveform: float32 ``[samples]``; None if it cannot be read.
        error: Why it cannot be read.
    """

    columns: dict
    waveform: np.ndarray | None
    error: str = ""


class FileClips(Dataset):
    """Audio files; column ``file``.

    Args:
        paths: The files.
        sampling_rate: Rate of the waveforms in Hz.
    """

    fields = (pa.field("file", pa.string()),)

    def __init__(self, paths: Sequence[Path], sampling_rate: int):
        self.paths, self.sampling_rate = paths, sampling_rate

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> Clip:
        """One file, decoded."""
        path = self.paths[item]
        name = os.fsencode(path).decode("utf-8", "backslashreplace")  # Parquet holds no other texts than UTF-8
        try:
            return Clip({"file": name}, load_mono(path, self.sampling_rate))
        except AudioDecodingError as error:
            return Clip({"file": name}, None, f"{name}: not embedded, {error}")


class DatasetClips(Dataset):
    """All usable clips of a dataset; columns ``split``, ``id``, ``group`` and ``labels`` (names; null where unknown).

    Where some labels of clips are unknown, ``unknown_labels`` (names) is one column more.

    Args:
        clips: The prepared clips of every split.
        label_names: Names of the labels.
    """

    fields = (
        pa.field("split", pa.string()),
        pa.field("id", pa.string()),
        pa.field("group", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
    )

    def __init__(self, clips: Mapping[str, PreparedClips], label_names: Sequence[str]):
        self.clips, self.label_names = dict(clips), list(label_names)
        if any(any(part.unknown_labels) for part in self.clips.values()):
            self.fields = (*self.fields, pa.field("unknown_labels", pa.list_(pa.string())))
        self._positions = [(split, index) for split, part in self.clips.items() for index in range(len(part))]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, item: int) -> Clip:
        """One clip, whole."""
        split, index = self._positions[item]
        part = self.clips[split]
        columns = {
            "split": split,
            "id": part.ids[index],
            "group": part.groups[index],
            "labels": self._names(part.labels[index]),
            "unknown_labels": self._names(part.unknown_labels[index]),
        }
        return Clip(columns, part.read(index))

    def _names(self, label: int | list[int] | None) -> list[str] | None:
        if label is None:
            return None
        return [self.label_names[index] for index in (label if isinstance(label, list) else [label])]


def describe(embedder: Embedder, model: str, per: str) -> dict[str, str]:
    """What the vectors are, as the table's metadata.

    Args:
        embedder: What computes them.
        model: Folder or Hub repository of the model.
        per: ``clip`` or ``window``.
    """
    rate = embedder.sampling_rate
    return {
        "model": model,
        "model_type": embedder.model.config.model_type,
        "layer": embedder.layer,
        "pooling": embedder.pooling,
        "per": per,
        "sampling_rate": str(rate),
        "window_seconds": f"{embedder.window_samples / rate:g}",
        "hop_seconds": f"{embedder.hop_samples / rate:g}",
        "hf_tagger": __version__,
    }


def describe_dataset(dataset: TaggingDatasetDict) -> dict[str, str]:
    """Which clips they are: the protocol with its hash, and the names of all labels (JSON)."""
    return {
        "protocol": json.dumps(dataset.protocol_record()),
        "label_names": json.dumps(list(dataset.label_names)),
    }


def write_embeddings(
    embedder: Embedder,
    clips: FileClips | DatasetClips,
    path: Path,
    metadata: Mapping[str, str],
    batch_size: int = 16,
    num_workers: int = 0,
) -> int:
    """Embeds clips and writes the table; a clip that cannot be read gets a line in the error output and no row.

    Args:
        embedder: What computes the embeddings.
        clips: The clips.
        path: File to write; it appears when it is whole.
        metadata: What :func:`describe` says, and more; ``per`` decides what a row is.
        batch_size: Windows computed at once.
        num_workers: Processes that read clips ahead.

    Returns:
        How many clips could not be read. If that is all of them, no file is written.

    Raises:
        HfTaggerError: If the encoder's outputs are NaN or infinite.
    """
    failed = 0

    def readable() -> Iterator[tuple[dict, np.ndarray]]:
        nonlocal failed
        loader = DataLoader(clips, batch_size=None, num_workers=num_workers, collate_fn=_as_it_is)
        for clip in tqdm(loader, desc="Embedding", unit="clip", file=sys.stderr):
            if clip.waveform is None:
                failed += 1
                tqdm.write(clip.error, file=sys.stderr)
            else:
                yield clip.columns, clip.waveform

    per_window = metadata["per"] == "window"
    seconds = [pa.field("start_seconds", pa.float64()), pa.field("end_seconds", pa.float64())]
    with _Table(path, [*clips.fields, *(seconds if per_window else [])], metadata) as table:
        for columns, embedded in embedder.embed_clips(readable(), batch_size):
            for row, vector in _rows(columns, embedded, per_window):
                table.add(row, vector)
    return failed


def _rows(columns: dict, embedded: ClipEmbeddings, per_window: bool) -> Iterator[tuple[dict, np.ndarray]]:
    if not per_window:
        yield columns, embedded.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return
    for start, stop, vector in zip(*embedded, strict=True):
        yield {**columns, "start_seconds": start, "end_seconds": stop}, vector


def _as_it_is(clip: Clip) -> Clip:
    return clip  # instead of torch's collation, which turns arrays into tensors


class _Table:
    """A Parquet file that grows by row groups under a temporary name and gets its own when the block ends well."""

    def __init__(self, path: Path, fields: Sequence[pa.Field], metadata: Mapping[str, str]):
        self._path, self._fields, self._metadata = path, list(fields), dict(metadata)
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._writer: parquet.ParquetWriter | None = None
        self._rows: list[dict] = []
        self._vectors: list[np.ndarray] = []

    def __enter__(self) -> _Table:
        return self

    def add(self, row: dict, vector: np.ndarray) -> None:
        """Adds a row; ``vector`` is float32 ``[hidden]`` or ``[layers + 1, hidden]``."""
        self._rows.append(row)
        self._vectors.append(vector)
        if len(self._vectors) * vector.nbytes >= _ROW_GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        vectors = np.stack(self._vectors)  # [rows, (layers + 1,) hidden]
        if self._writer is None:
            size = vectors[0].size
            layers = {"layers": str(vectors.shape[1])} if vectors.ndim == 3 else {}
            fields = [*self._fields, pa.field("embedding", pa.list_(pa.float32(), size))]
            schema = pa.schema(fields, metadata={**self._metadata, **layers, "hidden_size": str(vectors.shape[-1])})
            names = [field.name for field in self._fields]
            self._writer = parquet.ParquetWriter(self._partial, schema, use_dictionary=names)
        schema = self._writer.schema
        columns = [pa.array([row[field.name] for row in self._rows], field.type) for field in self._fields]
        columns.append(pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), type=schema.field("embedding").type))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        self._rows, self._vectors = [], []

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._vectors:
                self._write_group()
            if self._writer is not None:
                self._writer.close()
                if kind is None:
                    self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)


def check_output(path: Path, overwrite: bool) -> Path:
    """The path of a table to write, with the folders above it made.

    Raises:
        HfTaggerError: If it is a folder, or a file that is not to be overwritten.
    """
    if path.is_dir():
        raise HfTaggerError(f"{path} is a folder; name a file, such as {path / 'embeddings.parquet'}.")
    if path.exists() and not overwrite:
        raise HfTaggerError(f"{path} exists already. Name another file, or add --overwrite.")
    output_file(str(path))
    return path
