"""Tags that a table states one by one: 1, 0, or nothing where nobody knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .base import examples

logger = logging.getLogger(__name__)


class ClipLabels(NamedTuple):
    """What is known of one clip's labels.

    Attributes:
        labels: Names of the labels that it carries, or None if nothing is known.
        unknown: Names of the labels of which nobody knows whether it carries them; empty if nothing is known.
    """

    labels: tuple[str, ...] | None
    unknown: tuple[str, ...] = ()


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type can hold 0 and 1, or nothing but null."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def clip_labels(values: np.ndarray, names: Sequence[str]) -> list[ClipLabels]:
    """The labels of clips.

    Args:
        values: 1, 0 or, where nobody knows, NaN: ``[clips, tags]``.
        names: Names of the tags.
    """
    carried, unknown = values == 1, np.isnan(values)
    nothing = unknown.all(axis=1)
    return [
        ClipLabels(None)
        if nothing[row]
        else ClipLabels(*(tuple(names[tag] for tag in np.flatnonzero(of[row])) for of in (carried, unknown)))
        for row in range(len(values))
    ]


def value_problems(values: Mapping[str, np.ndarray]) -> list[str]:
    """For every tag that holds anything but 1, 0 and NaN, what it holds.

    Args:
        values: Tag → float ``[clips]``.
    """
    wrong = {name: np.unique(own[~np.isnan(own) & (own != 0) & (own != 1)]) for name, own in values.items()}
    wrong = {name: [f"{value:g}" for value in found] for name, found in wrong.items() if len(found)}
    return [f"{name!r} holds {examples(found)}" for name, found in wrong.items()]


def warn_of_nothing_known(title: str, labels: Mapping[str, Sequence[ClipLabels]]) -> None:
    """Says how many clips take no part in training and scores, because none of their tags is known."""
    counts = {split: sum(own.labels is None for own in rows) for split, rows in labels.items()}
    if any(counts.values()):
        parts = ", ".join(f"{count:,} of {len(labels[split]):,} in {split}" for split, count in counts.items() if count)
        logger.warning("%s: no tag is known of some clips (%s); they are neither trained on nor scored.", title, parts)
