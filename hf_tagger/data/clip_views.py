"""Clips as they would sound if something had been done to them: cut shorter, compressed, played faster.

A view has what evaluation asks of :class:`~hf_tagger.data.pcm.PreparedClips`, so that every way to evaluate takes it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..models.windowing import window_starts
from .pcm import PreparedClips


class Change(Protocol):
    """Something that is done to a waveform."""

    def length(self, samples: int) -> int:
        """Samples of the result, from the samples before."""

    def apply(self, waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
        """The result: float32 ``[samples]`` → ``[length(samples)]``."""


class Waveforms(Protocol):
    """What windows are cut from: clips, a view of clips, or recordings that belong to no dataset."""

    sampling_rate: int
    num_samples: np.ndarray

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples ``[start:stop]`` of a recording, float32."""


class CroppedClips:
    """The clips cut to one duration.

    Args:
        clips: The whole clips. Those that are shorter than the duration stay as they are.
        seconds: Duration in seconds.
        position: Where the rest is cut off: 0 keeps the start, 0.5 the middle, 1 the end.

    Raises:
        ValueError: If the duration is shorter than a sample, or the position not within 0 to 1.
    """

    def __init__(self, clips: PreparedClips, seconds: float, position: float = 0.5):
        length = round(seconds * clips.sampling_rate)
        if length < 1 or not 0 <= position <= 1:
            raise ValueError(f"cannot keep {seconds} s at position {position} of 0 to 1")
        _take_over(self, clips)
        self._clips = clips
        self.num_samples = np.minimum(clips.num_samples, length)
        self._starts = np.floor((clips.num_samples - self.num_samples) * position).astype(np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples ``[start:stop]`` of the cut clip, float32."""
        end = int(self.num_samples[index])
        stop = end if stop is None else min(stop, end)
        offset = int(self._starts[index])
        return self._clips.read(index, offset + start, offset + max(start, stop))


class ChangedClips:
    """The clips after a change, which is made when a clip is read.

    The last clip is kept: evaluation reads the windows of a clip one after the other.

    Args:
        clips: The clips before.
        change: What is done to each of them.
    """

    def __init__(self, clips: PreparedClips, change: Change):
        _take_over(self, clips)
        self._clips, self._change = clips, change
        self.num_samples = np.array([change.length(int(samples)) for samples in clips.num_samples], dtype=np.int64)
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples ``[start:stop]`` of the changed clip, float32."""
        if self._last is None or self._last[0] != index:
            waveform = self._change.apply(self._clips.read(index), self.sampling_rate)
            self._last = index, np.ascontiguousarray(waveform, dtype=np.float32)
        return self._last[1][start:stop]


class Song:
    """One recording of any length that belongs to no dataset.

    Args:
        waveform: float32 ``[samples]``.
        sampling_rate: In Hz.
    """

    def __init__(self, waveform: np.ndarray, sampling_rate: int):
        self.waveform, self.sampling_rate = waveform, sampling_rate
        self.num_samples = np.array([len(waveform)], dtype=np.int64)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples ``[start:stop]``, float32; ``index`` is 0, there is one recording."""
        return self.waveform[start:stop]


class SingleWindows:
    """The windows of some recordings as clips of one window each, whose probabilities an evaluation then tells.

    Args:
        waveforms: The recordings.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples.

    Attributes:
        recordings: Number of the recording that each window is from, ascending, ``[windows]``.
        starts: First sample of each window in it, ``[windows]``.
    """

    def __init__(self, waveforms: Waveforms, window_samples: int, hop_samples: int):
        self._waveforms, self.sampling_rate = waveforms, waveforms.sampling_rate
        starts = [window_starts(int(length), window_samples, hop_samples) for length in waveforms.num_samples]
        self.recordings = np.repeat(np.arange(len(starts)), [len(own) for own in starts])
        self.starts = np.array([start for own in starts for start in own], dtype=np.int64)
        self.num_samples = np.minimum(waveforms.num_samples[self.recordings], window_samples)
        self.labelled: list[int] = []  # a recording's labels need not hold for each of its windows

    def __len__(self) -> int:
        return len(self.starts)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples ``[start:stop]`` of a window, float32."""
        length, offset = int(self.num_samples[index]), int(self.starts[index])
        stop = length if stop is None else min(stop, length)
        return self._waveforms.read(int(self.recordings[index]), offset + start, offset + stop)


def _take_over(view: CroppedClips | ChangedClips, clips: PreparedClips) -> None:
    view.sampling_rate, view.ids, view.groups = clips.sampling_rate, clips.ids, clips.groups
    view.labels, view.unknown_labels, view.labelled = clips.labels, clips.unknown_labels, clips.labelled
