"""What a training loop of one's own keeps besides the loop: progress, the history of losses, the best weights.

Transformers' ``Trainer`` keeps the same things; a run of either leaves the same folder.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, SequenceFeatureExtractor, TrainerState
from transformers.trainer_utils import PredictionOutput, SchedulerType

from ..arguments import ModelArguments, TaggingArguments
from ..data.pcm import PreparedClips
from ..data.windows import EvaluationWindows, TrainingWindows
from ..errors import RecipeError
from ..evaluation.metrics import DEFAULT_METRIC
from ..models.input_features import input_features
from .clip_evaluation import ClipEvaluation
from .memory_format import match_memory_format
from .push_check import warn_of_push
from .sampling import balanced_sampler
from .training_checks import check_training
from .weight_average import WeightAverage
from .window_loss import WindowLoss


def refuse_unsupported(arguments: TaggingArguments, model_arguments: ModelArguments) -> None:
    """Raises RecipeError for what only ``scripts/finetune.py`` does, all of it in one message."""
    wishes = {
        "resume_from_checkpoint": arguments.resume_from_checkpoint is not None,
        "early_stopping_patience": arguments.early_stopping_patience is not None,
        "eval_strategy: steps": arguments.eval_strategy == "steps",
        "save_strategy: steps": arguments.save_strategy == "steps",
        "lr_scheduler_type: reduce_lr_on_plateau": arguments.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU,
        "optimizer_phases": arguments.optimizer_phases is not None,
        "torch_compile": arguments.torch_compile,
        "gradient_checkpointing": arguments.gradient_checkpointing,
        "unfreeze_layers_per_epoch": model_arguments.unfreeze_layers_per_epoch is not None,
    }
    problems = [f"{name}: only scripts/finetune.py does this" for name, wished in wishes.items() if wished]
    if problems:
        raise RecipeError(problems, "the recipe")


class PlainRun:
    """The progress of a training loop.

    Args:
        model: What is trained: the tagger, or peft's wrapper of it.
        tagger: The tagger.
        feature_extractor: Its feature extractor.
        args: The training arguments.
        accelerator: The accelerator.
        windows: The training windows.
        validation: The validation clips.
    """

    def __init__(
        self,
        model: nn.Module,
        tagger: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        args: TaggingArguments,
        accelerator: Accelerator,
        windows: TrainingWindows,
        validation: PreparedClips,
    ):
        self.model, self.tagger, self.processing_class, self.args = model, tagger, feature_extractor, args
        self.accelerator, self.windows, self.validation = accelerator, windows, validation
        args.metric_for_best_model = args.metric_for_best_model or DEFAULT_METRIC[tagger.config.problem_type]
        check_training(model, args, len(windows))
        warn_of_push(args)
        args.dataloader_pin_memory &= torch.accelerator.is_available()
        self.state = TrainerState(epoch=0.0)
        self.sampler = balanced_sampler(windows, args)
        self.model.to(accelerator.device)
        match_memory_format(self.model, accelerator.device)
        self.average = None if args.ema_decay is None else WeightAverage(model, args.ema_decay)
        features = input_features(feature_extractor)
        self._evaluation = ClipEvaluation(
            accelerator,
            args,
            tagger.config,
            lambda clips, process: EvaluationWindows(
                clips,
                feature_extractor.window_samples,
                feature_extractor.hop_samples,
                (process, accelerator.num_processes),
            ),
            lambda model, batch: model(**features(batch["input_values"])),
        )
        self._losses: list[torch.Tensor] = []  # of the batches since the last log
        self._best: dict[str, torch.Tensor] | None = None
        self._better = -math.inf
        self._batches, self._steps_per_epoch, self._rate = 1, 1, 0.0

    def schedule(self, batches: int) -> tuple[int, int]:
        """Optimizer steps and epochs of the run, for a number of batches that a process has in one epoch."""
        self._batches = batches
        self._steps_per_epoch = math.ceil(batches / self.args.gradient_accumulation_steps)
        if self.args.max_steps > 0:
            return self.args.max_steps, math.ceil(self.args.max_steps / self._steps_per_epoch)
        return math.ceil(self.args.num_train_epochs * self._steps_per_epoch), math.ceil(self.args.num_train_epochs)

    def accumulation_scale(self, number: int) -> float:
        """Factor of a batch's loss, for an epoch whose last optimizer step has fewer batches than the others.

        Accelerate divides every loss by ``gradient_accumulation_steps``.

        Args:
            number: The batch's number within the epoch, from 0.
        """
        steps = self.args.gradient_accumulation_steps
        return steps / min(steps, self._batches - number // steps * steps)

    def begin_epoch(self, epoch: int, loader: DataLoader) -> None:
        """Moves every crop, and shuffles anew."""
        for part in (self.windows, self.sampler, loader):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)

    def end_batch(self, loss: torch.Tensor, learning_rate: float, is_step: bool) -> None:
        """Notes a batch, which may have ended with an optimizer step."""
        self._losses.append(loss.detach())
        if not is_step:
            return
        self._rate = learning_rate
        self.state.global_step += 1
        self.state.epoch = self.state.global_step / self._steps_per_epoch
        if self.average is not None:
            self.average.update(self.state.global_step)
        if self.args.logging_strategy == "steps" and self.state.global_step % self.args.logging_steps == 0:
            self._log_loss({})

    def end_epoch(self, model: nn.Module, window_loss: WindowLoss) -> None:
        """Logs, evaluates the validation clips, and keeps the weights if they are the best so far."""
        if self.args.logging_strategy == "epoch":
            self._log_loss(window_loss.further_losses())
        if self.args.eval_strategy == "no":
            return
        with nullcontext() if self.average is None else self.average.applied():
            _, _, metrics = self._evaluation.run(model, self._evaluation.dataloader(self.validation))
            self._log({f"eval_{name}": value for name, value in metrics.items()})
            score = metrics[self.args.metric_for_best_model.removeprefix("eval_")]
            better = -score if self.args.metric_for_best_model.endswith("loss") else score
            if better > self._better:
                self._better, self.state.best_metric = better, score
                self.state.best_global_step = self.state.global_step
                self._best = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def finish(self, model: nn.Module, splits: dict[str, PreparedClips]) -> dict[str, PredictionOutput]:
        """Takes the best weights, saves the model, and predicts some splits."""
        if self.average is not None:
            self.average.swap()
        if self.args.load_best_model_at_end and self._best is not None:
            self.model.load_state_dict(self._best)
        if self.accelerator.is_main_process:
            folder = Path(self.args.output_dir)
            self.model.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)
        predictions = {}
        for split, clips in splits.items():
            if len(clips):
                found, labels, metrics = self._evaluation.run(model, self._evaluation.dataloader(clips))
                metrics = {f"{split}_{name}": value for name, value in metrics.items()}
                predictions[split] = PredictionOutput(found, labels, metrics)
        return predictions

    def _log_loss(self, further: dict[str, float]) -> None:
        mean = torch.stack(self._losses).mean()
        self._losses.clear()
        self._log({"loss": self.accelerator.reduce(mean, "mean").item(), "learning_rate": self._rate, **further})

    def _log(self, values: dict[str, float]) -> None:
        self.state.log_history.append({**values, "epoch": self.state.epoch, "step": self.state.global_step})
        self.accelerator.print(values)
