"""Tags of a ``datasets.Dataset`` as 1, 0 and null: one column a tag, one vector a clip, or one dictionary a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, LargeList, List, Value

from ..errors import DatasetError
from ._hub_columns import arrow_column
from ._tag_values import ClipLabels, clip_labels, is_number, value_problems, warn_of_nothing_known
from .base import MULTI_LABEL, examples


class _Tag(NamedTuple):
    """One tag's cells, one a clip, and their type by the ``datasets`` library."""

    feature: object
    cells: pa.Array | pa.ChunkedArray


def are_tags(stated: Mapping[str, Dataset], column: str | None, names: Sequence[str] | None) -> bool:
    """Whether the labels come as values of 0, 1 and null, which :func:`read_tags` reads."""
    return bool(names) or _is_dictionary(stated, column)


def read_tags(
    stated: Mapping[str, Dataset], column: str | None, names: Sequence[str] | None
) -> tuple[str, list[str], dict[str, list[ClipLabels]]]:
    """Problem type, vocabulary, and for every split its clips' labels.

    Args:
        stated: The dataset's splits by our names.
        column: Column of vectors or dictionaries; None where every tag has a column of its own.
        names: The tags: those columns, what the vectors' places stand for, or some of the dictionaries' keys (None: all
            of them).

    Raises:
        DatasetError: If there are other values than 0, 1, true, false, null and NaN, with all such tags in one message;
            or if vectors have another length than there are tags.
    """
    if column is None:
        read = {split: _columns(rows, names) for split, rows in stated.items()}
    elif _is_dictionary(stated, column):
        names = names or list(next(iter(stated.values())).features[column])
        read = {split: _fields(rows, split, column, names) for split, rows in stated.items()}
    else:
        read = {split: _places(rows, split, column, names) for split, rows in stated.items()}
    problems: dict[str, None] = {}  # each once, in the order found, whatever the number of splits
    values = {}
    for split, tags in read.items():
        values[split] = {name: _floats(tag.cells) for name, tag in tags.items() if _holds_numbers(tag.feature)}
        no_numbers = [f"{name!r} holds {tag.feature}" for name, tag in tags.items() if name not in values[split]]
        problems |= dict.fromkeys([*no_numbers, *value_problems(values[split])])
    if problems:
        raise DatasetError(
            f"Tags must be 1, 0, or null (NaN) where nobody knows; but {examples(list(problems))}. Convert them by "
            f"dataset.map, or leave them out of label_columns."
        )
    labels = {
        split: clip_labels(np.stack([own[name] for name in names], axis=1), names) for split, own in values.items()
    }
    warn_of_nothing_known("The dataset", labels)
    return MULTI_LABEL, list(names), labels


def _is_dictionary(stated: Mapping[str, Dataset], column: str | None) -> bool:
    return column is not None and all(isinstance(rows.features[column], dict) for rows in stated.values())


def _holds_numbers(feature: object) -> bool:
    """A ClassLabel does not, although Arrow stores numbers: its 0 may well be called yes."""
    return isinstance(feature, Value) and is_number(feature.pa_type)


def _columns(rows: Dataset, names: Sequence[str]) -> dict[str, _Tag]:
    return {name: _Tag(rows.features[name], arrow_column(rows, name)) for name in names}


def _fields(rows: Dataset, split: str, column: str, names: Sequence[str]) -> dict[str, _Tag]:
    features, cells = rows.features[column], arrow_column(rows, column)
    missing = [name for name in names if name not in features]
    if missing:
        raise DatasetError(
            f"The dictionaries of the column {column!r} (split {split}) have no {examples(missing)}; their keys are "
            f"{examples(list(features))}. Name in label_columns tags that every split has."
        )
    return {name: _Tag(features[name], pc.struct_field(cells, [name])) for name in names}


def _places(rows: Dataset, split: str, column: str, names: Sequence[str]) -> dict[str, _Tag]:
    """The columns of the matrix that the vectors are; null throughout in the rows without a vector."""
    feature = rows.features[column]
    if not (isinstance(feature, (List, LargeList)) and _holds_numbers(feature.feature)):
        raise DatasetError(
            f"The column {column!r} holds {feature}; with label_columns it must hold vectors of 1, 0 and null. Leave "
            f"label_column out if each of label_columns is a column of its own."
        )
    cells = arrow_column(rows, column).combine_chunks()
    lengths = pc.list_value_length(cells).drop_null().unique().to_pylist()
    if set(lengths) - {len(names)}:
        raise DatasetError(
            f"The column {column!r} (split {split}) holds vectors of {' and of '.join(map(str, sorted(lengths)))} "
            f"values, but label_columns names {len(names)} tags; name all of them, in the order of the vectors."
        )
    flat = pc.list_flatten(cells.drop_null())
    # Of every row its vector's number; take gives null for those without one.
    exists = cells.is_valid().to_numpy(zero_copy_only=False)
    number = pa.array(np.cumsum(exists) - 1, mask=~exists)
    places = [flat[place :: len(names)].take(number) for place in range(len(names))]
    return {name: _Tag(feature.feature, cells) for name, cells in zip(names, places, strict=True)}


def _floats(cells: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """float64 ``[clips]``, NaN for null."""
    floats = cells.cast(pa.float64(), safe=False)  # a number too large for it is refused as what it is, a wrong value
    return floats.to_numpy() if isinstance(floats, pa.ChunkedArray) else floats.to_numpy(zero_copy_only=False)
