"""From an audio file to mono float samples at one sampling rate: the only decoder of this package.

libsndfile reads wav, flac, ogg, mp3, au and aiff without any system package; what it does not know (m4a, mp4, wma) goes
to torchcodec where that is installed. Everything here is a pure function of its arguments.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .errors import AudioDecodingError

AUDIO_SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".au",
        ".aif",
        ".aiff",
        ".aifc",
        ".caf",
        ".w64",
        ".m4a",
        ".mp4",
        ".aac",
        ".wma",
        ".webm",
    ]
)
_BLOCK_FRAMES = 1 << 18  # read in blocks: a damaged header may announce hours, and memory must follow the real samples
_LONG_SECONDS = 600  # beyond, a recording is not held as a whole
_RATES = (1_000, 768_000)  # Hz; telephone speech is 8,000, the highest converters reach 768,000
_CHANNELS = 64
# A decoder that meets a damaged frame drops it and goes on. Up to this much is the normal loss at cut mp3 borders.
_LOST_SECONDS, _LOST_SHARE = 0.1, 0.01
_PCM_FULL_SCALE = 32768.0
_LARGEST_SAMPLE = 2.0**31  # full scale of 32-bit integers written as floats; beyond it is no recording

Source = str | os.PathLike | bytes


def load_mono(source: Source, sampling_rate: int) -> np.ndarray:
    """Decodes a file, mixes it to mono and resamples it.

    All channels at the file's own rate would take 2.5 GB for an hour of stereo at 44.1 kHz. So recordings of more than
    ten minutes are mixed and resampled block by block, to the same samples but for rounding.

    Args:
        source: Path of an audio file, or the bytes of one.
        sampling_rate: Wanted rate in Hz.

    Returns:
        float32 ``[samples]``, nominally within ±1; values beyond (mp3, ogg overshoot) are kept as they are.

    Raises:
        AudioDecodingError: With the reason, if the clip cannot be used.
    """
    content = _content(source)
    native_rate = _rate_of_long_audio(content)
    if native_rate in (None, sampling_rate):
        parts, native_rate = _decode(content, to_mono)
        return resample(np.concatenate(parts), native_rate, sampling_rate)
    stream = soxr.ResampleStream(native_rate, sampling_rate, 1, dtype="float32", quality="HQ")
    parts, _ = _decode(content, lambda block: stream.resample_chunk(to_mono(block)))
    return np.concatenate([*parts, stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)])


def read_audio(source: Source) -> tuple[np.ndarray, int]:
    """Decodes a whole file.

    Args:
        source: Path of an audio file, or the bytes of one.

    Returns:
        float32 ``[frames, channels]`` and the file's sampling rate in Hz.

    Raises:
        AudioDecodingError: If the file is empty, no audio, cut off, or holds NaN or infinite samples.
    """
    parts, sampling_rate = _decode(_content(source), lambda block: block)
    return np.concatenate(parts), sampling_rate


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Mean over channels: float32 ``[frames, channels]`` → ``[frames]``."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    if samples.shape[1] == 2:  # the same to the last bit; NumPy's mean of two neighbours is ten times as slow
        mono = samples[:, 0] + samples[:, 1]
        mono *= np.float32(0.5)
        return mono
    return samples.mean(axis=1, dtype=np.float32)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resamples float32 ``[samples]`` with soxr's high quality setting (https://sourceforge.net/p/soxr).

    The result holds at least one sample, so that a clip of a few samples stays a clip.
    """
    if from_rate == to_rate:
        return np.ascontiguousarray(samples, dtype=np.float32)
    resampled = soxr.resample(samples, from_rate, to_rate, quality="HQ")
    if not len(resampled):
        resampled = samples[:1]
    return np.ascontiguousarray(resampled, dtype=np.float32)


