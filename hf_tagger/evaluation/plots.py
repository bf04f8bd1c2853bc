"""Pictures of a run: learning curves, confusion matrix, average precision of every tag.

Each picture has two functions: ``…_figure`` builds a ``matplotlib.figure.Figure`` and ``plot_…`` writes it as PNG. No
window system is touched, no global state of matplotlib is changed (pyplot is not imported), and equal input gives an
equal file. Colours are those of Okabe and Ito, which people with any colour vision can tell apart
(https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

PathLike = str | os.PathLike

BLUE, SKY_BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#595959"
# One hue, ever darker: the order survives grey print.
_SHADES = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", SKY_BLUE, BLUE, "#00304D"])
_DPI = 150
_TAGS_A_COLUMN = 50
_NAMES_IN_FOOTNOTE = 8
# From matplotlib's defaults, so that a user's matplotlibrc (or its text.usetex) cannot spoil a run's last minute.
house_style = style.context(
    [
        "default",
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.axisbelow": True,
            "grid.color": "#E3E3E3",
            "legend.frameon": False,
            "text.parse_math": False,  # a label may hold $
        },
    ]
)


def plot_curves(log_history: Sequence[Mapping[str, Any]], metric_name: str, path: PathLike) -> None:
    """Writes :func:`curves_figure` as PNG."""
    save_figure(curves_figure(log_history, metric_name), path)


def plot_confusion_matrix(
    references: Sequence[int], predictions: Sequence[int], label_names: Sequence[str], path: PathLike
) -> None:
    """Writes :func:`confusion_matrix_figure` as PNG."""
    save_figure(confusion_matrix_figure(references, predictions, label_names), path)


def plot_per_tag_ap(per_label: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Writes :func:`per_tag_ap_figure` as PNG."""
    save_figure(per_tag_ap_figure(per_label), path)


@house_style
def curves_figure(log_history: Sequence[Mapping[str, Any]], metric_name: str) -> Figure:
    """Loss and validation metric over epochs, the best epoch marked.

    Args:
        log_history: ``trainer.state.log_history`` of transformers.
        metric_name: Validation metric, with or without its prefix ``eval_``. Higher is better unless it is the loss.

    Returns:
        A figure with two axes: the losses, and the metric.
    """
    name = metric_name.removeprefix("eval_")
    training, validation = _series(log_history, "loss"), _series(log_history, "eval_loss")
    metric = _series(log_history, f"eval_{name}")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for epochs_and_values, label, color in ((training, "training", BLUE), (validation, "validation", ORANGE)):
        if epochs_and_values:
            losses.plot(*zip(*epochs_and_values, strict=True), label=label, color=color, **_markers(epochs_and_values))
    losses.set_title("Loss")
    if metric:
        scores.plot(*zip(*metric, strict=True), color=ORANGE, **_markers(metric))
        # The first of equal values, as transformers' Trainer chooses.
        best = (min if name == "loss" else max)(metric, key=lambda point: point[1])
        for axes in (losses, scores):
            axes.axvline(best[0], color=GREY, linestyle=":", linewidth=1.2, zorder=0, label=f"best epoch: {best[0]:g}")
        scores.plot(*best, marker="*", markersize=13, color=VERMILION, linestyle="none", label=f"best: {best[1]:.4f}")
        scores.legend(loc="best")
    else:
        say(scores, "no validation during training")
    scores.set_title(f"Validation {name}")
    if training or validation:
        losses.legend(loc="best")
    else:
        say(losses, "no loss was logged")
    for axes in (losses, scores):
        if not axes.lines:
            continue
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axes.grid(True)
    return figure


@house_style
def confusion_matrix_figure(
    references: Sequence[int], predictions: Sequence[int], label_names: Sequence[str]
) -> Figure:
    """Clips of each class (rows) by predicted class (columns).

    Colours are shares of the row, so that classes of any size compare; numbers are clips, and zeros are left blank.

    Args:
        references: Class indices ``[N]``.
        predictions: Predicted class indices ``[N]``.
        label_names: C names.

    Returns:
        A figure whose first axes hold the matrix.

    Raises:
        ValueError: If an index lies outside of ``label_names`` or the lengths differ.
    """
    counts = _confusion_counts(references, predictions, len(label_names))
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    classes = len(label_names)
    side = max(3.0, 0.62 * classes if classes <= 12 else 4.4 + 0.25 * classes)  # inches
    figure = Figure(figsize=(side + 2.2, side + 1.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("#EEEEEE")  # seen in the rows of classes without clips, which have no shares
    axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1)
    font_size = 9 if classes <= 12 else max(5.5, 9 - 0.12 * (classes - 12))
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=font_size, color=color)
    names = [_shortened(name) for name in label_names]
    axes.set_xticks(range(classes), names, rotation=45 if classes <= 12 else 90, fontsize=font_size)
    if classes <= 12:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    clips = [f"{name}  ({total})" for name, total in zip(names, totals[:, 0], strict=True)]
    axes.set_yticks(range(classes), clips, fontsize=font_size)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#D0D0D0", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="Predicted class", ylabel="True class (clips)")
    accuracy = np.trace(counts) / max(1, counts.sum())
    axes.set_title(f"Confusion matrix · {counts.sum():,} clips · accuracy {accuracy:.3f}")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _SHADES), ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("Share of the true class")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    bar.outline.set_visible(False)
    return figure


