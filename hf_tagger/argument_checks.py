"""Checks that the arguments' classes share."""

from __future__ import annotations

import difflib
import math
import typing
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import UnionType
from typing import Union, get_args, get_origin

from .errors import RecipeError

_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def range_problems(arguments: object, bounds: dict[str, tuple[float, float, bool]]) -> list[str]:
    """Sentences for the values outside ``(lowest, highest, lowest_is_allowed)``; None values are not checked."""
    problems = []
    for name, (lowest, highest, inclusive) in bounds.items():
        value = getattr(arguments, name)
        if value is None:
            continue
        inside = (lowest <= value if inclusive else lowest < value) and value <= highest
        if not (inside and math.isfinite(value)):
            lower = f"at least {lowest:g}" if inclusive else f"more than {lowest:g}"
            upper = "" if math.isinf(highest) else f" and at most {highest:g}"
            problems.append(f"{name}: {value!r} is out of range; it must be {lower}{upper}")
    return problems


def space_problems(space: dict) -> list[str]:
    """What is wrong with the ranges and choices of a search space."""
    problems = []
    for name, choice in space.items():
        if isinstance(choice, list) and choice and not any(isinstance(value, (dict, list)) for value in choice):
            continue
        ends = [choice.get(end) for end in ("low", "high")] if isinstance(choice, dict) else []
        good = (
            len(ends) == 2
            and all(fits(end, float) for end in ends)
            and ends[0] < ends[1]
            and choice.keys() <= {"low", "high", "log"}
            and fits(choice.get("log", False), bool)
            and not (choice.get("log") and ends[0] <= 0)
        )
        if not good:
            problems.append(
                f"search_space.{name}: a list of values is expected, or {{low: number, high: larger number, log: true "
                f"or false}} (with log, low must be positive); received {choice!r}"
            )
    return problems


def from_mapping(argument_class: type, mapping: object, field: str) -> tuple[object | None, list[str]]:
    """A recipe's mapping as one of the arguments' classes.

    Args:
        argument_class: A dataclass that checks itself when it is made. Fields that are dataclasses themselves, or None,
            are mappings within the mapping.
        mapping: What the recipe says; an empty mapping takes every default.
        field: Name of the field that holds the mapping, for the messages.

    Returns:
        The arguments (None if there are mistakes), and all mistakes.
    """
    if not isinstance(mapping, dict):
        return None, [f"{field}: a mapping {{name: value}} is expected, received {mapping!r}"]
    hints = typing.get_type_hints(argument_class)
    values, problems = {}, []
    for name, value in mapping.items():
        nested = _dataclass_of(hints.get(name))
        if name not in hints:
            problems.append(unknown_name(f"{field}.{name}", name, list(hints)))
        elif nested is not None and value is not None and not isinstance(value, nested):
            values[name], mistakes = from_mapping(nested, value, f"{field}.{name}")
            problems += mistakes
        elif not fits(value, hints[name]):
            problems.append(f"{field}.{name}: {value!r} is not of type {type_name(hints[name])}")
        else:
            values[name] = value
    problems += [
        f"{field}.{entry.name}: a value is needed"
        for entry in fields(argument_class)
        if entry.name not in mapping and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if problems:
        return None, problems
    try:
        return argument_class(**values), []
    except RecipeError as error:
        return None, [f"{field}.{problem}" for problem in error.problems]


def plain(value: object) -> object:
    """Arguments as a recipe has them: mappings, lists of mappings, and enumerations by their value."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return asdict(value) if is_dataclass(value) else getattr(value, "value", value)


def with_nested_value(mapping: object, keys: list[str], value: object) -> dict:
    """A copy of a mapping with one value, which may lie in mappings within it; what is no mapping is replaced.

    Args:
        mapping: The mapping.
        keys: The key of every level, as ``["gain", "probability"]``.
        value: The value.
    """
    mapping = mapping if isinstance(mapping, dict) else {}
    inner = with_nested_value(mapping.get(keys[0]), keys[1:], value) if keys[1:] else value
    return {**mapping, keys[0]: inner}


def with_nested_values(mapping: dict, values: dict[str, object]) -> dict:
    """A copy of a mapping with other values; ``lora.rank`` is the value ``rank`` of the mapping ``lora``."""
    for name, value in values.items():
        mapping = with_nested_value(mapping, name.split("."), value)
    return mapping


def fits(value: object, annotation: object) -> bool:
    """Whether a YAML value is of a field's type; whole numbers are numbers, but true is no number."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in get_args(annotation))
    if origin is typing.Literal:
        return value in get_args(annotation)
    if isinstance(value, bool) or annotation is bool:
        return isinstance(value, bool) and annotation is bool
    plain = origin or annotation
    if not isinstance(plain, type):
        return True
    if not isinstance(value, (int, float) if plain is float else plain):
        return False
    return plain is not list or all(fits(item, option) for item in value for option in get_args(annotation))


def type_name(annotation: object) -> str:
    """A field's type in words."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(type_name(option) for option in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {', '.join(_PLURALS.get(item, type_name(item)) for item in get_args(annotation))}"
    if get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(str(option) for option in get_args(annotation))
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
    return names.get(annotation, str(annotation))


def _dataclass_of(annotation: object) -> type | None:
    """The dataclass in ``X`` or ``X | None``, if there is one."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((option for option in options if isinstance(option, type) and is_dataclass(option)), None)


def unknown_name(field: str, value: str, known: list[str]) -> str:
    """A sentence that names the closest known name, and all of them."""
    close = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{field}: {value!r} is not known; {hint}Known are: {', '.join(known)}"
