"""Recipes of baselines: the fields of the data and of :class:`BaselineArguments`, as strict as those of models."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Sequence
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from ..argument_checks import unknown_name, with_nested_value
from ..data import argument_problems
from ..data_arguments import DataArguments
from ..errors import RecipeError
from ..recipe_values import ConversionError, convert, read_flag_value, read_flags, read_recipe_file
from .arguments import BaselineArguments

_ARGUMENT_CLASSES = (DataArguments, BaselineArguments)
# Fields of the data that mean nothing here.
_OF_MODELS = {
    "crops_per_clip": "features are those of whole clips",
    "check_leaks": "it is told in the card of a model; scripts/study.py leaks searches without one",
}
_OF_THE_MOMENT = ("overwrite_output_dir", "processes")


def parse_baseline_recipe(argv: Sequence[str] | None = None) -> tuple[DataArguments, BaselineArguments]:
    """Reads ``[RECIPE.yaml] [--field value …]``.

    A flag overrides the recipe; a boolean flag may stand alone; one value of a grid is
    ``--classifiers.svm.C "[1, 10]"``. ``--help`` prints every field.

    Args:
        argv: The command line without the program's name; default: that of this process.

    Returns:
        The arguments of the data and of the baselines.

    Raises:
        RecipeError: With every unknown field, mistyped value and value out of range in one message.
        SystemExit: For ``--help``.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if any(argument in ("-h", "--help") for argument in argv):
        parser.print_help()
        raise SystemExit(0)
    path = argv.pop(0) if argv and not argv[0].startswith("--") else None
    problems: list[str] = []
    given = read_recipe_file(path, problems) if path is not None else {}
    _apply_flags(given, argv, problems)
    hints = {name: hint for kind in _ARGUMENT_CLASSES for name, hint in typing.get_type_hints(kind).items()}
    values = {}
    for name, value in given.items():
        if name not in hints:
            problems.append(unknown_name(name, name, list(hints)))
        elif name in _OF_MODELS:
            problems.append(f"{name}: {_OF_MODELS[name]}; leave it out")
        else:
            try:
                values[name] = convert(parser, name, hints[name], value)
            except ConversionError as error:
                problems.append(str(error))
    arguments = {}
    for kind in _ARGUMENT_CLASSES:
        own = {field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values}
        try:
            arguments[kind] = kind(**own)
        except RecipeError as error:
            problems += error.problems
    if DataArguments in arguments:
        problems += argument_problems(arguments[DataArguments])
    if problems:
        raise RecipeError(problems, path or "the command line")
    return tuple(arguments[kind] for kind in _ARGUMENT_CLASSES)


def resolved_baseline_recipe(data: DataArguments, baselines: BaselineArguments) -> dict:
    """The experiment as one mapping that :func:`parse_baseline_recipe` reads again."""
    recipe = dataclasses.asdict(data) | dataclasses.asdict(baselines)
    left_out = (*_OF_MODELS, *_OF_THE_MOMENT)
    return {name: value for name, value in recipe.items() if value is not None and name not in left_out}


def write_baseline_recipe(recipe: dict, path: Path) -> None:
    """Writes a recipe that starts with the command that runs it again."""
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
    path.write_text(f"# python scripts/baselines.py {path} --output_dir ANOTHER_FOLDER\n{text}", encoding="utf-8")


def _parser() -> HfArgumentParser:
    return HfArgumentParser(
        _ARGUMENT_CLASSES,
        usage="%(prog)s [RECIPE.yaml] [--field value ...]",
        description="A recipe (YAML) holds these fields; the same fields as flags override it.",
        exit_on_error=False,
        allow_abbrev=False,
    )


def _apply_flags(given: dict, argv: list[str], problems: list[str]) -> None:
    """Turns ``--field value …`` into entries of ``given``; texts, converted later like those of the YAML."""
    for name, values in read_flags(argv, problems, "--folds 4"):
        name, *keys = name.split(".")
        name = name.replace("-", "_")
        if keys:
            mapping = given.get(name)
            mapping = read_flag_value(mapping, problems) if isinstance(mapping, str) else mapping
            value = read_flag_value(" ".join(values), problems) if values else None
            given[name] = with_nested_value(mapping, keys, value)
        else:
            given[name] = (values[0] if len(values) == 1 else values) if values else True
