"""transformers' ``Trainer`` with evaluation on clips instead of windows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from peft import PeftModel
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy, SchedulerType, TrainOutput
from transformers.utils import ModelOutput

from ..arguments import TaggingArguments
from ..data.pcm import PreparedClips
from ..data.windows import EvaluationWindows, WindowCollator
from ..errors import DatasetError, HfTaggerError, Interrupted
from ..evaluation.metrics import DEFAULT_METRIC, check_selectable
from ..models.input_features import input_features
from .clip_evaluation import ClipEvaluation
from .memory_format import match_memory_format
from .optimizer import make_optimizer
from .optimizer_phases import PhaseStart, phase_schedule
from .preemption import StopOnSignal
from .progress import LossScale, Progress
from .push_check import warn_of_push
from .sampling import balanced_sampler
from .training_checks import check_training
from .unfreezing import GradualUnfreezing
from .weight_average import WeightAverage
from .window_loss import WindowLoss


class TaggingTrainer(Trainer):
    """Trains on windows, evaluates on clips (:class:`~hf_tagger.training.clip_evaluation.ClipEvaluation`).

    Args:
        model: One of this package's models, or an audio classification model of transformers.
        args: The training arguments.
        feature_extractor: States the window and hop in samples and what the model reads; saved beside the model.
        train_dataset: Training windows.
        eval_dataset: The validation clips; without them training is not evaluated.
        frozen: Modules that stay in eval mode while the rest is trained.
        unfreeze_layers_per_epoch: Layers of the encoder that join training at every epoch; None trains all at once.
        **kwargs: Passed on to ``Trainer``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        args: TaggingArguments,
        feature_extractor,
        train_dataset: Dataset | None = None,
        eval_dataset: PreparedClips | None = None,
        frozen: Sequence[torch.nn.Module] = (),
        unfreeze_layers_per_epoch: int | None = None,
        **kwargs,
    ):
        self.tagger = model.get_base_model() if isinstance(model, PeftModel) else model
        config = self.tagger.config
        args.metric_for_best_model = args.metric_for_best_model or DEFAULT_METRIC[config.problem_type]
        args.greater_is_better = args.metric_for_best_model not in ("loss", "eval_loss")
        _plateau_follows_the_metric(args)
        if train_dataset is not None:
            check_training(model, args, len(train_dataset))
            warn_of_push(args)
        if eval_dataset is not None and not len(eval_dataset):
            raise DatasetError(
                "The validation split is empty, so no best checkpoint can be chosen. Give it some clips."
            )
        if eval_dataset is None:
            args.eval_strategy = IntervalStrategy.NO
        args.dataloader_pin_memory &= torch.accelerator.is_available()
        # A pinned batch need not be waited for. PyTorch pins for CUDA only: elsewhere a copy for which nobody waits
        # would read memory that is used anew by then.
        args.accelerator_config.non_blocking |= args.dataloader_pin_memory and args.device.type == "cuda"
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=feature_extractor,
            data_collator=WindowCollator(config.problem_type, config.num_labels),
            **kwargs,
        )
        # Stock models take keyword arguments for their loss; ours is a mean, which Trainer scales for accumulation.
        self.model_accepts_loss_kwargs = False
        match_memory_format(self.model, args.device)
        self.evaluation = ClipEvaluation(self.accelerator, args, config, self._evaluation_windows, self._outputs)
        self._features = input_features(feature_extractor)
        self.average: WeightAverage | None = None
        self.loss_scale = LossScale()
        self._operations: dict[torch.Size, int] = {}
        self._stop_on_signal = StopOnSignal()
        if train_dataset is None:
            return
        if eval_dataset is not None:
            self._check_metric(eval_dataset)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            for name in ("ema_decay", "optimizer_phases"):
                if getattr(args, name) is not None:
                    raise HfTaggerError(
                        f"{name}: not possible with FSDP or DeepSpeed, which shard the weights; leave it out."
                    )
        self._unfreeze_layers_per_epoch = unfreeze_layers_per_epoch
        self._sampler = balanced_sampler(train_dataset, args)
        self.add_callback(Progress(self, train_dataset))
        self.add_callback(self._stop_on_signal)
        if args.optimizer_phases is not None:
            self.add_callback(PhaseStart(self))
        self.adopt(self.model, frozen)

    def adopt(self, model: torch.nn.Module, frozen: Sequence[torch.nn.Module]) -> None:
        """Takes a model as the one that is trained.

        Args:
            model: The tagger or peft's wrapper of it, on its device.
            frozen: Modules that stay in eval mode.
        """
        args = self.args
        self.tagger = model.get_base_model() if isinstance(model, PeftModel) else model
        self._operations.clear()
        self.window_loss = WindowLoss(self.tagger, self.processing_class, args, self.train_dataset.clips, frozen)
        self.average = None if args.ema_decay is None else WeightAverage(model, args.ema_decay)
        for callback in (GradualUnfreezing, EarlyStoppingCallback):
            self.remove_callback(callback)
        if self._unfreeze_layers_per_epoch is not None:
            self.add_callback(GradualUnfreezing(self.tagger, self._unfreeze_layers_per_epoch, self.window_loss.frozen))
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    def train(self, *args, **kwargs) -> TrainOutput:
        """As of transformers; when it ends in an error, signals have their usual effect again.

        Raises:
            Interrupted: If a signal asked it to stop.
        """
        try:
            return super().train(*args, **kwargs)
        except Interrupted:  # has decided itself whether others still have to be waited for
            raise
        except BaseException:
            self._stop_on_signal.close()
            raise

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The recipe's optimizer with a learning rate for every group of parameters."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model if model is None else model, self.tagger, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """The recipe's schedule, or the learning rates of its optimizer's phases."""
        if self.args.optimizer_phases is not None and self.lr_scheduler is None:
            self.lr_scheduler = phase_schedule(optimizer or self.optimizer)
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of windows, the same for every family; stock models bring losses that know no tags."""
        loss, outputs = self.window_loss(model, inputs, self._training_outputs())
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, torch.Tensor]) -> int:
        """As of transformers, which counts the model's weights anew at every step; a shape of batches needs it once."""
        shape = inputs["input_values"].shape
        if shape not in self._operations:
            self._operations[shape] = super().floating_point_ops(inputs)
        return self._operations[shape]

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Adds to the training loss its parts that are not the labels' loss, and how fp16's loss scaling fares."""
        if "loss" in logs:
            logs |= self.window_loss.further_losses()
            if self.accelerator.scaler is not None:
                logs["loss_scale"] = self.loss_scale.read()
                logs["overflowed_steps"] = self.loss_scale.overflowed_steps
        super().log(logs, *args, **kwargs)

    def get_eval_dataloader(self, eval_dataset: PreparedClips | None = None) -> DataLoader:
        """Batches of this process's evaluation windows."""
        return self.evaluation.dataloader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def get_test_dataloader(self, test_dataset: PreparedClips) -> DataLoader:
        """The same as :meth:`get_eval_dataloader`."""
        return self.get_eval_dataloader(test_dataset)

    def num_examples(self, dataloader: DataLoader) -> int:
        """Number of clips or windows of a data loader's dataset."""
        return len(dataloader.dataset)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluates clips; see :meth:`~hf_tagger.training.clip_evaluation.ClipEvaluation.run` for what is returned."""
        model = self._wrap_model(self.model, training=False)
        if not self.accelerator._models and model is self.model:  # evaluation without training before it
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        self.callback_handler.eval_dataloader = dataloader

        def on_step() -> None:
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        with self._averaged():
            probabilities, labels, metrics = self.evaluation.run(model, dataloader, on_step)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(
            predictions=probabilities, label_ids=labels, metrics=metrics, num_samples=len(dataloader.dataset)
        )

    def _outputs(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> ModelOutput:
        return model(**self._features(inputs["input_values"]))

    def _training_outputs(self):
        """What computes the outputs in training in place of features and model, if anything."""
        return None

    def _get_train_sampler(self, *args, **kwargs) -> torch.utils.data.Sampler | None:
        return self._sampler or super()._get_train_sampler(*args, **kwargs)

    def _evaluation_windows(self, clips: PreparedClips, process: int) -> Dataset:
        extractor = self.processing_class
        share = (process, self.args.world_size)
        return EvaluationWindows(clips, extractor.window_samples, extractor.hop_samples, share)

    def _averaged(self):
        return nullcontext() if self.average is None else self.average.applied()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        with self._averaged():
            super()._save(output_dir, state_dict)
        if self.average is not None and self.args.should_save:
            self.average.save_training_weights(output_dir or self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.average is not None:
            self.average.resume(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self.average = None  # the checkpoint's model is the average
        super()._load_best_model()

    def _check_metric(self, clips: PreparedClips) -> None:
        """Raises an error now instead of after an epoch if the metric cannot choose the best checkpoint."""
        metric = self.args.metric_for_best_model.removeprefix("eval_")
        if self.args.eval_strategy == IntervalStrategy.NO or metric == "loss":
            return
        if not clips.labelled:
            raise DatasetError(
                "No validation clip has labels, so no best checkpoint can be chosen. Label some of them."
            )
        references = self.evaluation.references(clips)
        guesses = np.full((len(references), self.tagger.config.num_labels), 0.5)
        try:
            check_selectable(self.evaluation.metrics.compute(predictions=guesses, references=references), metric)
        except ValueError as error:
            raise DatasetError(str(error)) from error


def _plateau_follows_the_metric(args: TaggingArguments) -> None:
    """ReduceLROnPlateau waits for a falling value by default, which would end the learning of a rising metric."""
    if args.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU:
        mode = "max" if args.greater_is_better else "min"
        args.lr_scheduler_kwargs = {"mode": mode, **(args.lr_scheduler_kwargs or {})}
