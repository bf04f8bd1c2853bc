"""Checks that several configurations share; each returns what is wrong, so that all mistakes are told at once."""

import math
from collections.abc import Iterable


def count_problems(config, names: Iterable[str]) -> list[str]:
    """Which fields of a configuration are no positive whole numbers."""
    return [
        f"{name} must be a positive whole number, received {getattr(config, name)!r}"
        for name in names
        if type(getattr(config, name)) is not int or getattr(config, name) <= 0
    ]


def dropout_problems(config, names: Iterable[str]) -> list[str]:
    """Which fields of a configuration are no probabilities below 1."""
    return [
        f"{name} must be in [0, 1), received {getattr(config, name)!r}"
        for name in names
        if not is_number(getattr(config, name)) or not 0 <= getattr(config, name) < 1
    ]


def flag_problems(config, names: Iterable[str]) -> list[str]:
    """Which fields of a configuration are neither true nor false."""
    return [
        f"{name} must be true or false, received {getattr(config, name)!r}"
        for name in names
        if type(getattr(config, name)) is not bool
    ]


def is_number(value) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
