"""From the clips that a dataset's module has read to checked rows ``id, audio, labels, group``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetInfo, Features, List, Value

from ..errors import DatasetError
from .base import SINGLE_LABEL, SPLITS, Clip, DatasetFacts, Protocol, SkippedClip, TaggingDatasetDict
from .checks import check_classes, check_groups, check_ids, check_labels, check_missing, check_sizes
from .clip_audio import ClipAudio

if TYPE_CHECKING:
    from ..arguments import DataArguments

_CHUNK_CLIPS = 1_000  # an Arrow array of bytes ends at 2 GB


def from_clips(
    facts: DatasetFacts,
    protocol: Protocol,
    clips: Mapping[str, Sequence[Clip]],
    label_names: Sequence[str],
    arguments: DataArguments,
    sampling_rate: int | None,
    *,
    root: Path | None = None,
    problem_type: str | None = None,
    skipped: Sequence[SkippedClip] = (),
) -> TaggingDatasetDict:
    """Checks what a dataset's module has read and turns it into rows ``id, audio, labels, group``.

    Args:
        facts: The dataset's facts.
        protocol: The protocol that made the split.
        clips: The clips of every split. If any of them has unknown labels, all rows get the column ``unknown_labels``.
        label_names: The vocabulary, in the order of the model's outputs.
        arguments: The user's arguments (``allow_size_mismatch`` and ``max_skipped_share`` are read here).
        sampling_rate: Rate in Hz of the ``audio`` column, or None for each file's own rate.
        root: Folder that the clips' paths are relative to.
        problem_type: Needed where ``facts.problem_type`` is None.
        skipped: Clips that the module left out by itself, with reasons.

    Raises:
        DatasetError: For duplicate ids, paths outside the root, unknown labels, wrong sizes, torn groups, classes
            without training clips, or too many missing files.
    """
    problem_type = problem_type or facts.problem_type
    clips = {split: list(clips.get(split, ())) for split in SPLITS}
    check_clips(facts, clips, label_names, problem_type, root)
    check_sizes(facts, protocol, {split: len(rows) for split, rows in clips.items()}, arguments)
    check_groups(facts, protocol, {split: [clip.group for clip in rows] for split, rows in clips.items()})
    absolute = {split: [_absolute_path(clip, root) for clip in rows] for split, rows in clips.items()}
    present, missing = _split_off_missing(clips, absolute)
    check_missing(facts, missing, sum(map(len, clips.values())), arguments)

    with_unknown = has_unknown_labels(clips)
    rows = TaggingDatasetDict()
    for split in SPLITS:
        rows[split] = _to_dataset(present[split], label_names, problem_type, sampling_rate, with_unknown)
    return finish(rows, facts, protocol, problem_type, label_names, [*skipped, *missing])


def check_clips(
    facts: DatasetFacts,
    clips: Mapping[str, Sequence[Clip]],
    label_names: Sequence[str],
    problem_type: str,
    root: Path | None = None,
) -> None:
    """What must hold for clips whatever their split: :func:`from_clips` checks it, and whoever splits them before.

    Raises:
        DatasetError: For duplicate ids, unknown or doubtful labels, or paths outside the root.
    """
    check_ids(facts, clips)
    check_labels(facts, clips, label_names, problem_type)
    for rows in clips.values():
        for clip in rows:
            _absolute_path(clip, root)


def finish(
    rows: TaggingDatasetDict,
    facts: DatasetFacts,
    protocol: Protocol,
    problem_type: str,
    label_names: Sequence[str],
    skipped: Sequence[SkippedClip],
) -> TaggingDatasetDict:
    """Attaches what is known of a dataset to its rows, and checks the hash where the protocol states one.

    Raises:
        DatasetError: If there is nothing to train on, a class has no training clip, or the ids are not the protocol's.
    """
    rows.facts, rows.protocol, rows.problem_type = facts, protocol, problem_type
    rows.label_names, rows.skipped = list(label_names), list(skipped)
    if not len(rows["train"]):
        raise DatasetError(f"{facts.title}: the train split is empty, so there is nothing to learn from.")
    check_classes(facts, rows)
    found = rows.protocol_record()["hash"]
    if protocol.ids_hash and found != protocol.ids_hash and not skipped:
        raise DatasetError(
            f"{facts.title}, protocol {protocol.name!r}: the clip ids hash to {found[:12]}, expected "
            f"{protocol.ids_hash[:12]}. The split differs from the published one; get a fresh copy.\n{facts.how_to_get}"
        )
    return rows


def labels_feature(label_names: Sequence[str], problem_type: str) -> ClassLabel | List:
    """One class index for single-label data, a list of them for multi-label data."""
    class_label = ClassLabel(names=list(label_names))
    return class_label if problem_type == SINGLE_LABEL else List(class_label)


def label_values(clips: Sequence[Clip], label_names: Sequence[str], problem_type: str) -> list[int | list[int] | None]:
    """The cells of the column ``labels``: a class index, a list of them, or None where labels are not known."""
    index = {name: position for position, name in enumerate(label_names)}

    def value(labels: tuple[str, ...] | None) -> int | list[int] | None:
        if labels is None:
            return None
        indices = sorted({index[label] for label in labels})
        return indices[0] if problem_type == SINGLE_LABEL else indices

    return [value(clip.labels) for clip in clips]


def has_unknown_labels(clips: Mapping[str, Sequence[Clip]]) -> bool:
    """Whether any clip of any split has labels of which nobody said whether it carries them."""
    return any(clip.unknown_labels for rows in clips.values() for clip in rows)


def unknown_label_values(clips: Sequence[Clip], label_names: Sequence[str]) -> list[list[int]]:
    """The cells of the column ``unknown_labels``: label indices; none for clips of which no label is known."""
    index = {name: position for position, name in enumerate(label_names)}
    return [sorted(index[label] for label in clip.unknown_labels) for clip in clips]


def _absolute_path(clip: Clip, root: Path | None) -> str | None:
    """Joins root and path without following links, so that a linked audio folder works but ``..`` does not."""
    if clip.path is None:
        return None
    base = os.path.abspath(root)
    joined = os.path.normpath(os.path.join(base, clip.path))
    if os.path.commonpath([base, joined]) != base:
        raise DatasetError(
            f"Clip {clip.id!r} names the path {clip.path!r}, which lies outside of dataset_root {base}. "
            f"Paths must be relative to dataset_root and stay below it."
        )
    return joined


def _split_off_missing(
    clips: Mapping[str, Sequence[Clip]], absolute: Mapping[str, Sequence[str | None]]
) -> tuple[dict[str, list[tuple[Clip, str | None]]], list[SkippedClip]]:
    listed: dict[str, set[str]] = {}  # one listing a folder: 100,000 single look-ups are slow on network disks
    present: dict[str, list[tuple[Clip, str | None]]] = {}
    missing = []
    for split, rows in clips.items():
        present[split] = []
        for clip, path in zip(rows, absolute[split], strict=True):
            if path is not None:
                folder, name = os.path.split(path)
                if folder not in listed:
                    listed[folder] = _listing(folder)
                if name not in listed[folder]:
                    missing.append(SkippedClip(clip.id, split, clip.path, "file not found"))
                    continue
            present[split].append((clip, path))
    return present, missing


def _listing(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DatasetError(f"The folder {folder} cannot be read ({error.strerror}).") from error


def _to_dataset(
    rows: Sequence[tuple[Clip, str | None]],
    label_names: Sequence[str],
    problem_type: str,
    sampling_rate: int | None,
    with_unknown: bool,
) -> Dataset:
    feature = labels_feature(label_names, problem_type)
    features = Features(
        {
            "id": Value("string"),
            "audio": ClipAudio(sampling_rate=sampling_rate),
            "labels": feature,
            "group": Value("string"),
        }
        | ({"unknown_labels": feature} if with_unknown else {})
    )
    clips = [clip for clip, _ in rows]
    # Built as an Arrow table: going through Python rows, `Audio` would demand torchcodec and FFmpeg to store a path.
    audio = [{"bytes": clip.content, "path": path} for clip, path in rows]
    chunks = [
        pa.array(audio[start : start + _CHUNK_CLIPS], type=ClipAudio.pa_type)
        for start in range(0, len(audio), _CHUNK_CLIPS)
    ]
    table = pa.table(
        {
            "id": [clip.id for clip in clips],
            "audio": pa.chunked_array(chunks, type=ClipAudio.pa_type),
            "labels": label_values(clips, label_names, problem_type),
            "group": [clip.group for clip in clips],
        }
        | ({"unknown_labels": unknown_label_values(clips, label_names)} if with_unknown else {}),
        schema=features.arrow_schema,
    )
    return Dataset(table, info=DatasetInfo(features=features))
