"""Evaluation of clips instead of windows, for the trainer and for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedConfig
from transformers.utils import ModelOutput

from ..arguments import TaggingArguments
from ..data.base import MULTI_LABEL
from ..data.pcm import PreparedClips
from ..data.windows import WindowCollator, labels_of
from ..errors import HfTaggerError
from ..evaluation.metrics import TaggingMetrics
from .forks import let_threads_settle_before_forks
from .late_copies import copied_late

_SMALLEST_PROBABILITY = 1e-7  # keeps the logarithm of the clip loss finite
_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class ClipEvaluation:
    """Streams windows through a model and computes metrics from the mean probabilities of each clip.

    Memory grows with clips × labels, not with windows. With several processes each evaluates whole clips of its own, so
    the numbers are those of one process and no clip counts twice.

    Args:
        accelerator: Says where and in which precision.
        arguments: Batch size and worker processes are read.
        config: The tagger's configuration: problem type and number of labels.
        windows: Called with clips and the number of a process; returns that process's evaluation windows.
        outputs: Called with the model and a batch on its device; returns the model's output.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        arguments: TaggingArguments,
        config: PreTrainedConfig,
        windows: Callable[[PreparedClips, int], Dataset],
        outputs: Callable[[torch.nn.Module, dict], ModelOutput],
    ):
        let_threads_settle_before_forks()  # here, where all ways to train and to evaluate come by
        self.accelerator, self.arguments, self.windows, self.outputs = accelerator, arguments, windows, outputs
        self.problem_type, self.num_labels = config.problem_type, config.num_labels
        self.collator = WindowCollator(self.problem_type, self.num_labels)
        self.metrics = TaggingMetrics(self.problem_type)
        self._kept: DataLoader | None = None

    def dataloader(self, clips: PreparedClips) -> DataLoader:
        """Batches of this process's evaluation windows; not prepared by Accelerate, which would repeat some.

        With ``dataloader_persistent_workers`` the same clips are asked for by the same processes again, as long as no
        others come between.
        """
        arguments = self.arguments
        if self._kept is not None and self._kept.dataset.clips is clips:
            return self._kept
        loader = DataLoader(
            self.windows(clips, self.accelerator.process_index),
            batch_size=arguments.per_device_eval_batch_size,
            collate_fn=self.collator,
            num_workers=arguments.dataloader_num_workers,
            pin_memory=arguments.dataloader_pin_memory,
            persistent_workers=arguments.dataloader_persistent_workers and arguments.dataloader_num_workers > 0,
            prefetch_factor=arguments.dataloader_prefetch_factor,
        )
        self._kept = loader if arguments.dataloader_persistent_workers else None
        return loader

    def run(
        self, model: torch.nn.Module, dataloader: DataLoader, on_step: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray | None, dict]:
        """Evaluates clips.

        Args:
            model: The model, prepared by the accelerator.
            dataloader: What :meth:`dataloader` returned.
            on_step: Called after every batch.

        Returns:
            Probabilities float64 ``[clips, labels]``; class indices ``[clips]`` or 0/1 ``[clips, labels]``, NaN where
            unknown, of the labelled clips, None if there are none; and metrics over what is known of the labelled
            clips, with ``loss``, the mean over clips (multi-label: over known labels of clips) of the loss of a clip's
            mean probabilities.

        Raises:
            HfTaggerError: If an output is NaN or infinite.
        """
        clips: PreparedClips = dataloader.dataset.clips
        model.eval()
        self._share_buffers(model)
        sums = torch.zeros(len(clips), self.num_labels, dtype=torch.float64)
        counts = torch.zeros(len(clips), dtype=torch.float64)
        for clip_index, logits in copied_late(self._logits(model, dataloader, clips, on_step)):
            sums.index_add_(0, clip_index, self._probabilities(logits))
            counts.index_add_(0, clip_index, torch.ones(len(clip_index), dtype=torch.float64))
        if self.accelerator.num_processes > 1:
            together = torch.cat([sums, counts[:, None]], dim=1)
            together = self.accelerator.reduce(together.to(self.accelerator.device), reduction="sum").cpu()
            sums, counts = together[:, :-1], together[:, -1]
        probabilities = (sums / counts[:, None]).numpy()
        return probabilities, *self._score(clips, probabilities)

    def references(self, clips: PreparedClips) -> np.ndarray:
        """Class indices ``[clips]`` or 0/1 ``[clips, labels]``, NaN where unknown, of the labelled clips."""
        return labels_of(clips, self.problem_type, self.num_labels)

    def _share_buffers(self, model: torch.nn.Module) -> None:
        """Gives all processes the batch norms' statistics of the first one, which are those that get saved.

        DistributedDataParallel shares them before a forward pass only: after the last step of training every process
        has its own, and would evaluate a model of its own.
        """
        if self.accelerator.num_processes > 1 and self.accelerator.distributed_type not in _SHARDED:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _logits(
        self, model: torch.nn.Module, dataloader: DataLoader, clips: PreparedClips, on_step: Callable[[], None]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Of every batch that counts the clips' positions ``[B]`` and the logits float32 ``[B, C]`` on the device."""
        for batch, counted in self._batches(dataloader, clips):
            clip_index = batch.pop("clip_index")
            batch = {
                name: value.to(self.accelerator.device, non_blocking=value.is_pinned()) for name, value in batch.items()
            }
            with torch.no_grad(), self.accelerator.autocast():
                logits = self.outputs(model, batch).logits
            if counted:
                yield clip_index, logits.detach().float()
            on_step()

    def _batches(self, dataloader: DataLoader, clips: PreparedClips) -> Iterator[tuple[dict, bool]]:
        """This process's batches; a sharded model makes all processes take the same number of steps, so the rest are
        filled up with one batch that is not counted."""
        steps = 0
        for batch in dataloader:
            last = dict(batch)
            steps += 1
            yield batch, True
        if self.accelerator.distributed_type in _SHARDED:
            size = self.arguments.per_device_eval_batch_size
            longest = max(len(self.windows(clips, rank)) for rank in range(self.accelerator.num_processes))
            if not steps:
                last = self.collator([self.windows(clips, 0)[0]])
            for _ in range(-(-longest // size) - steps):
                yield dict(last), False

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.double()  # on the CPU: not every accelerator knows float64
        return logits.sigmoid() if self.problem_type == MULTI_LABEL else logits.softmax(dim=-1)

    def _score(self, clips: PreparedClips, probabilities: np.ndarray) -> tuple[np.ndarray | None, dict]:
        if not clips.labelled:
            return None, {}
        labels = self.references(clips)
        scored = probabilities[clips.labelled]
        if not np.isfinite(scored).all():
            raise HfTaggerError(
                "The model's outputs are NaN or infinite: training has diverged. Lower learning_rate, raise "
                "warmup_steps, or train without fp16."
            )
        metrics = self.metrics.compute(predictions=scored, references=labels)
        metrics["loss"] = _clip_loss(scored, labels, self.problem_type)
        return labels, metrics


def _clip_loss(probabilities: np.ndarray, labels: np.ndarray, problem_type: str) -> float:
    """Mean negative log-likelihood of the clips' mean probabilities; of multi-label data over what is known."""
    bounded = np.clip(probabilities, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    if problem_type == MULTI_LABEL:
        losses = -(labels * np.log(bounded) + (1 - labels) * np.log1p(-bounded))  # NaN where a label is unknown
        return float(np.nanmean(losses))
    return float(-np.log(bounded[np.arange(len(labels)), labels]).mean())
