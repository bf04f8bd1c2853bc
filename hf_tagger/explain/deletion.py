"""Whether an explanation is true: the deletion test.

Petsiuk et al. 2018, "RISE", section 4.2, https://arxiv.org/abs/1806.07421, after Samek et al. 2017,
https://arxiv.org/abs/1509.06321: segments are removed one after the other, the most relevant first, and the label's
probability is written down. The better the order, the earlier it falls, and the smaller the area under its curve.
What a label loses by chance is measured by the same removal in random orders: an explanation that is no better than
they are says nothing about the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from .clip import ExplainedClip


@dataclass(frozen=True)
class Deletion:
    """Curves of one label.

    Attributes:
        shares: Share of the recording that is removed, from 0 to 1, ``[steps + 1]``.
        curves: By explanation: probability after each removal, ``[steps + 1]``.
        random: The same of the random orders, ``[R, steps + 1]``.
    """

    shares: np.ndarray
    curves: dict[str, np.ndarray]
    random: np.ndarray

    def area(self, name: str) -> float:
        """Area under an explanation's curve: the mean probability during the removal."""
        return area_under(self.shares, self.curves[name])

    @property
    def random_areas(self) -> np.ndarray:
        """Areas under the random orders' curves, ``[R]``."""
        return np.array([area_under(self.shares, curve) for curve in self.random])

    @property
    def nothing_left(self) -> float:
        """Probability when everything is removed. If it is not low, the label is said of the fill as well, and no order
        can make it fall: the test then says little."""
        return float(self.random[0, -1])

    def beaten(self, name: str) -> int:
        """How many random orders have a larger area than an explanation."""
        return int((self.random_areas > self.area(name)).sum())

    @property
    def best(self) -> str:
        """The explanation with the smallest area."""
        return min(self.curves, key=self.area)


def deletion_tests(
    clip: ExplainedClip,
    labels: list[int],
    relevance: Mapping[str, np.ndarray],
    steps: int,
    random_orders: int,
    seed: int,
) -> list[Deletion]:
    """Deletion tests of K labels.

    Args:
        clip: The recording.
        labels: Numbers of K labels.
        relevance: By explanation: relevance of every segment for every label, ``[K, S]``.
        steps: Removals; each takes the same number of segments, up to one.
        random_orders: Random orders R, the same for all labels.
        seed: Seed of these.

    Returns:
        One test a label.
    """
    generator = np.random.default_rng(seed)
    random = [generator.permutation(clip.segments) for _ in range(random_orders)]
    ranked = {
        (name, label): np.argsort(-values[label], kind="stable")
        for name, values in relevance.items()
        for label in range(len(labels))
    }
    cuts = np.linspace(0, clip.segments, min(steps, clip.segments) + 1).round().astype(int)
    progress = tqdm([*random, *ranked.values()], desc="Deletion", unit="order", leave=False)
    curves = [curve_of(clip, labels, order, cuts) for order in progress]  # [steps + 1, K] each
    of_random, of_ranked = np.stack(curves[:random_orders]), dict(zip(ranked, curves[random_orders:], strict=True))
    return [
        Deletion(
            shares=cuts / clip.segments,
            curves={name: of_ranked[name, label][:, label] for name in relevance},
            random=of_random[:, :, label],
        )
        for label in range(len(labels))
    ]


def curve_of(clip: ExplainedClip, labels: list[int], order: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Probabilities of the recording while segments are removed.

    Args:
        clip: The recording.
        labels: Numbers of K labels.
        order: Segments, the first to be removed first, ``[S]``.
        cuts: How many are removed at each step, ascending from 0, ``[steps + 1]``.

    Returns:
        float64 ``[steps + 1, K]``.
    """
    kept = torch.ones(len(cuts), clip.segments, dtype=torch.bool)
    for step, cut in enumerate(cuts):
        kept[step, torch.from_numpy(order[:cut].copy())] = False
    # A window is asked again only at the steps that remove something from it.
    changed = (kept[1:] != kept[:-1]).float() @ clip.holds.T.float() > 0  # [steps, windows]
    steps, windows = changed.nonzero(as_tuple=True)
    scores = clip.scores_of(
        clip.masked_window(window, kept[step + 1])
        for step, window in zip(steps.tolist(), windows.tolist(), strict=True)
    )[:, labels]
    current = clip.probabilities[:, labels].clone()  # [windows, K]
    curve = [current.mean(dim=0)]
    for step in range(len(cuts) - 1):
        current[windows[steps == step]] = scores[steps == step]
        curve.append(current.mean(dim=0))
    return torch.stack(curve).numpy()


def area_under(shares: np.ndarray, curve: np.ndarray) -> float:
    """Area under a curve by the trapezoidal rule."""
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(shares)).sum())
