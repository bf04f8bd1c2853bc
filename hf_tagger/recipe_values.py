"""Values of a recipe: how YAML and flags are read, and how a value gets its field's type. Strict in both."""

from __future__ import annotations

import argparse
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from .errors import RecipeError


class _RecipeLoader(yaml.SafeLoader):
    """YAML 1.2 scalars (``no`` is a word, ``1e-4`` is a number); notes keys that stand twice."""

    def __init__(self, text: str):
        super().__init__(text)
        self.problems: list[str] = []


def _scalar_resolvers() -> dict:
    replaced = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:int")
    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in (*replaced, "tag:yaml.org,2002:timestamp")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    # https://yaml.org/spec/1.2.2/#103-core-schema
    core = {
        "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
        "int": (r"[-+]?[0-9]+", "-+0123456789"),
        "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    }
    for kind, (pattern, first_characters) in core.items():
        for first in first_characters:
            pair = (f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"))
            resolvers.setdefault(first, []).append(pair)
    return resolvers


_RecipeLoader.yaml_implicit_resolvers = _scalar_resolvers()


def _mapping(loader: _RecipeLoader, node: yaml.MappingNode) -> dict:
    keys = [key_node.value for key_node, _ in node.value]
    for position, (key_node, _) in enumerate(node.value):
        if key_node.value in keys[:position]:
            line = key_node.start_mark.line + 1
            loader.problems.append(f"{key_node.value}: stands twice (again in line {line}); keep one of them")
    return loader.construct_mapping(node, deep=True)


def load_yaml(text: str) -> tuple[object, list[str]]:
    """The content of a YAML text, and its keys that stand twice. Builds plain values only, as ``yaml.safe_load``."""
    loader = _RecipeLoader(text)
    try:
        return loader.get_single_data(), loader.problems
    finally:
        loader.dispose()


_RecipeLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
# The inherited ones read 010 as 8 and 1:30 as 90.
_RecipeLoader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
_RecipeLoader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node)))


class ConversionError(Exception):
    """One value does not fit its field."""


def write_recipe(recipe: dict, path: str | Path) -> None:
    """Writes a recipe that starts with the command that runs it again."""
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
    unfinished = Path(f"{path}.unfinished")  # a crash leaves the recipe that is there whole
    unfinished.write_text(
        f"# accelerate launch scripts/finetune.py {path} --output_dir ANOTHER_FOLDER\n{text}", encoding="utf-8"
    )
    unfinished.replace(path)


def read_flag_value(text: str, problems: list[str]) -> object:
    """Reads one value of a mapping given as a flag; mistakes are added to ``problems``."""
    try:
        content, twice = load_yaml(text)
    except yaml.YAMLError as error:
        problems.append(f"{text!r} cannot be read: {' '.join(str(error).split())}")
        return None
    problems += twice
    return content


def convert(parser: HfArgumentParser, name: str, annotation: object, value: object) -> object:
    """Gives a value its field's type; texts, numbers and lists go through the field's own argparse action.

    Args:
        parser: The parser of all fields, made with ``exit_on_error=False``.
        name: The field's name.
        annotation: The field's type.
        value: From YAML (any plain type) or from a flag (a text, a list of texts, or True for a flag without value).

    Raises:
        ConversionError: If the value does not fit; the message names field, value and what is expected.
    """
    kinds = _kinds(annotation)
    if value is None or (value == "null" and type(None) in kinds):
        if type(None) not in kinds:
            raise ConversionError(f"{name}: a value is needed, received nothing")
        return None
    if kinds & {dict} and not (isinstance(value, str) and kinds & {str} and not value.lstrip().startswith("{")):
        return _convert_mapping(name, value, kinds)
    if dict in _item_kinds(annotation):
        return _convert_mappings(name, value)
    if kinds - {type(None)} == {bool}:
        if isinstance(value, bool) or str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ConversionError(f"{name}: true or false is expected, received {value!r}")
    if isinstance(value, dict):
        raise ConversionError(f"{name}: one value is expected, received a mapping {value!r}")
    if value == "" or (isinstance(value, bool) and bool not in kinds):
        raise ConversionError(f"{name}: a {_readable(kinds)} is expected, received {value!r}")
    if isinstance(value, list) and list not in kinds:
        raise ConversionError(f"{name}: one value is expected, received {len(value)}: {value!r}")
    texts = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if list in kinds and str in kinds:  # report_to: a name or several
        return texts if isinstance(value, list) else texts[0]
    try:
        return getattr(parser.parse_args([f"--{name}={texts[0]}"] if len(texts) == 1 else [f"--{name}", *texts]), name)
    except argparse.ArgumentError as error:
        raise ConversionError(f"{name}: {error.message}; received {value!r}") from error


