"""What a model reads, computed inside the graph: the feature extractors whose arithmetic torch can write down."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import (
    ASTFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    SequenceFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from ..errors import HfTaggerError
from ..models import WaveformFeatureExtractor
from ..models.input_features import InputFeatures, input_features

# Of Radford et al. 2022 (https://arxiv.org/abs/2212.04356, section 2.2) and their code: logarithms of at least 1e-10,
# at most 8 (80 dB) below the window's highest, and then brought to about -1 to 1.
_WHISPER_FLOOR, _WHISPER_RANGE, _WHISPER_OFFSET = 1e-10, 8.0, 4.0

NOT_EXPORTED = {
    SeamlessM4TFeatureExtractor: "it computes its spectrogram window by window with NumPy, outside of the model, and "
    "normalises every band over the window; there is no torch version of it to put into a graph"
}
"""Feature extractors that keep their models from being exported, and why; all others of the package's models are
exported."""


class GraphFeatures(nn.Module):
    """A feature extractor as a module, so that its operations can be told from the model's in the graph.

    Args:
        extractor: A feature extractor with its settings.

    Raises:
        HfTaggerError: If there is no such arithmetic.
    """

    def __init__(self, extractor: SequenceFeatureExtractor):
        super().__init__()
        if type(extractor) not in _IN_GRAPH:
            reason = NOT_EXPORTED.get(type(extractor), "there is no torch version of it to put into a graph")
            raise HfTaggerError(
                f"This model cannot be exported: it reads what {type(extractor).__name__} makes of a recording, and "
                f"{reason}. Possible are models that read "
                f"{', '.join(sorted(known.__name__ for known in _IN_GRAPH))}."
            )
        self._compute = _IN_GRAPH[type(extractor)](extractor)

    def forward(self, windows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Windows float32 ``[N, samples]`` → the model's keyword arguments."""
        return self._compute(windows)


def _whisper_features(extractor: WhisperFeatureExtractor) -> InputFeatures:
    """Whisper's log-mel spectrogram, ``[N, bins, frames]``, of windows filled up with zeros to its 30 seconds.

    The Fourier transform is a product with its cosines and sines: 400 samples are no power of two, for which
    onnxruntime has a less exact algorithm.
    """
    length, hop = extractor.n_fft, extractor.hop_length
    filters = torch.from_numpy(extractor.mel_filters).float()  # [frequencies, bins]
    samples, frequencies = torch.arange(length), torch.arange(length // 2 + 1)
    angles = 2 * math.pi * ((samples[:, None] * frequencies) % length).double() / length
    hann = torch.hann_window(length, dtype=torch.float64)[:, None]
    waves = torch.cat([hann * angles.cos(), hann * angles.sin()], dim=1).float()  # [length, 2 · frequencies]

    def compute(windows: torch.Tensor) -> dict[str, torch.Tensor]:
        filled = nn.functional.pad(windows, (0, extractor.n_samples - windows.shape[1]))
        centred = nn.functional.pad(filled[:, None], (length // 2, length // 2), mode="reflect")[:, 0]
        frames = centred.unfold(1, length, hop)[:, :-1]  # [N, frames, length]
        power = (frames @ waves).square().unflatten(2, (2, -1)).sum(dim=2)  # [N, frames, frequencies]
        logarithms = (power @ filters).transpose(1, 2).clamp_min(_WHISPER_FLOOR).log10()
        lowest = logarithms.amax(dim=(1, 2), keepdim=True) - _WHISPER_RANGE
        return {"input_features": (torch.maximum(logarithms, lowest) + _WHISPER_OFFSET) / _WHISPER_OFFSET}

    return compute


_IN_GRAPH = {
    WaveformFeatureExtractor: input_features,
    ASTFeatureExtractor: input_features,
    Wav2Vec2FeatureExtractor: input_features,
    WhisperFeatureExtractor: _whisper_features,
}
