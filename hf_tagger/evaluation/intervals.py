"""How far the numbers of a test split can be trusted: bootstrap intervals, and comparisons of two models.

A test split is one draw of clips out of all that could have been in it. The bootstrap draws from its clips again, with
replacement, and computes every metric of each draw; the middle 95 % of the values, moved by the bias of the draws
(their mean minus the value: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 10.2), are the interval.
The bias matters: clips that are drawn twice raise average precision, and the mean over many labels averages their
spread away but not that. The interval is for the score on test splits of this size; average precision of an endless
split would be lower, as that metric is too high where clips are few.

Clips that are not independent, such as those cut from one song, are drawn together, group by group (the cluster
bootstrap: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.8): otherwise the interval would
be too narrow. The training of the model is not drawn again: other seeds spread the numbers beyond these intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .weighted_scores import WeightedScores

RESAMPLES = 1_000
"""Draws. Enough for the ends of a 95 % interval (Efron & Tibshirani 1993, section 14.5)."""
LEVEL = 0.95
FEWEST_GROUPS = 20
"""With fewer groups clips are drawn instead: 5 to 30 groups are too few for a bootstrap over groups (Cameron, Gelbach &
Miller 2008, https://doi.org/10.1162/rest.90.3.414). Such intervals hold for other clips of the same groups only."""
_DRAWS_AT_ONCE = 100  # bounds the memory of weights to 100 × clips


@dataclass(frozen=True)
class Interval:
    """What a metric may be on other clips of the same kind.

    Attributes:
        low: Lower end.
        high: Upper end.
        undefined: Share of draws in which the metric was undefined and which are left out, 0 to 1.
    """

    low: float
    high: float
    undefined: float = 0.0

    @classmethod
    def of(
        cls, draws: np.ndarray, value: float, level: float, within: tuple[float, float] = (0.0, 1.0)
    ) -> Interval | None:
        """The interval of a value from its draws, which may be NaN; None if it, or all of them, are."""
        defined = draws[~np.isnan(draws)]
        if not len(defined) or np.isnan(value):
            return None
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) - (defined.mean() - value)
        low, high = np.clip([low, high], *within)
        return cls(float(low), float(high), float(1 - len(defined) / len(draws)))


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same clips.

    Attributes:
        first: Value of the first model.
        second: Value of the second model.
        difference: ``second - first``.
        low: Lower end of the difference's interval.
        high: Upper end.
        p_value: Probability of a difference at least as far from 0, on either side, if there were none: twice the share
            of draws on the other side of 0 (Efron & Tibshirani 1993, section 15.4, counted from 1, so that it is never
            0).
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether neither the interval contains 0 nor more than 5 % of the draws lie on its other side."""
        return self.p_value < 1 - LEVEL and (self.low > 0 or self.high < 0)

    def as_dict(self) -> dict[str, float | bool]:
        """For JSON."""
        return asdict(self) | {"is_significant": self.is_significant}


def bootstrap_intervals(
    probabilities: Any,
    references: Any,
    problem_type: str,
    groups: Sequence[str | None] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Intervals of all metrics.

    Args:
        probabilities: Float ``[N, C]``.
        references: 0/1 ``[N, C]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        problem_type: ``multi_label_classification`` or ``single_label_classification``.
        groups: Group of each clip (``[N]``, song, album or artist); clips of one group are drawn together. None, or a
            clip's None: the clip stands for itself.
        resamples: Number of draws.
        level: Share of draws within the interval.
        seed: Seed of the draws.

    Returns:
        Metric → interval, None where the metric is undefined.

    Raises:
        ValueError: For input that is not as described.
    """
    scores = WeightedScores(probabilities, references, problem_type)
    whole = scores(np.ones((1, scores.clips)))
    draws = _stack(scores(weights) for weights in bootstrap_weights(scores.clips, groups, resamples, seed))
    return {name: Interval.of(values, float(whole[name][0]), level) for name, values in draws.items()}


def compare_models(
    first: Any,
    second: Any,
    references: Any,
    problem_type: str,
    groups: Sequence[str | None] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Comparison | None]:
    """Paired bootstrap: both models are scored on the same draws, so that what is hard for both cancels out.

    Args:
        first: Probabilities ``[N, C]`` of one model.
        second: Probabilities ``[N, C]`` of the other model, for the same clips and labels in the same order.
        references: As for :func:`bootstrap_intervals`.
        problem_type: As for :func:`bootstrap_intervals`.
        groups: As for :func:`bootstrap_intervals`.
        resamples: Number of draws.
        level: Share of draws within the interval of the difference.
        seed: Seed of the draws.

    Returns:
        Metric → comparison, None where the metric is undefined.

    Raises:
        ValueError: For input that is not as described.
    """
    models = [WeightedScores(values, references, problem_type) for values in (first, second)]
    if np.shape(first) != np.shape(second):
        raise ValueError(f"the predictions have shapes {np.shape(first)} and {np.shape(second)}; they must be equal")
    whole = [scores(np.ones((1, scores.clips))) for scores in models]
    draws = _stack(
        {name: np.stack([one[name], other[name]]) for name in one}
        for weights in bootstrap_weights(models[0].clips, groups, resamples, seed)
        for one, other in [[scores(weights) for scores in models]]
    )
    comparisons: dict[str, Comparison | None] = {}
    for name, (one, other) in draws.items():
        differences, values = other - one, [float(scores[name][0]) for scores in whole]
        interval = Interval.of(differences, values[1] - values[0], level, within=(-1.0, 1.0))
        if interval is None:
            comparisons[name] = None
            continue
        defined = differences[~np.isnan(differences)]
        rarer = 1 + min((defined <= 0).sum(), (defined >= 0).sum())
        comparisons[name] = Comparison(
            *values, values[1] - values[0], interval.low, interval.high, min(1.0, 2 * float(rarer) / (len(defined) + 1))
        )
    return comparisons


def bootstrap_weights(
    clips: int, groups: Sequence[str | None] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """How often each clip is drawn, ``[draws, clips]``, a hundred draws at a time.

    Raises:
        ValueError: If there is not one group a clip, or no draw.
    """
    if groups is not None and len(groups) != clips:
        raise ValueError(f"groups: got {len(groups)} for {clips} clips")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, received {resamples}")
    numbers = _group_numbers(clips, groups)
    count = int(numbers.max()) + 1
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, resamples - start)
        yield generator.multinomial(count, np.full(count, 1 / count), size=size)[:, numbers]


def groups_to_draw(groups: Sequence[str | None]) -> Sequence[str | None] | None:
    """The groups, if they are what a bootstrap should draw; None where they are too few, or no clips share one."""
    return groups if FEWEST_GROUPS <= count_groups(len(groups), groups) < len(groups) else None


def count_groups(clips: int, groups: Sequence[str | None] | None) -> int:
    """Number of units that the bootstrap draws."""
    return int(_group_numbers(clips, groups).max()) + 1


def _group_numbers(clips: int, groups: Sequence[str | None] | None) -> np.ndarray:
    if groups is None:
        return np.arange(clips)
    own = {group: number for number, group in enumerate(dict.fromkeys(group for group in groups if group is not None))}
    singles = iter(range(len(own), len(own) + clips))
    return np.array([next(singles) if group is None else own[group] for group in groups])


def _stack(chunks: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Draws of all chunks one after the other, along the last axis."""
    parts = list(chunks)
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
