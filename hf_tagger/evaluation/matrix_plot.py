"""A picture of models on datasets: one field a pair, in the manner of ``plots.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .plots import BLUE, GREY, SKY_BLUE, PathLike, house_style, save_figure

Color = str | tuple[float, float, float, float]

_CHANCE = 0.5  # of ROC-AUC, on any data
# One hue, ever darker, as in the confusion matrix.
_SHADES = LinearSegmentedColormap.from_list("scores", ["#FFFFFF", SKY_BLUE, BLUE, "#00304D"])
_NOTHING = "#E3E3E3"
_FIELD = (1.9, 1.15)  # inches, wide enough for an interval


@dataclass(frozen=True)
class MatrixField:
    """One model on one dataset.

    Attributes:
        value: The score; None if it is undefined.
        low: Lower end of its 95 % interval.
        high: Upper end.
        concepts: Number of concepts that the score is over.
        reference: Score of the dataset's own model over the same concepts; None if there is none, or this is it.
        is_own: Whether the model was trained on this dataset.
    """

    value: float | None
    low: float | None
    high: float | None
    concepts: int
    reference: float | None = None
    is_own: bool = False


def plot_transfer_matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    fields: Sequence[Sequence[MatrixField | None]],
    score_title: str,
    path: PathLike,
) -> None:
    """Writes :func:`transfer_matrix_figure` as PNG."""
    save_figure(transfer_matrix_figure(rows, columns, fields, score_title), path)


@house_style
def transfer_matrix_figure(
    rows: Sequence[str], columns: Sequence[str], fields: Sequence[Sequence[MatrixField | None]], score_title: str
) -> Figure:
    """ROC-AUC of models (rows) on datasets (columns).

    Colours reach from chance (0.5) to 1; what is worse than chance is white as well.

    Args:
        rows: What the models were trained on; may have several lines.
        columns: What they were tested on.
        fields: ``[rows][columns]``; None where a pair has no concept in common.
        score_title: Name of the score.

    Returns:
        A figure whose first axes hold the matrix.
    """
    width, height = _FIELD[0] * len(columns) + 3.0, _FIELD[1] * len(rows) + 1.7
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    shade = Normalize(_CHANCE, 1, clip=True)
    for row, own in enumerate(fields):
        for column, field in enumerate(own):
            is_known = field is not None and field.value is not None
            color = _SHADES(shade(field.value)) if is_known else _NOTHING
            _draw(axes, row, column, field, color)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect=_FIELD[1] / _FIELD[0])
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="Tested on", ylabel="Trained on")
    axes.set_title(f"{score_title} with 95 % interval · chance is {_CHANCE:g}")
    bar = figure.colorbar(ScalarMappable(shade, _SHADES), ax=axes, shrink=0.8, aspect=25, pad=0.02)
    bar.set_label(score_title)
    bar.outline.set_visible(False)
    parts = []
    if any(field is not None and field.is_own for own in fields for field in own):
        parts.append("framed: trained on the same dataset, over all of its concepts")
    if any(field is not None and field.reference is not None for own in fields for field in own):
        parts.append("own model: that of the dataset, over the same concepts")
    if any(field is None for own in fields for field in own):
        parts.append("–: no concept in common")
    if parts:
        figure.supxlabel("\n".join(parts), x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def _draw(axes: Axes, row: int, column: int, field: MatrixField | None, color: Color) -> None:
    # The edge is for white fields, which would not be seen on white paper.
    axes.add_patch(Rectangle((column - 0.49, row - 0.485), 0.98, 0.97, facecolor=color, edgecolor="#D0D0D0"))
    ink = _readable_on(color)
    if field is None:
        axes.text(column, row, "–", ha="center", va="center", fontsize=13, color=ink)
        return
    lines = [] if field.low is None else [f"{field.low:.3f} to {field.high:.3f}"]
    lines.append(f"{field.concepts} concept{'' if field.concepts == 1 else 's'}")
    if field.reference is not None:
        lines.append(f"own model {field.reference:.3f}")
    value = "undefined" if field.value is None else f"{field.value:.3f}"
    axes.text(column, row - 0.21, value, ha="center", va="center", fontsize=13, color=ink)
    axes.text(column, row - 0.04, "\n".join(lines), ha="center", va="top", fontsize=7.5, color=ink, linespacing=1.35)
    if field.is_own:
        axes.add_patch(Rectangle((column - 0.475, row - 0.46), 0.95, 0.92, fill=False, edgecolor=ink, linewidth=1.4))


def _readable_on(color: Color) -> str:
    """Black or white, whichever contrasts more by WCAG's relative luminance.

    https://www.w3.org/TR/WCAG22/#dfn-relative-luminance; the two contrasts are equal at sqrt(1.05 × 0.05) − 0.05.
    """
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(color)]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "white" if luminance < (1.05 * 0.05) ** 0.5 - 0.05 else "black"
