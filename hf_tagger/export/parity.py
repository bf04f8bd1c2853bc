"""Whether a graph computes what its model computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..errors import HfTaggerError
from ..models.input_features import input_features
from .runtime import OnnxModel

TOLERANCE = 1e-4
"""Of the largest logit, or of 1 where all are smaller: float32 computes large ones less exactly, and what is far from 0
is decided. A model with a constant-Q transform and logits of 22 differs from itself by 1e-4 if all samples change by a
millionth."""
_MILLIONTH = 1e-6  # some units in the last place of float32: other roundings of a sound that is the same


@dataclass(frozen=True)
class Parity:
    """How far a graph is from its model.

    Attributes:
        difference: Largest difference of a logit over windows that are made in code, as a share of the largest logit
            (of 1, where all are smaller), as are the next two.
        tolerance: What was allowed of it.
        windows: Number of these windows.
        recordings: Number of windows of recordings.
        recordings_difference: Largest difference over those; None if there were none.
        recordings_rounding: By how much the model's own logits change there when all samples change by a millionth.
    """

    difference: float
    tolerance: float
    windows: int
    recordings: int = 0
    recordings_difference: float | None = None
    recordings_rounding: float | None = None


def check_windows(feature_extractor: SequenceFeatureExtractor, seed: int = 0) -> torch.Tensor:
    """Windows that are loud, soft and full of notes, float32 ``[3, samples]``, seeded.

    All have sound at all frequencies: in bands that hold nothing a spectrogram in decibels tells roundings apart, and
    the model and itself in another batch differ there too.
    """
    samples, rate = feature_extractor.window_samples, feature_extractor.sampling_rate
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((3, samples))
    seconds = np.arange(samples) / rate
    pitches = generator.uniform(80, rate / 4, samples * 4 // rate + 1)[(4 * seconds).astype(int)]  # 4 notes a second
    notes = 0.3 * np.sin(2 * np.pi * pitches * seconds)
    return torch.from_numpy(np.stack([0.1 * noise[0], 0.003 * noise[1], notes + 0.02 * noise[2]]).astype(np.float32))


@torch.no_grad()
def check_parity(
    model: PreTrainedModel,
    feature_extractor: SequenceFeatureExtractor,
    graph: OnnxModel,
    recordings: Sequence[torch.Tensor] = (),
    tolerance: float = TOLERANCE,
) -> Parity:
    """Compares the logits of windows computed together, and of the first one alone.

    The tolerance holds for windows that are made in code. Recordings of single instruments have bands without any
    sound, where a spectrogram in decibels shows the roundings of its Fourier transform: there the model is no more
    exact than the graph, which is told instead of being refused.

    Args:
        model: The tagger on the CPU.
        feature_extractor: Its feature extractor, which computes here as in every evaluation.
        graph: What was made of it.
        recordings: Windows of recordings, float32 ``[samples]`` each.
        tolerance: The largest difference allowed.

    Raises:
        HfTaggerError: If a logit of the model is NaN or infinite, or if a difference is above the tolerance.
    """
    features, windows = input_features(feature_extractor), check_windows(feature_extractor)

    def logits(batch: torch.Tensor) -> torch.Tensor:
        found = model(**features(batch)).logits
        if not torch.isfinite(found).all():
            raise HfTaggerError("The model's outputs are NaN or infinite: its training has diverged; train it anew.")
        return found

    differences = [largest_difference(graph(batch).logits, logits(batch)) for batch in (windows, windows[:1])]
    for difference in differences:
        if not difference <= tolerance:  # NaN too
            raise HfTaggerError(
                f"The logits of the graph differ from the model's by up to {difference:.2g} of the largest, more than "
                f"the tolerance of {tolerance:g}; nothing was written. If that is enough for you, give a higher "
                f"--tolerance."
            )
    parity = Parity(max(differences), tolerance, len(windows))
    if not len(recordings):
        return parity
    batch = torch.stack(list(recordings))
    expected = logits(batch)
    return replace(
        parity,
        recordings=len(batch),
        recordings_difference=largest_difference(graph(batch).logits, expected),
        recordings_rounding=largest_difference(logits(batch * (1 + _MILLIONTH)), expected),
    )


def largest_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference of a logit, as a share of the largest expected one, or of 1 where all are smaller."""
    return ((found - expected).abs().max() / expected.abs().max().clamp_min(1.0)).item()