def to_pcm16(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Quantises to 16 bits.

    16-bit sources within full scale come back exactly; louder ones are scaled instead of clipped.

    Args:
        samples: float32 ``[samples]``.

    Returns:
        int16 ``[samples]`` and the factor that turns them back: ``samples ≈ pcm * factor``.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    factor = 1.0 / _PCM_FULL_SCALE if peak <= 1.0 else peak / (_PCM_FULL_SCALE - 1)
    pcm = np.clip(np.rint(samples / np.float32(factor)), -_PCM_FULL_SCALE, _PCM_FULL_SCALE - 1)
    return pcm.astype(np.int16), factor


def _content(source: Source) -> bytes:
    if isinstance(source, bytes):
        content = source
    else:
        try:
            content = Path(source).read_bytes()
        except FileNotFoundError as error:
            raise AudioDecodingError("file not found") from error
        except IsADirectoryError as error:
            raise AudioDecodingError("a folder, not a file") from error
        except PermissionError as error:
            raise AudioDecodingError("no permission to read the file") from error
        except OSError as error:
            raise AudioDecodingError(f"cannot be read ({error.strerror})") from error
    if not content:
        raise AudioDecodingError("empty file (0 bytes)")
    return content


def _rate_of_long_audio(content: bytes) -> int | None:
    """The sampling rate of a recording that is better not held as a whole; None for all others."""
    try:
        header = soundfile.info(io.BytesIO(content))
    except soundfile.LibsndfileError:  # decoding will say why
        return None
    is_sound = _RATES[0] <= header.samplerate <= _RATES[1]
    return header.samplerate if is_sound and header.frames > _LONG_SECONDS * header.samplerate else None


def _decode(content: bytes, take: Callable[[np.ndarray], np.ndarray]) -> tuple[list[np.ndarray], int]:
    """What is taken of every block, and the file's sampling rate in Hz.

    Args:
        content: An encoded file.
        take: float32 ``[frames, channels]`` → what to keep of it.

    Raises:
        AudioDecodingError: See :func:`read_audio`.
    """
    parts, frames, peak = [], 0, np.float32(0)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check_header(file.samplerate, file.channels)
            for block in _blocks(file):
                frames, peak = frames + len(block), np.max([peak, block.max(), -block.min()])  # NaN stays NaN
                parts.append(take(block))
            sampling_rate, declared, log = file.samplerate, file.frames, file.extra_info
    except soundfile.LibsndfileError as error:
        if "not recognised" not in str(error):
            raise AudioDecodingError(f"damaged audio ({error.error_string})") from error
        samples, sampling_rate = _read_with_torchcodec(content)
        _check_header(sampling_rate, samples.shape[1])
        frames, peak, declared, log = len(samples), np.abs(samples).max(initial=0), len(samples), ""
        parts = [take(samples)]
    _check_samples(frames, float(peak), sampling_rate, declared, log, content)
    return parts, sampling_rate


def _blocks(file: soundfile.SoundFile):
    while True:
        block = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        if not len(block):
            return
        yield block


def _check_header(sampling_rate: int, channels: int) -> None:
    if not _RATES[0] <= sampling_rate <= _RATES[1]:
        raise AudioDecodingError(f"damaged header: a sampling rate of {sampling_rate} Hz")
    if not 1 <= channels <= _CHANNELS:
        raise AudioDecodingError(f"damaged header: {channels} channels")


def _check_samples(frames: int, peak: float, sampling_rate: int, declared: int, log: str, content: bytes) -> None:
    if not frames:
        raise AudioDecodingError("no samples in the file")
    declared = max(declared, round(_announced_share(log) * frames))
    lost = (declared - frames) / sampling_rate
    if lost > max(_LOST_SECONDS, _LOST_SHARE * declared / sampling_rate):
        raise AudioDecodingError(
            f"cut off or damaged: {frames / sampling_rate:.2f} s decoded of {declared / sampling_rate:.2f} s"
        )
    if content[:4] == b"OggS" and not _ogg_is_complete(content):
        raise AudioDecodingError(f"cut off: the Ogg stream has no end after {frames / sampling_rate:.2f} s")
    if not np.isfinite(peak):
        raise AudioDecodingError("NaN or infinite samples")
    if peak > _LARGEST_SAMPLE:
        raise AudioDecodingError(f"samples up to {peak:.1e}; within ±1 is usual")


def _announced_share(log: str) -> float:
    """How many times more data a wav or au header announces than the file holds, from libsndfile's log.

    libsndfile shortens such files silently but for a line like ``data : 320000 (should be 159978)``. Writers that
    stream to a pipe leave 0 or an all-ones size, which says nothing about the length.
    """
    match = re.search(r"^\s*(?:data|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if not match:
        return 1.0
    announced, held = int(match[1]), int(match[2])
    return announced / held if held and announced < 0x7FFF_0000 else 1.0


def _ogg_is_complete(content: bytes) -> bool:
    """Whether the last page carries the end-of-stream flag (RFC 3533, section 6: header_type_flag 0x04)."""
    page = content.rfind(b"OggS")
    return page + 5 < len(content) and bool(content[page + 5] & 0x04)


def _read_with_torchcodec(content: bytes) -> tuple[np.ndarray, int]:
    try:
        from torchcodec.decoders import AudioDecoder
    except ImportError as error:
        raise AudioDecodingError(
            "not a known audio format (m4a, mp4 and wma need: pip install 'hf_tagger[ffmpeg]', and FFmpeg)"
        ) from error
    except (RuntimeError, OSError) as error:  # torchcodec is there, FFmpeg's shared libraries are not
        raise AudioDecodingError(
            "not a format that libsndfile knows, and torchcodec finds no FFmpeg libraries: install FFmpeg"
        ) from error
    try:
        decoded = AudioDecoder(content).get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise AudioDecodingError("not a known audio format") from error
    return decoded.data.T.contiguous().numpy(), int(decoded.sample_rate)  # [channels, frames] → [frames, channels]
