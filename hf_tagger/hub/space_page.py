"""What the page of a Space does with a recording; how it looks stands in ``space_app.py.j2``.

Somebody waits for the page, and a free Space has two cores: of long recordings the beginning is heard, the timeline has
so many cells at most, and the seconds that speak for a tag are searched in one window, that in which it is likeliest::

    recording   |==================================================|
    likeliest                       [---------------]
    stretch                         [----]                              at every place in turn: alone in the window,
                                      [----]                            and missing from it
                                                ...
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import soundfile
import torch

from ..audio import load_mono, to_pcm16
from ..errors import AudioDecodingError, HfTaggerError
from ..evaluation.aggregation import Timeline
from ..explain.clip import ExplainedClip
from ..explain.explanation import label_numbers
from ..explain.occlusion import band_edges
from ..models.frontends import MelDecibels
from ..tag_timeline import TimelineWindows
from ..tagging import Tagger
from .space_heard import Heard, Stretch, clock

TOP_TAGS = 10
_SHORTEST_SECONDS = 0.1  # a click has no tags
_LONGEST_SECONDS = 4 * 3_600.0  # files are decoded whole: silence of a day is a small file
_MOST_CELLS = 120  # of a timeline; a cell costs a window
_STRETCH_SECONDS, _STRETCH_SHARE = 3.0, 0.5  # of what is listened to: at most, and of a window at most
_PLACES_A_STRETCH = 6  # it is moved by a sixth of itself
_CERTAIN = 1e-9  # probabilities closer to 0 or 1 are rounding
_N_FFT, _MEL_BINS, _COLUMNS = 1_024, 96, 1_200  # of the spectrogram; more columns than a screen shows


class Listener:
    """Hears recordings by one tagger.

    Args:
        tagger: The model.
        most_seconds: Of longer recordings the beginning of this length is heard.
    """

    def __init__(self, tagger: Tagger, most_seconds: float):
        self.tagger, self.most_seconds = tagger, most_seconds
        self.sampling_rate, self.window_samples = tagger.sampling_rate, tagger.feature_extractor.window_samples

    @property
    def window_seconds(self) -> float:
        """Length of a window."""
        return self.window_samples / self.sampling_rate

    def hear(self, path: str | os.PathLike, progress: bool | None = True) -> Heard:
        """Tags a recording.

        Args:
            path: Audio file; several channels are mixed to their mean.
            progress: See :meth:`Tagger.window_probabilities`.

        Raises:
            HfTaggerError: If it cannot be heard, in words for whoever chose it.
        """
        _check_length(path)
        try:
            waveform = load_mono(path, self.sampling_rate)
        except AudioDecodingError as error:
            raise HfTaggerError(f"This file cannot be heard: {error}.") from error
        total_seconds = len(waveform) / self.sampling_rate
        waveform = waveform[: round(self.most_seconds * self.sampling_rate)]
        if total_seconds < _SHORTEST_SECONDS:
            raise HfTaggerError(
                f"This recording is {total_seconds:.3f} s long; at least {_SHORTEST_SECONDS:g} s are needed."
            )
        if not waveform.any():
            raise HfTaggerError(f"The {clock(len(waveform) / self.sampling_rate)} heard are nothing but silence.")

        cells = self._cells(len(waveform))
        (windows,) = self.tagger.window_probabilities([waveform], starts=lambda _: cells.starts, progress=progress)
        tags = self.tagger.tags(self.tagger.scores(cells.of_tags(windows)), TOP_TAGS)
        names = [tag["label"] for tag in tags]
        numbers = label_numbers(self.tagger, names)
        timeline = Timeline(
            probabilities=cells.of_cells(windows)[:, numbers],
            starts=np.array(cells.cell_edges[:-1]) / self.sampling_rate,
            window_seconds=cells.cell_edges[1] / self.sampling_rate,  # what stands for a cell is the cell itself
            seconds=len(waveform) / self.sampling_rate,
            label_names=names,
        )
        return Heard(
            scores={tag["label"]: tag["score"] for tag in tags},
            given=None if self.tagger.thresholds is None else [tag["label"] for tag in tags if tag["given"]],
            total_seconds=total_seconds,
            timeline=timeline,
            decibels=self._decibels(waveform),
            band_edges=band_edges(_MEL_BINS, self.sampling_rate),
            windows=dict(zip(names, self._likeliest_windows(waveform, cells.starts, windows[:, numbers]), strict=True)),
        )

    def most_relevant(self, heard: Heard, label: str) -> Stretch:
        """The seconds that count most within the window in which a tag is likeliest.

        Those which, alone, leave the tag the likeliest and, missing, the least likely: by the difference of the two
        log odds, for one of them is often the same at every place (music that repeats, or an answer that is certain).
        Both are what the model says of a whole stretch, not sums of parts.

        Args:
            heard: What :meth:`hear` returned.
            label: One of its tags.

        Raises:
            HfTaggerError: If the window holds nothing but silence.
        """
        begin, window = heard.windows[label]
        (number,) = label_numbers(self.tagger, [label])
        seconds = len(window) / self.sampling_rate
        wanted = min(_STRETCH_SECONDS, _STRETCH_SHARE * seconds)
        clip = ExplainedClip(self.tagger, window, wanted / _PLACES_A_STRETCH, fill="noise", seed=0)
        length = min(max(round(wanted / seconds * clip.segments), 1), clip.segments)

        def masked(first: int, is_kept: bool) -> torch.Tensor:
            kept = torch.full((clip.segments,), not is_kept)
            kept[first : first + length] = is_kept
            return clip.masked_window(0, kept)

        places = range(clip.segments - length + 1)
        scores = clip.scores_of(masked(first, is_kept) for is_kept in (True, False) for first in places)[:, number]
        alone, without = scores.unflatten(0, (2, -1))  # [places] each
        first = int((alone.logit(_CERTAIN) - without.logit(_CERTAIN)).argmax())
        start, end = (float(clip.segment_edges[edge]) for edge in (first, first + length))
        excerpt = window[round(start * self.sampling_rate) : round(end * self.sampling_rate)]
        return Stretch(
            label=label,
            start=begin + start,
            end=begin + end,
            audio=(self.sampling_rate, to_pcm16(excerpt)[0]),
            probability=float(clip.probabilities[0, number]),
            alone=float(alone[first]),
            without=float(without[first]),
        )

    def _cells(self, num_samples: int) -> TimelineWindows:
        """A cell a second, and longer ones where they would be too many."""
        step = max(self.sampling_rate, math.ceil(num_samples / _MOST_CELLS))
        own = self.tagger.window_starts(num_samples)
        return TimelineWindows.of(num_samples, own, self.window_samples, step)

    def _likeliest_windows(
        self, waveform: np.ndarray, starts: Sequence[int], probabilities: np.ndarray
    ) -> list[tuple[float, np.ndarray]]:
        """Start in seconds and samples of the window where each column of ``[windows, tags]`` is highest."""
        length = self.window_samples
        best = [starts[row] for row in probabilities.argmax(axis=0)]
        return [(start / self.sampling_rate, waveform[start : start + length].copy()) for start in best]

    def _decibels(self, waveform: np.ndarray) -> np.ndarray:
        """Of long recordings the frames lie apart: each column shows one moment of its time."""
        hop = max(_N_FFT // 4, math.ceil(len(waveform) / _COLUMNS))
        spectrogram = MelDecibels(self.sampling_rate, _N_FFT, hop, _MEL_BINS, 0.0, self.sampling_rate / 2)
        samples = torch.nn.functional.pad(torch.from_numpy(waveform), (0, max(_N_FFT - len(waveform), 0)))
        return spectrogram(samples[None])[0, 0].numpy()


def _check_length(path: str | os.PathLike) -> None:
    """Raises HfTaggerError for files that would take all memory; what is no audio is told by the decoder."""
    try:
        seconds = soundfile.info(os.fspath(path)).duration
    except (OSError, soundfile.LibsndfileError):
        return
    if seconds > _LONGEST_SECONDS:
        raise HfTaggerError(f"This file is {clock(seconds)} long; at most {clock(_LONGEST_SECONDS)} are taken.")
