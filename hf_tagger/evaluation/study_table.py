"""The table of a study: a row for each variant, with the numbers of one protocol and what the variant costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import HfTaggerError
from .metrics import DEFAULT_METRIC, METRIC_NAMES, METRIC_TITLES

_COSTS = {
    "parameters": ("Parameters", "{:,.0f}"),
    "training_windows_per_second": ("Training windows per second", "{:,.1f}"),
    "times_real_time": ("Tags … times faster than real time", "{:,.0f}"),
    "training_seconds": ("Run (seconds)", "{:,.0f}"),
}


def study_row(name: str, metrics: Mapping, costs: Mapping) -> dict:
    """One variant's row.

    Args:
        name: The variant.
        metrics: The content of its ``metrics.json``.
        costs: What :func:`hf_tagger.costs.measure_costs` measured.
    """
    problem_type = next(kind for kind, metric in DEFAULT_METRIC.items() if metric in metrics["validation"])
    split = "test" if metrics.get("test", {}).get(DEFAULT_METRIC[problem_type]) is not None else "validation"
    return {
        "variant": name,
        "split": split,
        "protocol": metrics["protocol"]["name"],
        "protocol_hash": metrics["protocol"]["hash"],
        **{metric: metrics[split].get(metric) for metric in METRIC_NAMES[problem_type]},
        **costs,
        "training_seconds": metrics["training"]["seconds"],
    }


def study_table(rows: Sequence[Mapping]) -> str:
    """The rows as a Markdown table, the best first.

    Raises:
        HfTaggerError: If the rows are of different clips: such numbers must not stand in one table.
    """
    kinds = {(row["split"], row["protocol_hash"]) for row in rows}
    if len(kinds) > 1:
        raise HfTaggerError(
            f"The variants were not evaluated on the same clips (protocol hashes and splits: "
            f"{', '.join(sorted(f'{digest} {split}' for split, digest in kinds))}); their numbers must not be compared."
        )
    metrics = [name for name in METRIC_TITLES if rows[0].get(name) is not None]
    titles = ["Variant", *(METRIC_TITLES[name] for name in metrics), *(title for title, _ in _COSTS.values())]
    lines = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    best = next(metric for metric in DEFAULT_METRIC.values() if metric in rows[0])
    for row in sorted(rows, key=lambda row: -(row[best] or 0)):
        numbers = ["–" if row[name] is None else f"{row[name]:.4f}" for name in metrics]
        costs = [form.format(row[name]) for name, (_, form) in _COSTS.items()]
        lines.append("| " + " | ".join([row["variant"], *numbers, *costs]) + " |")
    return "\n".join(lines) + "\n"
