"""What a model reads, computed from windows of waveform: batched, on the device of the windows.

Our own models read waveforms. Stock models of transformers read what their feature extractor computes; the extractor
itself works clip by clip on the CPU, so the usual ones are computed here, equal to it.
"""

from collections.abc import Callable

import torch
from transformers import ASTFeatureExtractor, SequenceFeatureExtractor, Wav2Vec2FeatureExtractor

from .encoder_classification import normalize_windows
from .feature_extraction_waveform import WaveformFeatureExtractor
from .filterbank import KaldiFilterbank

InputFeatures = Callable[[torch.Tensor], dict[str, torch.Tensor]]
"""Windows float32 ``[N, samples]`` → the model's keyword arguments."""


def input_features(feature_extractor: SequenceFeatureExtractor) -> InputFeatures:
    """The function that does for batches of windows what a feature extractor does for a clip."""
    build = _BATCHED.get(type(feature_extractor), _by_the_extractor_itself)
    return build(feature_extractor)


def filterbank_of(extractor: ASTFeatureExtractor) -> KaldiFilterbank:
    """The batched filterbank with an extractor's settings."""
    return KaldiFilterbank(
        sampling_rate=extractor.sampling_rate,
        num_mel_bins=extractor.num_mel_bins,
        max_length=extractor.max_length,
        mean=extractor.mean,
        std=extractor.std,
        do_normalize=extractor.do_normalize,
    )


def _waveform(_: SequenceFeatureExtractor) -> InputFeatures:
    return lambda windows: {"input_values": windows}


def _filterbank(extractor: ASTFeatureExtractor) -> InputFeatures:
    filterbank = filterbank_of(extractor)
    return lambda windows: {"input_values": filterbank(windows)}


def _normalized_waveform(extractor: Wav2Vec2FeatureExtractor) -> InputFeatures:
    if not extractor.do_normalize:
        return _waveform(extractor)
    return lambda windows: {"input_values": normalize_windows(windows)}


def _by_the_extractor_itself(extractor: SequenceFeatureExtractor) -> InputFeatures:
    def compute(windows: torch.Tensor) -> dict[str, torch.Tensor]:
        clips = list(windows.float().cpu().numpy())
        features = extractor(clips, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        return {name: value.to(windows.device) for name, value in features.items()}

    return compute


_BATCHED = {
    WaveformFeatureExtractor: _waveform,
    ASTFeatureExtractor: _filterbank,
    Wav2Vec2FeatureExtractor: _normalized_waveform,
}