def _convert_mapping(name: str, value: object, kinds: set) -> object:
    if isinstance(value, str):
        problems: list[str] = []
        value = read_flag_value(value, problems)
        if problems:
            raise ConversionError(f"{name}: {'; '.join(problems)}")
    if not isinstance(value, dict):
        raise ConversionError(f"{name}: a mapping {{name: value}} is expected, received {value!r}")
    return json.dumps(value) if str in kinds else value  # TrainingArguments takes such fields as JSON text


def _convert_mappings(name: str, value: object) -> list[dict]:
    problems: list[str] = []
    value = read_flag_value(value, problems) if isinstance(value, str) else value
    if not problems and not (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
        problems.append(f"a list of mappings [{{name: value}}, …] is expected, received {value!r}")
    if problems:
        raise ConversionError(f"{name}: {'; '.join(problems)}")
    return value


def _item_kinds(annotation: object) -> set:
    """The plain types of a list's items: ``list[dict[str, Any]] | None`` → {dict}; none for other annotations."""
    if typing.get_origin(annotation) is list:
        return _kinds(typing.get_args(annotation)[0])
    return set().union(*(_item_kinds(option) for option in typing.get_args(annotation)))


def _kinds(annotation: object) -> set:
    """The plain types that an annotation allows: ``dict[str, Any] | str | None`` → {dict, str, NoneType}."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(annotation)}
    if origin is None:
        return {annotation}
    if origin in (list, dict, tuple):
        return {origin}
    return set().union(*(_kinds(argument) for argument in typing.get_args(annotation)))


def _readable(kinds: set) -> str:
    names = {int: "whole number", float: "number", str: "text", list: "list", dict: "mapping", bool: "true or false"}
    return " or ".join(sorted(names.get(kind, kind.__name__) for kind in kinds - {type(None)}))


def read_recipe_file(path: str, problems: list[str]) -> dict:
    """The fields of a recipe's YAML; keys that stand twice are added to the problems.

    Raises:
        RecipeError: If the file cannot be read, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([f"the file cannot be read: {error}"], path) from error
    try:
        content, twice = load_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError([f"not valid YAML: {' '.join(str(error).split())}"], path) from error
    problems += twice
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RecipeError(["a recipe is a list of 'field: value' lines"], path)
    return content


def read_flags(argv: list[str], problems: list[str], example: str) -> Iterator[tuple[str, list[str]]]:
    """The flags of a command line, without ``--``, each with the texts that follow it.

    Args:
        argv: The command line.
        problems: Texts that belong to no flag are added.
        example: A flag with its value, for that message.
    """
    position = 0
    while position < len(argv):
        flag = argv[position]
        position += 1
        if not flag.startswith("--"):
            problems.append(f"{flag!r}: a field's flag was expected here, as in {example}")
            continue
        name, equals, inline = flag[2:].partition("=")
        values = [inline] if equals else []
        while not equals and position < len(argv) and not argv[position].startswith("--"):
            values.append(argv[position])
            position += 1
        yield name, values
