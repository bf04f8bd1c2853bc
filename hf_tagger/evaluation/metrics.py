"""Scores of music taggers: how well the probabilities of clips agree with the labels of clips.

The task is to say of each clip which labels it carries: any number of them (multi-label: tags) or exactly one
(single-label: genre, artist). A score compares the clip's probabilities with its reference.

Conventions
-----------
``predictions`` are probabilities, float ``[N, C]`` in 0..1: N clips, C labels, one row a clip (windows are already
averaged). ``references`` are 0/1 ``[N, C]`` for multi-label, and class indices ``[N]`` for single-label data. A
multi-label reference is NaN where nobody knows whether the clip carries the tag; such an entry takes no part in any
metric. Clips without any known reference are not passed. Input that breaks this raises ValueError and is never repaired
silently.

Multi-label metrics
-------------------
* ``roc_auc_macro``: mean over tags of the area under the ROC curve (probability that a clip with the tag ranks above
  a clip without it, ties counted half; Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010), each over the
  clips where the tag is known. So are the other macro means.
* ``roc_auc_micro``: the same over all N x C decisions, those that are known, as if they were one tag.
* ``ap_macro``: mean over tags of average precision, ``sum_n (R_n - R_{n-1}) P_n`` without interpolation, which the
  music tagging literature reports as PR-AUC (Won et al. 2020, https://arxiv.org/abs/2006.00751).
* ``ap_micro``: the same over all N x C decisions, those that are known.
* ``lrap``: label ranking average precision (Tsoumakas et al. 2010, https://doi.org/10.1007/978-0-387-09823-4_34): how
  purely the top of each clip's list consists of its own tags. A clip without any tag, or with all, counts 1.0, which is
  scikit-learn's convention: a dataset with many untagged clips has a high floor. The list is that of the clip's known
  tags; many unknown ones make it short, and a short list is easy.
* ``f1_macro``: mean over tags of ``2 TP / (2 TP + FP + FN)``; a tag is predicted from a probability of 0.5 on.
* ``tags_scored``, ``tags_left_out``: counts. A tag needs clips known to have it and clips known not to have it to be
  scored; the other tags take no part in any macro mean. Micro metrics and ``lrap`` are over all tags.

Single-label metrics
--------------------
The predicted class is the most probable one, and of equally probable ones the first.

* ``accuracy``: share of clips whose class is predicted.
* ``balanced_accuracy``: mean recall over classes (Brodersen et al. 2010, https://doi.org/10.1109/ICPR.2010.764).
* ``f1_macro``: mean over classes of ``2 TP / (2 TP + FP + FN)``.
* ``top3_accuracy``: share of clips whose class is among the three most probable; 1.0 by nature with three classes or
  fewer.
* ``classes_scored``, ``classes_left_out``: counts. Classes that no reference names take no part in the means.

A metric that is undefined, for example every macro metric when no tag can be scored, is ``None``: unlike NaN that is
valid JSON. :func:`check_selectable` turns it into an error where a best checkpoint must be chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, List, Value
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)

from .metric_inputs import MULTI_LABEL, SINGLE_LABEL, UNKNOWN, check_problem_type, checked_inputs

DECISION_THRESHOLD = 0.5

Score = Callable[[np.ndarray, np.ndarray], float | None]  # of references and probabilities


def _has_both_outcomes(references: np.ndarray) -> np.ndarray:
    """Which tags can be scored: 0/1/UNKNOWN ``[N, C]`` → bool ``[C]``."""
    return (references == 1).any(axis=0) & (references == 0).any(axis=0)


def _macro(score: Score) -> Score:
    """The mean of a score of one tag over the tags that can be scored, of each over the clips where it is known."""

    def mean_over_tags(references: np.ndarray, probabilities: np.ndarray) -> float | None:
        tags = np.flatnonzero(_has_both_outcomes(references))
        known = references != UNKNOWN
        scores = [score(references[known[:, tag], tag], probabilities[known[:, tag], tag]) for tag in tags]
        return np.mean(scores) if scores else None

    return mean_over_tags


def _micro(score: Score) -> Score:
    """The same score over all decisions as if they were one tag: ``[N, C]`` → ``[N * C, 1]``."""
    macro = _macro(score)
    return lambda references, probabilities: macro(references.reshape(-1, 1), probabilities.reshape(-1, 1))


def _label_ranking(references: np.ndarray, probabilities: np.ndarray) -> float:
    # Below all others and not carried, an unknown tag changes no rank of a carried one, and no other rank counts.
    ranked = np.where(references == UNKNOWN, -1.0, probabilities)
    return label_ranking_average_precision_score((references == 1).astype(np.int64), ranked)


def _balanced_accuracy(references: np.ndarray, probabilities: np.ndarray) -> float:
    # sklearn's balanced_accuracy_score is the same mean, but warns of every class that only predictions name.
    return recall_score(references, probabilities.argmax(axis=1), labels=np.unique(references), average="macro")


def _f1_of_classes(references: np.ndarray, probabilities: np.ndarray) -> float:
    # With its default labels sklearn would give a class without references an F1 of 0 as soon as it is predicted once.
    return f1_score(references, probabilities.argmax(axis=1), labels=np.unique(references), average="macro")


def top3_hits(references: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Whether the class is among the three most probable, bool ``[N]``; of equally probable ones the first counts."""
    # sklearn's top_k_accuracy_score prefers the last of equal classes, argmax the first: they would contradict.
    first_three = np.argsort(-probabilities, axis=1, kind="stable")[:, :3]
    return (first_three == references[:, None]).any(axis=1)


