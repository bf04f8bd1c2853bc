"""Which windows an epoch trains on, where rare labels shall be seen as often as frequent ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler

from ..arguments import TaggingArguments
from ..data.windows import TrainingWindows


class BalancedSampler(Sampler[int]):
    """Draws windows with replacement so that every label is as likely as any other.

    The weight of a window is the sum of 1 / n over its labels, with n the windows that carry a label: balanced sampling
    of Gong, Chung and Glass 2021, "PSLA: Improving Audio Tagging with Pretraining, Sampling, Labeling, and Aggregation"
    (https://arxiv.org/abs/2102.01243), as https://github.com/YuanGongND/psla computes it in src/gen_weight_file.py. To
    draw with these weights is to draw a label first, all being equally likely, and then one of its windows. Of
    single-label data every class comes equally often; tags also come along with others, so that frequent ones tend to
    stay frequent.

    It is the rule with which PSLA and its successor AST were trained on AudioSet. The maximum of 1 / n would ignore all
    tags of a clip but the rarest, and the repeat factors of Gupta et al. 2019 (LVIS, https://arxiv.org/abs/1908.03195)
    need a threshold that depends on the vocabulary. The price are windows that come again and again: in an epoch about
    len(dataset) / C times where one window alone carries one of C labels. Whether it pays depends on the data (Moore et
    al. 2023, "Dataset Balancing Can Hurt Model Performance", https://arxiv.org/abs/2307.00079).

    Windows without any label count together as one label more, but come no more often than without balancing: they show
    what labels are not, and there is nothing rare in them. A label that is unknown counts as little as an absent one:
    n is what training sees of a label.

    The order depends on seed and epoch alone: it is the same in every process (Accelerate gives each its batches) and
    when an epoch is resumed in its middle. An epoch has as many windows as the data set.

    Args:
        dataset: Training windows: ``clips`` with their ``labels``, and ``indices``, the clip of every window.
        seed: Seed of the order.
        number_repeats: Yield the k-th repetition (k = 0, 1, …) of window i in an epoch as i + k·len(dataset), for data
            sets that cut another window for every such number. Otherwise it is i again, the very same crop.
    """

    # No attribute may be called `generator`: Accelerate would take it for a torch.Generator to synchronise.

    def __init__(self, dataset: TrainingWindows, seed: int = 0, number_repeats: bool = False):
        labels = [dataset.clips.labels[index] for index in dataset.indices]
        weights = window_weights([label if isinstance(label, list) else [label] for label in labels])
        self.probabilities = weights / weights.sum()
        """Of every window to be drawn, float64 ``[windows]``; their sum is 1."""
        self.seed, self.epoch, self.number_repeats = seed, 0, number_repeats

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch; draws anew."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.probabilities)

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def draw(self) -> np.ndarray:
        """The epoch's windows in their order, int64 ``[windows]``."""
        generator = np.random.default_rng((self.seed, self.epoch))
        drawn = generator.choice(len(self), size=len(self), p=self.probabilities)
        return drawn + len(self) * _repetitions(drawn) if self.number_repeats else drawn


def balanced_sampler(dataset: Dataset, arguments: TaggingArguments) -> BalancedSampler | None:
    """The sampler that a recipe's ``sampling`` asks for; None where all windows are alike.

    Args:
        dataset: Training windows.
        arguments: ``sampling`` and ``seed`` are read.
    """
    if arguments.sampling != "balanced":
        return None
    return BalancedSampler(dataset, arguments.seed, number_repeats=isinstance(dataset, TrainingWindows))


def window_weights(labels: list[list[int]]) -> np.ndarray:
    """The weights of :class:`BalancedSampler`, not normalised.

    Args:
        labels: Of every window, each label once; at least one window.

    Returns:
        float64 ``[windows]``.
    """
    windows = len(labels)
    window_of = np.repeat(np.arange(windows), [len(own) for own in labels])
    flat = np.array([label for own in labels for label in own], dtype=np.int64)
    counts = np.bincount(flat)  # n of every label
    weights = np.bincount(window_of, weights=1 / counts[flat], minlength=windows)
    unlabelled = weights == 0
    without, used_labels = np.count_nonzero(unlabelled), np.count_nonzero(counts)
    if without == windows:
        return np.ones(windows)
    # Every label has a total weight of 1. The second value gives the windows without labels their share of the data.
    weights[unlabelled] = min(1 / max(without, 1), used_labels / (windows - without))
    return weights


def _repetitions(drawn: np.ndarray) -> np.ndarray:
    """How often each entry already stands before it: ``[5, 2, 5, 5]`` → ``[0, 0, 1, 2]``."""
    order = drawn.argsort(kind="stable")
    ordered = drawn[order]
    repetitions = np.empty_like(drawn)
    repetitions[order] = np.arange(len(drawn)) - np.searchsorted(ordered, ordered)
    return repetitions
