"""What a model costs, measured: training windows a second, and how much faster than the music it tags."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor

from .models.input_features import input_features
from .models.windowed_classification import MULTI_LABEL, training_loss
from .tagging import Tagger

_REPETITIONS = 5
_CLIP_SECONDS = 60


@dataclass(frozen=True)
class Costs:
    """Costs of one model on this machine.

    Attributes:
        parameters: Values that the model has.
        training_windows_per_second: Forward pass, backward pass and step of AdamW.
        times_real_time: Seconds of audio that are tagged in one second, decoding left out.
    """

    parameters: int
    training_windows_per_second: float
    times_real_time: float


def measure_costs(model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor, batch_size: int) -> Costs:
    """Measures a model on noise, on the device where it will run; its weights change.

    Args:
        model: A model with a head.
        feature_extractor: Its feature extractor.
        batch_size: Windows of a training step.
    """
    tagger = Tagger(model, feature_extractor)
    noise = 0.1 * torch.randn(_CLIP_SECONDS * tagger.sampling_rate, generator=torch.Generator().manual_seed(0))
    waveform = noise.numpy()
    tagging = _median_seconds(lambda: tagger.probabilities(waveform), tagger.device)

    windows = noise[: feature_extractor.window_samples].repeat(batch_size, 1).to(tagger.device)
    labels = _some_labels(model, batch_size).to(tagger.device)
    compute_features = input_features(feature_extractor)
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-6)
    model.train()

    def step() -> None:
        training_loss(model(**compute_features(windows)), labels, model.config).backward()
        optimizer.step()
        optimizer.zero_grad()

    return Costs(
        parameters=sum(value.numel() for value in model.parameters()),
        training_windows_per_second=batch_size / _median_seconds(step, tagger.device),
        times_real_time=_CLIP_SECONDS / tagging,
    )


def _some_labels(model: PreTrainedModel, batch_size: int) -> torch.Tensor:
    if model.config.problem_type == MULTI_LABEL:
        return torch.zeros(batch_size, model.config.num_labels)
    return torch.zeros(batch_size, dtype=torch.long)


def _median_seconds(work, device: torch.device) -> float:
    times = []
    for _ in range(_REPETITIONS + 1):
        started = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first one warms up
