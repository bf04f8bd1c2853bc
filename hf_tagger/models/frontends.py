"""From waveform to what a two-dimensional network reads: ``[batch, samples]`` → ``[batch, 1, bins, frames]``.

Front ends run inside the model, on its device, always in float32: squared magnitudes leave the range of float16. All
have centred frames, ``frames = samples // hop_length + 1``, so that the choice of a front end changes the bins only:

=========== ============================================================ ============================================
name        what it is                                                   bins
=========== ============================================================ ============================================
mel_db      mel spectrogram in decibels                                  ``num_mel_bins``
log_mel     mel spectrogram, log(1 + 10,000 x)                           ``num_mel_bins``
mfcc        mel-frequency cepstral coefficients                          ``num_mfcc``
cqt         constant-Q transform in decibels, librosa's bins             ``num_cqt_bins``
waveform    no spectrogram: a filterbank that is learned with the model  ``num_mel_bins`` filters
=========== ============================================================ ============================================
"""

import logging
import math
import warnings

import torch
import torchaudio
from torch import nn

from .constant_q import ConstantQ

logger = logging.getLogger(__name__)


class FrontEnd(nn.Module):
    """Base of the front ends: float32 under mixed precision, and in models that are cast to less."""

    def _apply(self, fn, recurse=True):
        """Moves windows and filterbanks between devices, but keeps them in float32 when a model is cast."""
        before = {name: buffer for name, buffer in self.named_buffers() if not buffer.is_meta}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            owner, _, attribute = name.rpartition(".")
            module = self.get_submodule(owner)
            setattr(module, attribute, buffer.to(device=getattr(module, attribute).device))
        return self

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """Float32 ``[batch, samples]`` → ``[batch, channels, bins, frames]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement compute.")

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → float32 ``[batch, channels, bins, frames]``."""
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            return self.compute(waveform.float())


