"""Recordings to measure with: made in code, or cut from a song, as stereo files of a usual rate and format."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from ..audio import read_audio, resample, to_mono
from ..data.synthetic import make_clip
from ..errors import HfTaggerError

RATE = 44_100  # Hz, that of a CD, which most music files have
_FORMATS = {"mp3": ("MP3", "MPEG_LAYER_III"), "flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16")}
FORMATS = tuple(_FORMATS)
"""Formats that :func:`write_recordings` writes."""


def write_recordings(
    folder: Path, number: int, seconds: float, suffix: str = "mp3", song: str | None = None
) -> list[Path]:
    """Writes recordings of 44.1 kHz in stereo.

    Args:
        folder: Where to write; made if it is not there.
        number: How many.
        seconds: Duration of each in seconds.
        suffix: One of :data:`FORMATS`.
        song: An audio file from which they are cut, one after the other and from the start again; default: clips of
            the ``synthetic`` dataset, one after the other.

    Returns:
        Paths of the files.

    Raises:
        HfTaggerError: If the song cannot be read.
    """
    music = _music(song, seconds)  # [samples, 2]
    folder.mkdir(parents=True, exist_ok=True)
    length, paths = round(seconds * RATE), []
    kind, subtype = _FORMATS[suffix]
    for index in range(number):
        samples = np.take(music, range(index * length, (index + 1) * length), axis=0, mode="wrap")
        paths.append(folder / f"{index:06d}.{suffix}")
        soundfile.write(paths[-1], samples, RATE, format=kind, subtype=subtype)
    return paths


def _music(song: str | None, seconds: float) -> np.ndarray:
    if song is not None:
        try:
            samples, rate = read_audio(Path(song).expanduser())
        except HfTaggerError as error:
            raise HfTaggerError(f"--song {song}: {error}.") from error
        left, right = samples[:, 0], samples[:, -1]  # the same of a mono file
        return np.stack([resample(channel, rate, RATE) for channel in (left, right)], axis=1)
    clips, total, number = [], 0, 0
    while total < min(seconds, 60) + 30:  # beyond, the music comes again
        decoded, rate = soundfile.read(io.BytesIO(make_clip(0, number).content), dtype="float32", always_2d=True)
        clips.append(resample(to_mono(decoded), rate, RATE))
        total, number = total + len(clips[-1]) / RATE, number + 1
    mono = np.concatenate(clips)
    echo = np.roll(mono, RATE // 50)  # the right channel a little later: no two channels of music are the same
    return np.stack([mono, 0.5 * (mono + echo)], axis=1)
