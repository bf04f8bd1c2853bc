"""``report.html``: the numbers and pictures of a run in one file that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ..data.base import MULTI_LABEL
from .metrics import METRIC_NAMES, METRIC_TITLES

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_SPLITS = ("test", "validation", "train")  # the one that counts first


def write_report(
    folder: str | Path, title: str, metrics: Mapping, figures: Mapping[str, str], problem_type: str
) -> Path:
    """Writes ``report.html`` into a folder that holds the pictures.

    Args:
        folder: Folder of a run or an evaluation.
        title: What was evaluated.
        metrics: The content of ``metrics.json``.
        figures: Caption → file name of a PNG in the folder, which is copied into the page.
        problem_type: ``single_label_classification`` or ``multi_label_classification``.

    Returns:
        The file.
    """
    folder = Path(folder)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    environment.filters["number"] = _number
    splits = [split for split in _SPLITS if split in metrics.get("per_label", {})]
    pictures = {
        caption: base64.b64encode((folder / name).read_bytes()).decode("ascii") for caption, name in figures.items()
    }
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        metrics=metrics,
        splits=splits,
        metric_names=METRIC_NAMES[problem_type],
        metric_titles=METRIC_TITLES,
        is_multi_label=problem_type == MULTI_LABEL,
        pictures=pictures,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _number(value: float | int | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
