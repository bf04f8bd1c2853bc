"""The metrics of :mod:`hf_tagger.evaluation.metrics` for many weightings of the same clips at once.

A bootstrap resample draws clips with replacement: a clip that is drawn twice weighs 2, one that is not drawn 0. What is
slow about a score, sorting the clips by probability, is done once here; a weighting then costs a few sums. The values
are those of :func:`~hf_tagger.evaluation.metrics.score_clips` on the drawn clips, NaN where that is None.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from .metric_inputs import MULTI_LABEL, UNKNOWN, checked_inputs
from .metrics import DECISION_THRESHOLD, METRIC_NAMES, metric_of, top3_hits

_VALUES_AT_ONCE = 4_000_000  # of a float64 array: 32 MB, a few of which are alive at the same time


class WeightedScores:
    """Scores of the same predictions under any weights of the clips.

    Args:
        probabilities: Float ``[N, C]``.
        references: 0/1 ``[N, C]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        problem_type: ``multi_label_classification`` or ``single_label_classification``.

    Raises:
        ValueError: For input that is not as described.
    """

    def __init__(self, probabilities: Any, references: Any, problem_type: str):
        probabilities, references = checked_inputs(probabilities, references, problem_type)
        self._whole, self._problem_type = (references, probabilities), problem_type
        parts = _MultiLabel if problem_type == MULTI_LABEL else _SingleLabel
        self._parts = parts(probabilities, references)
        self.clips = len(probabilities)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores under each weighting.

        Args:
            weights: ``[R, N]``, not negative: how much each clip counts in each of R weightings.

        Returns:
            Metric → float64 ``[R]``, NaN where the metric is undefined.

        Raises:
            ValueError: If the weights have another shape.
        """
        if np.ndim(weights) != 2 or np.shape(weights)[1] != self.clips:
            raise ValueError(f"weights: got shape {np.shape(weights)}; expected [weightings, {self.clips} clips]")
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: undefined, as is said above
            scores = self._parts(np.asarray(weights, dtype=np.float64))
        return {
            name: scores[name] if name in scores else self._of_repeated_clips(name, weights)
            for name in METRIC_NAMES[self._problem_type]
        }

    def _of_repeated_clips(self, name: str, weights: np.ndarray) -> np.ndarray:
        """The slow way, for metrics that are not written out below: weights are counts of clips."""
        score, (references, probabilities) = metric_of(name, self._problem_type), self._whole
        drawn = [np.repeat(np.arange(self.clips), np.asarray(own, dtype=np.int64)) for own in weights]
        values = [score(references[own], probabilities[own]) for own in drawn]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


class _MultiLabel:
    def __init__(self, probabilities: np.ndarray, references: np.ndarray):
        self.known, self.carried = references != UNKNOWN, references == 1
        self.predicted = (probabilities >= DECISION_THRESHOLD) & self.known
        columns = zip(self.known.T, self.carried.T, probabilities.T, strict=True)
        self.tags = [
            _Ranking(np.flatnonzero(known), carried[known], scores[known], len(references))
            for known, carried, scores in columns
        ]
        clips, _ = np.nonzero(self.known)
        self.all = _Ranking(clips, self.carried[self.known], probabilities[self.known], len(references))
        self.lrap = _label_ranking(np.where(self.known, probabilities, -1.0), self.carried)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        of_tags = np.stack([tag(weights) for tag in self.tags], axis=-1)  # [2, R, C]
        total = self.all(weights)
        true_positives = weights @ (self.carried & self.predicted)  # [R, C]
        carried, predicted = weights @ self.carried, weights @ self.predicted
        f1 = 2 * true_positives / (carried + predicted)
        scored = ~np.isnan(of_tags[0])
        return {
            "roc_auc_macro": _mean_where(of_tags[0], scored),
            "roc_auc_micro": total[0],
            "ap_macro": _mean_where(of_tags[1], scored),
            "ap_micro": total[1],
            "lrap": weights @ self.lrap / weights.sum(axis=1),
            "f1_macro": _mean_where(f1, scored),
        }


