"""How deep a parameter lies: which layers of a pretrained encoder are trained, and how fast."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from ..errors import RecipeError
from .checkpoints import HEAD_MODULES
from .freezing import has_encoder

_SOURCE = "the model arguments"


def layer_depths(model: PreTrainedModel, field: str) -> tuple[dict[str, int], int]:
    """The depth of every parameter of an encoder with a head.

    Depth 0 is what comes before the layers (convolutions, patches, positions), 1 to ``layers`` are the layers, and
    ``layers + 1`` what comes after them and the head.

    Args:
        model: The tagger.
        field: The recipe's field that asks, for the message.

    Returns:
        Depths by name of the parameter, and the number of layers.

    Raises:
        RecipeError: If the model is no encoder with a stack of layers.
    """
    stack = _layers(model)
    if stack is None:
        raise RecipeError(
            [f"{field}: {type(model).__name__} has no pretrained encoder with layers; leave it out"], _SOURCE
        )
    prefix, layers = stack
    depths, seen = {}, False
    for name, _ in model.named_parameters():
        inside = name.startswith(prefix + ".")
        seen |= inside
        if inside:
            depths[name] = 1 + int(name.removeprefix(prefix + ".").split(".")[0])
        elif name.split(".")[0] in HEAD_MODULES:
            depths[name] = layers + 1
        else:
            depths[name] = layers + 1 if seen else 0
    return depths, layers


def train_last_layers(model: PreTrainedModel, count: int) -> list[nn.Module]:
    """Takes all of an encoder but its last layers out of training.

    Args:
        model: The tagger.
        count: Number of layers that stay trainable.

    Returns:
        The frozen modules. Keep them in eval mode.

    Raises:
        RecipeError: If the encoder has fewer layers.
    """
    depths, layers = layer_depths(model, "train_last_layers")
    if count > layers:
        raise RecipeError([f"train_last_layers: {count} is more than the encoder's {layers} layers"], _SOURCE)
    for name, value in model.named_parameters():
        if depths[name] <= layers - count:
            value.requires_grad_(False)
    return frozen_modules(model)


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """Modules that have parameters, none of which is trained."""
    return [
        module
        for module in model.modules()
        if next(module.parameters(), None) is not None and not any(value.requires_grad for value in module.parameters())
    ]


def _layers(model: PreTrainedModel) -> tuple[str, int] | None:
    """Name and length of the stack of layers: of the lists that are as long as the encoder is deep, the largest."""
    if not has_encoder(model):
        return None
    count = model.config.num_hidden_layers
    found = [
        (sum(value.numel() for value in module.parameters()), name)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    return (max(found)[1], count) if found else None
