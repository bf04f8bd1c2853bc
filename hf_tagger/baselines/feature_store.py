"""Features of a split's clips, computed once in parallel processes and kept on disk.

A file is a NumPy array ``[clips, values]`` that holds NaN where a clip is not computed yet. It gets its rows as they
are computed, so that an interrupted run goes on where it stopped. Its name is a hash of the clips, of what is measured
and of librosa's version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from ..data.pcm import PreparedClips
from ..errors import HfTaggerError
from .features import clip_features, value_names

logger = logging.getLogger(__name__)

_TASK_CLIPS = 8  # of one task: an interruption loses at most so many a process
_VERSION = 1  # part of a file's name; raise it when the computation changes


@dataclass(frozen=True)
class FeatureSettings:
    """What is measured.

    Attributes:
        features: Names of what is measured in a frame.
        statistics: Names of what becomes of the frames.
    """

    features: tuple[str, ...]
    statistics: tuple[str, ...]

    @property
    def num_values(self) -> int:
        """Values a clip."""
        return len(value_names(self.features, self.statistics))


def features_of(clips: PreparedClips, settings: FeatureSettings, folder: Path, name: str, processes: int) -> np.ndarray:
    """The features of a split's clips; those that are not on disk yet are computed.

    Args:
        clips: The clips.
        settings: What is measured.
        folder: Where the files lie.
        name: The split, for the progress bar and the log.
        processes: How many clips are computed at once.

    Returns:
        float32 ``[clips, values]``.

    Raises:
        HfTaggerError: If the file cannot be written, or if a process was killed.
    """
    started = time.monotonic()
    path = folder / f"features-{_key(clips, settings)}.npy"
    try:
        if not path.exists():
            _make_empty(path, (len(clips), settings.num_values))
        missing = np.flatnonzero(np.isnan(np.load(path)).any(axis=1))
        if len(missing):
            _compute(clips, missing, settings, path, name, processes)
    except OSError as error:
        raise HfTaggerError(
            f"The features could not be written to {folder}: {error}. What was computed is kept. Free some space, or "
            f"set cache_dir to another disk."
        ) from error
    except BrokenProcessPool as error:
        raise HfTaggerError(
            f"A process that computes features of {name} clips was killed, for want of memory mostly. What was "
            f"computed is kept. Run it again with fewer processes than {processes}."
        ) from error
    features = np.load(path)
    logger.info(
        "Features of %d %s clips, %d values each: %d computed, %d read from %s, in %.3f s",
        *(len(clips), name, settings.num_values, len(missing), len(clips) - len(missing), path),
        time.monotonic() - started,
    )
    return features


def _compute(
    clips: PreparedClips, missing: np.ndarray, settings: FeatureSettings, path: Path, name: str, processes: int
) -> None:
    # A task carries the clips as the path of their store, and its process reads or decodes them.
    parts = np.split(missing, range(_TASK_CLIPS, len(missing), _TASK_CLIPS))
    tasks = (delayed(_features_of_some)(clips, indices.tolist(), settings) for indices in parts)
    results = Parallel(n_jobs=min(processes, len(parts)), return_as="generator")(tasks)
    start = np.load(path, mmap_mode="r").offset
    bar = tqdm(total=len(missing), desc=f"Features of {name} clips", unit="clip")
    # Written, not memory-mapped: on a full disk a write is an error, a mapped page kills the process.
    with bar, open(path, "r+b") as file:
        for indices, rows in zip(parts, results, strict=True):
            for index, row in zip(indices.tolist(), rows, strict=True):
                file.seek(start + index * row.nbytes)
                file.write(row.tobytes())
            file.flush()
            bar.update(len(indices))


def _features_of_some(clips: PreparedClips, indices: list[int], settings: FeatureSettings) -> list[np.ndarray]:
    rate, names = clips.sampling_rate, (settings.features, settings.statistics)
    return [clip_features(clips.read(index), rate, *names) for index in indices]


def _make_empty(path: Path, shape: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            np.save(file, np.full(shape, np.nan, dtype=np.float32))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _key(clips: PreparedClips, settings: FeatureSettings) -> str:
    facts = [_VERSION, librosa.__version__, clips.fingerprint, settings.features, settings.statistics]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
