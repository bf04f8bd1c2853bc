"""From the probabilities of a recording's windows to those of the recording: mean, max or attention.

The **mean** asks how much of a recording sounds like a label, and dilutes what is heard in one minute of ten. The
**max** asks whether any window does, and believes the one window in a thousand that is wrong. **Attention** lies
between them, at a place of its own for every label: auto-pool (McFee, Salamon & Bello 2018, Adaptive pooling operators
for weakly labeled sound event detection, https://arxiv.org/abs/1804.10070), in which the windows' own probabilities p
weigh them::

    P = Σ_w exp(α p_w) p_w / Σ_w exp(α p_w)

The sharpness α is 0 for the mean, 1 for softmax pooling, and infinite for the max. The paper learns α with the model;
here the model is finished, and α is fitted on validation recordings by :func:`fit_sharpness`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from .metric_inputs import SINGLE_LABEL, UNKNOWN, check_problem_type, checked_inputs

LARGEST_SHARPNESS = 100.0
"""Where the search ends: of two windows whose probabilities differ by 0.05 the higher one then weighs e⁵ = 148 times
more, so that nothing is left between here and the max."""
_EXPONENTS = np.linspace(0, np.log1p(LARGEST_SHARPNESS), 13)  # log(1 + α): a loss may have several valleys
# Of log(1 + α) around that of all labels. A label whose 1 + α is e times larger pays half a nat, as much as one
# recording whose label is given 0.6: it takes more than one to move a label away from the others.
_DEVIATION = 1.0
_SMALLEST_PROBABILITY = 1e-7  # keeps logarithms finite, as in the loss of an evaluation


@dataclass(frozen=True)
class Aggregation:
    """A rule.

    Attributes:
        pool: Probabilities of a recording's windows ``[windows, labels]`` and the sharpness of every label ``[labels]``
            (None for rules that need none) → ``[labels]``.
        needs_sharpness: Whether the rule has to be fitted.
    """

    pool: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    needs_sharpness: bool = False


@dataclass(frozen=True)
class Timeline:
    """Probabilities over the time of one recording.

    Attributes:
        probabilities: Of every window, float ``[windows, labels]``.
        starts: Where the windows begin, in seconds, ascending, ``[windows]``.
        window_seconds: Length of a window in seconds.
        seconds: Length of the recording in seconds; shorter than a window where that is filled by repetition.
        label_names: Names of the labels.
    """

    probabilities: np.ndarray
    starts: np.ndarray
    window_seconds: float
    seconds: float
    label_names: Sequence[str]

    @property
    def edges(self) -> np.ndarray:
        """Borders of the time that each window stands for, in seconds, ``[windows + 1]``.

        Windows overlap; each stands for the time that is closer to its middle than to any other's, so that the cells
        lie side by side from the recording's start to its end.
        """
        middles = np.asarray(self.starts, dtype=np.float64) + self.window_seconds / 2
        return np.concatenate([[0.0], (middles[1:] + middles[:-1]) / 2, [self.seconds]])

    def top_tags(self, problem_type: str, sharpness: np.ndarray, top_k: int) -> dict[str, list[dict]]:
        """The recording's best tags by every rule.

        Args:
            problem_type: See :func:`aggregate`.
            sharpness: See :func:`aggregate`.
            top_k: Tags of each rule; all labels if there are fewer.

        Returns:
            Rule → ``{"label", "score"}``, best first.
        """
        tags = {}
        for rule in AGGREGATIONS:
            scores = aggregate(rule, self.probabilities, problem_type, sharpness)
            best = np.argsort(-scores, kind="stable")[:top_k]
            tags[rule] = [{"label": self.label_names[label], "score": float(scores[label])} for label in best]
        return tags


@dataclass(frozen=True)
class Recordings:
    """Labelled recordings, by the probabilities of their windows.

    Attributes:
        windows: Of each float64 ``[windows, labels]``.
        references: 0/1 ``[recordings, labels]``, NaN where unknown (multi-label), or class indices ``[recordings]``.
        groups: What belongs together; None for medleys, which mix it.
    """

    windows: Sequence[np.ndarray]
    references: np.ndarray
    groups: Sequence[str | None] | None = None

    @property
    def prevalence(self) -> float | None:
        """Mean share of the recordings that carry a label, over the labels that some carry and some do not: what
        guessing reaches in average precision. None if there is no such label. Multi-label only."""
        scored = (self.references == 1).any(axis=0) & (self.references == 0).any(axis=0)
        return float(np.nanmean(self.references[:, scored], axis=0).mean()) if scored.any() else None

    def joined(self, count: int, seed: int) -> Recordings:
        """Medleys of ``count`` multi-label recordings each, in an order by the seed; what is left over is left out.

        A medley carries what any of its recordings carries. A label that none carries is unknown if it is so of any.
        """
        if count == 1:
            return self
        order = np.random.default_rng(seed).permutation(len(self.windows))
        order = order[: len(order) // count * count].reshape(-1, count)  # [medleys, count]
        parts = self.references[order]  # [medleys, count, labels]
        union = np.where((parts == 1).any(axis=1), 1.0, np.where(np.isnan(parts).any(axis=1), np.nan, 0.0))
        known = ~np.isnan(union).all(axis=1)
        windows = [np.concatenate([self.windows[index] for index in own]) for own in order[known]]
        return Recordings(windows, union[known])


def auto_pool(windows: np.ndarray, sharpness: np.ndarray | float, first: Sequence[int] = (0,)) -> np.ndarray:
    """Auto-pool of recordings whose windows stand one recording after the other.

    Args:
        windows: Probabilities ``[windows, labels]``.
        sharpness: α of every label ``[labels]``, or of all; may be infinite.
        first: Number of the first window of every recording, ascending from 0, ``[recordings]``.

    Returns:
        ``[recordings, labels]``.
    """
    first = np.asarray(first)
    highest = np.maximum.reduceat(windows, first, axis=0)
    below = windows - np.repeat(highest, np.diff([*first, len(windows)]), axis=0)  # at most 0: no exponential overflows
    with np.errstate(invalid="ignore"):  # ∞ · 0, which is replaced
        weights = np.where(below == 0, 1.0, np.exp(sharpness * below))
    return np.add.reduceat(weights * windows, first, axis=0) / np.add.reduceat(weights, first, axis=0)


# The one place of a rule.
AGGREGATIONS: dict[str, Aggregation] = {
    "mean": Aggregation(lambda windows, sharpness: windows.mean(axis=0)),
    "max": Aggregation(lambda windows, sharpness: windows.max(axis=0)),
    "attention": Aggregation(lambda windows, sharpness: auto_pool(windows, sharpness)[0], needs_sharpness=True),
}


def aggregate(rule: str, windows: Any, problem_type: str, sharpness: Any | None = None) -> np.ndarray:
    """Probabilities of one recording.

    Args:
        rule: A name of :data:`AGGREGATIONS`.
        windows: Probabilities ``[windows, labels]``.
        problem_type: ``multi_label_classification`` or ``single_label_classification``, for which the result is divided
            by its sum, so that the classes' probabilities again have the sum 1.
        sharpness: Of every label ``[labels]``, not negative, for rules that need it.

    Returns:
        float64 ``[labels]``.

    Raises:
        ValueError: If there is no such rule, or for input that is not as described.
    """
    check_problem_type(problem_type)
    if rule not in AGGREGATIONS:
        raise ValueError(f"there is no aggregation rule {rule!r}; choose one of: {', '.join(AGGREGATIONS)}")
    windows = np.asarray(windows, dtype=np.float64)
    if windows.ndim != 2 or 0 in windows.shape:
        raise ValueError(f"windows: got shape {windows.shape}; expected [windows, labels], neither of them 0")
    if AGGREGATIONS[rule].needs_sharpness:
        if sharpness is None:
            raise ValueError(f"the rule {rule!r} needs the sharpness that fit_sharpness returns; received None")
        sharpness = np.asarray(sharpness, dtype=np.float64)
        if sharpness.shape != windows.shape[1:] or not (sharpness >= 0).all():
            raise ValueError(
                f"sharpness: got shape {sharpness.shape}; expected one number a label, {windows.shape[1:]}, none of "
                f"them negative or NaN"
            )
    pooled = AGGREGATIONS[rule].pool(windows, sharpness)
    return pooled / pooled.sum() if problem_type == SINGLE_LABEL else pooled


def aggregate_all(rule: str, recordings: Sequence[Any], problem_type: str, sharpness: Any | None = None) -> np.ndarray:
    """:func:`aggregate` of N recordings: windows ``[windows, labels]`` of each → ``[N, labels]``."""
    return np.stack([aggregate(rule, windows, problem_type, sharpness) for windows in recordings])


def fit_sharpness(recordings: Sequence[Any], references: Any, problem_type: str) -> np.ndarray:
    """The sharpness of every label that makes validation recordings most likely under ``attention``.

    First one sharpness β is fitted to all labels together. Then, label by label, the sum of the recordings' log losses
    is minimised, plus ``(log(1 + α) - log(1 + β))² / 2``. This is the paper's regularised auto-pool, but drawn to what
    fits the other labels instead of to 0: how the windows of a model err is much the same for its labels, and most
    labels are carried by few validation recordings. In the logarithm, because from 0 to 10 as much happens as from 10
    to 100. Every recording weighs against the penalty, so it counts where a label has few.

    α is bounded: not negative, as in the paper's constrained auto-pool, for below the mean lies the min, and with it a
    label that is given too high probabilities would be repaired, which is what a temperature is for; and at most
    :data:`LARGEST_SHARPNESS`.

    A label that all recordings carry, or none, stays at 0, the mean: its loss could only say that the highest or the
    lowest of all rules is best, whatever its windows look like, and a label that is seen nowhere is often one that the
    model has not learned, whose highest window is no finding.

    Args:
        recordings: Probabilities ``[windows, labels]`` of every recording, of N that the model was not trained on.
        references: 0/1 ``[N, labels]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label, in
            which every class is fitted against the rest, before the sum is brought to 1).
        problem_type: ``multi_label_classification`` or ``single_label_classification``.

    Returns:
        float64 ``[labels]``, from 0 to :data:`LARGEST_SHARPNESS`.

    Raises:
        ValueError: For input that is not as described.
    """
    means, references = checked_inputs(aggregate_all("mean", recordings, problem_type), references, problem_type)
    labels = means.shape[1]
    carried = references[:, None] == np.arange(labels) if problem_type == SINGLE_LABEL else references == 1
    known = np.ones_like(carried) if problem_type == SINGLE_LABEL else references != UNKNOWN
    windows = np.concatenate([np.asarray(own, dtype=np.float64) for own in recordings])
    counts = np.array([len(own) for own in recordings])
    first = np.cumsum(counts) - counts
    both = np.flatnonzero((carried & known).any(axis=0) & (~carried & known).any(axis=0))
    if not len(both):
        return np.zeros(labels)

    def loss(exponent: float, of: np.ndarray) -> float:
        pooled = auto_pool(windows[:, of], np.expm1(exponent), first)
        right = np.where(carried[:, of], pooled, 1 - pooled)[known[:, of]]
        return float(-np.log(np.maximum(right, _SMALLEST_PROBABILITY)).sum())

    shared = _lowest(lambda exponent: loss(exponent, both))
    sharpness = np.zeros(labels)
    for label in both:
        own = _lowest(lambda at, of=[label]: loss(at, of) + ((at - shared) / _DEVIATION) ** 2 / 2)
        sharpness[label] = np.expm1(own)
    return sharpness


def _lowest(loss: Callable[[float], float]) -> float:
    """Where a loss over ``log(1 + α)`` is lowest: the best point of a grid, then the bottom of its valley."""
    values = [loss(exponent) for exponent in _EXPONENTS]
    best = int(np.argmin(values))
    bounds = _EXPONENTS[max(best - 1, 0)], _EXPONENTS[min(best + 1, len(_EXPONENTS) - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    # The bounded search never tries the ends, which are the mean and all but the max.
    return float(found.x if found.fun < values[best] else _EXPONENTS[best])
