"""The tables of :mod:`~hf_tagger.evaluation.rare_classes`: variants by thirds of the labels, and every label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .intervals import LEVEL, RESAMPLES, Comparison
from .rare_classes import GroupScore, LabelGroup, RareClasses
from .study_table import markdown_head, markdown_line, seeds_table

_NAMES_SHOWN = 10


def rare_classes_table(study: RareClasses, split: str, rows: Sequence[Mapping]) -> str:
    """Markdown: scores by third, differences to the first variant, means over seeds, and all labels.

    Args:
        study: The scores.
        split: The split that they are of.
        rows: The study's rows, which say what repeats what with another seed.
    """
    titles = [group_title(group) for group in study.groups]
    lines = [
        f"Average precision ({split}), mean over the labels of a third, by the training clips that carry them; in "
        f"brackets {LEVEL:.0%} intervals ({RESAMPLES:,} draws of {study.drawn}).",
        "",
        *markdown_head(["Variant", *titles]),
        *(
            markdown_line([name, *(_score(own[group.name]) for group in study.groups)])
            for name, own in study.scores.items()
        ),
    ]
    if study.differences:
        lines += [
            "",
            f"Difference to {study.reference} on the same draws; * where chance with these clips does not explain it "
            f"(p < {1 - LEVEL:.2f}, not corrected for how many are compared). Other seeds spread the numbers further.",
            "",
            *markdown_head(["Variant", *titles]),
            *(
                markdown_line([name, *(_difference(own[group.name]) for group in study.groups)])
                for name, own in study.differences.items()
            ),
        ]
    repeats = {row["variant"]: row.get("repeats", row["variant"]) for row in rows}
    means = [
        {"variant": name, "repeats": repeats.get(name, name), **{group: score.value for group, score in own.items()}}
        for name, own in study.scores.items()
    ]
    lines += seeds_table(means, {group.name: title for group, title in zip(study.groups, titles, strict=True)})
    lines += ["", "Average precision of every label, the rarest first:", "", *_labels(study, split)]
    if study.left_out:
        more = f" and {len(study.left_out) - _NAMES_SHOWN} more" if len(study.left_out) > _NAMES_SHOWN else ""
        lines += [
            "",
            f"Not scored, without training clips or carried by none or all of the {split} clips: "
            f"{', '.join(study.left_out[:_NAMES_SHOWN])}{more}.",
        ]
    return "\n".join(lines) + "\n"


def group_title(group: LabelGroup) -> str:
    """A group with its labels and training clips in numbers: ``Rarest (17 labels, 12 to 80 clips)``."""
    labels = f"{len(group.labels)} label{'s' if len(group.labels) > 1 else ''}"
    clips = f"{group.fewest:,} to {group.most:,}" if group.most > group.fewest else f"{group.fewest:,}"
    return f"{group.name.capitalize()} ({labels}, {clips} clips)"


def _score(own: GroupScore) -> str:
    return f"{own.value:.4f} [{own.interval.low:.4f}, {own.interval.high:.4f}]"


def _difference(own: Comparison) -> str:
    return f"{own.difference:+.4f} [{own.low:+.4f}, {own.high:+.4f}]{' *' if own.is_significant else ''}"


def _labels(study: RareClasses, split: str) -> list[str]:
    lines = markdown_head(["Label", "Training clips", f"{split.capitalize()} clips", *study.ap])
    for label, training_clips in study.support.items():
        values = (f"{own[label]:.3f}" for own in study.ap.values())
        lines.append(markdown_line([label, f"{training_clips:,}", f"{study.clips[label]:,}", *values]))
    return lines
