"""Mixed precision outside of Trainer and Accelerate, which bring their own."""

from __future__ import annotations

import torch


def mixed_precision(device: str, precision: str | None) -> torch.autocast:
    """A context of mixed precision.

    Args:
        device: Type of the device, such as ``cuda``.
        precision: ``fp16`` or ``bf16``; None or ``no`` for float32.
    """
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return torch.autocast(device, dtype=dtype, enabled=dtype is not None)
