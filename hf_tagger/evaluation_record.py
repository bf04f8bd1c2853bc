"""What an evaluation leaves in a folder: numbers, predictions, pictures and ``report.html``."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers.trainer_utils import PredictionOutput

from .data.base import SINGLE_LABEL, SkippedClip, TaggingDatasetDict
from .data.leaks import Leaks
from .data.pcm import PreparedClips
from .evaluation.assessment import Fit, Predictions, assess
from .evaluation.curve_plots import plot_precision_recall_curves, plot_reliability, plot_roc_curves
from .evaluation.html_report import write_report
from .evaluation.plots import plot_confusion_matrix, plot_per_tag_ap
from .evaluation.predictions import write_predictions
from .training.losses import label_counts

_TIMINGS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")  # no run repeats them


@dataclass(frozen=True)
class EvaluatedSplits:
    """The evaluated splits of a dataset.

    Attributes:
        dataset: The dataset with its facts and protocol.
        clips: The usable clips of every split, or at least of those that were evaluated.
        outputs: Split → what the trainer predicted.
    """

    dataset: TaggingDatasetDict
    clips: Mapping[str, PreparedClips]
    outputs: Mapping[str, PredictionOutput]

    @property
    def labelled(self) -> dict[str, Predictions]:
        """Split → its labelled clips, where there are such."""
        result = {}
        for split, output in self.outputs.items():
            if output.label_ids is None:
                continue
            clips = self.clips[split]
            result[split] = Predictions(
                ids=[clips.ids[index] for index in clips.labelled],
                groups=[clips.groups[index] for index in clips.labelled],
                probabilities=output.predictions[clips.labelled],
                references=output.label_ids,
                label_names=self.dataset.label_names,
                problem_type=self.dataset.problem_type,
            )
        return result

    def write_predictions(self, folder: str | Path) -> None:
        """Writes ``predictions_<split>.parquet`` of every split, what all numbers are computed from."""
        for split, output in self.outputs.items():
            path = Path(folder) / f"predictions_{split}.parquet"
            write_predictions(self.clips[split], output.predictions, self.dataset.label_names, path)

    def fit(self) -> Fit | None:
        """Temperature and thresholds of the validation split, if it was evaluated and has labels."""
        validation = self.labelled.get("validation")
        return Fit.on(validation) if validation is not None else None


def evaluation_metrics(splits: EvaluatedSplits, fit: Fit | None) -> dict:
    """The content of ``metrics.json`` that an evaluation gives.

    Args:
        splits: The evaluated splits.
        fit: What was fitted on validation clips.

    Returns:
        Split → metrics; for each entry of :func:`~hf_tagger.evaluation.assessment.assess` a mapping of splits; and the
        ``protocol``.
    """
    metrics: dict = {split: split_metrics(output, split) for split, output in splits.outputs.items()}
    metrics["per_label"] = {}
    for split, predictions in splits.labelled.items():
        for name, value in assess(predictions, fit).items():
            metrics.setdefault(name, {})[split] = value
    protocol = splits.dataset.protocol_record()
    protocol["used"] = {split: len(clips) for split, clips in splits.clips.items()}
    return metrics | {"protocol": protocol}


def data_metrics(
    dataset: TaggingDatasetDict,
    clips: Mapping[str, PreparedClips],
    skipped: Sequence[SkippedClip],
    leaks: Leaks,
) -> dict:
    """What ``metrics.json`` says of the clips that something was trained on.

    Args:
        dataset: The dataset.
        clips: The usable clips of every split.
        skipped: The clips left out.
        leaks: What the splits have in common.

    Returns:
        The number of ``skipped_clips``; ``training_support``: label → training clips that are known to carry it; and
        the counts of ``leaks``.
    """
    counts = label_counts(clips["train"], len(dataset.label_names), dataset.problem_type)
    return {
        "skipped_clips": len(skipped),
        "training_support": dict(zip(dataset.label_names, counts.tolist(), strict=True)),
        "leaks": leaks.counts(),
    }


def write_evaluation(
    folder: str | Path,
    title: str,
    splits: EvaluatedSplits,
    metrics: Mapping,
    figures: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Writes ``metrics.json``, pictures and ``report.html``.

    Args:
        folder: Where to.
        title: Title of the report.
        splits: The evaluated splits.
        metrics: What :func:`evaluation_metrics` returned, with whatever else belongs to it.
        figures: Caption → file name of pictures that are there already.

    Returns:
        Caption → file name of all pictures.
    """
    folder = Path(folder)
    write_metrics(folder, metrics)
    figures = dict(figures or {}) | _plot(folder, splits, metrics)
    write_report(folder, title, metrics, figures, splits.dataset.problem_type)
    return figures


def write_metrics(folder: Path, metrics: Mapping) -> None:
    """Writes ``metrics.json``, or replaces it as a whole."""
    partial = folder / "metrics.json.partial"
    partial.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, folder / "metrics.json")


def write_drawn_split(dataset: TaggingDatasetDict, folder: Path) -> None:
    """Writes ``split.csv``, the split of every clip, if it was drawn and nobody else has it."""
    if not dataset.protocol.generated:
        return
    with open(folder / "split.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split"])
        writer.writerows([clip_id, split] for split, rows in dataset.items() for clip_id in rows["id"])


def reported_split(splits: Mapping) -> str | None:
    """The split that stands for the model in pictures and card: test, or validation where test has no labels.

    The training split does only if nothing else was evaluated.
    """
    return next((split for split in ("test", "validation", "train") if split in splits), None)


def split_metrics(output: PredictionOutput, split: str) -> dict:
    """A split's metrics without prefix and without timings; undefined ones are None."""
    metrics = {name.removeprefix(f"{split}_"): value for name, value in output.metrics.items()}
    return {name: plain(value) for name, value in metrics.items() if name not in _TIMINGS}


def plain(value: object) -> object:
    """A number that JSON knows: NaN and infinity become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plot(folder: Path, splits: EvaluatedSplits, metrics: Mapping) -> dict[str, str]:
    """Draws the pictures of the reported split and returns caption → file name."""
    split = reported_split(metrics["per_label"])
    if split is None:
        return {}
    predictions = splits.labelled[split]
    figures = {}
    if splits.dataset.problem_type == SINGLE_LABEL:
        guesses = predictions.probabilities.argmax(axis=1)
        plot_confusion_matrix(predictions.references, guesses, predictions.label_names, folder / "confusion_matrix.png")
        figures[f"Confusion matrix ({split})"] = "confusion_matrix.png"
    else:
        plot_per_tag_ap(metrics["per_label"][split], folder / "per_tag_ap.png")
        figures[f"Average precision of every tag ({split})"] = "per_tag_ap.png"
    plot_roc_curves(predictions, folder / "roc.png")
    plot_precision_recall_curves(predictions, folder / "precision_recall.png")
    plot_reliability(metrics["calibration"][split], folder / "reliability.png")
    return figures | {
        f"ROC curves ({split})": "roc.png",
        f"Precision and recall ({split})": "precision_recall.png",
        f"Reliability of the probabilities ({split})": "reliability.png",
    }
