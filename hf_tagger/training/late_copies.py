"""Copies to and from a device for which the CPU does not wait, so that neither has to wait for the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

Key = TypeVar("Key")


def copied_ahead(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of a tensor of the CPU on a device.

    On CUDA by pinned memory: of any other, the copy would be waited for, and with it all that was asked of the device
    before. Elsewhere PyTorch waits, or there is nothing to wait for.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=tensor.is_pinned())


def copied_late(computed: Iterable[tuple[Key, torch.Tensor]]) -> Iterator[tuple[Key, torch.Tensor]]:
    """Copies tensors to the CPU, each handed on only when the next one has been asked of the device.

    ``.cpu()`` waits until the device has nothing left to do; it would then stand still while the next batch is made and
    launched. Here each copy is queued right behind what it copies, and waited for after the next batch was launched.

    Args:
        computed: Whatever belongs to a tensor, and the tensor; iterating over it launches the computation.

    Yields:
        The same in the same order, with the tensor on the CPU.
    """
    waiting = None
    for key, tensor in computed:
        copy = _Copy(tensor)
        if waiting is not None:
            yield waiting[0], waiting[1].wait()
        waiting = key, copy
    if waiting is not None:
        yield waiting[0], waiting[1].wait()


class _Copy:
    """A copy on its way to the CPU.

    Only CUDA's events are used (ROCm has them under the same name): elsewhere the copy is waited for at once.
    """

    def __init__(self, tensor: torch.Tensor):
        self._done = torch.cuda.Event() if tensor.is_cuda else None
        self._copy = tensor.to("cpu", non_blocking=tensor.is_cuda)  # into pinned memory, which PyTorch chooses for it
        if self._done is not None:
            self._done.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> torch.Tensor:
        """The copy, when it is whole."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy
