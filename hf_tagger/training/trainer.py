"""transformers' ``Trainer`` with evaluation on clips instead of windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from peft import PeftModel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy
from transformers.utils import ModelOutput

from ..arguments import TaggingArguments
from ..data.base import MULTI_LABEL
from ..data.pcm import PreparedClips
from ..data.windows import EvaluationWindows, WindowCollator, encode_labels
from ..errors import DatasetError, HfTaggerError
from ..evaluation.metrics import DEFAULT_METRIC, TaggingMetrics, check_selectable
from ..models.input_features import input_features
from ..models.windowed_classification import training_loss

_SMALLEST_PROBABILITY = 1e-7  # keeps the logarithm of the clip loss finite


class TaggingTrainer(Trainer):
    """Trains on windows, evaluates on clips.

    Evaluation streams the windows through the model, adds their probabilities to one row a clip, and computes metrics
    from the mean: memory grows with clips × labels, not with windows. With several processes each evaluates whole
    clips of its own, so the numbers are those of one process and no clip counts twice.

    Args:
        model: One of this package's models, or an audio classification model of transformers.
        args: The training arguments.
        feature_extractor: States the window and hop in samples and what the model reads; saved beside the model.
        train_dataset: Training windows.
        eval_dataset: The validation clips; without them training is not evaluated.
        frozen: Modules that stay in eval mode while the rest is trained.
        **kwargs: Passed on to ``Trainer``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        args: TaggingArguments,
        feature_extractor,
        train_dataset: torch.utils.data.Dataset | None = None,
        eval_dataset: PreparedClips | None = None,
        frozen: Sequence[torch.nn.Module] = (),
        **kwargs,
    ):
        self.tagger = model.get_base_model() if isinstance(model, PeftModel) else model
        self.frozen, self.features = list(frozen), input_features(feature_extractor)
        self._further_losses: dict[str, tuple[torch.Tensor, int]] = {}  # since the last log: sum, number of batches
        self.problem_type, self.num_labels = model.config.problem_type, model.config.num_labels
        args.metric_for_best_model = args.metric_for_best_model or DEFAULT_METRIC[self.problem_type]
        args.greater_is_better = args.metric_for_best_model not in ("loss", "eval_loss")
        if train_dataset is not None:
            self._check_training(model, args, len(train_dataset))
        if eval_dataset is not None and not len(eval_dataset):
            raise DatasetError(
                "The validation split is empty, so no best checkpoint can be chosen. Give it some clips."
            )
        if eval_dataset is None:
            args.eval_strategy = IntervalStrategy.NO
        args.dataloader_pin_memory &= torch.accelerator.is_available()
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=feature_extractor,
            data_collator=WindowCollator(self.problem_type, self.num_labels),
            **kwargs,
        )
        # Stock models take keyword arguments for their loss; ours is a mean, which Trainer scales for accumulation.
        self.model_accepts_loss_kwargs = False
        if hasattr(train_dataset, "set_epoch"):
            self.add_callback(_EpochOfDataset(train_dataset))
        self.metrics = TaggingMetrics(self.problem_type)
        if train_dataset is not None and eval_dataset is not None:
            self._check_metric(eval_dataset)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of windows, the same for every family; stock models bring losses that know no tags."""
        for module in self.frozen:  # Trainer has just set the whole model to training
            module.eval()
        labels = inputs.pop("labels")
        outputs = self._outputs(model, inputs)
        loss = training_loss(outputs, labels, self.tagger.config, self.args.label_smoothing_factor)
        for name, value in (getattr(outputs, "further_losses", None) or {}).items():
            total, batches = self._further_losses.get(name, (0.0, 0))
            self._further_losses[name] = (total + value.detach(), batches + 1)
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Adds to the training loss the means of its parts that are not the labels' loss, since the last time."""
        if "loss" in logs:
            logs |= {name: float(total) / batches for name, (total, batches) in self._further_losses.items()}
            self._further_losses.clear()
        super().log(logs, *args, **kwargs)

    def _outputs(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> ModelOutput:
        return model(**self.features(inputs["input_values"]))

    def get_eval_dataloader(self, eval_dataset: PreparedClips | None = None) -> DataLoader:
        """Batches of this process's evaluation windows; not prepared by Accelerate, which would repeat some."""
        clips = self.eval_dataset if eval_dataset is None else eval_dataset
        windows = self._evaluation_windows(clips, self.args.process_index)
        return DataLoader(
            windows,
            batch_size=self.args.per_device_eval_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

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
        """Evaluates clips.

        Returns:
            ``predictions``: probabilities float64 ``[clips, labels]``; ``label_ids``: class indices ``[clips]`` or 0/1
            ``[clips, labels]`` of the labelled clips, None if there are none; ``metrics`` over the labelled clips, with
            ``loss``, the mean over clips of the loss of a clip's mean probabilities.
        """
        clips: PreparedClips = dataloader.dataset.clips
        model = self._model_for_evaluation()
        self._share_buffers(model)
        self.callback_handler.eval_dataloader = dataloader
        sums = torch.zeros(len(clips), self.num_labels, dtype=torch.float64)
        counts = torch.zeros(len(clips), dtype=torch.float64)
        for batch, counted in self._batches(dataloader, clips):
            clip_index = batch.pop("clip_index")
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = self._outputs(model, self._prepare_inputs(batch)).logits  # [B, C]
            if counted:
                sums.index_add_(0, clip_index, self._probabilities(logits))
                counts.index_add_(0, clip_index, torch.ones(len(clip_index), dtype=torch.float64))
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        if self.args.world_size > 1:
            together = torch.cat([sums, counts[:, None]], dim=1)
            together = self.accelerator.reduce(together.to(self.args.device), reduction="sum").cpu()
            sums, counts = together[:, :-1], together[:, -1]
        probabilities = (sums / counts[:, None]).numpy()
        labels, metrics = self._score(clips, probabilities)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(
            predictions=probabilities, label_ids=labels, metrics=metrics, num_samples=len(dataloader.dataset)
        )

    @staticmethod
    def _check_training(model: torch.nn.Module, args: TaggingArguments, windows: int) -> None:
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

    def _check_metric(self, clips: PreparedClips) -> None:
        """Raises an error now instead of after an epoch if the metric cannot choose the best checkpoint."""
        metric = self.args.metric_for_best_model.removeprefix("eval_")
        if self.args.eval_strategy == IntervalStrategy.NO or metric == "loss":
            return
        if not clips.labelled:
            raise DatasetError(
                "No validation clip has labels, so no best checkpoint can be chosen. Label some of them."
            )
        references = self._references(clips)
        guesses = np.full((len(references), self.num_labels), 0.5)
        try:
            check_selectable(self.metrics.compute(predictions=guesses, references=references), metric)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def _references(self, clips: PreparedClips) -> np.ndarray:
        labels = [clips.labels[index] for index in clips.labelled]
        return encode_labels(labels, self.problem_type, self.num_labels)

    def _share_buffers(self, model: torch.nn.Module) -> None:
        """Gives all processes the batch norms' statistics of the first one, which are those that get saved.

        DistributedDataParallel shares them before a forward pass only: after the last step of training every process
        has its own, and would evaluate a model of its own.
        """
        if self.args.world_size > 1 and not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _evaluation_windows(self, clips: PreparedClips, process: int) -> EvaluationWindows:
        extractor = self.processing_class
        share = (process, self.args.world_size)
        return EvaluationWindows(clips, extractor.window_samples, extractor.hop_samples, share)

    def _model_for_evaluation(self) -> torch.nn.Module:
        model = self._wrap_model(self.model, training=False)
        if not self.accelerator._models and model is self.model:  # evaluation without training before it
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        return model.eval()

    def _batches(self, dataloader: DataLoader, clips: PreparedClips) -> Iterator[tuple[dict, bool]]:
        """This process's batches; a sharded model makes all processes take the same number of steps, so the rest are
        filled up with one batch that is not counted."""
        steps = 0
        for batch in dataloader:
            last = dict(batch)
            steps += 1
            yield batch, True
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            size = self.args.per_device_eval_batch_size
            longest = max(len(self._evaluation_windows(clips, rank)) for rank in range(self.args.world_size))
            if not steps:
                last = self.data_collator([self._evaluation_windows(clips, 0)[0]])
            for _ in range(-(-longest // size) - steps):
                yield dict(last), False

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.detach().float().cpu().double()  # on the CPU: not every accelerator knows float64
        return logits.sigmoid() if self.problem_type == MULTI_LABEL else logits.softmax(dim=-1)

    def _score(self, clips: PreparedClips, probabilities: np.ndarray) -> tuple[np.ndarray | None, dict]:
        if not clips.labelled:
            return None, {}
        labels = self._references(clips)
        scored = probabilities[clips.labelled]
        if not np.isfinite(scored).all():
            raise HfTaggerError(
                "The model's outputs are NaN or infinite: training has diverged. Lower learning_rate, raise "
                "warmup_steps, or train without fp16."
            )
        metrics = self.metrics.compute(predictions=scored, references=labels)
        metrics["loss"] = _clip_loss(scored, labels, self.problem_type)
        return labels, metrics


class _EpochOfDataset(TrainerCallback):
    """Tells the training windows which epoch begins.

    Accelerate does so too, but neither in an epoch that is resumed in its middle nor with several processes (seen with
    1.15: ``DataLoaderShard.set_epoch`` stops at the sampler).
    """

    def __init__(self, dataset: torch.utils.data.Dataset):
        self.dataset = dataset

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.dataset.set_epoch(int(state.epoch or 0))


def _clip_loss(probabilities: np.ndarray, labels: np.ndarray, problem_type: str) -> float:
    """Mean negative log-likelihood of the clips' mean probabilities."""
    bounded = np.clip(probabilities, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    if problem_type == MULTI_LABEL:
        return float(-(labels * np.log(bounded) + (1 - labels) * np.log1p(-bounded)).mean())
    return float(-np.log(bounded[np.arange(len(labels)), labels]).mean())
