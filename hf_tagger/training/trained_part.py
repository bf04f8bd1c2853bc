"""What of a model is trained: all of it, its last layers, adapters in it, or its head."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from ..arguments import ModelArguments
from .freezing import freeze, freeze_unused
from .layers import train_last_layers
from .lora import add_lora, batch_norms


def choose_trained_part(model: PreTrainedModel, arguments: ModelArguments) -> tuple[nn.Module, list[nn.Module]]:
    """Takes out of training what a recipe does not train.

    Args:
        model: The tagger.
        arguments: ``freeze``, ``train_last_layers`` and ``lora`` are read.

    Returns:
        The model to train, which is the tagger or peft's wrapper of it, and the modules to keep in eval mode.

    Raises:
        RecipeError: If the model does not have what a field names.
    """
    freeze_unused(model)
    frozen = freeze(model, arguments.freeze)
    if arguments.train_last_layers is not None:
        frozen += train_last_layers(model, arguments.train_last_layers)
    if arguments.lora is None:
        return model, frozen
    adapted = add_lora(model, arguments.lora, arguments.model_name_or_path)
    return adapted, frozen + batch_norms(adapted)
