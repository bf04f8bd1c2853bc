"""Average precision against training clips: what options against imbalance do for rare labels, and what others pay.

The labels are put into thirds by the number of training clips that carry them. Average precision of guessing is the
share of clips that carry a label, so that rare labels score low by nature: what counts is the difference of two
variants within a third, with the interval of a paired bootstrap (:mod:`hf_tagger.evaluation.intervals`). Single-label
data is scored one class against the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import rankdata

from ..errors import HfTaggerError
from .assessment import Predictions
from .intervals import LEVEL, RESAMPLES, Comparison, Interval, bootstrap_intervals, compare_models, groups_to_draw
from .metric_inputs import MULTI_LABEL
from .metrics import per_label_table

THIRDS = ("rarest", "middle", "most frequent")


@dataclass(frozen=True)
class TrainedVariant:
    """What a variant was trained with, and what it says of the clips of the reported split.

    Attributes:
        name: The variant.
        training_support: Label → training clips that carry it.
        predictions: Its predictions.
    """

    name: str
    training_support: Mapping[str, int]
    predictions: Predictions


@dataclass(frozen=True)
class LabelGroup:
    """Labels that about equally many training clips carry.

    Attributes:
        name: One of :data:`THIRDS`.
        labels: The labels, the rarest first.
        fewest: Training clips of the rarest.
        most: Training clips of the most frequent.
    """

    name: str
    labels: tuple[str, ...]
    fewest: int
    most: int


@dataclass(frozen=True)
class GroupScore:
    """A variant's average precision, mean over a group of labels.

    Attributes:
        value: On all clips.
        interval: Where it may be on other clips.
    """

    value: float
    interval: Interval


@dataclass(frozen=True)
class RareClasses:
    """Variants by how rare the labels are.

    Attributes:
        drawn: ``clips`` or ``groups``: what the bootstrap drew.
        groups: The groups of labels, the rarest first.
        support: Label → training clips, the rarest first; labels that can be scored.
        clips: Label → clips of the split that carry it.
        ap: Variant → label → average precision.
        scores: Variant → group → mean.
        differences: Variant → group → the first variant (``first``) and this one (``second``).
        left_out: Labels that cannot be scored.
    """

    drawn: str
    groups: Sequence[LabelGroup]
    support: Mapping[str, int]
    clips: Mapping[str, int]
    ap: Mapping[str, Mapping[str, float]]
    scores: Mapping[str, Mapping[str, GroupScore]]
    differences: Mapping[str, Mapping[str, Comparison]]
    left_out: Sequence[str]

    @property
    def reference(self) -> str:
        """The variant with which the others are compared."""
        return next(iter(self.ap))

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "reference": self.reference,
            "bootstrap": {"level": LEVEL, "resamples": RESAMPLES, "drawn": self.drawn},
            "groups": [asdict(group) for group in self.groups],
            "labels": {
                label: {
                    "training_clips": support,
                    "clips": self.clips[label],
                    "ap": {name: own[label] for name, own in self.ap.items()},
                }
                for label, support in self.support.items()
            },
            "left_out": list(self.left_out),
            "scores": {
                name: {group: {"ap": own.value, **asdict(own.interval)} for group, own in groups.items()}
                for name, groups in self.scores.items()
            },
            "differences": {
                name: {group: own.as_dict() for group, own in groups.items()}
                for name, groups in self.differences.items()
            },
        }


def compare_rare_classes(variants: Sequence[TrainedVariant]) -> RareClasses:
    """Scores variants by how rare the labels are, and compares all with the first.

    Args:
        variants: At least one; all with the same training clips, and with predictions for the same clips.

    Raises:
        HfTaggerError: If they are not comparable, or no label can be scored.
    """
    first = variants[0]
    for other in variants[1:]:
        check_comparable(first, other)
    tables = {own.name: _label_table(own.predictions) for own in variants}
    support, names = first.training_support, first.predictions.label_names
    scored = [name for name in names if tables[first.name][name]["ap"] is not None and support[name]]
    if not scored:
        raise HfTaggerError(
            "No label can be scored by how rare it is: each needs training clips, and clips with and without it in the "
            "split that is reported."
        )
    scored.sort(key=lambda name: (support[name], name))
    groups = label_groups({name: support[name] for name in scored})
    to_draw = groups_to_draw(first.predictions.groups)
    chosen = {group.name: [names.index(label) for label in group.labels] for group in groups}

    scores: dict[str, dict[str, GroupScore]] = {}
    differences: dict[str, dict[str, Comparison]] = {}
    for own in variants:
        ap = {label: tables[own.name][label]["ap"] for label in scored}
        scores[own.name] = {
            group.name: GroupScore(
                float(np.mean([ap[label] for label in group.labels])),
                bootstrap_intervals(*_columns(own.predictions, chosen[group.name]), to_draw)["ap_macro"],
            )
            for group in groups
        }
        if own is not first:
            differences[own.name] = {
                name: compare_models(
                    _columns(first.predictions, columns)[0], *_columns(own.predictions, columns), groups=to_draw
                )["ap_macro"]
                for name, columns in chosen.items()
            }
    return RareClasses(
        drawn="clips" if to_draw is None else "groups",
        groups=groups,
        support={label: support[label] for label in scored},
        clips={label: tables[first.name][label]["support"] for label in scored},
        ap={name: {label: table[label]["ap"] for label in scored} for name, table in tables.items()},
        scores=scores,
        differences=differences,
        left_out=[name for name in names if name not in scored],
    )


def label_groups(support: Mapping[str, int]) -> list[LabelGroup]:
    """Puts labels into thirds by their training clips; labels of equally many clips stay together.

    Such labels share the mean of their ranks, so that a group may hold more or fewer than a third of the labels, or
    none: it is left out then.

    Args:
        support: Label → training clips.
    """
    labels = sorted(support, key=lambda label: (support[label], label))
    ranks = rankdata([support[label] for label in labels], method="average")  # 1 … number of labels
    thirds = (len(THIRDS) * (ranks - 0.5) / len(labels)).astype(int)
    groups = []
    for number, name in enumerate(THIRDS):
        own = tuple(label for label, third in zip(labels, thirds, strict=True) if third == number)
        if own:
            groups.append(LabelGroup(name, own, support[own[0]], support[own[-1]]))
    return groups


def check_comparable(first: TrainedVariant, other: TrainedVariant) -> None:
    """Raises HfTaggerError for variants of other training clips, or with predictions for other clips."""
    differing = []
    if first.training_support != other.training_support:
        differing.append("trained on clips with other labels")
    ours, theirs = first.predictions, other.predictions
    if (ours.ids, ours.label_names) != (theirs.ids, theirs.label_names):
        differing.append("evaluated on other clips or labels")
    elif not np.array_equal(ours.references, theirs.references, equal_nan=True):
        differing.append("evaluated against other labels of the same clips")
    if differing:
        raise HfTaggerError(
            f"{other.name} was {' and '.join(differing)} than {first.name} (a clip may have been unreadable then, see "
            f"skipped_clips.csv), so that they do not compare. Train it again: --only {other.name} "
            f"--overwrite_output_dir."
        )


def _label_table(predictions: Predictions) -> dict[str, dict]:
    table = per_label_table(*predictions.scored[:2], predictions.label_names, predictions.problem_type)
    return {row["label"]: row for row in table}


def _columns(predictions: Predictions, columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray, str]:
    """Some labels as tags: probabilities, references and problem type, what the functions of intervals take.

    One more tag, which no clip carries, takes no part in a mean over tags. It is there for clips of which it is unknown
    whether they carry any of the others: without it they would be refused.
    """
    references = predictions.references
    if predictions.problem_type != MULTI_LABEL:
        references = (references[:, None] == np.arange(len(predictions.label_names))).astype(np.float64)
    nobodys = np.zeros((len(references), 1))
    parts = (predictions.probabilities[:, columns], references[:, columns])
    return *(np.concatenate([part, nobodys], axis=1) for part in parts), MULTI_LABEL
