"""Pictures of studies: a score over what was changed, with its interval. In the manner of ``plots.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from .plots import BLUE, GREY, ORANGE, SKY_BLUE, VERMILION, PathLike, house_style, save_figure, say

_COLUMNS = 3
_MOST_POSITIONS = 8  # of ticks: more would overlap
_LINES = ((BLUE, "o"), (VERMILION, "s"), (ORANGE, "^"), (SKY_BLUE, "D"))  # told apart in grey print by their marks
_LINE_DISTANCE = 0.09  # of positions, so that the intervals of several lines stand beside each other


class Scored(Protocol):
    """A condition with its score, as of :class:`hf_tagger.studies.conditions.Condition`."""

    strength: float
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Curve:
    """One axes of a picture.

    Attributes:
        title: What was changed, with its unit.
        points: Scores by strength.
        reference: The score without the change, drawn as a line.
        logarithmic: Whether strengths are spaced by their ratio.
    """

    title: str
    points: Sequence[Scored]
    reference: Scored | None = None
    logarithmic: bool = False


def plot_study_curves(curves: Sequence[Curve], score_title: str, path: PathLike) -> None:
    """Writes :func:`study_curves_figure` as PNG."""
    save_figure(study_curves_figure(curves, score_title), path)


@house_style
def study_curves_figure(curves: Sequence[Curve], score_title: str) -> Figure:
    """Scores over strengths, one axes a curve, all with the same scale of scores.

    Args:
        curves: What to draw.
        score_title: Name of the score.
    """
    columns = min(_COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.8 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, curve in zip(grid.flat, curves, strict=False):
        _draw(axes, curve)
    for axes in grid.flat[len(curves) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(score_title)
    return figure


def plot_study_lines(panels: Mapping[str, Mapping[str, Sequence[Scored]]], strength_title: str, path: PathLike) -> None:
    """Writes :func:`study_lines_figure` as PNG."""
    save_figure(study_lines_figure(panels, strength_title), path)


@house_style
def study_lines_figure(panels: Mapping[str, Mapping[str, Sequence[Scored]]], strength_title: str) -> Figure:
    """Several lines in one axes: rivals under the same changes, with their intervals.

    Args:
        panels: Name of the score → name of the line → its points. Every score has its own axes, with a scale of its
            own; strengths stand at equal distances.
        strength_title: What was changed, with its unit.
    """
    figure = Figure(figsize=(3.7 * len(panels) + 0.4, 3.4), layout="constrained")
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for axes, (score_title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        strengths = sorted({own.strength for points in lines.values() for own in points})
        for name, points in lines.items():
            points = sorted((own for own in points if own.value is not None), key=lambda own: own.strength)
            number = names.index(name)
            places = [
                strengths.index(own.strength) + (number - (len(lines) - 1) / 2) * _LINE_DISTANCE for own in points
            ]
            ends = [
                # Moved by its bias, an interval may leave its value out; matplotlib draws no negative lengths.
                [0.0 if own.low is None else max(0.0, own.value - own.low) for own in points],
                [0.0 if own.high is None else max(0.0, own.high - own.value) for own in points],
            ]
            color, marker = _LINES[number % len(_LINES)]
            style = {"color": color, "marker": marker, "markersize": 4.5, "linewidth": 1.1, "elinewidth": 0.9}
            axes.errorbar(places, [own.value for own in points], yerr=ends, label=name, capsize=2, **style)
        axes.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
        axes.set(xlim=(-0.5, len(strengths) - 0.5), xlabel=strength_title, title=score_title)
        axes.grid(axis="y")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
    return figure


def _draw(axes, curve: Curve) -> None:
    axes.set_title(curve.title)
    points = sorted((own for own in curve.points if own.value is not None), key=lambda own: own.strength)
    if not points:
        say(axes, "undefined on these clips")
        return
    strengths, values = [own.strength for own in points], [own.value for own in points]
    bounded = [own for own in points if own.low is not None]
    axes.fill_between(
        [own.strength for own in bounded],
        [own.low for own in bounded],
        [own.high for own in bounded],
        color=SKY_BLUE,
        alpha=0.35,
        linewidth=0,
        label="95 % interval",
    )
    axes.plot(strengths, values, color=BLUE, marker="o", markersize=3.5)
    if curve.reference is not None and curve.reference.value is not None:
        axes.axhline(curve.reference.value, color=GREY, linewidth=0.9, linestyle="--", label="as it is")
    if curve.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if len(points) <= _MOST_POSITIONS:
        axes.set_xticks(strengths, [f"{strength:g}" for strength in strengths])
    axes.grid()
    axes.legend(fontsize=7.5, loc="lower center")