class _SingleLabel:
    def __init__(self, probabilities: np.ndarray, references: np.ndarray):
        guesses, classes = probabilities.argmax(axis=1), np.arange(probabilities.shape[1])
        self.carried, self.predicted = references[:, None] == classes, guesses[:, None] == classes
        self.correct = guesses == references
        self.top3 = top3_hits(references, probabilities)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        clips = weights.sum(axis=1)
        true_positives = weights @ (self.carried & self.predicted)  # [R, C]
        carried, predicted = weights @ self.carried, weights @ self.predicted
        return {
            "accuracy": weights @ self.correct / clips,
            "balanced_accuracy": _mean_where(true_positives / carried, carried > 0),
            "f1_macro": _mean_where(2 * true_positives / (carried + predicted), carried > 0),
            "top3_accuracy": weights @ self.top3 / clips,
        }


class _Ranking:
    """Decisions from the most to the least probable, in steps of the two curves.

    A step is a run of equally probable decisions: they are taken together. Runs without any true decision that follow
    each other are one step as well, which changes neither area and leaves few steps where few decisions are true.

    Args:
        clips: Clip of each decision, int ``[D]``.
        carried: Whether it is true, bool ``[D]``.
        scores: Its probability, float ``[D]``.
        num_clips: N.
    """

    def __init__(self, clips: np.ndarray, carried: np.ndarray, scores: np.ndarray, num_clips: int):
        order = np.argsort(-scores, kind="stable")
        clips, carried, scores = clips[order], carried[order], scores[order]
        run = np.cumsum(np.diff(scores, prepend=scores[:1]) != 0)
        has_true = np.bincount(run, weights=carried) > 0
        step = np.cumsum(has_true | np.append(True, has_true[:-1]))[run] - 1 if len(run) else run
        shape = (int(step[-1]) + 1 if len(step) else 0, num_clips)
        # Decisions of each step and clip: what a step weighs is a product with the clips' weights.
        self.all = csr_matrix((np.ones(len(clips)), (step, clips)), shape)
        self.true = csr_matrix((carried.astype(float), (step, clips)), shape)
        self.true.eliminate_zeros()

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Weights ``[R, N]`` → area under the ROC curve and average precision ``[2, R]``; NaN where not both outcomes
        have weight."""
        rows = max(1, _VALUES_AT_ONCE // max(1, self.all.shape[0]))
        return np.concatenate([self._areas(weights[at : at + rows].T) for at in range(0, len(weights), rows)], axis=1)

    def _areas(self, weights: np.ndarray) -> np.ndarray:
        more_true = self.true @ weights  # [steps, R]
        more_false = self.all @ weights - more_true
        true, false = np.cumsum(more_true, axis=0), np.cumsum(more_false, axis=0)
        positives, negatives = more_true.sum(axis=0), more_false.sum(axis=0)
        # Trapezoids: equally probable decisions count half (Fawcett 2006, algorithm 3).
        roc_auc = (more_false * (true - more_true / 2)).sum(axis=0) / (positives * negatives)
        found = true + false
        precision = np.divide(true, found, out=np.zeros_like(true), where=found > 0)
        average_precision = (more_true * precision).sum(axis=0) / positives
        defined = (positives > 0) & (negatives > 0)
        return np.where(defined, np.stack([roc_auc, average_precision]), np.nan)


def _label_ranking(scores: np.ndarray, carried: np.ndarray) -> np.ndarray:
    """Label ranking average precision of every clip, ``[N]``: scikit-learn tells the mean of all clips only.

    The mean over a clip's tags of the share of its tags among all tags that rank as high.
    """
    rank = rankdata(-scores, method="max", axis=1)
    own_rank = rankdata(np.where(carried, -scores, np.inf), method="max", axis=1)
    count = carried.sum(axis=1)
    return np.divide((own_rank / rank).sum(axis=1, where=carried), count, out=np.ones(len(count)), where=count > 0)


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Means over the last axis of ``[R, C]`` of what counts; NaN where nothing does."""
    return np.where(where, values, 0.0).sum(axis=-1) / where.sum(axis=-1)
