"""How well a model does on a dataset it was not made for, beside that dataset's own model on the same concepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..errors import HfTaggerError
from .assessment import Predictions
from .intervals import Comparison, Interval, bootstrap_intervals, compare_models, groups_to_draw
from .metric_inputs import MULTI_LABEL, SINGLE_LABEL
from .metrics import per_label_table, score_clips

MACRO = ("roc_auc_macro", "ap_macro")


@dataclass(frozen=True)
class Score:
    """A metric and its 95 % interval; no bounds where the bootstrap has none.

    Attributes:
        value: The metric.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Transfer:
    """One model on one dataset.

    Attributes:
        concepts: The concepts that both have.
        clips: Clips of which at least one of them is known.
        drawn: ``clips`` or ``groups``: what the bootstrap drew.
        scores: Metric → score: ROC-AUC and average precision, macro over the concepts that some clips carry and some do
            not, and ``accuracy`` among the concepts where the clips have one label each. None where undefined.
        own: The same of the dataset's own model on the same clips and concepts; empty without such a model.
        lost: Metric → paired comparison of the model (first) with the own one (second); empty as above.
        rows: Of each concept ``concept``, ``clips`` (that carry it), ``roc_auc`` and ``ap``, and with an own model
            ``own_roc_auc`` and ``own_ap``.
    """

    concepts: Sequence[str]
    clips: int
    drawn: str
    scores: Mapping[str, Score | None]
    own: Mapping[str, Score | None]
    lost: Mapping[str, Comparison | None]
    rows: Sequence[Mapping]

    @property
    def scored(self) -> int:
        """Number of concepts that the macro means are over."""
        return sum(row["roc_auc"] is not None for row in self.rows)

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self) | {"concepts_scored": self.scored}


@dataclass(frozen=True)
class TransferMatrix:
    """Every model on every dataset.

    Attributes:
        models: Names of M models.
        datasets: Names of D datasets.
        homes: Of each model the number of the dataset that it was trained on, ``[M]``.
        transfers: ``[M][D]``; None where a model has no concept in common with a dataset.
        training_clips: Clips of each dataset that a model may know from training, ``[M][D]``: where dataset and home
            are protocols of the same data, what one tests on another may train on.
        labels: Concept → dataset → the labels that mean it.
    """

    models: Sequence[str]
    datasets: Sequence[str]
    homes: Sequence[int]
    transfers: Sequence[Sequence[Transfer | None]]
    training_clips: Sequence[Sequence[int]]
    labels: Mapping[str, Mapping[str, Sequence[str]]]

    def pairs(self) -> Iterator[tuple[int, int, Transfer]]:
        """Number of the model, number of the dataset, and scores, where there are such."""
        for number, row in enumerate(self.transfers):
            for column, transfer in enumerate(row):
                if transfer is not None:
                    yield number, column, transfer

    def as_dict(self) -> dict:
        """For JSON."""
        transfers = [
            {"model": self.models[number], "tested_on": self.datasets[column]}
            | {"is_home": self.homes[number] == column, "training_clips": self.training_clips[number][column]}
            | transfer.as_dict()
            for number, column, transfer in self.pairs()
        ]
        return {"labels": self.labels, "transfers": transfers}


def score_transfer(predictions: Predictions, own: Predictions | None, one_label_each: bool) -> Transfer:
    """Scores a model's probabilities of concepts.

    Args:
        predictions: Of the model, as for multi-label data: the labels are the shared concepts.
        own: Of the dataset's own model, with these concepts and maybe more. Clips that only one of the two could read
            take no part: a few samples at one sampling rate may be none at another.
        one_label_each: Whether the dataset is single-label, so that accuracy is defined: over the clips that carry one
            of the concepts, whether theirs is the most probable.

    Raises:
        HfTaggerError: If no clip is left.
    """
    if own is not None:
        predictions, own = _of_clips(predictions, own.ids), _of_clips(own, predictions.ids)
    known = ~np.isnan(predictions.references).all(axis=1)
    if not known.any():
        raise HfTaggerError(
            "There is no clip of which a shared concept is known"
            + (" and that both models could read." if own is not None else ".")
        )
    references, groups = predictions.references[known], np.array(predictions.groups, dtype=object)[known]
    models = [predictions.probabilities[known]]
    if own is not None:
        columns = [list(own.label_names).index(concept) for concept in predictions.label_names]
        models.append(own.probabilities[known][:, columns])
    drawn = groups_to_draw(list(groups))
    scores = [_scores(probabilities, references, groups, one_label_each) for probabilities in models]
    tables = [
        per_label_table(probabilities, references, predictions.label_names, MULTI_LABEL) for probabilities in models
    ]
    rows = []
    for entries in zip(*tables, strict=True):
        row = {"concept": entries[0]["label"], "clips": entries[0]["support"]}
        for prefix, entry in zip(("", "own_"), entries, strict=False):
            row |= {f"{prefix}roc_auc": entry["roc_auc"], f"{prefix}ap": entry["ap"]}
        rows.append(row)
    lost = {} if own is None else compare_models(*models, references, MULTI_LABEL, drawn)
    return Transfer(
        concepts=list(predictions.label_names),
        clips=int(known.sum()),
        drawn="clips" if drawn is None else "groups",
        scores=scores[0],
        own=scores[1] if own is not None else {},
        lost={name: lost[name] for name in MACRO if name in lost},
        rows=rows,
    )


def _of_clips(predictions: Predictions, ids: Sequence[str]) -> Predictions:
    """What was said of the clips with these ids, sorted by id."""
    position = {clip_id: index for index, clip_id in enumerate(predictions.ids)}
    kept = [position[clip_id] for clip_id in sorted(ids) if clip_id in position]
    return replace(
        predictions,
        ids=[predictions.ids[index] for index in kept],
        groups=[predictions.groups[index] for index in kept],
        probabilities=predictions.probabilities[kept],
        references=predictions.references[kept],
    )


def _scores(
    probabilities: np.ndarray, references: np.ndarray, groups: np.ndarray, one_label_each: bool
) -> dict[str, Score | None]:
    values = score_clips(probabilities, references, MULTI_LABEL)
    intervals = bootstrap_intervals(probabilities, references, MULTI_LABEL, groups_to_draw(list(groups)))
    scores = {name: _score(values[name], intervals[name]) for name in MACRO}
    if one_label_each:
        scores["accuracy"] = None
        carries = (references == 1).any(axis=1)
        if carries.any() and references.shape[1] > 1:  # among one concept every guess is right
            own, classes = probabilities[carries], references[carries].argmax(axis=1)
            value = score_clips(own, classes, SINGLE_LABEL)["accuracy"]
            drawn = groups_to_draw(list(groups[carries]))
            scores["accuracy"] = _score(value, bootstrap_intervals(own, classes, SINGLE_LABEL, drawn)["accuracy"])
    return scores


def _score(value: float | None, interval: Interval | None) -> Score | None:
    return None if value is None else Score(value, interval and interval.low, interval and interval.high)
