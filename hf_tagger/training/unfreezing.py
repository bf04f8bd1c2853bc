"""Gradual unfreezing: the head first, then one layer after the other from the top (Howard and Ruder 2018)."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel, TrainerCallback

from .layers import frozen_modules, layer_depths


class GradualUnfreezing(TrainerCallback):
    """Lets more of an encoder's layers train at the beginning of every epoch.

    Howard and Ruder 2018 (https://arxiv.org/abs/1801.06146, section 3.3) unfreeze one layer an epoch. What comes before
    the layers joins in the epoch after the lowest layer.

    Args:
        model: The tagger; what is not trainable now never will be.
        layers_per_epoch: Layers that join at every epoch but the first.
        frozen: Filled with the modules to keep in eval mode; what is in it now stays.
    """

    def __init__(self, model: PreTrainedModel, layers_per_epoch: int, frozen: list[nn.Module]):
        depths, self.layers = layer_depths(model, "unfreeze_layers_per_epoch")
        self.model, self.layers_per_epoch, self.frozen, self._always = model, layers_per_epoch, frozen, list(frozen)
        self._managed = [(value, depths[name]) for name, value in model.named_parameters() if value.requires_grad]

    def unfreeze(self, epoch: int) -> None:
        """Chooses what is trained in an epoch, counted from 0."""
        lowest = self.layers + 1 - self.layers_per_epoch * epoch
        for value, depth in self._managed:
            value.requires_grad_(depth >= lowest)
        self.frozen[:] = [*self._always, *frozen_modules(self.model)]
        self.model.train()

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Called by the trainer; an epoch that is resumed in its middle counts as itself."""
        self.unfreeze(int(state.epoch or 0))
