"""What a baseline leaves: numbers and predictions in the form of a model's run, pictures, and the log of the search."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers.trainer_utils import PredictionOutput

from .. import __version__
from ..data.base import SkippedClip, TaggingDatasetDict
from ..data.leaks import known_leaks
from ..data.pcm import PreparedClips, write_skipped_clips
from ..data.windows import labels_of
from ..errors import RunFolderError
from ..evaluation.calibration import negative_log_likelihood
from ..evaluation.metrics import score_clips
from ..evaluation.study_table import study_row, study_table
from ..evaluation_record import EvaluatedSplits, data_metrics, evaluation_metrics, write_drawn_split, write_evaluation
from .arguments import BaselineArguments
from .classifiers import label_scores
from .recipe import write_baseline_recipe
from .search import Folds, SearchResult

_PACKAGES = ("scikit-learn", "librosa", "numpy", "scipy", "datasets")
_SMALLEST_PROBABILITY = 1e-7  # keeps the loss finite; that of a model's evaluation
# What a baseline leaves, by name. Nothing else is ever deleted.
_FILES = (
    "recipe.yaml", "metrics.json", "report.html", "cv_results.csv", "skipped_clips.csv", "split.csv",
    "predictions_validation.parquet", "predictions_test.parquet", "confusion_matrix.png", "per_tag_ap.png", "roc.png",
    "precision_recall.png", "reliability.png",
)  # fmt: skip


@dataclass(frozen=True)
class BaselineReport:
    """The clips that all classifiers of a recipe share, and how they were prepared.

    Attributes:
        dataset: The dataset with its facts and protocol.
        clips: The usable clips of every split.
        skipped: The clips left out, with reasons.
        features: float ``[clips, values]`` of every split.
        folds: The folds of the training clips.
        feature_seconds: Time that the features took, be it to compute or to read them.
        processes: Processes that were used.
    """

    dataset: TaggingDatasetDict
    clips: Mapping[str, PreparedClips]
    skipped: Sequence[SkippedClip]
    features: Mapping[str, np.ndarray]
    folds: Folds
    feature_seconds: float
    processes: int

    def write(self, name: str, result: SearchResult, recipe: dict) -> dict:
        """Writes one classifier's folder, ``<output_dir>/<name>``, and returns the content of its ``metrics.json``."""
        folder = Path(recipe["output_dir"]).expanduser() / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in _FILES:
            (folder / file).unlink(missing_ok=True)
        write_baseline_recipe(recipe | {"classifiers": {name: recipe["classifiers"][name]}}, folder / "recipe.yaml")
        result.table.to_csv(folder / "cv_results.csv", index=False)
        write_skipped_clips(self.skipped, folder / "skipped_clips.csv")
        write_drawn_split(self.dataset, folder)
        outputs = {split: self._output(result, split) for split in ("validation", "test") if len(self.clips[split])}
        splits = EvaluatedSplits(self.dataset, self.clips, outputs)
        splits.write_predictions(folder)
        # Temperature and thresholds of the validation split are reported, as of a model; they change no score.
        metrics = evaluation_metrics(splits, splits.fit())
        metrics |= data_metrics(self.dataset, self.clips, self.skipped, known_leaks(self.clips))
        metrics |= {"training": self._training(name, result)}
        write_evaluation(folder, f"{name} on {self.dataset.facts.title}", splits, metrics)
        return metrics

    def _output(self, result: SearchResult, split: str) -> PredictionOutput:
        """Scores, labels and metrics of a split in the form in which a trainer says them."""
        clips, problem_type, num_labels = self.clips[split], self.dataset.problem_type, len(self.dataset.label_names)
        scores = label_scores(result.pipeline, self.features[split], num_labels)
        if not clips.labelled:
            return PredictionOutput(scores, None, {})
        references, scored = labels_of(clips, problem_type, num_labels), scores[clips.labelled]
        bounded = np.clip(scored, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        loss = negative_log_likelihood(bounded, references, problem_type)
        return PredictionOutput(scores, references, score_clips(scored, references, problem_type) | {"loss": loss})

    def _training(self, name: str, result: SearchResult) -> dict:
        cross_validation = {
            "folds": self.folds.kind,
            "metric": result.metric,
            "mean": result.score,
            "deviation": result.deviation,
        }
        versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
        return {
            # A classifier has neither epochs nor steps, and no number of weights that says what it costs.
            **dict.fromkeys(("epochs", "steps", "best_step")),
            "best_metric": {result.metric: result.score},
            "seconds": round(self.feature_seconds + result.seconds, 1),
            **dict.fromkeys(("parameters", "trainable_parameters")),
            "device": "cpu",
            "processes": self.processes,
            "packages": {"hf_tagger": __version__} | versions,
            "python": platform.python_version(),
            "classifier": name,
            "chosen_parameters": result.parameters,
            "cross_validation": cross_validation,
            "features": self.features["train"].shape[1],
            "feature_seconds": round(self.feature_seconds, 3),
        }


def check_folders(arguments: BaselineArguments) -> None:
    """Makes sure that every classifier may write to its folder. Deletes nothing.

    Raises:
        RunFolderError: If results are there and ``overwrite_output_dir`` is not given, or if the path is a file.
    """
    folder = Path(arguments.output_dir).expanduser()
    if any(path.is_file() for path in (folder, *folder.parents)):
        raise RunFolderError(f"output_dir {folder} is a file, or lies below one; it must be a folder.")
    found = [name for name in arguments.classifiers if any((folder / name / file).exists() for file in _FILES)]
    if found and not arguments.overwrite_output_dir:
        raise RunFolderError(
            f"output_dir {folder} already holds results of {', '.join(found)}. Choose another output_dir, or replace "
            f"them by --overwrite_output_dir."
        )


def write_table(metrics: Mapping[str, Mapping], folder: Path) -> str:
    """Writes ``baselines.json`` and ``baselines.md``, one row a classifier, and returns the table.

    Args:
        metrics: Of every classifier the content of its ``metrics.json``.
        folder: Where to write.
    """
    rows = [
        study_row(name, own, {"cross_validation": own["training"]["cross_validation"]}) for name, own in metrics.items()
    ]
    table = study_table(rows)
    (folder / "baselines.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (folder / "baselines.md").write_text(table, encoding="utf-8")
    return f"Scores of the {rows[0]['split']} split:\n{table}"
