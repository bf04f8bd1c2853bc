"""Harmonic filters: for every pitch the energy at its multiples, with a learned width (Won et al. 2020).

Paper: "Data-driven Harmonic Filters for Audio Representation Learning", https://doi.org/10.1109/ICASSP40776.2020.9053669
"""

import math

import torch
import torchaudio
from torch import nn

from .frontends import FrontEnd

_LOWEST_PITCH = 24  # MIDI number of C1
# The critical bandwidth 0.1079 f + 24.7 Hz (Glasberg and Moore 1990), with which the paper's filters start.
_BANDWIDTH_SLOPE, _BANDWIDTH_OFFSET = 0.1079, 24.7


def harmonic_bins(sampling_rate: int, num_harmonics: int, bins_per_semitone: int) -> int:
    """Pitches from C1 up to the semitone next to the highest whose last harmonic is at half the sampling rate."""
    highest = round(12 * math.log2(sampling_rate / (2 * num_harmonics) / 440) + 69)
    return (highest - _LOWEST_PITCH) * bins_per_semitone


def harmonic_problems(sampling_rate: int, num_harmonics: int, bins_per_semitone: int) -> list[str]:
    """What is wrong with the settings of a :class:`HarmonicSpectrogram`."""
    bins, half = harmonic_bins(sampling_rate, num_harmonics, bins_per_semitone), sampling_rate / 2
    if bins < 1:
        return [
            f"num_harmonics {num_harmonics} leave no pitch above C1 whose last harmonic is below half the sampling "
            f"rate {sampling_rate:,}; fewer harmonics or a higher rate are needed"
        ]
    highest = num_harmonics * _pitch((bins - 1) / bins_per_semitone)
    if highest > half:
        return [
            f"the last of num_harmonics {num_harmonics} of the highest pitch lies at {highest:,.0f} Hz, above half the "
            f"sampling rate {sampling_rate:,}; fewer bins_per_semitone or another number of harmonics are needed"
        ]
    return []


def _pitch(semitones: float | torch.Tensor) -> float | torch.Tensor:
    """Frequency in Hz of a pitch some semitones above C1, equal temperament with A4 = 440 Hz."""
    return 440 * 2 ** ((_LOWEST_PITCH + semitones - 69) / 12)


class HarmonicSpectrogram(FrontEnd):
    """Harmonic spectrogram in decibels: ``[batch, samples]`` → ``[batch, harmonics, pitches, frames]``.

    Triangular band-pass filters at n times a pitch, of the width (0.1079 n f + 24.7) / Q Hz, with Q learned.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two frames in samples.
        num_harmonics: Multiples of a pitch.
        bins_per_semitone: Pitches a semitone.
    """

    def __init__(self, sampling_rate: int, n_fft: int, hop_length: int, num_harmonics: int, bins_per_semitone: int):
        super().__init__()
        self.num_harmonics = num_harmonics
        bins = harmonic_bins(sampling_rate, num_harmonics, bins_per_semitone)
        with torch.device("cpu"):
            fundamentals = _pitch(torch.arange(bins, dtype=torch.float64) / bins_per_semitone)  # Hz
            multiples = torch.arange(1, num_harmonics + 1, dtype=torch.float64)
            self.register_buffer("centres", (multiples[:, None] * fundamentals).flatten().float())  # [harmonics · bins]
            self.register_buffer("frequencies", torch.arange(n_fft // 2 + 1) * (sampling_rate / n_fft))  # [F]
            self.transform = torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length)
            self.to_decibels = torchaudio.transforms.AmplitudeToDB(stype="power")
        self.quality = nn.Parameter(torch.ones(1))

    def filterbank(self) -> torch.Tensor:
        """``[frequencies, harmonics · pitches]``."""
        widths = (_BANDWIDTH_SLOPE * self.centres + _BANDWIDTH_OFFSET) / self.quality.float()  # Hz
        distances = (self.frequencies[:, None] - self.centres).abs()
        return torch.relu(1 - 2 * distances / widths)

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → decibels ``[batch, harmonics, pitches, frames]``."""
        power = self.transform(waveform)  # [B, F, frames]
        bands = self.filterbank().T @ power  # [B, harmonics · pitches, frames]
        return self.to_decibels(bands.unflatten(1, (self.num_harmonics, -1)))
