"""The tables of :mod:`~hf_tagger.evaluation.transfer_scores` as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .metrics import METRIC_TITLES
from .transfer_scores import Score, Transfer, TransferMatrix

_MISSING = "–"


def transfer_text(matrix: TransferMatrix, metric: str, split: str, label_map: str, notes: Sequence[str] = ()) -> str:
    """The whole report: the matrix of one metric, then every transfer, then what the concepts are.

    Args:
        matrix: The scores.
        metric: Name of the metric, one whose chance level is 0.5.
        split: The split of the clips.
        label_map: Where the concepts are from.
        notes: Sentences about the datasets, which stand below the matrix.
    """
    parts = [
        f"# Trained on one dataset, tested on another ({split})",
        f"{METRIC_TITLES[metric]} over the concepts that model and dataset share, with 95 % intervals; chance is 0.5 "
        f"everywhere. Own model: that of the dataset, on the same clips and concepts.",
        _matrix_table(matrix, metric),
        *notes,
    ]
    for name, row in zip(matrix.models, matrix.training_clips, strict=True):
        parts += [
            f"{count:,} of the {split} clips of {dataset} are training clips of {name}: its numbers there say less."
            for dataset, count in zip(matrix.datasets, row, strict=True)
            if count
        ]
    for number, column, transfer in matrix.pairs():
        if column != matrix.homes[number]:
            heading = f"## {matrix.models[number]}, tested on {matrix.datasets[column]}"
            parts += [heading, f"{transfer.clips:,} clips, intervals by {transfer.drawn}.", pair_tables(transfer)]
    return "\n\n".join([*parts, f"## Labels ({label_map})", _labels_table(matrix)])


def _matrix_table(matrix: TransferMatrix, metric: str) -> str:
    lines = [_line(["Trained on ↓, tested on →", *matrix.datasets]), "|---" + "|--:" * len(matrix.datasets) + "|"]
    for name, own in zip(matrix.models, matrix.transfers, strict=True):
        lines.append(_line([name, *(_field(field, metric) for field in own)]))
    return "\n".join(lines)


def _labels_table(matrix: TransferMatrix) -> str:
    lines = [_line(["Concept", *matrix.datasets]), "|---" * (len(matrix.datasets) + 1) + "|"]
    for concept, own in matrix.labels.items():
        lines.append(_line([concept, *(", ".join(own.get(name, ())) or _MISSING for name in matrix.datasets)]))
    return "\n".join(lines)


def pair_tables(transfer: Transfer) -> str:
    """One model on one dataset: its metrics beside those of the dataset's own model, and then the same by concept."""
    has_own = bool(transfer.own)
    titles = ["Metric", "Own model", "Transferred", "Lost", "95 % interval"] if has_own else ["Metric", "Transferred"]
    lines = [_line(titles), "|---" + "|--:" * (len(titles) - 1) + "|"]
    for metric, score in transfer.scores.items():
        cells = [METRIC_TITLES[metric], *([_with_interval(transfer.own[metric])] if has_own else [])]
        cells.append(_with_interval(score))
        lost = transfer.lost.get(metric)
        if has_own:
            cells += [_MISSING, _MISSING] if lost is None else _lost(lost.difference, lost.low, lost.high)
        lines.append(_line(cells))
    scores = ("own_roc_auc", "roc_auc", "own_ap", "ap") if has_own else ("roc_auc", "ap")
    titles = [f"{'ROC-AUC' if 'roc' in name else 'AP'} {'own' if 'own' in name else 'transferred'}" for name in scores]
    lines += ["", _line(["Concept", "Clips", *titles]), "|---|--:" + "|--:" * len(scores) + "|"]
    for row in transfer.rows:
        values = [_MISSING if row[name] is None else f"{row[name]:.3f}" for name in scores]
        lines.append(_line([row["concept"], f"{row['clips']:,}", *values]))
    return "\n".join(lines)


def _field(field: Transfer | None, metric: str) -> str:
    if field is None:
        return _MISSING
    text = f"{_with_interval(field.scores[metric])}, {field.scored} concept{'' if field.scored == 1 else 's'}"
    own = field.own.get(metric)
    return text if own is None else f"{text}; own model {own.value:.4f}"


def _with_interval(score: Score | None) -> str:
    if score is None:
        return _MISSING
    return f"{score.value:.4f}" + ("" if score.low is None else f" ({score.low:.4f} to {score.high:.4f})")


def _lost(difference: float, low: float, high: float) -> list[str]:
    return [f"{difference:+.4f}", f"{low:+.4f} to {high:+.4f}"]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
