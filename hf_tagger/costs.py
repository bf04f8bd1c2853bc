"""What a model costs, measured: training windows a second, and how much faster than the music it tags."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor

from .models.input_features import input_features
from .models.windowed_classification import MULTI_LABEL, training_loss
from .tagging import Tagger
from .training.freezing import freeze, freeze_unused
from .training.precision import mixed_precision

_REPETITIONS = 5  # the median of five is that of a run which neither another process nor a first call disturbed
_CLIP_SECONDS = 60


@dataclass(frozen=True)
class Costs:
    """Costs of one model on one device.

    Attributes:
        parameters: Values that the model has.
        training_windows_per_second: Forward pass, backward pass and step of AdamW.
        times_real_time: Seconds of audio that are tagged in one second, decoding left out.
    """

    parameters: int
    training_windows_per_second: float
    times_real_time: float


def measure_costs(
    model: PreTrainedModel,
    feature_extractor: SequenceFeatureExtractor,
    batch_size: int,
    device: torch.device | str | None = None,
    precision: str | None = None,
    frozen: str = "none",
) -> Costs:
    """Measures a model on noise, as a run with these settings would use it; its weights change.

    A frozen encoder takes part in every training step, as in a run with ``cache_embeddings: false``.

    Args:
        model: A model with a head.
        feature_extractor: Its feature extractor.
        batch_size: Windows of a training step.
        device: Where to run; default: the first accelerator, or the CPU.
        precision: Mixed precision of training and tagging, ``fp16`` or ``bf16``; None for float32.
        frozen: What is not trained, as :func:`hf_tagger.training.freezing.freeze` takes it.
    """
    tagger = Tagger(model, feature_extractor, device)

    samples = max(_CLIP_SECONDS * tagger.sampling_rate, feature_extractor.window_samples)  # windows may be longer
    noise = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    waveform = noise.numpy()

    def tag() -> None:
        with mixed_precision(tagger.device.type, precision):
            tagger.probabilities(waveform)

    tagging = _median_seconds(tag, tagger.device)

    freeze_unused(model)
    frozen_modules = freeze(model, frozen)
    windows = noise[: feature_extractor.window_samples].repeat(batch_size, 1).to(tagger.device)
    labels = _some_labels(model, batch_size).to(tagger.device)
    compute_features = input_features(feature_extractor)
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-6)
    model.train()
    for module in frozen_modules:  # they stay in eval mode, as in training
        module.eval()

    def step() -> None:
        with mixed_precision(tagger.device.type, precision):
            loss = training_loss(model(**compute_features(windows)), labels, model.config)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Costs(
        parameters=sum(value.numel() for value in model.parameters()),
        training_windows_per_second=batch_size / _median_seconds(step, tagger.device),
        times_real_time=samples / tagger.sampling_rate / tagging,
    )


def _some_labels(model: PreTrainedModel, batch_size: int) -> torch.Tensor:
    if model.config.problem_type == MULTI_LABEL:
        return torch.zeros(batch_size, model.config.num_labels)
    return torch.zeros(batch_size, dtype=torch.long)


def _median_seconds(work: Callable[[], None], device: torch.device) -> float:
    times = []
    for _ in range(_REPETITIONS + 1):
        started = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first one warms up
