"""Whether one model is better than another, or was lucky with these clips: two runs on the same test clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .data.base import MULTI_LABEL
from .errors import HfTaggerError
from .evaluation.assessment import Predictions
from .evaluation.intervals import LEVEL, Comparison, compare_models, groups_to_draw
from .evaluation.metrics import DEFAULT_METRIC, METRIC_TITLES
from .evaluation.predictions import read_predictions
from .evaluation.run_numbers import METRICS_FILE, problem_type_of, read_json


@dataclass(frozen=True)
class RunComparison:
    """Two runs on the same clips.

    Attributes:
        first: Folder of one run.
        second: Folder of the other.
        split: The split.
        clips: Number of clips.
        drawn: ``clips`` or ``groups``: what the bootstrap drew.
        metrics: Metric → comparison, None where it is undefined.
    """

    first: str
    second: str
    split: str
    clips: int
    drawn: str
    metrics: Mapping[str, Comparison | None]

    def as_dict(self) -> dict:
        """For JSON."""
        values = {name: comparison and comparison.as_dict() for name, comparison in self.metrics.items()}
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {"metrics": values}

    def as_markdown(self) -> str:
        """A table, and what it means in a sentence."""
        lines = [
            f"A: {self.first}",
            f"B: {self.second}",
            "",
            f"| Metric ({self.split}, {self.clips:,} clips) | A | B | B − A | {LEVEL:.0%} interval | p |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for name, own in self.metrics.items():
            if own is not None:
                interval = f"{own.low:+.4f} to {own.high:+.4f}"
                values = f"{own.first:.4f} | {own.second:.4f} | {own.difference:+.4f} | {interval} | {own.p_value:.3f}"
                lines.append(f"| {METRIC_TITLES[name]} | {values} |")
        return "\n".join([*lines, "", self._sentence()])

    def _sentence(self) -> str:
        name = next(name for name in DEFAULT_METRIC.values() if name in self.metrics)
        own = self.metrics[name]
        if own is None:
            return f"{METRIC_TITLES[name]} is undefined on these clips."
        if not own.is_significant:
            return f"By {METRIC_TITLES[name]} the two cannot be told apart on these {self.drawn}."
        better, worse = ("B", "A") if own.difference > 0 else ("A", "B")
        return f"By {METRIC_TITLES[name]} {better} is better than {worse} on {self.drawn} like these."


def compare_runs(first: str | Path, second: str | Path, split: str = "test") -> RunComparison:
    """Paired bootstrap of two runs (:func:`~hf_tagger.evaluation.intervals.compare_models`).

    Args:
        first: Folder of one run or evaluation, with ``metrics.json`` and the split's predictions.
        second: Folder of the other.
        split: The split.

    Raises:
        HfTaggerError: If a folder lacks them, or the two are not of the same clips and labels.
    """
    folders = [Path(first), Path(second)]
    records = [_read_metrics(folder, split) for folder in folders]
    hashes = [record["protocol"]["hash"] for record in records]
    if hashes[0] != hashes[1]:
        described = [
            f"{folder}: {record['protocol']['dataset']}, protocol {record['protocol']['name']}, ids {own[:12]}…"
            for folder, record, own in zip(folders, records, hashes, strict=True)
        ]
        raise HfTaggerError(
            "The two were not evaluated on the same clips, so that no comparison of them means anything:\n  "
            + "\n  ".join(described)
        )
    problem_types = [problem_type_of(record[split]) for record in records]
    if problem_types[0] != problem_types[1]:
        raise HfTaggerError(f"{first} is of {problem_types[0]}, {second} of {problem_types[1]}.")
    one, other = (read_predictions(folder / f"predictions_{split}.parquet", problem_types[0]) for folder in folders)
    probabilities = _aligned(one, other, folders)
    groups = groups_to_draw(one.groups)
    comparisons = compare_models(one.probabilities, probabilities, *one.scored[1:], groups=groups)
    drawn = "clips" if groups is None else "groups"
    return RunComparison(str(first), str(second), split, len(one.ids), drawn, comparisons)


def _read_metrics(folder: Path, split: str) -> dict:
    path = folder / METRICS_FILE
    if not path.is_file():
        raise HfTaggerError(f"{folder} holds no {METRICS_FILE}; expected the folder of a finished run or evaluation.")
    record = read_json(path, advice="Evaluate the model anew.")
    if problem_type_of(record.get(split) or {}) is None:
        raise HfTaggerError(f"{path} has no numbers of the {split} split, or its clips have no labels; try --split.")
    return record


def _aligned(one: Predictions, other: Predictions, folders: list[Path]) -> np.ndarray:
    """Probabilities of the other model, in the first one's order of clips and labels."""
    for what, own, theirs in (("clips", one.ids, other.ids), ("labels", one.label_names, other.label_names)):
        lacking = sorted(set(own) ^ set(theirs))
        if lacking:
            raise HfTaggerError(
                f"{len(lacking)} {what} are in the predictions of only one of {folders[0]} and {folders[1]}, for "
                f"example {', '.join(lacking[:3])}. Evaluate both anew, from the same files."
            )
    rows, columns = (_positions(*names) for names in ((one.ids, other.ids), (one.label_names, other.label_names)))
    if not np.array_equal(one.references, _in_order(other, rows, columns), equal_nan=True):
        raise HfTaggerError(f"The clips in {folders[0]} and {folders[1]} have different labels: evaluate both anew.")
    return other.probabilities[rows][:, columns]


def _in_order(other: Predictions, rows: list[int], columns: list[int]) -> np.ndarray:
    """References of the other run in the first one's order."""
    if other.problem_type == MULTI_LABEL:
        return other.references[rows][:, columns]
    return np.argsort(columns)[other.references[rows]]


def _positions(names: Sequence[str], among: Sequence[str]) -> list[int]:
    number = {name: index for index, name in enumerate(among)}
    return [number[name] for name in names]
