"""Augmentation of waveforms: batches ``[B, samples]`` in and out, every clip with a value of its own.

All of it runs on the device of the batch, without a loop over its clips and without waiting for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchaudio

from ..augmentation_arguments import AugmentationArguments

# The kernel of torchaudio.functional.resample with its defaults: a sinc with a Hann window over this many zero
# crossings to each side, whose cutoff lies this much below half the (lower) sampling rate.
_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99
_SPEED_STEP = 0.01  # a sixth of a semitone at most; torchaudio's resampling is fast for ratios of small numbers
_TINY = 1e-20  # sin(x) / x is 1 at 0, where it would be 0 / 0; torch.sinc takes seven times as long as torch.sin
# A Butterworth filter of order 2 dies away as exp(-√2 π f t): at 20 Hz, the lowest allowed, by 154 dB in this time.
_DECAY_SECONDS = 0.2
_FFT_MULTIPLE = 1_024  # lengths without large prime factors are fast


@dataclass(frozen=True)
class WaveformChange:
    """One augmentation of waveforms.

    Attributes:
        probability: Share of the clips that are changed.
        unit: Name of the value that every clip draws, which is also the recipe's name of the interval; none is empty.
        interval: Lowest and highest value.
        apply: Waveforms ``[B, samples]``, values ``[B]`` and a generator → changed waveforms ``[B, samples]``.
        step: Values are the lowest one plus whole multiples of it; 0 for any value.
    """

    probability: float
    unit: str
    interval: tuple[float, float]
    apply: Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
    step: float = 0.0


def waveform_changes(arguments: AugmentationArguments, sampling_rate: int) -> dict[str, WaveformChange]:
    """The augmentations of waveforms that are on, by name, in the order of application.

    Args:
        arguments: The recipe's ``augmentation``.
        sampling_rate: Rate of the waveforms in Hz.
    """
    slowest, fastest = (value / 100 for value in arguments.speed.hundredths) if arguments.speed else (1.0, 1.0)
    changes = {
        "speed": ("factors", lambda clips, factors, _: change_speed(clips, factors, fastest)),
        "time_shift": ("seconds", lambda clips, seconds, _: shift_in_time(clips, seconds, sampling_rate)),
        "polarity": ("", lambda clips, *_: -clips),
        "low_pass": ("hertz", lambda clips, hertz, _: low_pass_filter(clips, hertz, sampling_rate)),
        "high_pass": ("hertz", lambda clips, hertz, _: high_pass_filter(clips, hertz, sampling_rate)),
        "gain": ("decibels", lambda clips, decibels, _: change_gain(clips, decibels)),
        "noise": ("snr_decibels", add_white_noise),
    }
    active = arguments.active()
    intervals = {"speed": (slowest, fastest)}  # of the whole hundredths within the recipe's
    steps = {"speed": _SPEED_STEP}
    return {
        name: WaveformChange(
            active[name].probability,
            unit,
            intervals.get(name) or (tuple(getattr(active[name], unit)) if unit else (0.0, 0.0)),
            apply,
            steps.get(name, 0.0),
        )
        for name, (unit, apply) in changes.items()
        if name in active
    }


def change_gain(waveforms: torch.Tensor, decibels: torch.Tensor) -> torch.Tensor:
    """Multiplies by 10^(gain / 20).

    Args:
        waveforms: ``[B, samples]``.
        decibels: Gain in dB, ``[B]``.
    """
    return waveforms * (10 ** (decibels / 20)).unsqueeze(1)


def add_white_noise(
    waveforms: torch.Tensor, snr_decibels: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Adds Gaussian noise, scaled by ``torchaudio.functional.add_noise``; silence stays silent.

    Args:
        waveforms: ``[B, samples]``.
        snr_decibels: Energy of the clip over the energy of the noise in dB, ``[B]``.
        generator: Draws the noise, on the device of the waveforms.
    """
    noise = torch.randn(waveforms.shape, generator=generator, device=waveforms.device)
    return torchaudio.functional.add_noise(waveforms, noise, snr_decibels)


