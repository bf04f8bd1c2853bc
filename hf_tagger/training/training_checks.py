"""What would stop a training later, found before it begins; for either training loop."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ..arguments import TaggingArguments
from ..errors import HfTaggerError


def check_training(model: torch.nn.Module, args: TaggingArguments, windows: int) -> None:
    """Finds what would stop the run later, and keeps batch norms from a batch of one, which has no variance."""
    if args.gradient_checkpointing and not getattr(model, "supports_gradient_checkpointing", False):
        raise HfTaggerError(f"gradient_checkpointing: {type(model).__name__} does not support it; leave it out.")
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not any(id(parameter) in trained for norm in norms for parameter in norm.parameters()):
        return
    if min(args.per_device_train_batch_size, windows) < 2:
        raise HfTaggerError(
            f"{type(model).__name__} has batch norms, which need at least two windows a step; there are {windows} "
            f"windows an epoch in batches of {args.per_device_train_batch_size}. Raise per_device_train_batch_size "
            f"or crops_per_clip."
        )
    if args.world_size == 1 and windows % args.per_device_train_batch_size == 1:
        args.dataloader_drop_last = True  # the window left over comes in another epoch: the order changes
