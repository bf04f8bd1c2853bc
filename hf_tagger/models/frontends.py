"""From waveform to spectrogram inside the model, on the model's device, always in float32."""

import warnings

import torch
import torchaudio
from torch import nn


class LogMelSpectrogram(nn.Module):
    """Mel spectrogram in decibels: float ``[batch, samples]`` → ``[batch, 1, mel bins, frames]``.

    torchaudio's ``MelSpectrogram`` (Hann window, centred frames, power 2, HTK mel scale without area normalisation)
    and ``AmplitudeToDB`` (10·log10, floor 1e-10), which are the settings of Won et al. 2020
    (https://arxiv.org/abs/2006.00751) and of their published weights. ``frames = samples // hop_length + 1``.

    It runs in float32 under mixed precision as well: squared magnitudes leave the range of float16.

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
            # 128 bands over 257 frequencies leave the lowest band empty, in the published models as well.
            warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
            self.mel = torchaudio.transforms.MelSpectrogram(
                sample_rate=sampling_rate,
                n_fft=n_fft,
                hop_length=hop_length,
                n_mels=num_mel_bins,
                f_min=f_min,
                f_max=f_max,
            )
            self.to_decibels = torchaudio.transforms.AmplitudeToDB(stype="power")

    def _apply(self, fn, recurse=True):
        """Moves the window and the filterbank between devices, but keeps them in float32 when a model is cast."""
        before = {name: buffer for name, buffer in self.named_buffers() if not buffer.is_meta}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            owner, _, attribute = name.rpartition(".")
            module = self.get_submodule(owner)
            setattr(module, attribute, buffer.to(device=getattr(module, attribute).device))
        return self

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → decibels ``[batch, 1, mel bins, frames]``."""
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            return self.to_decibels(self.mel(waveform.float())).unsqueeze(1)
