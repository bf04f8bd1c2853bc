"""Pictures of probabilities: ROC and precision-recall curves, reliability diagram; in the manner of ``plots.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from .assessment import Predictions
from .metric_inputs import MULTI_LABEL, UNKNOWN, checked_inputs
from .plots import BLUE, GREY, SKY_BLUE, VERMILION, PathLike, house_style, save_figure, say

_GRID = np.linspace(0, 1, 201)  # where curves are averaged
_NAMED_CURVES = 10  # more cannot be told apart by colour


def plot_roc_curves(predictions: Predictions, path: PathLike) -> None:
    """Writes :func:`roc_figure` as PNG."""
    save_figure(roc_figure(predictions), path)


def plot_precision_recall_curves(predictions: Predictions, path: PathLike) -> None:
    """Writes :func:`precision_recall_figure` as PNG."""
    save_figure(precision_recall_figure(predictions), path)


def plot_reliability(calibration: Mapping, path: PathLike) -> None:
    """Writes :func:`reliability_figure` as PNG."""
    save_figure(reliability_figure(calibration), path)


@house_style
def roc_figure(predictions: Predictions) -> Figure:
    """True positive rate over false positive rate of every label (one against the rest), and their mean.

    Args:
        predictions: A split's labelled clips; labels that all of them or none carry have no curve.
    """

    def curve(references: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        false_positive_rate, true_positive_rate, _ = roc_curve(references, scores)
        return false_positive_rate, true_positive_rate

    figure, axes = _square("ROC", "False positive rate", "True positive rate")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="chance")
    _draw(axes, predictions, curve)
    return figure


@house_style
def precision_recall_figure(predictions: Predictions) -> Figure:
    """Precision over recall of every label (one against the rest), and their mean.

    Between two points precision is that of the higher recall, as in average precision: no interpolation.

    Args:
        predictions: A split's labelled clips; labels that all of them or none carry have no curve.
    """

    def curve(references: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(references, scores)
        return recall[::-1], precision[::-1]

    figure, axes = _square("Precision and recall", "Recall", "Precision")
    _draw(axes, predictions, curve, steps=True)
    return figure


@house_style
def reliability_figure(calibration: Mapping) -> Figure:
    """Share of right decisions over their probability, and how many decisions have it.

    Args:
        calibration: ``calibration`` of :func:`~hf_tagger.evaluation.assessment.assess`.

    Returns:
        A figure with two axes: the diagram, and the numbers of decisions below it.
    """
    figure = Figure(figsize=(4.4, 5.0), layout="constrained")
    diagram, numbers = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = calibration["bins"]
    count = len(bins["counts"])
    centres, width = (np.arange(count) + 0.5) / count, 1 / count
    filled = [index for index in range(count) if bins["counts"][index]]
    accuracy, confidence = ([bins[name][index] for index in filled] for name in ("accuracy", "confidence"))
    diagram.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="calibrated")
    diagram.bar(centres[filled], accuracy, width * 0.92, color=SKY_BLUE, label="share that is right")
    diagram.plot(confidence, accuracy, color=VERMILION, marker="o", markersize=3.5, linewidth=1.0, label="at the mean")
    error = calibration["expected_calibration_error"]
    diagram.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="Share that is right")
    diagram.set_title(f"Expected calibration error {error:.4f}")
    diagram.legend(loc="upper left")
    numbers.bar(centres, bins["counts"], width * 0.92, color=BLUE)
    numbers.set(yscale="log", xlabel="Probability", ylabel="Decisions")
    numbers.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    numbers.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _square(title: str, horizontal: str, vertical: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel=horizontal, ylabel=vertical, aspect="equal")
    axes.set_title(title)
    axes.grid()
    return figure, axes


def _draw(axes: Axes, predictions: Predictions, curve: Callable, steps: bool = False) -> None:
    curves = {name: curve(references, scores) for name, references, scores in _labels(predictions)}
    if not curves:
        say(axes, "no label could be scored")
        return
    named, style = len(curves) <= _NAMED_CURVES, {"drawstyle": "steps-pre"} if steps else {}
    for name, (horizontal, vertical) in curves.items():
        colour = {} if named else {"color": GREY, "alpha": max(0.15, 3 / len(curves)), "linewidth": 0.7}
        axes.plot(horizontal, vertical, label=name if named else None, **colour, **style)
    mean = np.mean([_on_grid(*points, steps) for points in curves.values()], axis=0)
    axes.plot(_GRID, mean, color=BLUE, linewidth=2.2, label=f"mean of {len(curves)} labels")
    axes.legend(fontsize=7.5)


def _on_grid(horizontal: np.ndarray, vertical: np.ndarray, steps: bool) -> np.ndarray:
    if not steps:
        return np.interp(_GRID, horizontal, vertical)
    return vertical[np.searchsorted(horizontal, _GRID, side="left").clip(max=len(vertical) - 1)]


def _labels(predictions: Predictions) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, references and probabilities of every label that can be scored."""
    probabilities, references = checked_inputs(*predictions.scored)
    if predictions.problem_type != MULTI_LABEL:
        references = (references[:, None] == np.arange(probabilities.shape[1])).astype(int)
    for name, own, scores in zip(predictions.label_names, references.T, probabilities.T, strict=True):
        known = own != UNKNOWN
        if 0 < (own[known] == 1).sum() < known.sum():
            yield name, own[known], scores[known]
