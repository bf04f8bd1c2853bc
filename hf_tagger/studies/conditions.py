"""What studies share that score one model under many conditions: the scores, their tables and files."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..command_line import make_folder
from ..data.base import TaggingDatasetDict
from ..data.clip_views import ChangedClips, CroppedClips
from ..data.pcm import PreparedClips
from ..errors import HfTaggerError
from ..evaluation.intervals import bootstrap_intervals, groups_to_draw
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_TITLES, per_label_table, score_clips
from ..hub.card_sections import check_section, set_section
from ..hub.shared_files import CARD
from ..saved_evaluation import SavedEvaluation

_LABELS_SHOWN = 10


@dataclass(frozen=True)
class Condition:
    """The scores of one condition.

    Attributes:
        kind: What was changed.
        strength: How much.
        value: The usual metric, or another one that was asked for; None if it is undefined.
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


def add_card_argument(parser: argparse.ArgumentParser) -> None:
    """``--add_to_card``, of the studies that have a place in the model card."""
    parser.add_argument(
        "--add_to_card", action="store_true", help="tell the results in the card of the run too; push it again then"
    )


def output_folder(options: argparse.Namespace, name: str) -> Path:
    """The folder for a study's results, which is made.

    Raises:
        HfTaggerError: If that is not possible, or the results are for a card that has no place for them.
    """
    run = Path(options.model).expanduser()
    if getattr(options, "add_to_card", False):
        check_section(run, name)
    default = (run if run.is_dir() else Path()) / "studies" / name
    return make_folder(options.output_dir or default)


def score(
    saved: SavedEvaluation,
    clips: PreparedClips | CroppedClips | ChangedClips,
    options: argparse.Namespace,
    kind: str,
    strength: float,
) -> Condition:
    """Evaluates clips as they are given."""
    output = saved.predict(clips, options.split)
    groups = [clips.groups[index] for index in clips.labelled]
    metric = DEFAULT_METRIC[saved.dataset.problem_type]
    return score_probabilities(
        output.predictions[clips.labelled], output.label_ids, saved.dataset, groups, kind, strength, [metric]
    )[metric]


def score_probabilities(
    probabilities: np.ndarray,
    references: np.ndarray,
    dataset: TaggingDatasetDict,
    groups: Sequence[str | None] | None,
    kind: str,
    strength: float,
    metrics: Sequence[str],
) -> dict[str, Condition]:
    """Scores probabilities that were computed before.

    Args:
        probabilities: Float ``[N, labels]``.
        references: 0/1 ``[N, labels]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        dataset: Names its labels.
        groups: What clips are drawn together for the intervals; see :func:`bootstrap_intervals`.
        kind: What was changed.
        strength: How much.
        metrics: Names of metrics.

    Returns:
        Metric → condition.
    """
    problem_type = dataset.problem_type
    groups = None if groups is None else groups_to_draw(groups)
    intervals = bootstrap_intervals(probabilities, references, problem_type, groups)
    values = score_clips(probabilities, references, problem_type)
    table = per_label_table(probabilities, references, dataset.label_names, problem_type)
    return {
        metric: Condition(
            kind=kind,
            strength=strength,
            value=values[metric],
            low=intervals[metric] and intervals[metric].low,
            high=intervals[metric] and intervals[metric].high,
            labels={row["label"]: row["ap"] for row in table if row["ap"] is not None},
        )
        for metric in metrics
    }


def conditions_table(conditions: Sequence[Condition], metric: str, name: Callable[[Condition], str]) -> str:
    """A Markdown table: one row a condition."""
    lines = [f"| Condition | {METRIC_TITLES[metric]} | 95 % interval |", "|---|--:|--:|"]
    for own in conditions:
        lines.append(f"| {name(own)} | {value_text(own.value)} | {interval_text(own.low, own.high)} |")
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
    StudyReport(folder, saved, name, [text], conditions=list(conditions)).write()
    print(text)
    print(f"\nWritten to {folder / name}.md, .json and .png")


def check_card_clips(options: argparse.Namespace, saved: SavedEvaluation) -> None:
    """Raises HfTaggerError if results on these clips would stand in the card of a run with others."""
    path = Path(options.model).expanduser() / "metrics.json"
    if not options.add_to_card or not path.is_file():
        return
    protocol, own = saved.dataset.protocol_record(), json.loads(path.read_text(encoding="utf-8"))["protocol"]
    if protocol["hash"] != own["hash"]:
        raise HfTaggerError(
            f"--add_to_card: the card is about {own['dataset']}, protocol {own['name']!r}, and these are other clips "
            f"({protocol['dataset']}, protocol {protocol['name']!r}), some of which the model may be trained on. Give "
            f"the run's own recipe.yaml, or leave --add_to_card out."
        )


def add_to_card(options: argparse.Namespace, folder: Path, name: str, shown: Sequence[str], folded: str) -> None:
    """Tells the results in the card of the run, and lays picture and numbers beside it.

    Args:
        options: Those of the study.
        folder: Where the study's files lie.
        name: Their name, and that of the part of the card.
        shown: Paragraphs before the picture.
        folded: What is shown on demand.
    """
    run = Path(options.model).expanduser()
    if folder.resolve() != run.resolve():
        for file in (f"{name}.png", f"{name}.json"):
            shutil.copyfile(folder / file, run / file)
    details = f"<details>\n<summary>All numbers</summary>\n\n{folded}\n\n</details>"
    set_section(run, name, "\n\n".join([*shown, f"![Scores under all conditions]({name}.png)", details]))
    print(f"Told in {run / CARD} too. scripts/push.py shares it.")


@dataclass
class StudyReport:
    """A study's results, written anew with every part: a long study that is cut off leaves what it has.

    Attributes:
        folder: Where to write.
        saved: The model and the clips.
        name: The files' name.
        parts: The text's parts so far.
        further: Entries of the JSON file beside protocol, metric and conditions.
        conditions: Scores.
    """

    folder: Path
    saved: SavedEvaluation
    name: str
    parts: list[str]
    further: dict[str, Any] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)

    def add(self, part: str) -> None:
        """Adds a part of the text, prints it, and writes ``NAME.md`` and ``NAME.json``."""
        self.parts.append(part)
        print(f"{part}\n", flush=True)
        self.write()

    def write(self) -> None:
        """Writes both files as things stand."""
        dataset = self.saved.dataset
        record = {
            "protocol": dataset.protocol_record(),
            "metric": DEFAULT_METRIC[dataset.problem_type],
            "conditions": [asdict(own) for own in self.conditions],
            **self.further,
        }
        text = "\n\n".join(self.parts) + "\n"
        path = self.folder / self.name
        path.with_suffix(".json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(text, encoding="utf-8")


def value_text(value: float | None, sign: str = "") -> str:
    """A score in a table; ``sign`` "+" for differences."""
    return "–" if value is None else f"{value:{sign}.4f}"


def interval_text(low: float | None, high: float | None, sign: str = "") -> str:
    """An interval in a table."""
    return "–" if low is None else f"{value_text(low, sign)} to {value_text(high, sign)}"


def numbers(text: str) -> list[float]:
    """An option's numbers, separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, received {text!r}") from error


def counts(text: str) -> list[int]:
    """An option's whole numbers of at least 1, separated by commas; ascending, each once."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, received {text!r}") from error
    if found[0] < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1, received {text!r}")
    return found
