"""The numbers that a run left in its folder, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import HfTaggerError
from .metrics import DEFAULT_METRIC

METRICS_FILE = "metrics.json"
_KINDS = {dict: "an object", list: "a list"}


def read_json(path: Path, kind: type = dict, advice: str = "") -> dict | list:
    """The object, or the list, in a JSON file.

    Args:
        path: The file.
        kind: ``dict`` or ``list``: what it must hold.
        advice: What to do about a file that is broken; it ends the message.

    Raises:
        HfTaggerError: If a crash cut the file off, or if it holds something else.
        OSError: If it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HfTaggerError(f"{path} is not valid JSON: {error}. {advice}".rstrip()) from error
    if not isinstance(content, kind):
        found = type(content).__name__
        raise HfTaggerError(f"{path} must hold {_KINDS[kind]}, found a {found}. {advice}".rstrip())
    return content


def problem_type_of(scores: Mapping) -> str | None:
    """The problem type that a split's scores are of, told by its usual metric; None if they are not scores."""
    return next((kind for kind, metric in DEFAULT_METRIC.items() if metric in scores), None)
