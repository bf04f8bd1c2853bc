"""What a Space's page shows of a recording that was heard: sentences and pictures.

The pictures are in the manner of ``evaluation/plots.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ..evaluation.aggregation import Timeline
from ..evaluation.plots import ORANGE, house_style
from ..evaluation.timeline_plot import timeline_figure

_INCHES = 8.5  # of a picture's width: a little more than its column at matplotlib's 100 dots an inch
_SHOWN_DECIBELS = 80.0  # below the loudest
_HERTZ_TICKS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
_MISSED = 0.9  # of the probability is left at most without seconds that are missed


@dataclass(frozen=True)
class Heard:
    """What the page keeps of a recording.

    Attributes:
        scores: Probabilities of the recording's likeliest tags, best first.
        given: Those that reach the thresholds fitted for them; None for models without thresholds.
        total_seconds: Length of the recording.
        timeline: Probabilities of the same tags over the time that was heard.
        decibels: Mel spectrogram, float32 ``[bins, columns]``.
        band_edges: Borders of its bins in Hz, ``[bins + 1]``.
        windows: By tag the window in which it is likeliest: its start in seconds, and its samples, float32.
    """

    scores: dict[str, float]
    given: list[str] | None
    total_seconds: float
    timeline: Timeline
    decibels: np.ndarray
    band_edges: np.ndarray
    windows: dict[str, tuple[float, np.ndarray]]

    @property
    def seconds(self) -> float:
        """Length of what was heard."""
        return self.timeline.seconds

    @property
    def summary(self) -> str:
        """How much was heard, and which tags are given, in a sentence or two."""
        text = f"Heard: {clock(self.seconds)}"
        if self.seconds < self.total_seconds:
            text = f"Heard: the first {clock(self.seconds)} of {clock(self.total_seconds)}"
        if self.given is None:
            return f"{text}."
        return f"{text}. Above their thresholds: {', '.join(self.given) or 'none of the tags'}."

    def timeline_figure(self) -> Figure:
        """Tags over time."""
        scores = np.array(list(self.scores.values()))
        figure = timeline_figure(self.timeline, scores, len(scores), title="When the tags sound")
        figure.set_figwidth(_INCHES)
        return figure

    @house_style
    def spectrogram_figure(self, stretch: Stretch | None = None) -> Figure:
        """The spectrogram, and in it the stretch that is listened to."""
        bins = len(self.decibels)
        figure = Figure(figsize=(_INCHES, 2.6), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(
            self.decibels - self.decibels.max(),
            origin="lower", aspect="auto", interpolation="nearest", cmap="magma", vmin=-_SHOWN_DECIBELS, vmax=0,
            extent=(0, self.seconds, 0, bins),
        )  # fmt: skip
        ticks = [hertz for hertz in _HERTZ_TICKS if hertz < 0.99 * self.band_edges[-1]]
        places = np.interp(ticks, self.band_edges, np.arange(bins + 1))
        axes.set_yticks(places, [f"{hertz:,}" for hertz in ticks])
        axes.set(xlabel="Time (s)", ylabel="Hz (mel scale)", title="Spectrogram")
        if stretch is not None:
            axes.axvspan(stretch.start, stretch.end, facecolor="none", edgecolor="white", linewidth=1.5)
            axes.axvspan(stretch.start, stretch.end, 1, 1.04, color=ORANGE, linewidth=0, clip_on=False)
            axes.set_title(f"Spectrogram; framed: the most relevant seconds of {stretch.label}", pad=10)
        bar = figure.colorbar(image, ax=axes, aspect=20, pad=0.015)
        bar.set_label("dB below the loudest")
        bar.outline.set_visible(False)
        return figure


@dataclass(frozen=True)
class Stretch:
    """The seconds that speak for a tag.

    Attributes:
        label: The tag.
        start: Where they begin in the recording, in seconds.
        end: Where they end.
        audio: Sampling rate and int16 ``[samples]``, mono, as the model hears them.
        probability: Of the tag, in the window that they lie in.
        alone: Of the tag when quiet noise replaces the rest of that window.
        without: Of the tag when it replaces these seconds.
    """

    label: str
    start: float
    end: float
    audio: tuple[int, np.ndarray]
    probability: float
    alone: float
    without: float

    @property
    def summary(self) -> str:
        """Where they lie, and what they are worth to the model."""
        text = (
            f"From {self.start:.1f} to {self.end:.1f} s. Probability of the tag in the window around them: "
            f"{_rounded(self.probability)}; with these seconds alone {_rounded(self.alone)}, without them "
            f"{_rounded(self.without)}."
        )
        return text if self.without < _MISSED * self.probability else f"{text} The rest of the window shows it as well."


def clock(seconds: float) -> str:
    """``12.3 s``, ``4:05`` or ``1:00:00``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rounded(probability: float) -> str:
    """Two decimals, which never claim certainty."""
    if 0.005 <= probability < 0.995:
        return f"{probability:.2f}"
    return "over 0.99" if probability > 0.5 else "under 0.01"