class MelDecibels(FrontEnd):
    """Mel spectrogram in decibels.

    torchaudio's ``MelSpectrogram`` (Hann window, power 2, HTK mel scale without area normalisation) and
    ``AmplitudeToDB`` (10·log10, floor 1e-10), which are the settings of Won et al. 2020
    (https://arxiv.org/abs/2006.00751) and of their published weights.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two frames in samples.
        num_mel_bins: Bands of the mel filterbank.
        f_min: Lower edge of the lowest band in Hz.
        f_max: Upper edge of the highest band in Hz.
    """

    def __init__(self, sampling_rate: int, n_fft: int, hop_length: int, num_mel_bins: int, f_min: float, f_max: float):
        super().__init__()
        # `from_pretrained` builds models on the meta device, where the filterbank cannot be computed.
        with torch.device("cpu"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")  # said below
            self.mel = torchaudio.transforms.MelSpectrogram(
                sample_rate=sampling_rate,
                n_fft=n_fft,
                hop_length=hop_length,
                n_mels=num_mel_bins,
                f_min=f_min,
                f_max=f_max,
            )
            self.to_decibels = torchaudio.transforms.AmplitudeToDB(stype="power")
        empty = int((self.mel.mel_scale.fb.amax(dim=0) == 0).sum())
        if empty > 1:  # 128 bands over 257 frequencies leave the lowest one empty, in the published models as well
            logger.warning(
                "%d of %d mel bands lie between two frequencies of a Fourier transform of %d samples and hear nothing; "
                "raise n_fft or lower num_mel_bins.",
                *(empty, num_mel_bins, n_fft),
            )

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → decibels ``[batch, 1, mel bins, frames]``."""
        return self.to_decibels(self.mel(waveform)).unsqueeze(1)


class LogMel(MelDecibels):
    """The same mel spectrogram x compressed by log10(1 + 10,000 x): silence is 0 and soft sounds count less.

    The compression of musicnn (Pons and Serra 2019, https://arxiv.org/abs/1909.06654), after Dieleman and Schrauwen
    2014 (https://doi.org/10.1109/ICASSP.2014.6854950), section 3.2. Takes the arguments of :class:`MelDecibels`.
    """

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → ``[batch, 1, mel bins, frames]``."""
        return compress(self.mel(waveform)).unsqueeze(1)


class MelFrequencyCepstrum(MelDecibels):
    """Mel-frequency cepstral coefficients: the orthonormal cosine transform (type 2) of mel decibels, lowest first.

    As ``torchaudio.transforms.MFCC`` and ``librosa.feature.mfcc``, without their limit of 80 dB below the loudest bin,
    which torchaudio takes over the whole batch: a clip would depend on its neighbours.

    Args:
        num_mfcc: Coefficients to keep.
        sampling_rate: The rest as in :class:`MelDecibels`.
        n_fft: See there.
        hop_length: See there.
        num_mel_bins: See there.
        f_min: See there.
        f_max: See there.
    """

    def __init__(
        self,
        num_mfcc: int,
        sampling_rate: int,
        n_fft: int,
        hop_length: int,
        num_mel_bins: int,
        f_min: float,
        f_max: float,
    ):
        super().__init__(sampling_rate, n_fft, hop_length, num_mel_bins, f_min, f_max)
        with torch.device("cpu"):
            self.register_buffer("cosines", torchaudio.functional.create_dct(num_mfcc, num_mel_bins, norm="ortho"))

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → ``[batch, 1, coefficients, frames]``."""
        decibels = super().compute(waveform)  # [B, 1, mel, frames]
        return (decibels.transpose(2, 3) @ self.cosines).transpose(2, 3)


class ConstantQDecibels(FrontEnd):
    """Constant-Q transform in decibels (10·log10 of the squared magnitude, floor 1e-10, as of mel bands).

    Args:
        *settings: Those of :class:`ConstantQ`.
    """

    def __init__(self, *settings):
        super().__init__()
        with torch.device("cpu"):
            self.constant_q = ConstantQ(*settings)
            self.to_decibels = torchaudio.transforms.AmplitudeToDB(stype="power")

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → decibels ``[batch, 1, bins, frames]``."""
        return self.to_decibels(self.constant_q(waveform).square()).unsqueeze(1)


class LearnedFilterbank(FrontEnd):
    """Raw waveform in: pairs of learned filters, their squared magnitude, compressed by log10(1 + 10,000 x).

    Time-domain filterbanks (Zeghidour et al. 2018, https://arxiv.org/abs/1711.01161): the filters start as Gabor
    wavelets at the centres and with the widths of mel bands (narrow bands somewhat wider, as ``n_fft`` samples cut
    their long wavelets off), and are then trained with the rest. Deviation: every
    filter is as long as an analysis window and is applied once a hop, as the frames of a spectrogram, where the paper
    filters every sample, smooths and then keeps one sample a hop; this costs ``hop_length`` times less.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        n_fft: Length of a filter in samples.
        hop_length: Distance of two frames in samples.
        num_filters: Filters.
        f_min: Lower edge of the lowest mel band in Hz.
        f_max: Upper edge of the highest mel band in Hz.
    """

    def __init__(self, sampling_rate: int, n_fft: int, hop_length: int, num_filters: int, f_min: float, f_max: float):
        super().__init__()
        self.hop_length = hop_length
        with torch.device("cpu"):
            wavelets = _gabor_wavelets(sampling_rate, n_fft, num_filters, f_min, f_max)
        self.filters = nn.Parameter(wavelets.to(torch.get_default_device()))  # [2 · filters, 1, n_fft]

    def compute(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → ``[batch, 1, filters, frames]``."""
        filters = self.filters.float()
        length = filters.shape[-1]
        padded = nn.functional.pad(waveform.unsqueeze(1), (length // 2, length - length // 2))
        pairs = nn.functional.conv1d(padded, filters, stride=self.hop_length)  # [B, 2 · filters, frames]
        frames = waveform.shape[-1] // self.hop_length + 1
        power = pairs.square().unflatten(1, (2, -1)).sum(dim=1)  # [B, filters, frames]
        return compress(power[..., :frames]).unsqueeze(1)


def compress(power: torch.Tensor) -> torch.Tensor:
    """log10(1 + 10,000 x), the compression of :class:`LogMel`."""
    return torch.log10(1 + 10_000 * power)


def _gabor_wavelets(sampling_rate: int, length: int, num_filters: int, f_min: float, f_max: float) -> torch.Tensor:
    """Cosine and sine parts ``[2 · filters, 1, length]`` of Gabor wavelets on the HTK mel scale.

    A wavelet's power falls to a half where its mel band's triangle does: half the band, Δ/2 Hz, from its centre. With
    the Fourier transform of a Gaussian of deviation σ seconds, exp(−(2πσf)²/2), that is σ = √(ln 2) / (π Δ).
    """
    mel = torch.linspace(_hertz_to_mel(f_min), _hertz_to_mel(f_max), num_filters + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mel / 2595) - 1)  # Hz
    centres, widths = edges[1:-1, None], (edges[2:] - edges[:-2])[:, None] / 2
    seconds = (torch.arange(length, dtype=torch.float64) - length // 2) / sampling_rate
    deviations = math.sqrt(math.log(2)) / (math.pi * widths)
    envelopes = torch.exp(-((seconds / deviations) ** 2) / 2)
    envelopes = envelopes / envelopes.sum(dim=1, keepdim=True)
    phases = 2 * math.pi * centres * seconds
    return torch.cat([envelopes * phases.cos(), envelopes * phases.sin()]).unsqueeze(1).float()


def _hertz_to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


class BinNorm(nn.BatchNorm2d):
    """Batch norm with a mean and a deviation for every bin: ``[batch, 1, bins, frames]`` in and out."""

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[batch, 1, bins, frames]`` → the same shape."""
        return super().forward(spectrogram.transpose(1, 2)).transpose(1, 2)


def build_front_end(config) -> FrontEnd:
    """The front end that a configuration's ``front_end`` names."""
    mel = (config.sampling_rate, config.n_fft, config.hop_length, config.num_mel_bins, config.f_min, config.f_max)
    if config.front_end == "cqt":
        return ConstantQDecibels(
            config.sampling_rate,
            config.hop_length,
            config.num_cqt_bins,
            config.cqt_bins_per_octave,
            config.cqt_f_min,
        )
    if config.front_end == "mfcc":
        return MelFrequencyCepstrum(config.num_mfcc, *mel)
    return {"mel_db": MelDecibels, "log_mel": LogMel, "waveform": LearnedFilterbank}[config.front_end](*mel)


def build_input_norm(config, affine: bool = True) -> nn.Module:
    """The batch norm over a front end's output, in place of a dataset's mean and deviation.

    One mean for the whole spectrogram, as in Won et al. 2020; one a coefficient for MFCCs, whose first is a hundred
    times larger than its neighbours.
    """
    if config.front_end == "mfcc":
        return BinNorm(config.num_bins, affine=affine)
    return nn.BatchNorm2d(1, affine=affine)
