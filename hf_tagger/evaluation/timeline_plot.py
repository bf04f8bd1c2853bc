"""The picture of a tag timeline: which tags sound when in one recording. In the manner of ``plots.py``."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from .aggregation import Timeline
from .plots import BLUE, GREY, SKY_BLUE, PathLike, house_style, save_figure

TOP_TAGS = 10
# One hue, ever darker, as in the confusion matrix: the order survives grey print.
_SHADES = LinearSegmentedColormap.from_list("probability", ["#FFFFFF", SKY_BLUE, BLUE, "#00304D"])
_MOST_COLUMNS = 600  # more would be thinner than two pixels
_SECONDS_AS_SUCH = 120  # longer recordings have minutes on their axis
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600)  # seconds between ticks that one can count in
_MOST_TICKS = 12
_LONGEST_NAME = 28


def plot_timeline(
    timeline: Timeline, scores: np.ndarray, path: PathLike, top_k: int = TOP_TAGS, title: str = ""
) -> None:
    """Writes :func:`timeline_figure` as PNG."""
    save_figure(timeline_figure(timeline, scores, top_k, title), path)


@house_style
def timeline_figure(timeline: Timeline, scores: np.ndarray, top_k: int = TOP_TAGS, title: str = "") -> Figure:
    """Probabilities of a recording's best tags (rows, the best on top) over time, as colours.

    A long recording has more windows than the picture has columns: neighbouring windows then share a column, which
    shows the highest of their probabilities, so that nothing short is lost.

    Args:
        timeline: The windows' probabilities.
        scores: Probabilities of the whole recording ``[labels]``, which choose and order the rows and stand beside
            their names.
        top_k: Number of rows; all labels if there are fewer.
        title: Written above.

    Returns:
        A figure whose first axes hold the heat map, a quad mesh ``[rows, columns]``.

    Raises:
        ValueError: If scores or starts do not fit the probabilities, or if no row is asked for.
    """
    probabilities = np.asarray(timeline.probabilities)
    expected = (len(timeline.starts), len(timeline.label_names))
    if probabilities.shape != expected or np.shape(scores) != expected[1:] or top_k < 1:
        raise ValueError(
            f"probabilities {probabilities.shape}, scores {np.shape(scores)} and top_k {top_k}: expected {expected}, "
            f"{expected[1:]} and at least 1"
        )
    best = np.argsort(-np.asarray(scores), kind="stable")[:top_k]
    together = math.ceil(len(probabilities) / _MOST_COLUMNS)
    first = np.arange(0, len(probabilities), together)
    heat = np.maximum.reduceat(probabilities[:, best], first, axis=0).T  # [rows, columns]
    edges = timeline.edges[[*first, len(probabilities)]]

    figure = Figure(figsize=(9, 1.3 + 0.26 * max(len(best), 3)), layout="constrained")
    axes = figure.add_subplot()
    axes.pcolormesh(edges, np.arange(len(best) + 1), heat, cmap=_SHADES, vmin=0, vmax=1, rasterized=True)
    names = [f"{_shortened(timeline.label_names[label])}  {scores[label]:.2f}" for label in best]
    axes.set_yticks(np.arange(len(best)) + 0.5, names)
    axes.set(xlim=(0, timeline.seconds), ylim=(len(best), 0))
    axes.hlines(np.arange(1, len(best)), 0, timeline.seconds, color="#D0D0D0", linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set(visible=True, color=GREY, linewidth=0.6)
    note = "" if together == 1 else f", the highest of {together} windows a column"
    _mark_time(axes, timeline.seconds, note)
    if title:
        axes.set_title(title)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _SHADES), ax=axes, aspect=20, pad=0.015)
    bar.set_label("Probability")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1])
    bar.outline.set(edgecolor=GREY, linewidth=0.6)
    return figure


def _mark_time(axes: Axes, seconds: float, note: str) -> None:
    if seconds <= _SECONDS_AS_SUCH:
        axes.set_xlabel(f"Time (s){note}")
    else:
        axes.set_xlabel(f"Time (min:s){note}")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}"))
    steps = [step for step in _TICKS if seconds / step <= _MOST_TICKS]
    if seconds >= _TICKS[1]:  # below two seconds matplotlib's own ticks have the decimals that are needed
        axes.xaxis.set_major_locator(MultipleLocator(steps[0] if steps else seconds / _MOST_TICKS))


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
