"""Features of whole clips by librosa: what frames are like, summarised over time into one vector a clip.

Spectrum, frames and statistics are those of FMA's published features (Defferrard et al. 2017, section 3,
https://arxiv.org/abs/1612.01840; features.py of https://github.com/mdeff/fma): frames of 2,048 samples every 512, seven
statistics over the frames. Different here: chroma and tonnetz come from the short-time Fourier transform instead of the
constant-Q transform, which takes ten times longer, and are not corrected for the tuning of the recording; and bands of
the spectral contrast, which FMA's script lets librosa take for those of 22,050 Hz whatever the file's rate, lie where
librosa means them to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import librosa
import numpy as np

FRAME_SAMPLES, HOP_SAMPLES = 2_048, 512
MIN_SAMPLING_RATE = 16_000
"""In Hz. The contrast's highest band starts at 6,400 Hz, which has to lie below half the rate."""

# Ours: bounds the memory of an hour of audio. A segment is a whole number of hops, so that frames keep their distance.
_SEGMENT_SAMPLES = HOP_SAMPLES * 5_000
# Deltas look at nine frames (librosa's default width). A shorter clip is repeated, as a model's window would be.
_SHORTEST_SAMPLES = HOP_SAMPLES * 16
_MFCC = 20  # coefficients, as FMA's features and librosa's default

Frames = np.ndarray  # float [rows, frames]
Statistic = Callable[[Frames], np.ndarray]  # [rows, frames] → [rows]

# From samples [segment] and magnitudes [1025, frames] of a segment to [rows, frames].
_OF_SEGMENTS: dict[str, Callable[[np.ndarray, Frames, int], Frames]] = {
    "mel": lambda samples, magnitudes, rate: librosa.feature.melspectrogram(S=magnitudes**2, sr=rate),
    "chroma": lambda samples, magnitudes, rate: librosa.feature.chroma_stft(S=magnitudes**2, sr=rate, tuning=0.0),
    "spectral_contrast": lambda samples, magnitudes, rate: librosa.feature.spectral_contrast(S=magnitudes, sr=rate),
    "spectral_centroid": lambda samples, magnitudes, rate: librosa.feature.spectral_centroid(S=magnitudes, sr=rate),
    "spectral_bandwidth": lambda samples, magnitudes, rate: librosa.feature.spectral_bandwidth(S=magnitudes, sr=rate),
    "spectral_rolloff": lambda samples, magnitudes, rate: librosa.feature.spectral_rolloff(S=magnitudes, sr=rate),
    "zero_crossing_rate": lambda samples, magnitudes, rate: librosa.feature.zero_crossing_rate(
        samples, frame_length=FRAME_SAMPLES, hop_length=HOP_SAMPLES
    ),
}


def _mfcc(mel: Frames, rate: int) -> Frames:
    return librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=_MFCC)


def _tempo(mel: Frames, rate: int) -> Frames:
    """Beats per minute ``[1, 1]``: one value for the whole clip."""
    onsets = librosa.onset.onset_strength(S=librosa.power_to_db(mel), sr=rate, hop_length=HOP_SAMPLES)
    return np.atleast_2d(librosa.feature.tempo(onset_envelope=onsets, sr=rate, hop_length=HOP_SAMPLES))


# From the frames of the whole clip, as _OF_SEGMENTS makes them, to other frames.
_DERIVED: dict[str, tuple[str, Callable[[Frames, int], Frames]]] = {
    "mfcc": ("mel", _mfcc),
    "mfcc_delta": ("mel", lambda mel, rate: librosa.feature.delta(_mfcc(mel, rate))),
    "mfcc_delta2": ("mel", lambda mel, rate: librosa.feature.delta(_mfcc(mel, rate), order=2)),
    "tonnetz": ("chroma", lambda chroma, rate: librosa.feature.tonnetz(chroma=chroma, sr=rate)),
    "tempo": ("mel", _tempo),
}

