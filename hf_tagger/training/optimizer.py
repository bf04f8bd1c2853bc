"""Groups of parameters with their own learning rate and weight decay, for the optimizer of either training loop."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer

from ..arguments import TaggingArguments
from .checkpoints import HEAD_MODULES
from .layers import layer_depths
from .optimizer_phases import PhasedOptimizer


def make_optimizer(model: nn.Module, tagger: PreTrainedModel, arguments: TaggingArguments) -> torch.optim.Optimizer:
    """The recipe's optimizer (``optim`` or ``optimizer_phases``), with the groups of :func:`parameter_groups`."""
    if arguments.optimizer_phases is not None:
        return PhasedOptimizer(parameter_groups(model, tagger, arguments), arguments.optimizer_phases)
    optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    return optimizer_class(parameter_groups(model, tagger, arguments), **options)


def parameter_groups(model: nn.Module, tagger: PreTrainedModel, arguments: TaggingArguments) -> list[dict]:
    """The parameters that are trained, in groups of one learning rate and one weight decay.

    With ``layer_decay`` d and L layers the rate of depth k (see :func:`~hf_tagger.training.layers.layer_depths`) is
    the learning rate times d^(L + 1 − k): Clark et al. 2020 (ELECTRA, https://arxiv.org/abs/2003.10555, appendix A) and
    Bao et al. 2022 (BEiT, https://arxiv.org/abs/2106.08254, section 3.1). Norms and biases have no weight decay, as in
    transformers' ``Trainer``.

    Args:
        model: What is trained: the tagger, or the tagger in a wrapper (peft), or its head alone.
        tagger: The tagger.
        arguments: ``learning_rate``, ``head_learning_rate``, ``layer_decay`` and ``weight_decay`` are read; with
            ``optimizer_phases`` a group's weight decay is the highest of the phases'.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``, the fastest learning one first.

    Raises:
        RecipeError: With ``layer_decay``, if the model has no encoder with layers.
    """
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    weight_decay = max([arguments.weight_decay, *(phase.weight_decay for phase in arguments.optimizer_phases or ())])
    rates = _learning_rates(tagger, arguments)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            rate = rates.get(id(value), arguments.learning_rate)
            groups.setdefault((rate, weight_decay if name in decayed else 0.0), []).append(value)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return [{"params": values, "lr": rate, "weight_decay": decay} for (rate, decay), values in ordered]


def _learning_rates(tagger: PreTrainedModel, arguments: TaggingArguments) -> dict[int, float]:
    """Learning rates by the identity of the parameter: wrappers change the names."""
    rates = {}
    if arguments.layer_decay is not None:
        depths, layers = layer_depths(tagger, "layer_decay")
        for name, value in tagger.named_parameters():
            rates[id(value)] = arguments.learning_rate * arguments.layer_decay ** (layers + 1 - depths[name])
    if arguments.head_learning_rate is not None:
        for name, value in tagger.named_parameters():
            if name.split(".")[0] in HEAD_MODULES:
                rates[id(value)] = arguments.head_learning_rate
    return rates
