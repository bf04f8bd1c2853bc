"""An exponential moving average of the weights: what is evaluated and saved, while training goes on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

FILE = "training_weights.safetensors"
"""In a checkpoint: the weights that training goes on with. ``model.safetensors`` beside it holds the average."""


class WeightAverage:
    """The moving average of all that is trained, batch norms' statistics included.

    After step t the average is d·average + (1 − d)·weights with d = min(decay, (1 + t) / (10 + t)), so that the random
    weights of the beginning are soon forgotten (the schedule of TensorFlow's ``ExponentialMovingAverage``,
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). Polyak and Juditsky 1992,
    https://doi.org/10.1137/0330046.

    Args:
        model: The model, on the device on which it is trained.
        decay: Highest d, 0 to 1.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.average = {name: value.detach().clone() for name, value in self._tracked()}

    def _tracked(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from ((name, value) for name, value in self.model.named_parameters() if value.requires_grad)
        persistent = self.model.state_dict(keep_vars=True)
        yield from (
            (name, value)
            for name, value in self.model.named_buffers()
            if value.is_floating_point() and name in persistent
        )

    def _pairs(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        current = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        return list(self.average.values()), [current[name] for name in self.average]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after an optimizer step.

        Args:
            step: Number of optimizer steps so far, from 1.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(*self._pairs(), None)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the model's weights and the average."""
        for mean, value in zip(*self._pairs(), strict=True):
            kept = value.detach().clone()
            value.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def save_training_weights(self, folder: str | Path) -> None:
        """Writes the model's present weights beside a checkpoint whose model is the average."""
        names, (_, values) = list(self.average), self._pairs()
        weights = {name: value.detach().contiguous().cpu() for name, value in zip(names, values, strict=True)}
        save_file(weights, Path(folder) / FILE)

    @torch.no_grad()
    def resume(self, folder: str | Path) -> None:
        """Goes on from a checkpoint whose averaged weights have been loaded into the model."""
        weights = load_file(Path(folder) / FILE)
        for (name, mean), value in zip(self.average.items(), self._pairs()[1], strict=True):
            mean.copy_(value)
            value.copy_(weights[name])
