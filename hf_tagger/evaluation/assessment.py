"""Everything that the probabilities of one split tell beyond the metrics, as plain values for ``metrics.json``.

Intervals, calibration, decisions at fitted thresholds, labels that are taken for each other, and the clips on which the
model is most wrong. Temperature and thresholds come from the validation split and are judged on the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.metrics import confusion_matrix

from . import calibration
from .intervals import LEVEL, RESAMPLES, bootstrap_intervals, count_groups, groups_to_draw
from .metric_inputs import MULTI_LABEL, UNKNOWN, checked_inputs
from .metrics import DECISION_THRESHOLD, per_label_table
from .thresholds import fit_thresholds

HARDEST_CLIPS, CONFUSED_PAIRS = 20, 20
_SMALLEST = 1e-12  # keeps the logarithm of a clip's cross-entropy finite
_GUESSES = 3  # labels shown for a hard clip


@dataclass(frozen=True)
class Predictions:
    """Labelled clips of a split and what a model said of them.

    Attributes:
        ids: Ids ``[N]``.
        groups: Song, album or artist of each clip ``[N]``; None where there is none.
        probabilities: Float64 ``[N, C]``.
        references: 0/1 ``[N, C]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        label_names: C names.
        problem_type: ``multi_label_classification`` or ``single_label_classification``.
    """

    ids: Sequence[str]
    groups: Sequence[str | None]
    probabilities: np.ndarray
    references: np.ndarray
    label_names: Sequence[str]
    problem_type: str

    @property
    def scored(self) -> tuple[np.ndarray, np.ndarray, str]:
        """What the functions of scores take first."""
        return self.probabilities, self.references, self.problem_type


@dataclass(frozen=True)
class Fit:
    """What is fitted on validation clips.

    Attributes:
        temperature: What logits are divided by, see :mod:`~hf_tagger.evaluation.calibration`; None if it was not
            fitted.
        thresholds: From which probability on a clip gets each tag; None for single-label data, and where no validation
            clip carries a tag.
        clips: Number of validation clips that temperature and thresholds were fitted on.
        sharpness: Of every label under the rule ``attention``, see :mod:`~hf_tagger.evaluation.aggregation`; None if it
            was not fitted, which only the study of long audio does.
    """

    temperature: float | None
    thresholds: list[float] | None
    clips: int
    sharpness: list[float] | None = None

    @classmethod
    def on(cls, validation: Predictions) -> Fit:
        """Temperature and thresholds that are best for these clips."""
        thresholds = None
        if validation.problem_type == MULTI_LABEL:
            thresholds = fit_thresholds(validation.probabilities, validation.references)
        return cls(calibration.fit_temperature(*validation.scored), thresholds, len(validation.ids))


def assess(predictions: Predictions, fit: Fit | None = None, resamples: int = RESAMPLES) -> dict:
    """Values of one split.

    Args:
        predictions: The split's labelled clips.
        fit: What was fitted on validation clips; None if there are none with labels.
        resamples: Draws of the bootstrap.

    Returns:
        ``per_label`` (rows of :func:`~hf_tagger.evaluation.metrics.per_label_table`; multi-label ones with
        ``threshold``, ``precision``, ``recall`` and ``f1``), ``intervals`` (metric → low, high, undefined),
        ``bootstrap`` (how they were drawn), ``calibration``, ``confused_pairs``, ``hardest_clips``, and for multi-label
        data ``decisions``: F1 at 0.5 and at the thresholds.
    """
    thresholds = fit.thresholds if fit else None
    result = {
        "per_label": per_label_table(*predictions.scored[:2], predictions.label_names, predictions.problem_type),
        **_intervals(predictions, resamples),
        "calibration": _calibration(predictions, fit),
        "confused_pairs": confused_pairs(predictions, thresholds),
        "hardest_clips": hardest_clips(predictions),
    }
    if predictions.problem_type == MULTI_LABEL:
        result["decisions"] = _decide(predictions, thresholds, result["per_label"])
    return result


def _intervals(predictions: Predictions, resamples: int) -> dict:
    clips, drawn = len(predictions.ids), groups_to_draw(predictions.groups)
    intervals = bootstrap_intervals(*predictions.scored, drawn, resamples)
    return {
        "intervals": {name: interval and asdict(interval) for name, interval in intervals.items()},
        "bootstrap": {
            "level": LEVEL,
            "resamples": resamples,
            "drawn": "clips" if drawn is None else "groups",
            "clips": clips,
            "groups": count_groups(clips, predictions.groups),
        },
    }


def _calibration(predictions: Predictions, fit: Fit | None) -> dict:
    probabilities, references, problem_type = predictions.scored
    before = calibration.reliability(*predictions.scored)
    result = {
        "expected_calibration_error": before.error,
        "negative_log_likelihood": calibration.negative_log_likelihood(*predictions.scored),
        "bins": {
            "counts": before.counts.tolist(),
            "confidence": _plain_list(before.confidence),
            "accuracy": _plain_list(before.accuracy),
        },
    }
    if fit is not None and fit.temperature is not None:
        after = calibration.apply_temperature(probabilities, problem_type, fit.temperature)
        likelihood = calibration.negative_log_likelihood(*predictions.scored, fit.temperature)
        result["with_temperature"] = {
            "temperature": fit.temperature,
            "expected_calibration_error": calibration.reliability(after, references, problem_type).error,
            "negative_log_likelihood": likelihood,
        }
    return result


def _decide(predictions: Predictions, thresholds: Sequence[float] | None, rows: list[dict]) -> dict:
    """Scores of decisions; writes those at the thresholds into the rows of the labels."""
    probabilities, references = checked_inputs(predictions.probabilities, predictions.references, MULTI_LABEL)
    scored = np.array([row["ap"] is not None for row in rows])
    used = [DECISION_THRESHOLD] * len(rows) if thresholds is None else list(thresholds)
    at_half = _decision_scores(references, probabilities >= DECISION_THRESHOLD)
    fitted = _decision_scores(references, probabilities >= np.array(used))
    for row, threshold, values, has_both in zip(rows, used, fitted.T, scored, strict=True):
        row["threshold"] = threshold
        row |= dict(zip(("precision", "recall", "f1"), values.tolist() if has_both else [None] * 3, strict=True))
    result = {"f1_macro_at_half": float(at_half[2, scored].mean()) if scored.any() else None}
    if thresholds is not None:
        result["f1_macro_at_thresholds"] = float(fitted[2, scored].mean()) if scored.any() else None
    return result


def _decision_scores(references: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of every tag ``[3, C]`` where it is known, 0 where they are 0 / 0.

    By hand, as scikit-learn refuses a tag that is not known of any clip.
    """
    carried = references == 1
    right = (carried & decided).sum(axis=0)
    given, positives = (decided & (references != UNKNOWN)).sum(axis=0), carried.sum(axis=0)
    wholes = np.stack([given, positives, given + positives]).astype(float)
    return np.divide(np.stack([right, right, 2 * right]), wholes, out=np.zeros_like(wholes), where=wholes > 0)


