"""What a dataset must fulfil before anything is computed on it. Every message says what to do."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import DatasetError
from .base import SINGLE_LABEL, SPLITS, Clip, DatasetFacts, Protocol, SkippedClip, TaggingDatasetDict, examples

if TYPE_CHECKING:
    from ..arguments import DataArguments

logger = logging.getLogger(__name__)


def check_ids(facts: DatasetFacts, clips: Mapping[str, Sequence[Clip]]) -> None:
    """Raises DatasetError if an id stands more than once, in one split or in two."""
    counts = Counter(clip.id for rows in clips.values() for clip in rows)
    duplicates = sorted(clip_id for clip_id, count in counts.items() if count > 1)
    if duplicates:
        raise DatasetError(
            f"{facts.title}: {len(duplicates)} ids stand more than once: {examples(duplicates)}. "
            f"Every clip needs one row and one id; remove the repeated rows."
        )


def check_labels(
    facts: DatasetFacts, clips: Mapping[str, Sequence[Clip]], label_names: Sequence[str], problem_type: str
) -> None:
    """Checks the vocabulary and that the clips keep to it.

    Raises:
        DatasetError: For names that differ only by case, for a single class (there is nothing to tell apart), for
            labels that are not in the vocabulary, for clips that have not exactly one class, and for clips whose
            unknown labels are all there are or also carried.
    """
    by_case: dict[str, list[str]] = {}
    for name in label_names:
        by_case.setdefault(name.casefold(), []).append(name)
    twins = [" and ".join(names) for names in by_case.values() if len(names) > 1]
    if twins:
        raise DatasetError(
            f"{facts.title}: labels that differ only by case or stand twice: {examples(twins)}. "
            f"Rename them so that each label has one name."
        )
    if problem_type == SINGLE_LABEL and len(label_names) < 2:
        raise DatasetError(
            f"{facts.title}: at least two classes are needed to tell apart; found: {examples(label_names) or 'none'}."
        )
    known = set(label_names)
    every = [clip for rows in clips.values() for clip in rows]
    unknown = sorted({label for clip in every for label in (*(clip.labels or ()), *clip.unknown_labels)} - known)
    if unknown:
        raise DatasetError(
            f"{facts.title}: unknown labels {examples(unknown)}. Known are: {examples(list(label_names))}."
        )
    doubtful = [
        clip.id
        for clip in every
        if clip.unknown_labels
        and (set(clip.unknown_labels) == known or set(clip.unknown_labels) & set(clip.labels or ()))
    ]
    if doubtful:
        raise DatasetError(
            f"{facts.title}: unknown labels must be some of those that a clip does not carry, and labels None where "
            f"nothing is known; not so for {examples(doubtful)}."
        )
    if problem_type == SINGLE_LABEL:
        wrong = [
            clip.id
            for rows in clips.values()
            for clip in rows
            if clip.labels is not None and len(set(clip.labels)) != 1
        ]
        if wrong:
            raise DatasetError(f"{facts.title}: exactly one label is expected a clip; not so for {examples(wrong)}.")


def check_sizes(facts: DatasetFacts, protocol: Protocol, sizes: Mapping[str, int], arguments: DataArguments) -> None:
    """Compares split sizes with the protocol's: DatasetError, or a warning where ``allow_size_mismatch`` is set."""
    if protocol.sizes is None or dict(protocol.sizes) == dict(sizes):
        return
    differences = ", ".join(
        f"{split} {sizes[split]:,} instead of {protocol.sizes[split]:,}"
        for split in SPLITS
        if sizes[split] != protocol.sizes[split]
    )
    message = f"{facts.title}, protocol {protocol.name!r}: unexpected numbers of clips: {differences}"
    if not arguments.allow_size_mismatch:
        raise DatasetError(
            f"{message}. Results would not be comparable with published ones.\n{facts.how_to_get}\n"
            f"If this is meant to be another dataset in the same layout, set allow_size_mismatch: true."
        )
    logger.warning("%s. allow_size_mismatch is set: do not compare these results with published ones.", message)


