"""Pictures of an explanation, in the manner of ``evaluation/plots.py``: one function builds a figure, one writes it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from ..evaluation.plots import BLUE, GREY, ORANGE, SKY_BLUE, VERMILION, PathLike, house_style, save_figure

if TYPE_CHECKING:
    from .explanation import Explanation, Recording

# Against the label, nothing, for the label: opaque where relevance is strong, so that the spectrogram shows elsewhere.
_RELEVANCE = LinearSegmentedColormap.from_list("relevance", [(0, 0.45, 0.7, 1), (1, 1, 1, 0), (0.84, 0.37, 0, 1)])
_STRONGEST = 99.5  # percentile of the relevance that has the full colour: one bright point would hide the rest
_BLUR = (1.0, 2.0)  # rows and columns: gradients of single points are noisy, their neighbourhoods are not
_SHOWN_SHARE = (5, 99.9)  # percentiles of the spectrogram between white and black
_COLOURS = (VERMILION, BLUE)


def plot_explanation(recording: Recording, explanation: Explanation, path: PathLike, title: str = "") -> None:
    """Writes :func:`explanation_figure` as PNG."""
    save_figure(explanation_figure(recording, explanation, title), path)


def plot_deletion(explanation: Explanation, path: PathLike, title: str = "") -> None:
    """Writes :func:`deletion_figure` as PNG."""
    save_figure(deletion_figure(explanation, title), path)


@house_style
def explanation_figure(recording: Recording, explanation: Explanation, title: str = "") -> Figure:
    """Where a label comes from, in time and in frequency.

    Args:
        recording: The spectrogram, and the borders of segments and bands.
        explanation: The label's relevance.
        title: Written above all.

    Returns:
        A figure with four axes: spectrogram with relevance, relevance over time by gradients and by occlusion, and
        bars over the frequency bands.
    """
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=[3, 1], height_ratios=[2.2, 1, 1])
    spectrogram = figure.add_subplot(grid[0, 0])
    gradients = figure.add_subplot(grid[1, 0], sharex=spectrogram)
    occlusion = figure.add_subplot(grid[2, 0], sharex=spectrogram)
    bands = figure.add_subplot(grid[:, 1])

    edges = recording.segment_edges
    _draw_spectrogram(spectrogram, recording, explanation.relevance_map)
    _draw_steps(gradients, edges, explanation.gradients, "Log odds")
    gradients.set_title("Integrated gradients: what each moment adds")
    _draw_steps(occlusion, edges, explanation.occlusion, "Probability")
    occlusion.set_title("Occlusion: what is lost without each moment")
    occlusion.set_xlabel("Seconds")
    start, end = (edges[segment] for segment in explanation.stretch)
    for axes in (gradients, occlusion):
        axes.axvspan(start, end, color=ORANGE, alpha=0.25, linewidth=0, zorder=0)
    for axes in (spectrogram, gradients):
        axes.tick_params(labelbottom=False)

    numbers = np.arange(len(explanation.bands))
    colours = [VERMILION if value > 0 else BLUE for value in explanation.bands]
    bands.barh(numbers, explanation.bands, color=colours, height=0.8)
    names = [f"{low:,.0f} – {high:,.0f}" for low, high in itertools.pairwise(recording.band_edges)]
    bands.set_yticks(numbers, names)
    bands.set(ylabel="Hz", xlabel="Probability")
    bands.axvline(0, color=GREY, linewidth=0.8)
    bands.grid(True, axis="x")
    bands.set_title("What is lost without each band")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


@house_style
def deletion_figure(explanation: Explanation, title: str = "") -> Figure:
    """The label's probability while the most relevant segments are removed first, and while random ones are.

    Args:
        explanation: The label's deletion test.
        title: Written above.
    """
    test = explanation.deletion
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(test.random):
        axes.plot(test.shares, curve, color=SKY_BLUE, linewidth=0.6, alpha=0.5, label="_" if number else "random order")
    mean = test.random_areas.mean()
    axes.plot(test.shares, test.random.mean(axis=0), color=GREY, linestyle="--", label=f"their mean: area {mean:.3f}")
    for (name, curve), colour in zip(test.curves.items(), _COLOURS, strict=True):
        beaten = f"{test.beaten(name)} of {len(test.random)} beaten"
        axes.plot(
            test.shares, curve, color=colour, linewidth=1.8, label=f"{name}: area {test.area(name):.3f}, {beaten}"
        )
    axes.set(xlabel="Share of the recording removed", ylabel="Probability", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.grid(True)
    axes.legend(fontsize=8)
    axes.set_title(title or "Deletion test")
    return figure


def _draw_spectrogram(axes: Axes, recording: Recording, relevance: np.ndarray) -> None:
    values, ticks = recording.saliency.spectrogram, recording.saliency.ticks
    seconds, bins = recording.segment_edges[-1], len(values)
    place = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "extent": (0, seconds, -0.5, bins - 0.5)}
    low, high = np.percentile(values, _SHOWN_SHARE)
    axes.imshow(values, cmap="Greys", vmin=low, vmax=max(high, low + 1e-9), **place)
    relevance = gaussian_filter(relevance, _BLUR)
    strongest = max(float(np.percentile(np.abs(relevance), _STRONGEST)), float(np.abs(relevance).max()) / 100, 1e-12)
    axes.imshow(relevance, cmap=_RELEVANCE, norm=TwoSlopeNorm(0, -strongest, strongest), **place)
    axes.set_yticks(list(ticks.values()), [f"{hertz:,}" for hertz in ticks])
    axes.set_ylim(-0.5, bins - 0.5)
    axes.set_ylabel("Hz" if ticks else "Coefficient")
    axes.set_title("What the model hears (grey), and what speaks for the label (orange) or against it (blue)")


def _draw_steps(axes: Axes, edges: np.ndarray, values: np.ndarray, unit: str) -> None:
    axes.stairs(np.maximum(values, 0), edges, fill=True, color=VERMILION)
    axes.stairs(np.minimum(values, 0), edges, fill=True, color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylabel(unit)
    axes.grid(True)