def confused_pairs(predictions: Predictions, thresholds: Sequence[float] | None = None) -> list[dict]:
    """Labels that are taken for each other, the most frequent first.

    Single-label: clips of a class whose most probable class is another one. Multi-label: clips that carry a tag without
    getting it, and get another one without carrying it.

    Returns:
        Rows ``label``, ``taken_for``, ``clips`` and ``share`` (of the clips that carry the label).
    """
    probabilities, references = checked_inputs(*predictions.scored)
    labels = probabilities.shape[1]
    if predictions.problem_type == MULTI_LABEL:
        given = probabilities >= (DECISION_THRESHOLD if thresholds is None else np.array(thresholds))
        carried = references == 1
        counts = (carried & ~given).T.astype(int) @ ((references == 0) & given).astype(int)
        support = carried.sum(axis=0)
    else:
        counts = confusion_matrix(references, probabilities.argmax(axis=1), labels=np.arange(labels))
        support = counts.sum(axis=1)
        np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED_PAIRS]
    names = predictions.label_names
    return [
        {
            "label": names[row],
            "taken_for": names[column],
            "clips": int(counts[row, column]),
            "share": float(counts[row, column] / support[row]),
        }
        for row, column in zip(*np.unravel_index(order, counts.shape), strict=True)
        if counts[row, column]
    ]


def hardest_clips(predictions: Predictions) -> list[dict]:
    """The clips on which the model is most wrong: the highest cross-entropy of what is known, the worst first.

    Returns:
        Rows ``id``, ``loss`` (mean over labels, in nats), ``labels`` (names) and ``guesses`` (the three most probable
        labels with their probabilities).
    """
    probabilities, references = checked_inputs(*predictions.scored)
    clips, inside = np.arange(len(probabilities)), np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    if predictions.problem_type == MULTI_LABEL:
        known = references != UNKNOWN
        entropy = np.where(references == 1, -np.log(inside), -np.log1p(-inside))
        loss = np.where(known, entropy, 0).sum(axis=1) / known.sum(axis=1)
        carried = [np.flatnonzero(row == 1) for row in references]
    else:
        loss = -np.log(inside[clips, references])
        carried = [[index] for index in references]
    names, rows = predictions.label_names, np.argsort(-loss, kind="stable")[:HARDEST_CLIPS]
    return [
        {
            "id": predictions.ids[row],
            "loss": float(loss[row]),
            "labels": [names[index] for index in carried[row]],
            "guesses": {
                names[index]: round(float(probabilities[row, index]), 4)
                for index in np.argsort(-probabilities[row], kind="stable")[:_GUESSES]
            },
        }
        for row in rows
    ]


def _plain_list(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
