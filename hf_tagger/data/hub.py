"""Any audio dataset in the form of the ``datasets`` library: on the Hub, saved to disk, or a folder of parquet files.

``hub_id`` names it. Columns: the audio (``audio_column``), a label or a list of labels (``label_column``: text, whole
numbers or ``ClassLabel``), and optionally what no split may tear apart (``group_column``: artist or album). Nothing is
decoded and no audio is copied: columns are renamed, cast and selected where they lie, in memory-mapped Arrow.

Tags may also be given as 0, 1 (or booleans) and null (or NaN) where nobody knows: one column a tag (``label_columns``),
one vector a clip (``label_column``, and in ``label_columns`` what its places stand for), or one dictionary a clip
(``label_column``; ``label_columns`` may choose among its keys).

Protocols: ``given`` where the dataset has training, validation and test splits; ``seeded`` where it lacks some: these
are drawn from the training split by ``split_seed``, and the run writes them down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from datasets import Dataset, DatasetDict, Value, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from ..errors import DatasetError
from ._hub_columns import cast_audio, read_groups, read_ids, read_labels, split_off_silent
from ._tag_columns import are_tags, read_tags
from .base import SPLITS, Clip, DatasetFacts, TaggingDatasetDict, examples, refuse_dataset_root
from .checks import check_groups
from .rows import check_clips, finish, has_unknown_labels, label_values, labels_feature, unknown_label_values
from .splits import accepted_split_names, canonical_split, complete_split, own_protocols

if TYPE_CHECKING:
    from ..arguments import DataArguments

_LABEL_COLUMNS = ("label", "labels", "genre")
_SAVED_TO_DISK = ("dataset_dict.json", "state.json")  # what DatasetDict and Dataset leave in their folders

FACTS = DatasetFacts(
    name="hub",
    title="Hub dataset",
    citation="% A dataset of the Hugging Face Hub, or a saved one: its card names what to cite.",
    license="Unknown: see the card of the dataset.",
    homepage="https://huggingface.co/datasets",
    how_to_get=(
        "How to use a dataset of the Hub: set hub_id to its repository, to a folder "
        "that save_to_disk wrote, or to a folder of parquet files (data/train-*.parquet, …). Other columns than audio "
        "and label, labels or genre are named by audio_column and label_column, columns of one tag each by "
        "label_columns, other splits by train_split, validation_split and test_split. A private dataset needs: hf auth "
        "login."
    ),
    problem_type=None,
    protocols=own_protocols("the dataset's own split"),
    options=(
        "hub_id",
        "hub_config",
        "audio_column",
        "label_column",
        "label_columns",
        "group_column",
        "train_split",
        "validation_split",
        "test_split",
    ),
    notes=(
        "Classes are those of the ClassLabel column or of label_columns, in their order, or else the values found, in "
        "order."
    ),
    considerations=(
        "Who made these recordings and labels, and whether they agreed, the card of the dataset should say."
    ),
    needs_root=False,
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads a dataset of the Hub; see :func:`hf_tagger.data.load_tagging_dataset`."""
    refuse_dataset_root(arguments, FACTS, "Name the repository or the local folder in hub_id.")
    if arguments.hub_id is None:
        raise DatasetError(f"{FACTS.title} needs hub_id.\n{FACTS.how_to_get}")
    source = _read(arguments)
    names = _choose_splits(list(source), arguments)
    stated = {split: source[name] for split, name in names.items()}
    audio_column, label_column = _columns(stated, arguments)
    audio = {split: cast_audio(rows, audio_column, sampling_rate) for split, rows in stated.items()}
    if are_tags(stated, label_column, arguments.label_columns):
        problem_type, label_names, labels = read_tags(stated, label_column, arguments.label_columns)
    else:
        problem_type, label_names, labels = read_labels(stated, label_column)
    ids = read_ids(stated, audio)
    groups = read_groups(stated, arguments.group_column, ids)
    every = {
        split: [
            Clip(id=clip_id, path=None, labels=own.labels, group=group, unknown_labels=own.unknown)
            for clip_id, own, group in zip(ids[split], labels[split], groups[split], strict=True)
        ]
        for split in stated
    }
    clips, skipped = split_off_silent(every, audio, arguments)
    check_clips(FACTS, clips, label_names, problem_type)  # before the draw, whose errors would hide these
    protocol, splits = complete_split(FACTS, arguments, clips)
    check_groups(FACTS, protocol, {split: [clip.group for clip in rows] for split, rows in splits.items()})

    rows, with_unknown = TaggingDatasetDict(), has_unknown_labels(every)
    for split in SPLITS:
        origin = split if clips.get(split) else "train"
        whole = _add_columns(audio[origin], every[origin], label_names, problem_type, with_unknown)
        position = {clip.id: index for index, clip in enumerate(every[origin])}
        is_whole = len(splits[split]) == len(whole)
        rows[split] = whole if is_whole else whole.select([position[clip.id] for clip in splits[split]])
    return finish(rows, _facts_of(arguments.hub_id), protocol, problem_type, label_names, skipped)


