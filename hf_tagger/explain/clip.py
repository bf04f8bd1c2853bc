"""One recording as a tagger hears it, and what the tagger says when parts of it are taken away.

A removed part is replaced by a **fill**, softly (in ramps of 10 ms)::

    segments  |---|---|---|---|---|---|---|---|---|---|---|---|---|
    kept        1   1   0   0   1   1   1   1   1   1   1   1   1
    windows   |===================|===================|
                                  ...
                                      |===================|
    heard     |music  ~~fill~~  music|

Windows that hold none of the removed segments keep their scores, so that removing one of many costs few windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import nn

from ..errors import HfTaggerError
from ..models.input_features import input_features
from ..models.windowed_classification import MULTI_LABEL
from ..models.windowing import window_starts
from ..tagging import Tagger

FILLS = ("noise", "silence")
"""What replaces a removed part. Silence is −100 dB in a spectrogram in decibels, which no recording holds; noise is
pink and 40 dB below the recording's mean level, as a room or a tape leaves it between two pieces."""

_FILL_DECIBELS = -40.0
_FILL_SAMPLES = 1 << 19  # a period of the noise; at 16 kHz 33 s
_RAMP_SECONDS = 0.01  # a click would be an event of its own
_FEWEST_SEGMENTS = 10
_WINDOWS_AT_ONCE = 16  # for models whose configuration does not say it


class ExplainedClip:
    """A recording, its windows and its segments in time.

    Args:
        tagger: The model that is asked.
        waveform: float32 ``[samples]`` at the tagger's sampling rate.
        segment_seconds: Length of the parts that are removed one by one; at least 10 are made.
        fill: A name of :data:`FILLS`.
        seed: Seed of the noise.

    Attributes:
        starts: First sample of every window.
        segments: Number S of segments, all of the same length up to a sample.
        holds: Which segments a window holds, boolean ``[windows, S]``.
        logits: The model's logits of the recording as it is, float32 ``[windows, C]``.
        probabilities: Probabilities of the same, float64 ``[windows, C]``.

    Raises:
        HfTaggerError: If the recording is shorter than 10 samples or holds nothing but silence.
    """

    def __init__(self, tagger: Tagger, waveform: np.ndarray, segment_seconds: float, fill: str, seed: int):
        extractor, self.tagger = tagger.feature_extractor, tagger
        self.waveform = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
        self.samples, self.sampling_rate = len(waveform), tagger.sampling_rate
        if self.samples < _FEWEST_SEGMENTS:
            raise HfTaggerError(
                f"The audio has {self.samples} samples; an explanation removes {_FEWEST_SEGMENTS} parts and more."
            )
        if not self.waveform.any():
            raise HfTaggerError("The audio holds nothing but silence: there is nothing in it to be relevant.")
        self.window_samples: int = extractor.window_samples
        self.starts = window_starts(max(self.samples, self.window_samples), self.window_samples, extractor.hop_samples)
        wanted = round(self.samples / (segment_seconds * self.sampling_rate))
        self.segments = min(max(_FEWEST_SEGMENTS, wanted), self.samples)
        self.fill = fill_of(self.waveform, fill, seed)  # [samples or a period]
        self.windows_at_once: int = getattr(tagger.model.config, "windows_per_group", _WINDOWS_AT_ONCE)
        self._features = input_features(extractor)
        self.holds = torch.zeros(len(self.starts), self.segments, dtype=torch.bool)
        for window in range(len(self.starts)):
            self.holds[window, self.segment_of(self.positions(window)).unique()] = True
        self.logits = torch.cat(list(self._batched_logits(map(self.window, range(len(self.starts))))))
        self.probabilities = self.to_probabilities(self.logits)

    def positions(self, window: int) -> torch.Tensor:
        """Which sample of the recording stands at each place of a window: ``[window_samples]``; short ones repeat."""
        return (self.starts[window] + torch.arange(self.window_samples)) % self.samples

    def segment_of(self, positions: torch.Tensor) -> torch.Tensor:
        """Numbers of the segments that samples lie in."""
        return positions * self.segments // self.samples

    @property
    def segment_edges(self) -> np.ndarray:
        """Borders of the segments in seconds: ``[S + 1]``."""
        return np.arange(self.segments + 1) * (self.samples / self.segments / self.sampling_rate)

    def window(self, number: int) -> torch.Tensor:
        """``[window_samples]`` as it is."""
        return self.waveform[self.positions(number)]

    def fill_window(self, number: int) -> torch.Tensor:
        """``[window_samples]`` with everything removed."""
        return self.fill[self.positions(number) % len(self.fill)]

    def masked_window(self, number: int, kept: torch.Tensor) -> torch.Tensor:
        """A window of which only the segments in boolean ``kept`` ``[S]`` are left: ``[window_samples]``."""
        half = round(_RAMP_SECONDS * self.sampling_rate / 2)
        gate = kept[self.segment_of(self.positions(number))].float()[None, None]  # [1, 1, T]
        gate = nn.functional.avg_pool1d(nn.functional.pad(gate, (half, half), mode="replicate"), 2 * half + 1, 1)[0, 0]
        return gate * self.window(number) + (1 - gate) * self.fill_window(number)

    def run(self, windows: torch.Tensor) -> torch.Tensor:
        """The model's logits ``[N, C]`` of windows ``[N, window_samples]``, on the model's device."""
        return self.tagger.model(**self._features(windows.to(self.tagger.device))).logits

    def scores_of(self, windows: Iterable[torch.Tensor]) -> torch.Tensor:
        """Probabilities float64 ``[N, C]`` of windows ``[window_samples]``, computed in groups."""
        return self.to_probabilities(torch.cat(list(self._batched_logits(windows))))

    def to_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits ``[N, C]`` → float64 probabilities, by the model's kind of problem."""
        logits = logits.double()
        return logits.sigmoid() if self.is_multi_label else logits.softmax(dim=-1)

    @property
    def is_multi_label(self) -> bool:
        """Whether labels are independent (sigmoid) or exclude each other (softmax)."""
        return self.tagger.model.config.problem_type == MULTI_LABEL

    @torch.no_grad()
    def _batched_logits(self, windows: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        remaining = iter(windows)
        while group := list(islice(remaining, self.windows_at_once)):
            yield self.run(torch.stack(group)).float().cpu()


def fill_of(waveform: torch.Tensor, kind: str, seed: int) -> torch.Tensor:
    """What replaces the removed parts of ``waveform`` ``[samples]``: one seamless period ``[at most 2^19 samples]``.

    Pink noise has the same power in every octave: a spectrum that falls with the square root of the frequency.
    """
    if kind == "silence":
        return torch.zeros(1)
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(_FILL_SAMPLES, generator=generator))
    spectrum /= torch.arange(len(spectrum)).clamp(min=1).sqrt()
    spectrum[0] = 0
    noise = torch.fft.irfft(spectrum, _FILL_SAMPLES)
    level = waveform.double().square().mean().sqrt() * 10 ** (_FILL_DECIBELS / 20)
    return noise * (level / noise.square().mean().sqrt()).float()