def shift_in_time(waveforms: torch.Tensor, seconds: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Delays by whole samples, circularly: the end of a clip becomes its beginning.

    Args:
        waveforms: ``[B, samples]``.
        seconds: Delay in seconds, ``[B]``; negative values bring a clip forward.
        sampling_rate: Rate in Hz.
    """
    samples = waveforms.shape[1]
    delays = (seconds * sampling_rate).round().long()  # [B]
    sources = torch.arange(samples, device=waveforms.device) - delays.unsqueeze(1)  # [B, samples]
    return waveforms.gather(1, sources % samples)


def change_speed(waveforms: torch.Tensor, factors: torch.Tensor, fastest: float) -> torch.Tensor:
    """Plays faster or slower: output sample n is the band-limited waveform at position n · factor.

    Pitch and tempo change together. The length stays: a slower clip loses its end, a faster one starts over when it
    ends, as short clips do everywhere in this package. The kernel is that of ``torchaudio.functional.resample``;
    frequencies that would pass half the sampling rate are removed.

    Args:
        waveforms: ``[B, samples]``.
        factors: Factor of the speed in whole hundredths, ``[B]``.
        fastest: No factor is above it; it bounds the length of the kernel.
    """
    hundredths = (factors * 100).round().long()
    if waveforms.device.type == "cpu":
        # One ratio after the other, as torchaudio does it: fifteen times as fast as the way below (10 s, one thread).
        pairs = zip(waveforms, hundredths.tolist(), strict=True)
        return torch.stack([_resampled(clip, ratio) for clip, ratio in pairs])
    return _change_speed_batched(waveforms, hundredths, fastest)


def _resampled(clip: torch.Tensor, hundredths: int) -> torch.Tensor:
    """One clip ``[samples]`` at a speed; what lies before its beginning is its end, as in the batched way."""
    samples = len(clip)
    needed = math.ceil(samples * hundredths / 100) + hundredths  # the kernel reaches far less than that beyond the end
    extended = clip[torch.arange(-hundredths, needed, device=clip.device) % samples]
    with torch.autocast(clip.device.type, enabled=False):  # its convolution would round to half precision
        return torchaudio.functional.resample(extended, hundredths, 100)[100 : 100 + samples]


def _change_speed_batched(waveforms: torch.Tensor, hundredths: torch.Tensor, fastest: float) -> torch.Tensor:
    """All clips at once, where every operation has a price of its own: each sample's kernel is computed anew."""
    samples, device = waveforms.shape[1], waveforms.device
    reach = math.ceil(_ZERO_CROSSINGS * max(1.0, fastest) / _ROLLOFF)  # of the kernel, in samples to each side
    ahead = math.ceil(samples * max(1.0, fastest)) + reach + 1
    extended = waveforms[:, torch.arange(-reach, ahead, device=device) % samples]  # the clip, repeated
    positions = hundredths.unsqueeze(1) * torch.arange(samples, device=device)  # [B, samples], in 1/100 sample
    whole = positions // 100
    fraction = (positions - whole * 100).float() / 100  # [B, samples], 0 to 1
    cutoffs = _ROLLOFF / (hundredths / 100).clamp(min=1.0).unsqueeze(1)  # [B, 1], 1 is half the sampling rate
    output = torch.zeros_like(waveforms)
    for tap in range(-reach, reach + 2):
        crossings = ((fraction - tap) * cutoffs).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
        window = torch.cos(crossings * (math.pi / 2 / _ZERO_CROSSINGS)).square()
        angles = math.pi * crossings + _TINY
        output += extended[:, tap + reach :].gather(1, whole) * angles.sin() / angles * window
    return output * cutoffs


def low_pass_filter(waveforms: torch.Tensor, hertz: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Butterworth low pass of order 2, the same as ``torchaudio.functional.lowpass_biquad`` with Q = √½.

    That one takes one frequency for a whole batch and computes sample after sample, which is slow on a GPU. Here the
    Fourier transform of the clip is multiplied with the filter's transfer function H(s) = 1 / (s² + √2 s + 1) at
    s = i tan(ω/2) / tan(ω₀/2) (R. Bristow-Johnson, Audio EQ Cookbook, https://www.w3.org/TR/audio-eq-cookbook/).

    Args:
        waveforms: ``[B, samples]``.
        hertz: Frequency ω₀ that is weakened by 3 dB, from 20 Hz to below half the rate, ``[B]``.
        sampling_rate: Rate in Hz.
    """
    return _filtered(waveforms, hertz, sampling_rate, lambda a, b: b.square())


def high_pass_filter(waveforms: torch.Tensor, hertz: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Butterworth high pass of order 2: H(s) = s² / (s² + √2 s + 1), otherwise as :func:`low_pass_filter`.

    Args:
        waveforms: ``[B, samples]``.
        hertz: Frequency that is weakened by 3 dB, from 20 Hz to below half the rate, ``[B]``.
        sampling_rate: Rate in Hz.
    """
    return _filtered(waveforms, hertz, sampling_rate, lambda a, b: -a.square())


def _filtered(
    waveforms: torch.Tensor,
    hertz: torch.Tensor,
    sampling_rate: int,
    numerator: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Multiplies with a transfer function whose denominator is s² + √2 s + 1; with s = i a / b both parts are
    multiplied by b², as b is 0 at half the sampling rate."""
    samples = waveforms.shape[1]
    length = samples + math.ceil(_DECAY_SECONDS * sampling_rate)  # silence, into which the filter dies away
    length += -length % _FFT_MULTIPLE
    omega = torch.linspace(0, math.pi, length // 2 + 1, device=waveforms.device)  # [F], radians a sample
    cutoff = (2 * math.pi / sampling_rate * hertz).unsqueeze(1)  # [B, 1]
    a = (omega / 2).sin() * (cutoff / 2).cos()  # [B, F]
    b = (omega / 2).cos() * (cutoff / 2).sin()
    response = numerator(a, b) / torch.complex(b.square() - a.square(), math.sqrt(2) * a * b)
    spectrum = torch.fft.rfft(waveforms, n=length)
    return torch.fft.irfft(spectrum * response, n=length)[:, :samples]
