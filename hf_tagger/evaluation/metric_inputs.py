"""The input of the metrics: what it must be, and what is said of it if it is not."""

from __future__ import annotations

from typing import Any

import numpy as np

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
UNKNOWN = -1
"""What stands for an unknown label in checked references."""

_RANGE_TOLERANCE = 1e-6  # float32 means of probabilities may leave 0..1 by a rounding error


def check_problem_type(problem_type: str) -> None:
    """Raises ValueError for anything but the two problem types."""
    if problem_type not in (MULTI_LABEL, SINGLE_LABEL):
        raise ValueError(f"problem type {problem_type!r} is not known; it must be {MULTI_LABEL} or {SINGLE_LABEL}")


def checked_inputs(probabilities: Any, references: Any, problem_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and references as arrays of plain numbers.

    Args:
        probabilities: Float ``[N, C]``.
        references: 0/1 ``[N, C]``, NaN where unknown but not in a whole row (multi-label), or class indices ``[N]``
            (single-label).
        problem_type: ``multi_label_classification`` or ``single_label_classification``.

    Returns:
        float64 ``[N, C]``, and int64 ``[N, C]`` (:data:`UNKNOWN` where unknown) or ``[N]``.

    Raises:
        ValueError: For input that is not as described; it names the first row that is wrong.
    """
    check_problem_type(problem_type)
    probabilities, references = _array(probabilities, "predictions"), _array(references, "references")
    if probabilities.ndim != 2 or 0 in probabilities.shape:
        raise ValueError(f"predictions: got shape {probabilities.shape}; expected [clips, labels], neither of them 0")
    expected = probabilities.shape if problem_type == MULTI_LABEL else probabilities.shape[:1]
    if references.shape != expected:
        raise ValueError(f"references: got shape {references.shape}; expected {expected} for {problem_type}")
    _refuse(
        ~np.isfinite(probabilities),
        "predictions: NaN or infinite values in {count} of {clips} clips, the first in row {row}; the model or its "
        "input is broken",
    )
    _refuse(
        (probabilities < -_RANGE_TOLERANCE) | (probabilities > 1 + _RANGE_TOLERANCE),
        "predictions: values outside 0..1 in {count} of {clips} clips, the first in row {row}; pass probabilities, not "
        "logits (sigmoid for multi-label, softmax for single-label)",
    )
    is_multi_label = problem_type == MULTI_LABEL
    highest = 1 if is_multi_label else probabilities.shape[1] - 1
    unknown = np.isnan(references) & is_multi_label
    _refuse(
        ~(np.isin(references, np.arange(highest + 1)) | unknown),
        f"references: only whole numbers from 0 to {highest}{' (or NaN where unknown)' if is_multi_label else ''} are "
        "allowed; not so in {count} of {clips} clips, the first in row {row}; leave out clips whose labels are not "
        "known",
    )
    if is_multi_label:
        _refuse(
            unknown.all(axis=1),
            "references: NaN throughout in {count} of {clips} clips, the first in row {row}; leave out clips whose "
            "labels are not known",
        )
    return probabilities, np.where(unknown, UNKNOWN, references).astype(np.int64)


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers in rows of equal length, got something else ({error})") from error


def _refuse(wrong: np.ndarray, message: str) -> None:
    rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    if len(rows):
        raise ValueError(message.format(count=len(rows), clips=len(wrong), row=rows[0]))
