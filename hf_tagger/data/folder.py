"""A folder of one's own recordings: class folders, or a metadata file.

Class folders: ``<class>/…/<file>``, any depth below the class, or ``train/<class>/…``, ``validation/<class>/…``,
``test/<class>/…`` (the layout of Hugging Face's audiofolder). Every file is a group of its own.

Metadata: ``metadata.csv`` or ``metadata.jsonl`` with ``file_name`` (relative to the folder) and either ``label`` (one
class a clip) or ``labels`` (any number of tags, separated by ``|``; in jsonl a list does as well), and optionally
``split`` (train, validation, test) and ``group`` (the recording, album or artist that no split may tear apart). In
place of ``label`` or ``labels`` there may be one column a tag, named by ``label_columns``: 1, 0, or empty where nobody
knows.

Protocols: ``given`` where train, validation and test are stated; ``seeded`` where some or all are not: these are drawn
by ``split_seed``, stratified, with groups kept together, and the run writes them down.
"""

from __future__ import annotations

import json
import logging
import math
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio import AUDIO_SUFFIXES
from ..errors import DatasetError
from ._tag_values import ClipLabels, clip_labels, warn_of_nothing_known
from .base import (
    MULTI_LABEL,
    SINGLE_LABEL,
    Clip,
    DatasetFacts,
    TaggingDatasetDict,
    dataset_root,
    examples,
    folder_contents,
)
from .rows import check_clips, from_clips
from .splits import accepted_split_names, canonical_split, complete_split, own_protocols
from .tables import read_csv, require_columns

if TYPE_CHECKING:
    from ..arguments import DataArguments

logger = logging.getLogger(__name__)

_METADATA = ("metadata.csv", "metadata.jsonl")
_LABEL_SEPARATOR = "|"
_TAG_VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "": math.nan, "nan": math.nan}
"""What a cell of a tag's column may hold, as people, pandas and json write it."""

