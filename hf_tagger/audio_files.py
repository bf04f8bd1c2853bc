"""Which audio files a command line means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .audio import AUDIO_SUFFIXES
from .errors import HfTaggerError


def find_audio(names: Sequence[str]) -> list[Path]:
    """The files given, and the audio files below the folders given, sorted within each folder.

    A file that does not exist stays in the list: whoever reads it says so in that file's place.

    Raises:
        HfTaggerError: If a folder holds no audio file.
    """
    return [path for name in names for path in _find(Path(name).expanduser())]


def _find(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
    if not found:
        raise HfTaggerError(f"No audio file below {path}; known endings: {', '.join(sorted(AUDIO_SUFFIXES))}.")
    yield from found
