"""The predictions of a split as a Parquet file: one row a clip, in the order of the dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from ..data.pcm import PreparedClips


def write_predictions(
    clips: PreparedClips, probabilities: np.ndarray, label_names: Sequence[str], path: str | os.PathLike
) -> None:
    """Writes ``id``, ``group``, ``labels`` (names; null where unknown) and ``scores`` (probability of every label).

    Where some labels of clips are unknown, ``unknown_labels`` (names) stands beside ``labels``.
    The label names, in the order of ``scores``, stand in the file's schema metadata under ``label_names`` (JSON).

    Args:
        clips: The clips of the split.
        probabilities: float ``[clips, labels]``.
        label_names: Names of the labels.
        path: File to write.
    """
    names = pa.list_(pa.string())
    columns = {
        "id": pa.array(clips.ids, pa.string()),
        "group": pa.array(clips.groups, pa.string()),
        "labels": pa.array([_names(label, label_names) for label in clips.labels], names),
    }
    if any(clips.unknown_labels):
        columns["unknown_labels"] = pa.array([_names(own, label_names) for own in clips.unknown_labels], names)
    table = pa.table({**columns, "scores": pa.array(list(probabilities), pa.list_(pa.float64()))})
    table = table.replace_schema_metadata({"label_names": json.dumps(list(label_names))})
    parquet.write_table(table, path)


def _names(label: int | list[int] | None, label_names: Sequence[str]) -> list[str] | None:
    if label is None:
        return None
    return [label_names[index] for index in (label if isinstance(label, list) else [label])]
