"""What happens to music before a tagger hears it: noise, another tempo or pitch, compression, mp3, a dull loudspeaker.

The robustness study of Won et al. 2020 (https://arxiv.org/abs/2006.00751, section 4.3) stretches time, shifts pitch,
compresses the dynamic range and adds white noise; low-pass filters and mp3 at low bitrates are what also happens to
files. Each change is deterministic: the noise of a clip is always the same.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import soundfile
from scipy.signal import butter, lfilter, sosfilt

_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_MP3_DELAY = 576 + 529  # samples: of LAME's encoder and of every decoder (https://lame.sourceforge.io/tech-FAQ.txt)


@dataclass(frozen=True)
class Degradation:
    """A change of waveforms with one strength (a :class:`hf_tagger.data.clip_views.Change`).

    Attributes:
        kind: What is done, a key of :data:`DEGRADATIONS`.
        strength: How much, in the kind's unit.
    """

    kind: str
    strength: float

    def is_possible(self, sampling_rate: int) -> bool:
        """Whether there is such a change at this rate: mp3 knows some rates, and of each some bitrates."""
        if self.kind != "mp3":
            return True
        lowest, highest = mp3_bitrates(sampling_rate)
        return sampling_rate in _MP3_RATES and lowest <= self.strength <= highest

    def length(self, samples: int) -> int:
        """Samples of the result: fewer if played faster."""
        return round(samples / self.strength) if self.kind == "time_stretch" else samples

    def apply(self, waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
        """The result: float32 ``[samples]`` → ``[length(samples)]``."""
        changed = DEGRADATIONS[self.kind].apply(waveform, sampling_rate, self.strength)
        return _fitted(changed, self.length(len(waveform))).astype(np.float32)


@dataclass(frozen=True)
class Kind:
    """One way to spoil a recording.

    Attributes:
        title: What it is, with the unit of its strength.
        strengths: What the study tries, the mildest first; signed ones to both sides.
        apply: Function of waveform, sampling rate in Hz and strength.
    """

    title: str
    strengths: Sequence[float]
    apply: Callable[[np.ndarray, int, float], np.ndarray]


def add_noise(waveform: np.ndarray, sampling_rate: int, snr_decibels: float) -> np.ndarray:
    """White noise at a signal-to-noise ratio in dB; silence stays silent."""
    seed = zlib.crc32(np.ascontiguousarray(waveform, dtype=np.float32).tobytes())
    noise = np.random.default_rng(seed).standard_normal(len(waveform))
    power = np.mean(np.square(waveform, dtype=np.float64))
    return waveform + noise * math.sqrt(power / 10 ** (snr_decibels / 10))


def stretch_time(waveform: np.ndarray, sampling_rate: int, factor: float) -> np.ndarray:
    """Faster (factor above 1) or slower at the same pitch: phase vocoder of librosa."""
    return librosa.effects.time_stretch(waveform, rate=factor)


def shift_pitch(waveform: np.ndarray, sampling_rate: int, semitones: float) -> np.ndarray:
    """Higher or lower by semitones at the same tempo: phase vocoder of librosa, then resampling."""
    return librosa.effects.pitch_shift(waveform, sr=sampling_rate, n_steps=semitones)


def compress_dynamics(waveform: np.ndarray, sampling_rate: int, ratio: float) -> np.ndarray:
    """Compressor: above a threshold, sound that grows by a dB grows by ``1 / ratio`` dB only; then as loud as before.

    Feed-forward, by the level of a smoothed power (Giannoulis, Massberg & Reiss 2012, Digital Dynamic Range Compressor
    Design: A Tutorial and Analysis, JAES 60(6), section 2): threshold 20 dB below the clip's mean power, time constant
    10 ms. Both are ours.
    """
    power = np.square(waveform, dtype=np.float64)
    mean = power.mean()
    if mean == 0:
        return waveform
    keep = math.exp(-1 / (0.010 * sampling_rate))
    level = lfilter([1 - keep], [1, -keep], power, zi=[keep * mean])[0]
    excess = np.maximum(10 * np.log10(np.maximum(level / mean, 1e-12)) + 20.0, 0)
    compressed = waveform * 10 ** (-(1 - 1 / ratio) * excess / 20)
    return compressed * math.sqrt(mean / np.mean(np.square(compressed)))


def low_pass(waveform: np.ndarray, sampling_rate: int, hertz: float) -> np.ndarray:
    """Butterworth low-pass of fourth order: 24 dB an octave above the frequency; none at half the rate or more."""
    if hertz >= sampling_rate / 2:
        return waveform
    return sosfilt(butter(4, hertz, fs=sampling_rate, output="sos"), waveform)


def mp3_bitrates(sampling_rate: int) -> tuple[int, int]:
    """Lowest and highest bitrate in kbit/s of mp3 at a rate in Hz (MPEG 1, 2 and 2.5; the last as LAME uses it)."""
    return (32, 320) if sampling_rate >= 32_000 else (8, 160) if sampling_rate >= 16_000 else (8, 64)


def encode_mp3(waveform: np.ndarray, sampling_rate: int, kilobits: float) -> np.ndarray:
    """To mp3 at a constant bitrate in kbit/s and back, by libsndfile (LAME).

    libsndfile takes no bitrate but a level from 0 to 1 of the range that the format allows, and chooses the nearest
    bitrate of the format.
    """
    lowest, highest = mp3_bitrates(sampling_rate)
    level = 1 - (np.clip(kilobits, lowest, highest) - lowest) / (highest - lowest)
    buffer = io.BytesIO()
    peak = max(1.0, float(np.abs(waveform).max(initial=0)))  # louder samples would be clipped
    soundfile.write(
        buffer,
        waveform / peak,
        sampling_rate,
        format="MP3",
        compression_level=min(level, 0.999),  # 1 is refused (libsndfile 1.2.2)
        bitrate_mode="CONSTANT",
    )
    buffer.seek(0)
    decoded = soundfile.read(buffer, dtype="float32")[0] * peak
    # Frames of low bitrates have no room for LAME's note of its delay, which then stays before the music.
    return decoded[_MP3_DELAY:] if len(decoded) > len(waveform) else decoded


# The one place of a degradation.
DEGRADATIONS: dict[str, Kind] = {
    "noise": Kind("white noise, signal-to-noise ratio in dB", (40, 30, 20, 10, 0), add_noise),
    "time_stretch": Kind("tempo, factor", (0.7, 0.8, 0.9, 1.1, 1.25, 1.5), stretch_time),
    "pitch_shift": Kind("pitch, semitones", (-4, -2, -1, 1, 2, 4), shift_pitch),
    "compression": Kind("dynamic range compression, ratio", (2, 4, 10, 20), compress_dynamics),
    "low_pass": Kind("low-pass filter, Hz", (6_000, 4_000, 2_000, 1_000, 500), low_pass),
    "mp3": Kind("mp3, kbit/s", (64, 32, 16, 8), encode_mp3),
}


def _fitted(waveform: np.ndarray, length: int) -> np.ndarray:
    """Cut at the end, or with silence there: codecs and vocoders work in whole frames."""
    return waveform[:length] if len(waveform) >= length else np.pad(waveform, (0, length - len(waveform)))
