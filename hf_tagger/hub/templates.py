"""Filling the templates of cards and pages that lie beside the code, in Jinja."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined


def fill_template(path: Path, filters: Mapping[str, Callable] | None = None, **variables: object) -> str:
    """A template's text with values; a name that is not given is an error.

    Nothing is escaped: these are Markdown and Python. The filter ``python_string`` writes text as a literal.

    Args:
        path: The template.
        filters: Further filters by their names.
        variables: The values by their names.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["python_string"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters.update(filters or {})
    return environment.from_string(path.read_text(encoding="utf-8")).render(**variables)