FACTS = DatasetFacts(
    name="folder",
    title="folder of recordings",
    citation="% A local folder of recordings: cite whoever made them.",
    license="Unknown: that of your recordings.",
    homepage="https://huggingface.co/docs/datasets/audio_load",
    how_to_get=(
        "How to lay out a folder: either <class>/<file> (optionally below train/, validation/ and test/), or a "
        "metadata.csv or metadata.jsonl with the columns file_name and label (one class) or labels (tags separated by "
        "|) or one column a tag (1, 0, or empty where unknown; named by label_columns), and optionally split and "
        "group. Audio files end in " + ", ".join(sorted(AUDIO_SUFFIXES)) + "."
    ),
    problem_type=None,
    protocols=own_protocols("the folder's own split"),
    options=("label_columns",),
    notes=(
        "Classes are the folder names, or the labels of the metadata file, in alphabetical order, or label_columns, in "
        "their order."
    ),
    considerations=(
        "Who made these recordings and labels, and whether they agree to a model of them, only the one who trained it "
        "can say: add it here before you share it."
    ),
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads a folder; see :func:`hf_tagger.data.load_tagging_dataset`."""
    root = dataset_root(arguments, FACTS)
    metadata = [name for name in _METADATA if (root / name).is_file()]
    if len(metadata) > 1:
        raise DatasetError(f"{root} holds {' and '.join(metadata)}; keep the one that counts.")
    if metadata:
        clips, problem_type = _from_metadata(root / metadata[0], arguments.label_columns)
    elif arguments.label_columns:
        raise DatasetError(
            f"label_columns names columns of a metadata.csv or metadata.jsonl, but {root} has neither; it holds: "
            f"{folder_contents(root)}. Leave label_columns out if the folders are the classes."
        )
    else:
        clips, problem_type = _from_class_folders(root), SINGLE_LABEL
    found = {label for rows in clips.values() for clip in rows for label in clip.labels or ()}
    names = arguments.label_columns or sorted(found)
    check_clips(FACTS, clips, names, problem_type, root)  # before the draw, whose errors would hide these
    protocol, splits = complete_split(FACTS, arguments, clips)
    return from_clips(FACTS, protocol, splits, names, arguments, sampling_rate, root=root, problem_type=problem_type)


def _from_class_folders(root: Path) -> dict[str, list[Clip]]:
    files = sorted(_audio_files(root))
    if not files:
        raise DatasetError(
            f"No audio files were found in {root} (looked for {', '.join(sorted(AUDIO_SUFFIXES))}); found: "
            f"{folder_contents(root)}.\n{FACTS.how_to_get}"
        )
    folders = {PurePosixPath(file).parts[0] for file in files if "/" in file}
    splits = {folder for folder in folders if canonical_split(folder)}
    if splits != folders and {canonical_split(folder) for folder in splits} >= {"train", "test"}:
        raise DatasetError(
            f"{root}: {', '.join(sorted(splits))} look like splits, {examples(sorted(folders - splits))} like classes. "
            f"Move the classes into the splits, or state the split in a metadata file.\n{FACTS.how_to_get}"
        )
    depth = 1 if splits == folders else 0  # of the class in a file's path
    stray = [file for file in files if len(PurePosixPath(file).parts) < depth + 2]
    if stray:
        raise DatasetError(
            f"{root}: {len(stray)} audio files lie in no class folder: {examples(stray)}.\n{FACTS.how_to_get}"
        )
    empty = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in folders and entry.name[0] != "."
    )
    if empty:
        logger.warning("%s: no audio below %s, so these are no classes.", root, examples(empty))
    clips: dict[str, list[Clip]] = {}
    for file, clip_id in zip(files, _ids(files), strict=True):
        parts = PurePosixPath(file).parts
        split = canonical_split(parts[0]) if depth else "train"
        clips.setdefault(split, []).append(Clip(id=clip_id, path=file, labels=(parts[depth],), group=clip_id))
    return clips


def _audio_files(root: Path) -> Iterator[str]:
    """Paths relative to the root of all audio files below it; follows links (once), leaves hidden entries out."""
    visited = set()
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back to where we came from
            names.clear()
            continue
        visited.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield (relative / name).as_posix()


def _ids(files: Sequence[str]) -> list[str]:
    """Paths without suffix where that is unique, else with it: ``a/x.wav`` and ``a/x.mp3`` are two clips."""
    stems = [posixpath.splitext(file)[0] for file in files]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else file for stem, file in zip(stems, files, strict=True)]


def _from_metadata(path: Path, tag_columns: Sequence[str] | None) -> tuple[dict[str, list[Clip]], str]:
    if path.suffix == ".csv":
        table = read_csv(path, FACTS)
        columns, records = list(table), table.to_dict("records")
    else:
        records = _read_jsonl(path)
        columns = list(dict.fromkeys(key for record in records for key in record))
    if not records:
        raise DatasetError(f"{path} lists no clips.\n{FACTS.how_to_get}")
    require_columns(["file_name", *(tag_columns or ())], columns, path, FACTS)
    if tag_columns:
        is_multi_label, labels_of_clips = True, _from_tag_columns(records, tag_columns, path)
    else:
        is_multi_label, labels_of_clips = _from_label_column(records, columns, path)
    files = [_text(record.get("file_name")) for record in records]
    if "" in files:
        raise DatasetError(f"{path}: the file_name of row {files.index('') + 1} is empty.")
    files = [posixpath.normpath(file) for file in files]
    clips: dict[str, list[Clip]] = {}
    unlabelled, unknown_splits = [], set()
    for record, file, clip_id, own in zip(records, files, _ids(files), labels_of_clips, strict=True):
        split = canonical_split(_text(record.get("split"))) if "split" in columns else "train"
        if split is None:
            unknown_splits.add(_text(record.get("split")))
            continue
        if not is_multi_label and own.labels is None and split != "test":  # a test clip without a class is to be tagged
            unlabelled.append(file)
        group = _text(record.get("group")) or clip_id
        clip = Clip(id=clip_id, path=file, labels=own.labels, group=group, unknown_labels=own.unknown)
        clips.setdefault(split, []).append(clip)
    if unknown_splits:
        raise DatasetError(
            f"{path}: unknown splits {', '.join(map(repr, sorted(unknown_splits)))}; known are "
            f"{accepted_split_names()}. Without a column split, the split is drawn by split_seed."
        )
    if unlabelled:
        raise DatasetError(f"{path}: {len(unlabelled)} clips have no label: {examples(unlabelled)}.")
    return clips, MULTI_LABEL if is_multi_label else SINGLE_LABEL


def _read_jsonl(path: Path) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start:,}).") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}, is not JSON: {error}.") from error
        if not isinstance(record, dict):
            raise DatasetError(f'{path}, line {number}, must be an object such as {{"file_name": …, "label": …}}.')
        records.append(record)
    return records


def _from_label_column(records: Sequence[dict], columns: Sequence[str], path: Path) -> tuple[bool, list[ClipLabels]]:
    """Whether clips have any number of labels, and the labels; None where a clip should have a class and has none."""
    label_columns = [column for column in ("label", "labels") if column in columns]
    if len(label_columns) != 1:
        raise DatasetError(
            f"{path} has {'both the columns label and labels' if label_columns else 'no column label or labels'}; it "
            f"needs label for one class a clip, or labels for any number of tags, or one column a tag, named by "
            f"label_columns. Its columns: {examples(columns)}."
        )
    is_multi_label = label_columns == ["labels"]

    def labels(value: Any) -> tuple[str, ...] | None:
        if not is_multi_label:
            return (_text(value),) if _text(value) else None
        values = value if isinstance(value, list) else _text(value).split(_LABEL_SEPARATOR)
        return tuple(dict.fromkeys(_text(item) for item in values if _text(item)))

    return is_multi_label, [ClipLabels(labels(record.get(label_columns[0]))) for record in records]


def _from_tag_columns(records: Sequence[dict], names: Sequence[str], path: Path) -> list[ClipLabels]:
    cells = {name: [_text(record.get(name)) for record in records] for name in names}
    wrong = {name: sorted({cell for cell in own if cell.lower() not in _TAG_VALUES}) for name, own in cells.items()}
    problems = [f"{name!r} holds {examples([repr(cell) for cell in found])}" for name, found in wrong.items() if found]
    if problems:
        raise DatasetError(
            f"{path}: a tag's column must hold 1, 0, or nothing where nobody knows; but {examples(problems)}. Correct "
            f"the cells, or leave these columns out of label_columns."
        )
    values = np.array([[_TAG_VALUES[cell.lower()] for cell in own] for own in cells.values()]).T  # [clips, tags]
    labels = clip_labels(values, names)
    warn_of_nothing_known(str(path), {"all splits": labels})
    return labels


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
