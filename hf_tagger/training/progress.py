"""What the parts of a training have to be told of its progress, and what of its gradients overflowed in fp16."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

if TYPE_CHECKING:
    from .trainer import TaggingTrainer

logger = logging.getLogger(__name__)

_STEPS_AT_ONCE = 100  # of loss scales that are asked for together: rare enough to cost nothing, soon enough to warn


class Progress(TrainerCallback):
    """Tells data, sampler, augmentation and the average of the weights how far training is.

    Accelerate tells the data set the epoch too, but neither in an epoch that is resumed in its middle nor with several
    processes (seen with 1.15: ``DataLoaderShard.set_epoch`` stops at the sampler).

    Args:
        trainer: The trainer.
        dataset: Its training windows.
    """

    def __init__(self, trainer: TaggingTrainer, dataset: Dataset):
        self._trainer, self._dataset = trainer, dataset

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Moves every crop, and draws anew what is sampled."""
        for part in (self._dataset, self._trainer._sampler):
            if hasattr(part, "set_epoch"):
                part.set_epoch(int(state.epoch or 0))

    def on_step_begin(self, args, state, control, **kwargs):
        """Tells the augmentation its step."""
        self._trainer.window_loss.begin_step(state.global_step)

    def on_train_begin(self, args, state, control, **kwargs):
        """Notes the loss scale with which fp16 begins, which may be that of a checkpoint."""
        self._trainer.loss_scale.begin(self._trainer.accelerator.scaler)

    def on_optimizer_step(self, args, state, control, **kwargs):
        """Notes the loss scale after the step."""
        self._trainer.loss_scale.note(state.global_step + 1)

    def on_step_end(self, args, state, control, **kwargs):
        """Takes the weights into their average."""
        if self._trainer.average is not None:
            self._trainer.average.update(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        """Warns of the last overflows, and ends with the average of the weights if there is one."""
        self._trainer.loss_scale.read()
        if self._trainer.average is not None:  # no best checkpoint was loaded: the last average is the result
            self._trainer.average.swap()
            self._trainer.average = None


class LossScale:
    """The scale of fp16's loss, and the steps that were skipped because gradients overflowed.

    A step was skipped if the scale is lower after it than before: accelerate's ``optimizer_step_was_skipped`` does not
    see what fused optimizers skip by themselves. To ask for the scale is to wait for the device, so it is noted there
    after every step, and asked for when it is logged or some steps have come together. Warnings are late by as much.

    Attributes:
        overflowed_steps: Steps skipped so far, as of the last :meth:`read`.
    """

    def __init__(self):
        self.overflowed_steps = 0
        self._scaler: torch.amp.GradScaler | None = None
        self._noted: torch.Tensor | None = None  # on the device, the scales after ``_steps``
        self._steps: list[int] = []
        self._before = 0.0

    def begin(self, scaler: torch.amp.GradScaler | None) -> None:
        """Begins a training.

        Args:
            scaler: What scales the loss; None if nothing does.
        """
        self._scaler, self._steps, self._noted = scaler, [], None
        if scaler is not None:
            self._before = scaler.get_scale()

    def note(self, step: int) -> None:
        """Notes the scale after an optimizer step, without waiting for the device.

        Args:
            step: Number of the step, from 1.
        """
        if self._scaler is None:
            return
        scale = self._scaler._get_scale_async()  # the public get_scale waits
        if self._noted is None:
            self._noted = torch.empty(_STEPS_AT_ONCE, dtype=scale.dtype, device=scale.device)
        self._noted[len(self._steps)].copy_(scale)
        self._steps.append(step)
        if len(self._steps) == _STEPS_AT_ONCE:
            self.read()

    def read(self) -> float | None:
        """Waits for the device, and warns of what overflowed since the last time.

        Returns:
            The present scale; None if there is none.
        """
        if self._scaler is None:
            return None
        noted = self._noted[: len(self._steps)].tolist() if self._steps else []
        for step, scale in zip(self._steps, noted, strict=True):
            if scale < self._before:
                self.overflowed_steps += 1
                logger.warning(
                    "Step %d was skipped: gradients overflowed in fp16; the loss scale is now %g.", step, scale
                )
            self._before = scale
        self._steps.clear()
        return self._before
