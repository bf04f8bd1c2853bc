"""The loss of a batch of training windows, the same for the trainer and for a training loop of one's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import ASTFeatureExtractor, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..arguments import TaggingArguments
from ..data.pcm import PreparedClips
from ..loss_arguments import LossArguments
from ..models.input_features import input_features
from ..models.windowed_classification import training_loss
from .augment import Augmentation
from .losses import build_loss, known_counts, label_counts

logger = logging.getLogger(__name__)


class WindowLoss:
    """Augmentation, features, model, loss of the labels and what a model learns besides.

    Args:
        tagger: The tagger, whose configuration says what the labels are.
        feature_extractor: Its feature extractor.
        arguments: ``loss``, ``label_smoothing_factor``, ``augmentation``, ``seed`` and the process are read.
        clips: The training clips, whose labels are counted.
        frozen: Modules that stay in eval mode while the rest is trained.
    """

    def __init__(
        self,
        tagger: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        arguments: TaggingArguments,
        clips: PreparedClips,
        frozen: Sequence[nn.Module] = (),
    ):
        config = tagger.config
        self.config, self.frozen = config, list(frozen)
        self.labels_loss = build_loss(
            arguments.loss or LossArguments(),
            config.problem_type,
            label_counts(clips, config.num_labels, config.problem_type),
            known_counts(clips, config.num_labels, config.problem_type),
            arguments.label_smoothing_factor,
        ).to(arguments.device)
        self._features = input_features(feature_extractor)
        self._masks_features = isinstance(feature_extractor, ASTFeatureExtractor)
        self._further: dict[str, tuple[torch.Tensor, int]] = {}  # since the last time: sum, number of batches
        self.augmentation = None
        if arguments.augmentation is not None:
            self.augmentation = Augmentation(
                arguments.augmentation,
                feature_extractor.sampling_rate,
                config.problem_type,
                config.num_labels,
                arguments.seed,
                arguments.process_index,
            )
            attached = self.augmentation.attach(tagger).attached
            if arguments.augmentation.spec_augment is not None and not (attached or self._masks_features):
                logger.warning("spec_augment does nothing: %s reads no spectrogram of ours.", type(tagger).__name__)

    def begin_step(self, step: int) -> None:
        """Tells which optimizer step is to come, from 0: its augmentation depends on nothing else."""
        if self.augmentation is not None:
            self.augmentation.begin_step(step)

    def __call__(
        self,
        model: nn.Module,
        batch: dict[str, torch.Tensor],
        outputs: Callable[[nn.Module, dict], ModelOutput] | None = None,
    ) -> tuple[torch.Tensor, ModelOutput]:
        """The loss of a batch and the model's output.

        Args:
            model: The model, in training mode and prepared by the accelerator.
            batch: ``input_values`` ``[B, samples]`` and ``labels``, on the model's device.
            outputs: Called with the model and the batch in place of the features and the model.
        """
        for module in self.frozen:  # the whole model has just been set to training
            module.eval()
        windows, labels = batch["input_values"], batch["labels"]
        if self.augmentation is not None:
            windows, labels = self.augmentation.waveforms(windows, labels)
        output = outputs(model, {"input_values": windows}) if outputs else model(**self.features(windows, True))
        loss = training_loss(output, labels, self.config, labels_loss=self.labels_loss)
        for name, value in (getattr(output, "further_losses", None) or {}).items():
            total, batches = self._further.get(name, (0.0, 0))
            self._further[name] = (total + value.detach(), batches + 1)
        return loss, output

    def features(self, windows: torch.Tensor, training: bool = False) -> dict[str, torch.Tensor]:
        """What the model reads of waveforms ``[B, samples]``."""
        features = self._features(windows)
        if training and self._masks_features and self.augmentation is not None:
            features["input_values"] = self.augmentation.spectrogram(features["input_values"].mT).mT
        return features

    def further_losses(self) -> dict[str, float]:
        """Means of the losses that are not the labels', by name, since the last time."""
        means = {name: float(total) / batches for name, (total, batches) in self._further.items()}
        self._further.clear()
        return means
