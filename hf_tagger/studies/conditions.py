"""What studies share that score one model under many conditions: the scores, their tables and files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..data.clip_views import ChangedClips, CroppedClips
from ..data.pcm import PreparedClips
from ..errors import HfTaggerError
from ..evaluation.intervals import bootstrap_intervals, groups_to_draw
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_TITLES, per_label_table
from ..saved_evaluation import SavedEvaluation

_LABELS_SHOWN = 10


@dataclass(frozen=True)
class Condition:
    """The scores of one condition.

    Attributes:
        kind: What was changed.
        strength: How much.
        value: The usual metric; None if it is undefined.
        low: Lower end of its 95 % interval.
        high: Upper end.
        labels: Label → average precision, where it is defined.
    """

    kind: str
    strength: float
    value: float | None
    low: float | None
    high: float | None
    labels: Mapping[str, float]


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every study that evaluates a saved model on the clips of a recipe."""
    parser.add_argument("model", help="folder of a run, or a repository on the Hub")
    parser.add_argument("recipe", help="recipe of its clips; flags after it override its fields")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--output_dir", help="folder for table and picture; default: studies/NAME in the run's folder")


def output_folder(options: argparse.Namespace, name: str) -> Path:
    """The folder for a study's results, which is made."""
    run = Path(options.model)
    default = (run if run.is_dir() else Path()) / "studies" / name
    return make_folder(options.output_dir or default)


def make_folder(name: str | Path) -> Path:
    """Makes a folder for results.

    Raises:
        HfTaggerError: If that is not possible.
    """
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HfTaggerError(f"--output_dir {folder} cannot be made: {error.strerror}.") from error
    return folder


def score(
    saved: SavedEvaluation,
    clips: PreparedClips | CroppedClips | ChangedClips,
    options: argparse.Namespace,
    kind: str,
    strength: float,
) -> Condition:
    """Evaluates clips as they are given."""
    output = saved.predict(clips, options.split)
    problem_type, names = saved.dataset.problem_type, saved.dataset.label_names
    probabilities = output.predictions[clips.labelled]
    metric = DEFAULT_METRIC[problem_type]
    groups = groups_to_draw([clips.groups[index] for index in clips.labelled])
    interval = bootstrap_intervals(probabilities, output.label_ids, problem_type, groups)[metric]
    table = per_label_table(probabilities, output.label_ids, names, problem_type)
    value = output.metrics[f"{options.split}_{metric}"]
    return Condition(
        kind=kind,
        strength=strength,
        value=None if value is None or np.isnan(value) else float(value),
        low=interval and interval.low,
        high=interval and interval.high,
        labels={row["label"]: row["ap"] for row in table if row["ap"] is not None},
    )


def conditions_table(conditions: Sequence[Condition], metric: str, name: Callable[[Condition], str]) -> str:
    """A Markdown table: one row a condition."""
    lines = [f"| Condition | {METRIC_TITLES[metric]} | 95 % interval |", "|---|--:|--:|"]
    for own in conditions:
        value = "–" if own.value is None else f"{own.value:.4f}"
        interval = "–" if own.low is None else f"{own.low:.4f} to {own.high:.4f}"
        lines.append(f"| {name(own)} | {value} | {interval} |")
    return "\n".join(lines)


def losing_labels(before: Condition, after: Condition) -> str:
    """A Markdown table of the labels whose average precision falls most from one condition to another."""
    both = [label for label in before.labels if label in after.labels]
    both.sort(key=lambda label: after.labels[label] - before.labels[label])
    lines = ["| Label | Before | After | Lost |", "|---|--:|--:|--:|"]
    for label in both[:_LABELS_SHOWN]:
        values = before.labels[label], after.labels[label], before.labels[label] - after.labels[label]
        lines.append("| " + label.replace("|", r"\|") + " | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines)


def write_study(folder: Path, name: str, saved: SavedEvaluation, conditions: Sequence[Condition], text: str) -> None:
    """Writes ``NAME.md`` and ``NAME.json`` with the protocol of the clips, and prints the text."""
    record = {
        "protocol": saved.dataset.protocol_record(),
        "metric": DEFAULT_METRIC[saved.dataset.problem_type],
        "conditions": [asdict(own) for own in conditions],
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"\nWritten to {folder / name}.md, .json and .png")


def numbers(text: str) -> list[float]:
    """An option's numbers, separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, received {text!r}") from error
