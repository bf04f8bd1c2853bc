"""The predictions of a split as a Parquet file: one row a clip, in the order of the dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from ..data.pcm import PreparedClips
from ..errors import HfTaggerError
from .assessment import Predictions
from .metric_inputs import MULTI_LABEL


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


def read_predictions(path: str | os.PathLike, problem_type: str) -> Predictions:
    """The labelled clips that :func:`write_predictions` wrote.

    Args:
        path: The file.
        problem_type: ``multi_label_classification`` or ``single_label_classification``.

    Raises:
        HfTaggerError: If there is no such file, or it was not written by this package.
    """
    path = Path(path)
    if not path.is_file():
        raise HfTaggerError(
            f"{path} does not exist; it holds what a model said of every clip. Evaluate the model into another folder "
            f"and name that one: python scripts/evaluate.py {path.parent} RECIPE --output_dir FOLDER"
        )
    table = parquet.read_table(path)
    names = (table.schema.metadata or {}).get(b"label_names")
    if names is None:
        raise HfTaggerError(f"{path} names no labels: it was not written by hf_tagger.")
    names = json.loads(names)
    rows = [row for row in table.to_pylist() if row["labels"] is not None]
    number = {name: index for index, name in enumerate(names)}
    if problem_type == MULTI_LABEL:
        references = np.zeros((len(rows), len(names)))
        for own, row in zip(references, rows, strict=True):
            own[[number[name] for name in row["labels"]]] = 1
            own[[number[name] for name in row.get("unknown_labels") or []]] = np.nan
    else:
        references = np.array([number[row["labels"][0]] for row in rows], dtype=np.int64)
    return Predictions(
        ids=[row["id"] for row in rows],
        groups=[row["group"] for row in rows],
        probabilities=np.array([row["scores"] for row in rows], dtype=np.float64).reshape(len(rows), len(names)),
        references=references,
        label_names=names,
        problem_type=problem_type,
    )
