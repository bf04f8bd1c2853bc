"""The table of a study: a row for each variant, with the numbers of one protocol and what the variant costs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence

from ..errors import HfTaggerError
from .metrics import DEFAULT_METRIC, METRIC_NAMES, METRIC_TITLES
from .run_numbers import problem_type_of

_COSTS = {
    "parameters": ("Parameters", "{:,.0f}"),
    "training_seconds": ("Training (seconds)", "{:,.0f}"),
    "training_windows_per_second": ("Training windows per second", "{:,.1f}"),
    "times_real_time": ("Tags … times faster than real time", "{:,.0f}"),
}
_MISSING = "–"


def study_row(name: str, metrics: Mapping, costs: Mapping, training_seconds: float | None = None) -> dict:
    """One variant's row: scores of the test split, or of the validation split where test has none.

    Args:
        name: The variant.
        metrics: The content of its ``metrics.json``.
        costs: The values of a :class:`hf_tagger.costs.Costs`, and under what conditions they were measured; empty if
            they were not.
        training_seconds: How long it trained, if that is known.

    Returns:
        ``variant``, ``split``, ``protocol``, ``protocol_hash``, every metric, the usual one with its recorded interval
        (``<metric>_low``, ``<metric>_high``), ``parameters``, ``training_seconds``, ``trained_on`` (the device), and
        the costs. What a run did not record is None.

    Raises:
        HfTaggerError: If the run has scores of neither split, because no clip of them has labels.
    """
    scored = {split: problem_type_of(metrics.get(split, {})) for split in ("test", "validation")}
    usual = {split: DEFAULT_METRIC[kind] for split, kind in scored.items() if kind is not None}
    if not usual:
        raise HfTaggerError(
            f"{name} has no scores: its metrics.json holds {', '.join(metrics) or 'nothing'}, but none of a labelled "
            f"test or validation split. Give the dataset labelled clips in one of them."
        )
    split = next((split for split, metric in usual.items() if metrics[split][metric] is not None), next(iter(usual)))
    training = metrics.get("training", {})
    interval = metrics.get("intervals", {}).get(split, {}).get(usual[split]) or {}
    return {
        "variant": name,
        "split": split,
        "protocol": metrics["protocol"]["name"],
        "protocol_hash": metrics["protocol"]["hash"],
        **{metric: metrics[split].get(metric) for metric in METRIC_NAMES[scored[split]]},
        **{f"{usual[split]}_{end}": interval.get(end) for end in ("low", "high")},
        "parameters": training.get("parameters"),
        "training_seconds": training_seconds,
        "trained_on": training.get("device"),
        **costs,
    }


def study_table(rows: Sequence[Mapping]) -> str:
    """The rows as Markdown: a table, the best first, what has to be known of it, and a table over seeds if there are
    several.

    Raises:
        HfTaggerError: If the rows are of different clips: such numbers must not stand in one table.
    """
    if not rows:
        return "No variant of this study is finished yet.\n"
    _check_clips(rows)
    metrics = {name: METRIC_TITLES[name] for name in _defined_metrics(rows)}
    costs = {name: form for name, form in _COSTS.items() if any(row.get(name) is not None for row in rows)}
    titles = ["Variant", *metrics.values(), *(title for title, _ in costs.values())]
    lines = markdown_head(titles)
    for row in ranked(rows):
        numbers = [_number(row.get(name), "{:.4f}") for name in metrics]
        numbers += [_number(row.get(name), form) for name, (_, form) in costs.items()]
        lines.append(markdown_line([row["variant"], *numbers]))
    return "\n".join([*lines, *_conditions(rows), *seeds_table(rows, metrics)]) + "\n"


def seeds_table(rows: Sequence[Mapping], columns: Mapping[str, str]) -> list[str]:
    """Mean ± sample standard deviation over the variants that repeat each other with another seed, as lines.

    Args:
        rows: Rows with ``variant``, the numbers, and ``repeats``: the first variant that a variant repeats.
        columns: Name of a number → its title.

    Returns:
        The lines; none if no variant repeats another.
    """
    repeated: dict[str, list[Mapping]] = {}
    for row in rows:
        repeated.setdefault(row.get("repeats", row["variant"]), []).append(row)
    repeated = {name: own for name, own in repeated.items() if len(own) > 1}
    if not repeated:
        return []
    lines = ["", "Over seeds, mean ± standard deviation:", "", *markdown_head(["Variant", "Seeds", *columns.values()])]
    for first, own in repeated.items():
        spreads = [_spread([row[name] for row in own if row.get(name) is not None]) for name in columns]
        lines.append(markdown_line([_name_of_all(first, [row["variant"] for row in own]), str(len(own)), *spreads]))
    return lines


def usual_metric(rows: Sequence[Mapping]) -> str | None:
    """The metric by which the rows are ranked; None if it is undefined in all of them."""
    return next(
        (metric for metric in DEFAULT_METRIC.values() if any(row.get(metric) is not None for row in rows)), None
    )


def ranked(rows: Sequence[Mapping]) -> list[Mapping]:
    """The best first, those without a number last."""
    best = usual_metric(rows)
    return sorted(rows, key=lambda row: -(row.get(best) or 0))


def markdown_head(titles: Sequence[str]) -> list[str]:
    """The first two lines of a table, whose first column holds names and whose other columns hold numbers."""
    return [markdown_line(titles), "|---" + "|---:" * (len(titles) - 1) + "|"]


def markdown_line(cells: Sequence[str]) -> str:
    """A line of a table; a name may hold its separator."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _defined_metrics(rows: Sequence[Mapping]) -> list[str]:
    defined = {name for row in rows for name, value in row.items() if value is not None}
    names = next((names for kind, names in METRIC_NAMES.items() if DEFAULT_METRIC[kind] in defined), METRIC_TITLES)
    return [name for name in names if name in defined]


