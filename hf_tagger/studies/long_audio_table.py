"""The tables of :mod:`~hf_tagger.studies.long_audio`: rules by number of clips, sharpness, and the tags of songs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.metrics import METRIC_TITLES
from .conditions import Condition, interval_text, value_text

if TYPE_CHECKING:
    from .long_audio import RuleScore

PLAIN = "mean"
"""What the other rules are compared with: the rule of every evaluation of this package."""

_SHARPEST = 8  # labels named


def rules_table(rows: Sequence[RuleScore], metrics: Sequence[str], chances: Sequence[Condition]) -> str:
    """Markdown: one row a rule and a number of clips.

    Args:
        rows: The scores.
        metrics: Names of the metrics shown, the usual one first.
        chances: Average precision by guessing, for each number of clips; none for classes.
    """
    others = "".join(f" {METRIC_TITLES[metric]} |" for metric in metrics[1:])
    lines = [
        f"| Clips | Recordings | Rule | {METRIC_TITLES[metrics[0]]} | 95 % interval | From the {PLAIN} | "
        f"95 % interval |{others} Log loss |",
        "|--:|--:|---|--:|--:|--:|--:|" + "--:|" * len(metrics),
    ]
    for own in rows:
        usual, difference = own.scores[metrics[0]], own.difference
        cells = [own.clips, own.recordings, own.rule, value_text(usual.value), interval_text(usual.low, usual.high)]
        if difference is None:
            cells += ["–", "–"]
        else:
            cells += [value_text(difference.difference, "+"), interval_text(difference.low, difference.high, "+")]
        cells += [value_text(own.scores[metric].value) for metric in metrics[1:]]
        lines.append("| " + " | ".join(map(str, [*cells, f"{own.log_loss:.4f}"])) + " |")
    note = "The attention is fitted on single validation clips"
    if any(own.clips > 1 for own in rows):
        note += ", or, where it says so, on validation medleys of as many clips"
    f1 = " F1: a recording gets a tag from a probability of 0.5 on." if len(metrics) == 3 else ""
    lines += ["", f"{note}.{f1}"]
    if len(chances) > 1:
        listing = ", ".join(f"{value_text(own.value)} of {own.strength:g}" for own in chances)
        note = "and labels that all recordings carry are left out: compare the rules of one length, not the lengths."
        lines += ["", f"Average precision by guessing rises with the number of clips ({listing}), {note}"]
    return "\n".join(lines)


def sharpness_text(sharpness: np.ndarray, names: Sequence[str]) -> str:
    """What was fitted for how many labels, and the labels with the highest values."""
    fitted = np.flatnonzero(sharpness)
    best = fitted[np.argsort(-sharpness[fitted], kind="stable")][:_SHARPEST]
    listing = ", ".join(f"{names[label]} {sharpness[label]:.1f}" for label in best)
    text = f"Sharpness of the attention: above 0, which is the mean, for {len(fitted)} of {len(names)} labels"
    return f"{text}; highest: {listing}." if listing else f"{text}."


def song_text(song: dict) -> str:
    """A song's tags by every rule, best first, and its timeline."""
    lines = [
        f"## {Path(song['file']).name} ({song['seconds']:.1f} s, {song['windows']} windows)",
        "",
        "| | " + " | ".join(song["tags"]) + " |",
        "|--:|" + "---|" * len(song["tags"]),
    ]
    for rank, tags in enumerate(zip(*song["tags"].values(), strict=True), start=1):
        cells = [f"{tag['label']} {tag['score']:.3f}".replace("|", r"\|") for tag in tags]
        lines.append(f"| {rank} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"![Timeline](<{song['timeline']}>)"])
