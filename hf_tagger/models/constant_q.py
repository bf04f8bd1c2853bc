"""The constant-Q transform (Brown 1991, https://doi.org/10.1121/1.400476) in torch, with the bins of librosa.

One octave's filters, recursively on a waveform of half the rate (Schörkhuber and Klapuri 2010, "Constant-Q transform
toolbox for music processing"), as ``librosa.cqt`` does it::

    waveform at r       highest octave     filters of 1 octave, every hop samples
    waveform at r / 2   next octave        the same filters, every hop / 2 samples
    waveform at r / 4   …
"""

import math

import torch
import torchaudio
from torch import nn

_HANN_BANDWIDTH = 1.50018310546875  # equivalent noise bandwidth in bins, as librosa.filters.window_bandwidth("hann")


def constant_q_problems(
    sampling_rate: int, hop_length: int, num_bins: int, bins_per_octave: int, f_min: float
) -> list[str]:
    """What is wrong with the settings of a :class:`ConstantQ`."""
    # The upper edge of the highest filter's band must be heard; as bins above f_min.
    band = math.log2(1 + _HANN_BANDWIDTH / 2 / _quality(bins_per_octave))
    most = math.floor(bins_per_octave * (math.log2(sampling_rate / 2 / f_min) - band)) + 1
    problems = []
    if num_bins > most:
        problems += [
            f"num_cqt_bins {num_bins} from {f_min:g} Hz, {bins_per_octave} an octave, reach above half the sampling "
            f"rate {sampling_rate:,}; at most {max(most, 0)} do not"
        ]
    divisor = 2 ** max(_octaves(min(num_bins, most), bins_per_octave) - 1, 0)
    if hop_length % divisor:
        problems.append(f"hop_length {hop_length} must be a multiple of {divisor} for front_end cqt: octaves halve it")
    return problems


class ConstantQ(nn.Module):
    """Magnitudes of the constant-Q transform with centred frames, zeros beyond the ends, and librosa's scale.

    The values are those of ``abs(librosa.cqt(…, sparsity=0))`` with its other defaults (Hann window, ``filter_scale``
    1, L1-normalised filters, divided by the square root of their length), up to two ways of halving a rate.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        hop_length: Distance of two frames in samples, a multiple of 2^(octaves − 1).
        num_bins: Bins.
        bins_per_octave: Bins of one octave.
        f_min: Frequency of the lowest bin in Hz.
    """

    def __init__(self, sampling_rate: int, hop_length: int, num_bins: int, bins_per_octave: int, f_min: float):
        super().__init__()
        self.hop_length, self.num_bins = hop_length, num_bins
        self.octaves = _octaves(num_bins, bins_per_octave)
        frequencies = f_min * 2 ** (torch.arange(num_bins, dtype=torch.float64) / bins_per_octave)
        lengths = _quality(bins_per_octave) * sampling_rate / frequencies  # samples at the full rate
        top = range(num_bins - min(bins_per_octave, num_bins), num_bins)
        filters = _filters(frequencies[top.start :] / sampling_rate, lengths[top.start :])
        self.register_buffer("filters", filters)  # [2 · bins of an octave, 1, odd length]
        self.register_buffer("scales", lengths.sqrt().float())  # [bins]
        # torchaudio's equivalent of resampy's and librosa's "kaiser_best"; narrower filters damp the highest bins.
        # https://docs.pytorch.org/audio/stable/tutorials/audio_resampling_tutorial.html
        self.halve = torchaudio.transforms.Resample(
            2, 1, lowpass_filter_width=64, rolloff=0.9475937167399596, resampling_method="sinc_interp_kaiser"
        )

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → magnitudes ``[batch, bins, samples // hop_length + 1]``, the lowest bin first."""
        frames = waveform.shape[-1] // self.hop_length + 1
        half, hop, octaves = self.filters.shape[-1] // 2, self.hop_length, []
        for octave in range(self.octaves):
            if octave:
                waveform, hop = self.halve(waveform), hop // 2
            missing = max((frames - 1) * hop + 1 - waveform.shape[-1], 0)
            padded = nn.functional.pad(waveform.unsqueeze(1), (half, half + missing))
            parts = nn.functional.conv1d(padded, self.filters, stride=hop)[..., :frames]  # [B, 2 · bins, frames]
            octaves.append(torch.linalg.vector_norm(parts.unflatten(1, (2, -1)), dim=1))  # [B, bins, frames]
        magnitudes = torch.cat(octaves[::-1], dim=1)[:, -self.num_bins :]
        return magnitudes * self.scales[:, None]


def _octaves(num_bins: int, bins_per_octave: int) -> int:
    return -(-num_bins // bins_per_octave)


def _quality(bins_per_octave: int) -> float:
    """Q, frequency by bandwidth, as in librosa: 1/α with α = (2^(2/b) − 1) / (2^(2/b) + 1)."""
    ratio = 2 ** (2 / bins_per_octave)
    return (ratio + 1) / (ratio - 1)


def _filters(frequencies: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Cosine and sine parts ``[2 · bins, 1, odd length]`` of Hann-windowed tones, each with the absolute sum 1.

    Args:
        frequencies: In periods a sample ``[bins]``.
        lengths: In samples ``[bins]``.
    """
    half = math.floor(lengths.max().item() / 2) + 1
    filters = torch.zeros(len(lengths), 2 * half + 1, dtype=torch.complex128)
    for row, (frequency, length) in enumerate(zip(frequencies.tolist(), lengths.tolist(), strict=True)):
        samples = torch.arange(math.floor(-length / 2), math.floor(length / 2), dtype=torch.float64)
        window = torch.hann_window(len(samples), dtype=torch.float64)
        tone = torch.polar(window / window.sum(), 2 * math.pi * frequency * samples)
        # Mirrored: librosa convolves with its filters, whose centre lies half a sample before the frame's.
        filters[row, half - int(samples[-1]) :][: len(samples)] = tone.flip(0)
    return torch.cat([filters.real, filters.imag]).unsqueeze(1).float()