def _number(value: float | None, form: str) -> str:
    return _MISSING if value is None else form.format(value)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return _MISSING
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else f" ({len(values)} value)"
    return f"{statistics.fmean(values):.4f}{spread}"


def _name_of_all(first: str, names: Sequence[str]) -> str:
    """``plain`` for plain_0, plain_1 and plain_2; for other names the first one's."""
    stems = {re.sub(r"[_. -]?[0-9]+$", "", name) for name in names}
    stem = stems.pop()
    return first if stems or not stem else stem


def _check_clips(rows: Sequence[Mapping]) -> None:
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(f"{row['split']} {row['protocol_hash']}", []).append(row["variant"])
    if len(kinds) > 1:
        listing = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in sorted(kinds.items()))
        raise HfTaggerError(
            f"The variants were not evaluated on the same clips (split, protocol hash and variants: {listing}); their "
            f"numbers must not be compared. Train them again on one dataset: --only VARIANT --overwrite_output_dir."
        )


def _conditions(rows: Sequence[Mapping]) -> list[str]:
    """Where costs were measured; numbers of different machines or precisions cannot be compared."""
    notes = []
    if any(row.get("training_seconds") is not None for row in rows):
        notes.append(
            "Training (seconds): its steps and validations, without preparing the data; of a training that was "
            "interrupted, its last part."
        )
    trained = _by_place(rows, lambda row: row.get("training_seconds") and row.get("trained_on"))
    if len(trained) > 1:
        notes.append(f"Trained on different devices, so that these seconds do not compare: {_listed(trained)}.")
    measured = _by_place(rows, lambda row: row.get("device") and f"{row['device']}, {row['precision']}")
    if len(measured) > 1:
        notes.append(f"Costs measured under different conditions, not to be compared: {_listed(measured)}.")
    else:
        notes += [f"Costs measured on: {place}." for place in measured]
    return [f"\n{note}" for note in notes]


def _by_place(rows: Sequence[Mapping], place_of: Callable[[Mapping], str | None]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for row in rows:
        if place_of(row):
            places.setdefault(place_of(row), []).append(row["variant"])
    return places


def _listed(places: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{place} ({', '.join(names)})" for place, names in places.items())