@house_style
def per_tag_ap_figure(per_label: Sequence[Mapping[str, Any]]) -> Figure:
    """Average precision of every tag as bars, best first, with the prevalence that guessing would reach.

    Args:
        per_label: Rows with ``label``, ``support``, ``prevalence`` and ``ap``, as
            :func:`~hf_tagger.evaluation.metrics.per_label_table` returns them.

    Returns:
        A figure with one axes a column of tags. Tags that could not be scored stand in a footnote.
    """
    scored = sorted((row for row in per_label if row["ap"] is not None), key=lambda row: (-row["ap"], row["label"]))
    left_out = [str(row["label"]) for row in per_label if row["ap"] is None]
    columns = max(1, math.ceil(len(scored) / _TAGS_A_COLUMN))
    rows = max(1, math.ceil(len(scored) / columns))
    figure = Figure(figsize=(7.5 if columns == 1 else 4.4 * columns, 1.6 + 0.21 * max(rows, 3)), layout="constrained")
    for column, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        _draw_bars(axes, scored[column * rows : (column + 1) * rows], rows)
    if scored:
        mean = np.mean([row["ap"] for row in scored])
        figure.suptitle(f"Average precision of {len(scored)} labels · mean {mean:.3f}", x=0.01, ha="left", fontsize=10)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2)
    else:
        say(figure.axes[0], "no label could be scored")
    if left_out:
        figure.supxlabel(_footnote(left_out), x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def _draw_bars(axes: Axes, rows: Sequence[Mapping[str, Any]], places: int) -> None:
    positions = range(len(rows))
    axes.barh(positions, [row["ap"] for row in rows], height=0.72, color=SKY_BLUE, label="average precision")
    axes.plot(
        [row["prevalence"] for row in rows],
        positions,
        marker="|",
        markersize=9,
        markeredgewidth=2,
        linestyle="none",
        color=VERMILION,
        label="prevalence (chance)",
    )
    axes.set_yticks(positions, [f"{_shortened(row['label'])}  ({row['support']:,})" for row in rows], fontsize=8)
    for position, row in enumerate(rows):
        axes.text(max(row["ap"], row["prevalence"]) + 0.015, position, f"{row['ap']:.2f}", va="center", fontsize=7.5)
    axes.set(xlim=(0, 1.08), ylim=(places - 0.4, -0.6), xlabel="Average precision")  # best on top
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _series(log_history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(epoch, value) of a logged number; of several at one step the first.

    After training, the best model may be evaluated once more: that entry stands at the last step, but is not its value.
    """
    points: dict[Any, tuple[float, float]] = {}
    for entry in log_history:
        value, epoch = entry.get(key), entry.get("epoch")
        if value is not None and epoch is not None and math.isfinite(value):
            points.setdefault(entry.get("step", epoch), (epoch, value))
    return list(points.values())


def _confusion_counts(references: Sequence[int], predictions: Sequence[int], classes: int) -> np.ndarray:
    """int ``[C, C]``: row = true class, column = predicted class."""
    references, predictions = np.asarray(references, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    if references.ndim != 1 or references.shape != predictions.shape:
        raise ValueError(
            f"references and predictions: got shapes {references.shape} and {predictions.shape}; expected class "
            f"indices [clips] of equal length"
        )
    for name, values in (("references", references), ("predictions", predictions)):
        outside = np.flatnonzero((values < 0) | (values >= classes))
        if len(outside):
            raise ValueError(
                f"{name}: {values[outside[0]]} in row {outside[0]} is no class index from 0 to {classes - 1}"
            )
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (references, predictions), 1)
    return counts


def _markers(points: Sequence[Any]) -> dict[str, Any]:
    """Points are marked while they can be told apart."""
    return {"marker": "o", "markersize": 3.5} if len(points) <= 40 else {"linewidth": 1.0}


def _shortened(name: str, length: int = 28) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _footnote(left_out: Sequence[str]) -> str:
    why = "carried by no clip or by all"
    if len(left_out) > _NAMES_IN_FOOTNOTE:
        return f"{len(left_out)} labels could not be scored ({why})."
    return f"Not scored ({why}): {', '.join(_shortened(name) for name in left_out)}"


def say(axes: Axes, text: str) -> None:
    """A sentence in place of a curve that cannot be drawn."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def label_grid(grid: np.ndarray, count: int, x_title: str, y_title: str) -> None:
    """Titles at the edges of a grid of axes ``[rows, columns]``; those after the first ``count`` are removed."""
    for axes in grid.flat[count:]:
        axes.remove()
    columns = grid.shape[1]
    for column in range(columns):  # the lowest panel of each column carries its numbers
        lowest = grid[(count - 1 - column) // columns, column]
        lowest.set_xlabel(x_title)
        lowest.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel(y_title)


@house_style
def save_figure(figure: Figure, path: PathLike) -> None:
    """Writes a figure as PNG; folders are made as needed."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Without metadata the file does not depend on matplotlib's version string.
    figure.savefig(path, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
