"""Studies of trained variants: their kinds, what their command line takes, and what each of them writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import HfTaggerError
from .evaluation.predictions import read_predictions
from .evaluation.rare_classes import TrainedVariant, check_comparable, compare_rare_classes
from .evaluation.rare_classes_table import rare_classes_table
from .evaluation.run_numbers import METRICS_FILE, problem_type_of, read_json
from .evaluation.study_table import study_table
from .evaluation.variant_plots import plot_rare_classes, plot_variants
from .study import Variant

Failures = dict[str, str]
"""Variant → why it cannot be in what was written."""


def read_command_line(argv: Sequence[str], description: str) -> tuple[argparse.Namespace, list[str]]:
    """The options of a study of variants, and the fields of the recipe.

    Raises:
        HfTaggerError: If the recipe does not come right after the study's name.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    purposes = "; ".join(f"{name}: {kind.purpose}" for name, kind in KINDS.items())
    parser.add_argument("study", choices=list(KINDS), help=purposes)
    parser.add_argument("recipe", help="a recipe with variants; it comes right after the study's name")
    parser.add_argument(
        "--only", nargs="+", metavar="VARIANT", help="train only these; the table holds all finished ones"
    )
    parser.add_argument(
        "--output_dir", "--output-dir", metavar="FOLDER", help="the study's folder; each variant's is in it"
    )
    parser.add_argument(
        "--measure_again", "--measure-again", action="store_true", help="measure the costs anew (on a quiet machine)"
    )
    options, fields = parser.parse_known_args(argv)
    if list(argv[:2]) != [options.study, options.recipe]:
        raise HfTaggerError(
            f"The recipe (a .yaml file) comes right after the study's name, fields follow it; received "
            f"{' '.join(argv)!r}. Write: scripts/study.py {options.study} RECIPE.yaml --field value"
        )
    return options, fields


def write_results(
    kind: str, rows: Sequence[Mapping], variants: Mapping[str, Variant], folder: Path
) -> tuple[str, Failures]:
    """Writes what a kind of study leaves in its folder.

    Args:
        kind: One of :data:`KINDS`.
        rows: The rows of the finished variants.
        variants: The study's variants.
        folder: The study's folder.

    Returns:
        What a person wants to read, and the variants that could not be taken in.

    Raises:
        HfTaggerError: If the variants do not compare. What was written before that stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts, failures = [], {}
    for write in KINDS[kind].writers:
        text, unusable = write(rows, variants, folder)
        texts.append(text)
        failures |= unusable
    return "\n".join(filter(None, texts)), failures


def write_table(rows: Sequence[Mapping], _: Mapping[str, Variant], folder: Path) -> tuple[str, Failures]:
    """Writes ``study.json`` and ``study.md``."""
    table = study_table(rows)
    (folder / "study.json").write_text(json.dumps(list(rows), indent=2) + "\n", encoding="utf-8")
    (folder / "study.md").write_text(table, encoding="utf-8")
    return f"{table}\nWritten to {folder / 'study.md'} and study.json.", {}


def write_picture(rows: Sequence[Mapping], _: Mapping[str, Variant], folder: Path) -> tuple[str, Failures]:
    """Writes ``study.png``."""
    if not rows:
        return "", {}
    plot_variants(rows, folder / "study.png")
    return f"Written to {folder / 'study.png'}.", {}


def write_rare_classes(rows: Sequence[Mapping], variants: Mapping[str, Variant], folder: Path) -> tuple[str, Failures]:
    """Writes ``rare_classes.json``, ``rare_classes.md`` and ``rare_classes.png``."""
    trained, failures = [], {}
    for row in rows:
        try:
            own = _read_variant(row, variants[row["variant"]].folder)
            check_comparable(trained[0] if trained else own, own)
            trained.append(own)
        except HfTaggerError as error:
            failures[row["variant"]] = str(error)
    if not trained:
        return "", failures
    study, split = compare_rare_classes(trained), rows[0]["split"]
    text = rare_classes_table(study, split, rows)
    record = {name: rows[0][name] for name in ("split", "protocol", "protocol_hash")} | study.as_dict()
    (folder / "rare_classes.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "rare_classes.md").write_text(text, encoding="utf-8")
    plot_rare_classes(study, split, folder / "rare_classes.png")
    # Every label's line is for the file.
    shown = text.partition("\nAverage precision of every label")[0]
    return f"\n{shown}\nWritten to {folder / 'rare_classes.md'}, .json and .png.", failures


def _read_variant(row: Mapping, folder: Path) -> TrainedVariant:
    name = row["variant"]
    support = read_json(folder / METRICS_FILE).get("training_support")
    if support is None:
        raise HfTaggerError(
            f"{folder / METRICS_FILE} does not say how many training clips carry each label (training_support): an "
            f"earlier version wrote it. Train it again: --only {name} --overwrite_output_dir."
        )
    predictions = read_predictions(folder / f"predictions_{row['split']}.parquet", problem_type_of(row))
    return TrainedVariant(name, support, predictions)


@dataclass(frozen=True)
class StudyKind:
    """A kind of study.

    Attributes:
        purpose: What it is for.
        writers: What it writes, one after the other.
    """

    purpose: str
    writers: tuple[Callable[[Sequence[Mapping], Mapping[str, Variant], Path], tuple[str, Failures]], ...]


KINDS = {
    "inputs": StudyKind("models and front ends under the same budget", (write_table, write_picture)),
    "variants": StudyKind("whatever else a recipe's variants change", (write_table, write_picture)),
    "rare-classes": StudyKind(
        "average precision by how rare labels are, all against the first variant",
        (write_table, write_picture, write_rare_classes),
    ),
}
"""The studies of variants, as ``scripts/study.py`` takes them."""
