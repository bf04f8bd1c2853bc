"""What a user may hand over as a recording, and how it becomes mono samples at a model's sampling rate.

Several channels are mixed to their mean. Of an array with two axes the shorter one holds the channels, whether it comes
first (torchaudio, torchcodec) or last (soundfile, librosa's writers): ``[2, samples]`` and ``[samples, 2]`` mean the
same. Where both are short, or both long, nobody can know, and it is an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import singledispatch
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
import soxr
import torch

from .audio import load_mono, resample, to_mono
from .errors import AudioDecodingError

KINDS = (
    "a path, a URL, the bytes of a file, a waveform (array or tensor), a dictionary with 'array' or 'raw' and "
    "'sampling_rate', or an AudioDecoder"
)
"""What a recording may be, in words."""

_MOST_CHANNELS = 64
_RATES = (1_000, 768_000)  # Hz, as of files
_INT16_FULL_SCALE = 32_768.0
_TIMEOUT_SECONDS = 30
_BLOCK_SECONDS = 60  # of a decoder: an hour of stereo at 44.1 kHz would take 1.3 GB


def is_recording(source: Any) -> bool:
    """Whether something is one recording; if not, it may be several of them."""
    return to_waveform.dispatch(type(source)) is not to_waveform.dispatch(object) or _is_stream(source)


@singledispatch
def to_waveform(source: Any, sampling_rate: int) -> np.ndarray:
    """Mono samples of one recording.

    Args:
        source: See :data:`KINDS`. A waveform without a dictionary is taken to have ``sampling_rate``; a dictionary may
            also hold ``bytes`` or ``path``, as a dataset's undecoded audio does. A file opened for reading is read.
        sampling_rate: Wanted rate in Hz.

    Returns:
        float32 ``[samples]``.

    Raises:
        AudioDecodingError: With the reason, if it cannot be used.
    """
    if hasattr(source, "get_samples_played_in_range"):  # torchcodec's AudioDecoder and that of datasets
        return _decoded(source, sampling_rate)
    if hasattr(source, "read"):
        return load_mono(source.read(), sampling_rate)
    raise AudioDecodingError(f"a recording is {KINDS}; received {type(source).__name__}")


@to_waveform.register(str)
@to_waveform.register(os.PathLike)
def _from_name(source: str | os.PathLike, sampling_rate: int) -> np.ndarray:
    name = os.fspath(source)
    is_url = name.startswith(("http://", "https://"))
    try:
        return load_mono(_fetched(name) if is_url else os.path.expanduser(name), sampling_rate)
    except AudioDecodingError as error:
        raise AudioDecodingError(f"{_without_secrets(name) if is_url else name}: {error}") from error


@to_waveform.register(bytes)
@to_waveform.register(bytearray)
@to_waveform.register(memoryview)
def _from_bytes(source: bytes | bytearray | memoryview, sampling_rate: int) -> np.ndarray:
    return load_mono(bytes(source), sampling_rate)


@to_waveform.register(Mapping)
def _from_mapping(source: Mapping, sampling_rate: int) -> np.ndarray:
    samples = next((source[name] for name in ("array", "raw") if source.get(name) is not None), None)
    if samples is None:
        undecoded = next((source[name] for name in ("bytes", "path") if source.get(name) is not None), None)
        if undecoded is None:
            raise AudioDecodingError(f"a recording is {KINDS}; received a dictionary with {_listing(source)}")
        return to_waveform(undecoded, sampling_rate)
    rate = source.get("sampling_rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise AudioDecodingError(
            f"a dictionary with samples needs their 'sampling_rate' in Hz; received a dictionary with "
            f"{_listing(source)}"
        )
    if not _RATES[0] <= rate <= _RATES[1]:
        raise AudioDecodingError(f"a sampling_rate of {rate:g} Hz; possible are {_RATES[0]} to {_RATES[1]}")
    return _checked(resample(_mono_array(samples), rate, sampling_rate))


@to_waveform.register(np.ndarray)
@to_waveform.register(torch.Tensor)
def _from_array(source: np.ndarray | torch.Tensor, sampling_rate: int) -> np.ndarray:
    return _checked(_mono_array(source))


def _mono_array(samples: Any) -> np.ndarray:
    """float32 ``[samples]`` at the rate as it is."""
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.is_floating_point() else samples).numpy()
    samples = np.asarray(samples)
    if samples.dtype == np.int16:
        samples = samples / np.float32(_INT16_FULL_SCALE)
    elif samples.dtype.kind != "f":
        raise AudioDecodingError(
            f"samples are floating point numbers within ±1, or int16; received {samples.dtype}. Divide whole numbers "
            f"by their full scale"
        )
    if samples.ndim == 2:
        channels = [axis for axis in (0, 1) if samples.shape[axis] <= _MOST_CHANNELS]
        if len(channels) != 1:
            raise AudioDecodingError(
                f"the shape {samples.shape} does not say which axis holds the channels: exactly one must have at most "
                f"{_MOST_CHANNELS} entries. Mix them to [samples] first"
            )
        samples = to_mono(np.moveaxis(samples, channels[0], 1).astype(np.float32, copy=False))
    if samples.ndim != 1:
        raise AudioDecodingError(
            f"a waveform has the shape [samples], [channels, samples] or [samples, channels]; received "
            f"{samples.shape}. Several recordings go into a list"
        )
    if not len(samples):
        raise AudioDecodingError("no samples")
    return np.require(samples, np.float32, ["C", "W"])  # writable, or PyTorch would warn


def _checked(waveform: np.ndarray) -> np.ndarray:
    if not np.isfinite(waveform).all():
        raise AudioDecodingError("NaN or infinite samples")
    return waveform


def _decoded(decoder: Any, sampling_rate: int) -> np.ndarray:
    """Block by block: what a decoder holds may be hours of many channels."""
    begin, seconds = decoder.metadata.begin_stream_seconds or 0.0, decoder.metadata.duration_seconds or 0.0
    borders = [begin + start for start in np.arange(_BLOCK_SECONDS, seconds, _BLOCK_SECONDS)]
    parts, stream = [], None
    try:
        for start, stop in zip([begin, *borders], [*borders, None], strict=True):
            samples = decoder.get_samples_played_in_range(start, stop)
            stream = stream or soxr.ResampleStream(samples.sample_rate, sampling_rate, 1, dtype="float32", quality="HQ")
            # However few samples there are: the first axis is that of the channels.
            parts.append(stream.resample_chunk(np.ascontiguousarray(to_mono(samples.data.cpu().float().numpy().T))))
    except (RuntimeError, ValueError) as error:  # what torchcodec raises
        raise AudioDecodingError(f"the AudioDecoder fails: {error}") from error
    return _checked(np.concatenate([*parts, stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)]))


def _fetched(url: str) -> bytes:
    try:
        response = requests.get(url, timeout=_TIMEOUT_SECONDS)
    # Of a URL that is none some errors are urllib3's own. The text repeats the whole URL, with the keys in it.
    except (requests.RequestException, ValueError) as error:
        raise AudioDecodingError(f"cannot be fetched ({type(error).__name__})") from None
    if not response.ok:
        raise AudioDecodingError(f"cannot be fetched (the server answers {response.status_code})")
    return response.content


def _without_secrets(url: str) -> str:
    """The URL without user, password and query, where keys stand."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_stream(source: Any) -> bool:
    return hasattr(source, "get_samples_played_in_range") or hasattr(source, "read")


def _listing(source: Mapping) -> str:
    return ", ".join(repr(name) for name in source) or "nothing"