def check_groups(facts: DatasetFacts, protocol: Protocol, groups: Mapping[str, Sequence[str]]) -> None:
    """Looks for groups (album, artist) that stand in more than one split, so that test clips are known from training.

    Raises:
        DatasetError: If the protocol promises that there are none. Otherwise they are said in the log.
    """
    splits: dict[str, list[str]] = {}
    for split, names in groups.items():
        for group in set(names):
            splits.setdefault(group, []).append(split)
    torn = sorted(f"{group} (in {' and '.join(names)})" for group, names in splits.items() if len(names) > 1)
    if not torn:
        return
    message = (
        f"{facts.title}, protocol {protocol.name!r}: {len(torn)} of {len(splits)} groups (recordings, albums or "
        f"artists) stand in more than one split, so test clips are partly known from training: {examples(torn)}"
    )
    if protocol.groups_are_disjoint:
        raise DatasetError(f"{message}. The protocol promises that there are none; get a fresh copy of the data.")
    logger.warning("%s.", message)


def check_classes(facts: DatasetFacts, rows: TaggingDatasetDict) -> None:
    """A class that training never sees cannot be learned: an error for classes, a loud note for tags.

    Where labels may be unknown, a tag that no training clip is known to lack cannot be learned either: an error if that
    is so for every tag that is carried, which means that absent tags were left out instead of being marked as absent.
    """
    labels = rows["train"].with_format("arrow")[:]["labels"].combine_chunks()
    flat = labels if rows.problem_type == SINGLE_LABEL else labels.flatten()
    seen = set(flat.drop_null().to_pylist())
    unseen = [name for index, name in enumerate(rows.label_names) if index not in seen]
    if not seen:
        raise DatasetError(f"{facts.title}: no training clip is known to carry any label, so nothing can be learned.")
    if "unknown_labels" in rows["train"].column_names:
        _check_absence(facts, rows, seen)
    if not unseen:
        return
    if rows.problem_type == SINGLE_LABEL:
        raise DatasetError(
            f"{facts.title}: no training clip for {len(unseen)} of {len(rows.label_names)} classes: "
            f"{examples(unseen)}. Add clips to them or leave the classes out."
        )
    logger.warning(
        "%s: %d of %d tags have no training clip and cannot be learned: %s",
        facts.title,
        len(unseen),
        len(rows.label_names),
        examples(unseen),
    )


def _check_absence(facts: DatasetFacts, rows: TaggingDatasetDict, carried: set[int]) -> None:
    cells = zip(rows["train"]["labels"][:], rows["train"]["unknown_labels"][:], strict=True)
    labelled = [(labels, unknown) for labels, unknown in cells if labels is not None]
    counts = Counter(label for labels, _ in labelled for label in labels)
    unknown_counts = Counter(label for _, unknown in labelled for label in unknown)
    never_absent = [
        rows.label_names[index]
        for index, unknown in sorted(unknown_counts.items())
        if counts[index] + unknown == len(labelled)
    ]
    if not never_absent:
        return
    message = f"{facts.title}: no training clip is known not to carry {examples(never_absent)}"
    if carried and {rows.label_names[index] for index in carried} <= set(never_absent):
        raise DatasetError(
            f"{message}, so there is nothing to tell apart. A cell that is empty, null or NaN means that nobody knows; "
            f"write 0 where a clip does not carry a tag."
        )
    logger.warning("%s. They cannot be learned. Empty, null or NaN means unknown; absent is 0.", message)


def check_missing(facts: DatasetFacts, missing: Sequence[SkippedClip], total: int, arguments: DataArguments) -> None:
    """Says which files are missing: DatasetError above ``max_skipped_share``, else a warning."""
    if not missing:
        return
    message = (
        f"{facts.title}: {len(missing):,} of {total:,} audio files were not found below {arguments.dataset_root}: "
        f"{examples([clip.path for clip in missing])}"
    )
    if len(missing) == total or (
        len(missing) > arguments.max_skipped_share * total and not arguments.allow_size_mismatch
    ):
        raise DatasetError(f"{message}.\n{facts.how_to_get}")
    logger.warning("%s. They are skipped and listed in skipped_clips.csv.", message)