ROWS: dict[str, int] = {
    "mfcc": _MFCC,
    "mfcc_delta": _MFCC,
    "mfcc_delta2": _MFCC,
    "chroma": 12,
    "spectral_contrast": 7,
    "spectral_centroid": 1,
    "spectral_bandwidth": 1,
    "spectral_rolloff": 1,
    "zero_crossing_rate": 1,
    "tonnetz": 6,
    "tempo": 1,
}
"""The features that there are, with the values of each a frame."""
_WITHOUT_FRAMES = ("tempo",)


def _moment(order: int, of_normal: float) -> Statistic:
    def standardised_moment(frames: Frames) -> np.ndarray:
        spread = frames.std(axis=1, keepdims=True)
        # What never changes has no shape: 0, where the formula says 0 / 0.
        scores = np.divide(frames - frames.mean(axis=1, keepdims=True), spread, np.zeros_like(frames), where=spread > 0)
        return np.where(spread[:, 0] > 0, (scores**order).mean(axis=1) - of_normal, 0.0)

    return standardised_moment


STATISTICS: dict[str, Statistic] = {
    "mean": lambda frames: frames.mean(axis=1),
    "std": lambda frames: frames.std(axis=1),
    "skewness": _moment(3, 0.0),
    "kurtosis": _moment(4, 3.0),  # of a normal distribution 0 (Fisher's definition)
    "median": lambda frames: np.median(frames, axis=1),
    "min": lambda frames: frames.min(axis=1),
    "max": lambda frames: frames.max(axis=1),
}


def value_names(features: Sequence[str], statistics: Sequence[str]) -> list[str]:
    """What :func:`clip_features` returns, value by value: ``mfcc_03_mean`` is the mean of the fourth coefficient."""
    return [
        name if statistic is None else f"{name}_{row:02d}_{statistic}"
        for name in features
        for statistic in ((None,) if name in _WITHOUT_FRAMES else statistics)
        for row in range(ROWS[name])
    ]


def clip_features(
    samples: np.ndarray, sampling_rate: int, features: Sequence[str], statistics: Sequence[str]
) -> np.ndarray:
    """The vector of one clip.

    Args:
        samples: float32 ``[samples]``, at least one.
        sampling_rate: In Hz, at least :data:`MIN_SAMPLING_RATE`.
        features: Names out of :data:`ROWS`.
        statistics: Names out of :data:`STATISTICS`.

    Returns:
        float32 ``[values]``, finite, in the order of :func:`value_names`.
    """
    frames = _frames(np.resize(samples, max(len(samples), _SHORTEST_SAMPLES)), sampling_rate, features)
    values = []
    for name in features:
        wide = frames[name].astype(np.float64)
        functions = (np.ravel,) if name in _WITHOUT_FRAMES else (STATISTICS[statistic] for statistic in statistics)
        values += [function(wide) for function in functions]
    return np.concatenate(values).astype(np.float32)


def _frames(samples: np.ndarray, rate: int, features: Sequence[str]) -> dict[str, Frames]:
    """Every feature as float ``[rows, frames]``; what all of them need is computed once."""
    sources = {_DERIVED[name][0] if name in _DERIVED else name for name in features}
    parts: dict[str, list[Frames]] = {source: [] for source in sources}
    for start in range(0, len(samples), _SEGMENT_SAMPLES):
        segment = samples[start : start + _SEGMENT_SAMPLES]
        if start and len(segment) < FRAME_SAMPLES:
            break  # less than one frame is left, at the end of minutes
        magnitudes = np.abs(librosa.stft(segment, n_fft=FRAME_SAMPLES, hop_length=HOP_SAMPLES))  # [1025, frames]
        for source, own in parts.items():
            own.append(_OF_SEGMENTS[source](segment, magnitudes, rate))
    whole = {source: np.concatenate(own, axis=1) for source, own in parts.items()}
    derived = {name: _DERIVED[name] for name in features if name in _DERIVED}
    return whole | {name: function(whole[source], rate) for name, (source, function) in derived.items()}