# The one place of a metric: its title and its function of references and probabilities. Higher is better for all.
_METRICS: dict[str, dict[str, tuple[str, Score]]] = {
    MULTI_LABEL: {
        "roc_auc_macro": ("ROC-AUC (macro)", _macro(roc_auc_score)),
        "roc_auc_micro": ("ROC-AUC (micro)", _micro(roc_auc_score)),
        "ap_macro": ("Average precision, PR-AUC (macro)", _macro(average_precision_score)),
        "ap_micro": ("Average precision, PR-AUC (micro)", _micro(average_precision_score)),
        "lrap": ("Label ranking average precision", _label_ranking),
        "f1_macro": (
            "F1 (macro)",
            _macro(lambda references, scores: f1_score(references, scores >= DECISION_THRESHOLD)),
        ),
    },
    SINGLE_LABEL: {
        "accuracy": (
            "Accuracy",
            lambda references, probabilities: accuracy_score(references, probabilities.argmax(axis=1)),
        ),
        "balanced_accuracy": ("Balanced accuracy", _balanced_accuracy),
        "f1_macro": ("F1 (macro)", _f1_of_classes),
        "top3_accuracy": (
            "Top-3 accuracy",
            lambda references, probabilities: top3_hits(references, probabilities).mean(),
        ),
    },
}
METRIC_NAMES: dict[str, tuple[str, ...]] = {problem_type: tuple(metrics) for problem_type, metrics in _METRICS.items()}
METRIC_TITLES: dict[str, str] = {name: title for metrics in _METRICS.values() for name, (title, _) in metrics.items()}
DEFAULT_METRIC: dict[str, str] = {MULTI_LABEL: "ap_macro", SINGLE_LABEL: "accuracy"}


def metric_of(name: str, problem_type: str) -> Score:
    """The function of a metric: of checked references and probabilities, None where it is undefined."""
    return _METRICS[problem_type][name][1]


class TaggingMetrics(evaluate.Metric):
    """The metrics of this module as an ``evaluate.Metric`` that never asks the network.

    Batches stay in memory: nothing is written, no two instances meet at a lock file. Only with ``num_process`` above 1
    does ``evaluate`` gather over files, as for its own metrics.

    Args:
        config_name: ``multi_label_classification`` or ``single_label_classification``.
        **options: As of ``evaluate.Metric``.

    Raises:
        ValueError: If there is no such configuration; on ``compute``, if the input breaks the conventions.
    """

    def __init__(self, config_name: str, **options: Any):
        check_problem_type(config_name)
        options.setdefault("keep_in_memory", options.get("num_process", 1) == 1)
        super().__init__(config_name, **options)

    def _build_data_dir(self) -> str:
        # evaluate makes a folder in the user's cache for every metric, whether or not anything is written into it.
        return "" if self.keep_in_memory else super()._build_data_dir()

    def _info(self) -> evaluate.MetricInfo:
        # Without a `format` the columns come back as Python floats; datasets' numpy format would round to float32.
        # References are floats too: an integer column would cut 0.7 to 0 before it could be refused, and hold no NaN.
        row = List(Value("float64"))
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="\n\npredictions: probabilities [N, C]; references: 0/1 [N, C] or class indices [N].",
            features=Features(predictions=row, references=row if self.config_name == MULTI_LABEL else row.feature),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float | int | None]:
        return score_clips(predictions, references, self.config_name)


