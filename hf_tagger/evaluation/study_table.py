"""The table of a study: a row for each variant, with the numbers of one protocol and what the variant costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import HfTaggerError
from .metrics import DEFAULT_METRIC, METRIC_NAMES, METRIC_TITLES

_COSTS = {
    "parameters": ("Parameters", "{:,.0f}"),
    "training_windows_per_second": ("Training windows per second", "{:,.1f}"),
    "times_real_time": ("Tags … times faster than real time", "{:,.0f}"),
}
_MISSING = "–"


def study_row(name: str, metrics: Mapping, costs: Mapping) -> dict:
    """One variant's row: scores of the test split, or of the validation split where test has none.

    Args:
        name: The variant.
        metrics: The content of its ``metrics.json``.
        costs: The values of a :class:`hf_tagger.costs.Costs`, and under what conditions they were measured.

    Raises:
        HfTaggerError: If the run has scores of neither split, because no clip of them has labels.
    """
    scored = [
        (split, problem_type)
        for split in ("test", "validation")
        for problem_type, metric in DEFAULT_METRIC.items()
        if metric in metrics.get(split, {})
    ]
    if not scored:
        raise HfTaggerError(
            f"{name} has no scores: its metrics.json holds {', '.join(metrics) or 'nothing'}, but none of a labelled "
            f"test or validation split. Give the dataset labelled clips in one of them."
        )
    defined = [(split, kind) for split, kind in scored if metrics[split][DEFAULT_METRIC[kind]] is not None]
    split, problem_type = (defined or scored)[0]
    return {
        "variant": name,
        "split": split,
        "protocol": metrics["protocol"]["name"],
        "protocol_hash": metrics["protocol"]["hash"],
        **{metric: metrics[split].get(metric) for metric in METRIC_NAMES[problem_type]},
        **costs,
    }


def study_table(rows: Sequence[Mapping]) -> str:
    """The rows as a Markdown table, the best first, and the conditions under which costs were measured.

    Raises:
        HfTaggerError: If the rows are of different clips: such numbers must not stand in one table.
    """
    if not rows:
        return "No variant of this study is finished yet.\n"
    _check_clips(rows)
    defined = {name for row in rows for name, value in row.items() if value is not None}
    names = next((names for kind, names in METRIC_NAMES.items() if DEFAULT_METRIC[kind] in defined), METRIC_TITLES)
    metrics = [name for name in names if name in defined]
    costs = {name: form for name, form in _COSTS.items() if any(row.get(name) is not None for row in rows)}
    titles = ["Variant", *(METRIC_TITLES[name] for name in metrics), *(title for title, _ in costs.values())]
    lines = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    best = next((metric for metric in DEFAULT_METRIC.values() if metric in metrics), None)
    for row in sorted(rows, key=lambda row: -(row.get(best) or 0)):
        numbers = [_number(row.get(name), "{:.4f}") for name in metrics]
        numbers += [_number(row.get(name), form) for name, (_, form) in costs.items()]
        lines.append("| " + " | ".join([row["variant"], *numbers]) + " |")
    return "\n".join([*lines, *_conditions(rows)]) + "\n"


def _number(value: float | None, form: str) -> str:
    return _MISSING if value is None else form.format(value)


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
    places: dict[str, list[str]] = {}
    for row in rows:
        if row.get("device"):
            places.setdefault(f"{row['device']}, {row['precision']}", []).append(row["variant"])
    if len(places) < 2:
        return [f"\nCosts measured on: {place}." for place in places]
    listing = "; ".join(f"{place} ({', '.join(names)})" for place, names in places.items())
    return [f"\nCosts measured under different conditions, not to be compared: {listing}."]
