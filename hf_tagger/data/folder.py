"""A folder of one's own recordings: class folders, or a metadata file.

Class folders: ``<class>/…/<file>``, any depth below the class, or ``train/<class>/…``, ``validation/<class>/…``,
``test/<class>/…`` (the layout of Hugging Face's audiofolder). Every file is a group of its own.

Metadata: ``metadata.csv`` or ``metadata.jsonl`` with ``file_name`` (relative to the folder) and either ``label`` (one
class a clip) or ``labels`` (any number of tags, separated by ``|``; in jsonl a list does as well), and optionally
``split`` (train, validation, test) and ``group`` (the recording, album or artist that no split may tear apart).

Protocols: ``given`` where train, validation and test are stated; ``seeded`` where some or all are not: these are drawn
by ``split_seed``, stratified, with groups kept together, and the run writes them down.
"""

from __future__ import annotations

import json
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..audio import AUDIO_SUFFIXES
from ..errors import DatasetError
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

FACTS = DatasetFacts(
    name="folder",
    title="folder of recordings",
    citation="% A local folder of recordings: cite whoever made them.",
    license="Unknown: that of your recordings.",
    homepage="https://huggingface.co/docs/datasets/audio_load",
    how_to_get=(
        "How to lay out a folder: either <class>/<file> (optionally below train/, validation/ and test/), or a "
        "metadata.csv or metadata.jsonl with the columns file_name and label (one class) or labels (tags separated by "
        "|), and optionally split and group. Audio files end in " + ", ".join(sorted(AUDIO_SUFFIXES)) + "."
    ),
    problem_type=None,
    protocols=own_protocols("the folder's own split"),
    notes="Classes are the folder names, or the labels of the metadata file, in alphabetical order.",
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads a folder; see :func:`hf_tagger.data.load_tagging_dataset`."""
    root = dataset_root(arguments, FACTS)
    metadata = [name for name in _METADATA if (root / name).is_file()]
    if len(metadata) > 1:
        raise DatasetError(f"{root} holds {' and '.join(metadata)}; keep the one that counts.")
    if metadata:
        clips, problem_type = _from_metadata(root / metadata[0])
    else:
        clips, problem_type = _from_class_folders(root), SINGLE_LABEL
    names = sorted({label for rows in clips.values() for clip in rows for label in clip.labels or ()})
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


def _from_metadata(path: Path) -> tuple[dict[str, list[Clip]], str]:
    if path.suffix == ".csv":
        table = read_csv(path, FACTS)
        columns, records = list(table), table.to_dict("records")
    else:
        records = _read_jsonl(path)
        columns = list(dict.fromkeys(key for record in records for key in record))
    if not records:
        raise DatasetError(f"{path} lists no clips.\n{FACTS.how_to_get}")
    require_columns(["file_name"], columns, path, FACTS)
    label_columns = [column for column in ("label", "labels") if column in columns]
    if len(label_columns) != 1:
        raise DatasetError(
            f"{path} has {'both the columns label and labels' if label_columns else 'no column label or labels'}; it "
            f"needs label for one class a clip, or labels for any number of tags. Its columns: {examples(columns)}."
        )
    is_multi_label = label_columns == ["labels"]
    files = [_text(record.get("file_name")) for record in records]
    if "" in files:
        raise DatasetError(f"{path}: the file_name of row {files.index('') + 1} is empty.")
    files = [posixpath.normpath(file) for file in files]
    clips: dict[str, list[Clip]] = {}
    unlabelled, unknown_splits = [], set()
    for record, file, clip_id in zip(records, files, _ids(files), strict=True):
        split = canonical_split(_text(record.get("split"))) if "split" in columns else "train"
        if split is None:
            unknown_splits.add(_text(record.get("split")))
            continue
        labels = _labels(record.get(label_columns[0]), is_multi_label)
        if labels is None and split != "test":  # a test clip without a class is one to be predicted
            unlabelled.append(file)
        group = _text(record.get("group")) or clip_id
        clips.setdefault(split, []).append(Clip(id=clip_id, path=file, labels=labels, group=group))
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


def _labels(value: Any, is_multi_label: bool) -> tuple[str, ...] | None:
    """The clip's labels; None where it should have a class and has none."""
    if not is_multi_label:
        return (_text(value),) if _text(value) else None
    values = value if isinstance(value, list) else _text(value).split(_LABEL_SEPARATOR)
    return tuple(dict.fromkeys(_text(item) for item in values if _text(item)))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
