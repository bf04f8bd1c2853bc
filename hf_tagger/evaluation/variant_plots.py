"""Pictures of a study's variants: score beside costs, and average precision by how rare a label is.

In the manner of ``plots.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .intervals import LEVEL
from .metrics import METRIC_TITLES
from .plots import BLUE, GREY, ORANGE, SKY_BLUE, VERMILION, PathLike, house_style, label_grid, save_figure
from .rare_classes import THIRDS, RareClasses
from .rare_classes_table import group_title
from .study_table import ranked, usual_metric

_COLUMNS = 3
_NAME_LENGTH = 36  # characters of a variant beside its points
_COLOURS = dict(zip(THIRDS, (VERMILION, ORANGE, BLUE), strict=True))
_NARROW = 1.5  # decades, up to which a logarithmic axis has numbers at 1, 2 and 5
_PALE = "#C4C4C4"


def plot_variants(rows: Sequence[Mapping], path: PathLike) -> None:
    """Writes :func:`variants_figure` as PNG."""
    save_figure(variants_figure(rows), path)


def plot_rare_classes(study: RareClasses, split: str, path: PathLike) -> None:
    """Writes :func:`rare_classes_figure` as PNG."""
    save_figure(rare_classes_figure(study, split), path)


@house_style
def variants_figure(rows: Sequence[Mapping]) -> Figure:
    """A line a variant, the best on top: its usual score with interval, seconds of training, and parameters.

    Args:
        rows: Rows of :func:`~hf_tagger.evaluation.study_table.study_row`, at least one.

    Returns:
        A figure with three axes; the costs are on logarithmic scales.
    """
    rows = ranked(rows)
    figure = Figure(figsize=(10.5, 1.0 + 0.3 * max(len(rows), 3)), layout="constrained")
    scores, seconds, parameters = figure.subplots(1, 3, sharey=True, width_ratios=(2, 1.2, 1.2))
    _draw_scores(scores, rows)
    places = {row.get("trained_on") for row in rows if row.get("training_seconds") is not None} - {None}
    place = "on different devices" if len(places) > 1 else "".join(f"on {own}" for own in places)
    _draw_costs(seconds, rows, "training_seconds", "Training (seconds)", _whole)
    seconds.set_xlabel(place)
    _draw_costs(parameters, rows, "parameters", "Parameters", _compact)
    scores.set_yticks(range(len(rows)), [_shortened(row["variant"]) for row in rows])
    scores.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    for axes in (scores, seconds, parameters):
        axes.tick_params(axis="y", length=0)
        axes.grid()
    return figure


@house_style
def rare_classes_figure(study: RareClasses, split: str) -> Figure:
    """Average precision over training clips, one axes a variant, and below them the differences to the first variant.

    A point is a label; lines are the means of thirds of the labels with their intervals. The first variant's labels are
    grey in all other axes.

    Args:
        study: The scores.
        split: The split that they are of.
    """
    names = list(study.ap)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    heights = [2.7 * rows, 1.1 + 0.3 * len(study.differences) * len(study.groups) / 2]
    heights = heights if study.differences else heights[:1]
    figure = Figure(figsize=(max(3.4 * columns, 6.8) + 0.4, sum(heights) + 0.4), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    grid = parts[0].subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        _draw_labels(axes, study, name)
    label_grid(grid, len(names), "Training clips that carry the label", f"Average precision ({split})")
    handles, labels = grid.flat[min(1, len(names) - 1)].get_legend_handles_labels()
    parts[0].legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    if study.differences:
        _draw_differences(parts[1].subplots(), study)
    return figure


def _draw_scores(axes: Axes, rows: Sequence[Mapping]) -> None:
    metric = usual_metric(rows)
    axes.set_title("Score" if metric is None else METRIC_TITLES[metric])
    axes.set_xlabel(f"{rows[0]['split']} split, {LEVEL:.0%} intervals")
    for position, row in enumerate(rows):
        value, low, high = (row.get(name) for name in (metric, f"{metric}_low", f"{metric}_high"))
        if value is None:
            _say_beside(axes, position, "undefined")
            continue
        if low is not None:
            axes.plot([low, high], [position, position], color=SKY_BLUE, linewidth=4, solid_capstyle="butt")
        axes.plot(value, position, marker="o", markersize=5, color=BLUE)
        axes.annotate(
            f"{value:.3f}",
            (max(value, high or 0), position),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.13 * (high - low))  # room for the numbers
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _draw_costs(axes: Axes, rows: Sequence[Mapping], name: str, title: str, form: Callable[[float], str]) -> None:
    axes.set_title(title)
    values = [row[name] for row in rows if row.get(name)]
    if values:
        axes.set_xscale("log")
        low, high = min(values), max(values)
        axes.set_xlim(low / 1.5, high * max(4.0, (high / low) ** 0.4))  # room for the numbers
        _set_log_ticks(axes, form)
    for position, row in enumerate(rows):
        if not row.get(name):
            _say_beside(axes, position, "–")
            continue
        axes.plot(row[name], position, marker="o", markersize=5, color=GREY)
        axes.annotate(
            form(row[name]), (row[name], position), (6, 0), textcoords="offset points", va="center", fontsize=7.5
        )


def _draw_labels(axes: Axes, study: RareClasses, name: str) -> None:
    axes.set_title(_shortened(name))
    training_clips = list(study.support.values())
    if name != study.reference:
        own = study.ap[study.reference]
        axes.plot(training_clips, own.values(), "o", markersize=3, color=_PALE, label=f"the label by {study.reference}")
    axes.plot(training_clips, study.ap[name].values(), "o", markersize=3, color=GREY, label="a label")
    for group in study.groups:
        score = study.scores[name][group.name]
        ends = (group.fewest / 1.015, group.most * 1.015)  # a group of one label is seen, too
        axes.fill_between(
            ends, score.interval.low, score.interval.high, color=_COLOURS[group.name], alpha=0.22, linewidth=0
        )
        axes.plot(ends, [score.value] * 2, color=_COLOURS[group.name], linewidth=2, label=f"mean: {group.name}")
    axes.set_xscale("log")
    _set_log_ticks(axes, _whole)
    axes.set_ylim(-0.02, 1.02)
    axes.grid()


def _set_log_ticks(axes: Axes, form: Callable[[float], str]) -> None:
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if math.log10(high / low) <= _NARROW else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_differences(axes: Axes, study: RareClasses) -> None:
    names, step = list(study.differences), 0.6 / max(1, len(study.groups) - 1)
    for number, group in enumerate(study.groups):
        for position, name in enumerate(names):
            own, place = study.differences[name][group.name], position - 0.3 + number * step
            colour = _COLOURS[group.name]
            title = group_title(group) if position == 0 else None
            axes.plot([own.low, own.high], [place, place], color=colour, linewidth=1.5, label=title)
            axes.plot(
                own.difference,
                place,
                marker="o",
                markersize=5,
                color=colour,
                markerfacecolor=colour if own.is_significant else "white",
            )
    axes.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
    axes.set_yticks(range(len(names)), [_shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_title(f"Difference to {study.reference} ({LEVEL:.0%} intervals; filled where chance does not explain it)")
    axes.set_xlabel("Average precision, mean over the labels of a third")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _say_beside(axes: Axes, position: int, text: str) -> None:
    axes.text(0.015, position, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=GREY)


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _compact(value: float) -> str:
    """Three digits: ``254k``, ``87.1M``."""
    rounded = float(f"{value:.3g}")
    size, letter = next((pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if rounded >= pair[0]), (1, ""))
    return f"{rounded / size:g}{letter}"


def _shortened(name: str) -> str:
    half = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[: half - 1]}…{name[-half:]}"  # names of seeds differ last