def score_clips(probabilities: Any, references: Any, problem_type: str) -> dict[str, float | int | None]:
    """All metrics of a problem type.

    Args:
        probabilities: Float ``[N, C]``.
        references: 0/1 ``[N, C]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        problem_type: ``multi_label_classification`` or ``single_label_classification``.

    Returns:
        Name → plain float, or None where undefined; and the counts of scored and left-out labels as int.

    Raises:
        ValueError: For input that is not as described.
    """
    probabilities, references = checked_inputs(probabilities, references, problem_type)
    values = {name: function(references, probabilities) for name, (_, function) in _METRICS[problem_type].items()}
    results = {name: None if value is None else float(value) for name, value in values.items()}
    scored = _has_both_outcomes(references).sum() if problem_type == MULTI_LABEL else len(np.unique(references))
    noun = "tags" if problem_type == MULTI_LABEL else "classes"
    return results | {f"{noun}_scored": int(scored), f"{noun}_left_out": int(probabilities.shape[1] - scored)}


def check_selectable(results: Mapping[str, float | int | None], name: str, split: str = "validation") -> None:
    """Checks that a metric can choose the best checkpoint, before Trainer compares None with a number.

    Args:
        results: What :meth:`TaggingMetrics.compute` returned.
        name: The metric to choose by.
        split: Name of the split, for the message.

    Raises:
        ValueError: If the metric is unknown or undefined.
    """
    if name not in results:
        known = ", ".join(key for key in results if key in METRIC_TITLES)
        raise ValueError(f"metric_for_best_model: {name!r} is not computed here; choose one of: {known}")
    if results[name] is None:
        raise ValueError(
            f"metric_for_best_model: {name} is undefined on the {split} split, where no tag is carried by some clips "
            f"and not by others. Use a {split} split with more clips, or choose by lrap, which is always defined."
        )


def per_label_table(
    probabilities: Any, references: Any, label_names: Sequence[str], problem_type: str
) -> list[dict[str, str | int | float | None]]:
    """Scores of every single label, in the order of ``label_names``.

    Args:
        probabilities: As for :func:`score_clips`.
        references: As for :func:`score_clips`.
        label_names: C names.
        problem_type: As for :func:`score_clips`.

    Returns:
        One row a label: ``label``, ``support`` (clips that carry it), ``prevalence`` (their share of all clips, which
        is the average precision of guessing), ``ap`` and ``roc_auc`` (one label against the rest; None if all clips
        or none carry it), and for single-label data ``precision``, ``recall`` and ``f1`` of the most probable class
        (None where they are 0/0). Where any reference is unknown, there is also ``known``, the clips of which it is
        known whether they carry the label; "all clips" are these then, and ``prevalence`` is None if there are none.
    """
    probabilities, references = checked_inputs(probabilities, references, problem_type)
    labels = probabilities.shape[1]
    if len(label_names) != labels:
        raise ValueError(f"label_names: {len(label_names)} names for {labels} columns of probabilities")
    carried = references if problem_type == MULTI_LABEL else (references[:, None] == np.arange(labels)).astype(int)
    known = carried != UNKNOWN
    rows: list[dict[str, str | int | float | None]] = []
    for name, column, scores, is_known in zip(label_names, carried.T, probabilities.T, known.T, strict=True):
        column, scores, clips = column[is_known], scores[is_known], int(is_known.sum())
        support = int(column.sum())
        prevalence = support / clips if clips else None
        row = {"label": name, "support": support, "prevalence": prevalence, "ap": None, "roc_auc": None}
        if 0 < support < clips:
            row["ap"] = float(average_precision_score(column, scores))
            row["roc_auc"] = float(roc_auc_score(column, scores))
        rows.append(row if known.all() else row | {"known": clips})
    if problem_type == SINGLE_LABEL:
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, probabilities.argmax(axis=1), labels=np.arange(labels), zero_division=np.nan
        )
        for row, *values in zip(rows, precision, recall, f1, strict=True):
            for name, value in zip(("precision", "recall", "f1"), values, strict=True):
                row[name] = None if np.isnan(value) else float(value)
    return rows