def _facts_of(hub_id: str) -> DatasetFacts:
    """The facts under the dataset's own name, so that metrics and card say what was trained on."""
    if Path(hub_id).expanduser().exists():
        name = Path(hub_id).expanduser().resolve().name
        return replace(FACTS, name=name, title=name)
    return replace(
        FACTS, name=hub_id, title=hub_id, hub_id=hub_id, homepage=f"https://huggingface.co/datasets/{hub_id}"
    )


def _read(arguments: DataArguments) -> DatasetDict:
    hub_id = arguments.hub_id
    folder = Path(hub_id).expanduser()
    try:
        if any((folder / name).is_file() for name in _SAVED_TO_DISK):
            source = load_from_disk(str(folder))
        else:
            path = str(folder) if folder.is_dir() else hub_id
            source = load_dataset(path, name=arguments.hub_config, cache_dir=arguments.cache_dir)
    # What a missing, private, unreachable or damaged dataset raises; ImportError: a format that would be decoded.
    except (OSError, ValueError, RuntimeError, ImportError, DatasetsError, pa.ArrowException) as error:
        reason = f"{error} ({error.__cause__})" if error.__cause__ else error
        raise DatasetError(f"The dataset {hub_id!r} cannot be loaded: {reason}\n{FACTS.how_to_get}") from error
    return source if isinstance(source, dict) else DatasetDict(train=source)


def _choose_splits(found: Sequence[str], arguments: DataArguments) -> dict[str, str]:
    """``train``, ``validation``, ``test`` → the dataset's own names, for those that it has."""
    asked = {split: getattr(arguments, f"{split}_split") for split in SPLITS}
    asked = {split: name for split, name in asked.items() if name is not None}
    for split, name in asked.items():
        if name not in found:
            raise DatasetError(f"{split}_split: {arguments.hub_id!r} has no split {name!r}; it has {', '.join(found)}.")
    if len(set(asked.values())) < len(asked):
        raise DatasetError("train_split, validation_split and test_split must differ; leave out what is to be drawn.")
    chosen = {}
    for split in SPLITS:
        known = [name for name in found if canonical_split(name) == split and name not in asked.values()]
        if split in asked:
            chosen[split] = asked[split]
        elif len(known) > 1:
            raise DatasetError(f"{arguments.hub_id!r} has {' and '.join(known)}; set {split}_split to one of them.")
        elif known:
            chosen[split] = known[0]
    if len(found) == 1 and not asked:
        return {"train": found[0]}  # whatever it is called, it is all there is
    if "train" not in chosen:
        raise DatasetError(
            f"{arguments.hub_id!r} has no training split among {', '.join(found)}; set train_split. Names known "
            f"without that: {accepted_split_names()}."
        )
    return chosen


def _columns(stated: Mapping[str, Dataset], arguments: DataArguments) -> tuple[str, str | None]:
    """The columns of audio and labels, which every split must have; no column of labels where each tag has its own."""
    label_columns = [arguments.label_column] if arguments.label_column else list(_LABEL_COLUMNS)
    audio_column = arguments.audio_column or "audio"
    if arguments.label_columns and not arguments.label_column:
        _check_tag_columns(stated, audio_column, arguments)
        return audio_column, None
    for split, rows in stated.items():
        label_columns = [column for column in label_columns if column in rows.column_names]
        if audio_column not in rows.column_names or not label_columns:
            wanted = f"audio_column {audio_column!r} and label_column {arguments.label_column or _LABEL_COLUMNS!r}"
            raise DatasetError(
                f"{arguments.hub_id!r}, split {split}: looked for {wanted}; its columns are "
                f"{examples(rows.column_names)}. Set audio_column and label_column."
            )
    if len(label_columns) > 1 and "genre" in label_columns:
        label_columns.remove("genre")  # kept beside a ClassLabel `label` as its text, as in copies of GTZAN
    if len(label_columns) > 1:
        raise DatasetError(f"{arguments.hub_id!r} has {' and '.join(label_columns)}; set label_column to one of them.")
    return audio_column, label_columns[0]


def _check_tag_columns(stated: Mapping[str, Dataset], audio_column: str, arguments: DataArguments) -> None:
    for split, rows in stated.items():
        missing = [name for name in (audio_column, *arguments.label_columns) if name not in rows.column_names]
        if missing:
            raise DatasetError(
                f"{arguments.hub_id!r}, split {split}: audio_column and label_columns name {examples(missing)}, but "
                f"its columns are {examples(rows.column_names)}. If the tags are one column of vectors, set "
                f"label_column as well."
            )


def _add_columns(
    audio: Dataset, clips: Sequence[Clip], label_names: Sequence[str], problem_type: str, with_unknown: bool
) -> Dataset:
    feature = labels_feature(label_names, problem_type)
    rows = audio.add_column("id", [clip.id for clip in clips], feature=Value("string"))
    rows = rows.add_column("labels", label_values(clips, label_names, problem_type), feature=feature)
    rows = rows.add_column("group", [clip.group for clip in clips], feature=Value("string"))
    if with_unknown:
        rows = rows.add_column("unknown_labels", unknown_label_values(clips, label_names), feature=feature)
    return rows.select_columns(["id", "audio", "labels", "group", *(["unknown_labels"] if with_unknown else [])])
