"""Pictures of studies: a score over what was changed, with its interval. In the manner of ``plots.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from .plots import BLUE, GREY, SKY_BLUE, PathLike, house_style, save_figure, say

_COLUMNS = 3
_MOST_POSITIONS = 8  # of ticks: more would overlap


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
