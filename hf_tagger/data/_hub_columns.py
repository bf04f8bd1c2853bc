"""The columns of a ``datasets.Dataset``, read where they lie: audio, labels, ids and groups of any form.

``stated`` is always the dataset's splits by our names; what is returned is aligned with their rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Audio, ClassLabel, Dataset, LargeList, List, Value

from ..errors import DatasetError
from ._tag_values import ClipLabels, is_number
from .base import MULTI_LABEL, SINGLE_LABEL, Clip, SkippedClip, examples
from .clip_audio import ClipAudio

if TYPE_CHECKING:
    from ..arguments import DataArguments

logger = logging.getLogger(__name__)


def cast_audio(rows: Dataset, column: str, sampling_rate: int | None) -> Dataset:
    """The audio alone, as ``audio``. Casting changes the column's type, not its bytes, and comes before any access."""
    feature = rows.features[column]
    is_encoded = (
        isinstance(feature, Audio)
        or (isinstance(feature, dict) and set(feature) <= {"bytes", "path"})
        or (isinstance(feature, Value) and feature.dtype in ("string", "binary", "large_binary"))
    )
    if not is_encoded:
        raise DatasetError(
            f"The column {column!r} holds {feature}, which is no encoded audio (bytes or path of a wav, flac, mp3, …)."
        )
    rows = rows.select_columns([column])
    if column != "audio":
        rows = rows.rename_column(column, "audio")
    return rows.cast_column("audio", ClipAudio(sampling_rate=sampling_rate))


def read_labels(stated: Mapping[str, Dataset], column: str) -> tuple[str, list[str], dict[str, list[ClipLabels]]]:
    """Problem type, vocabulary, and for every split its clips' labels, of which none is unknown."""
    feature = next(iter(stated.values())).features[column]
    if any(rows.features[column] != feature for rows in stated.values()):
        raise DatasetError(f"The column {column!r} has not the same type and the same classes in every split.")
    is_list = isinstance(feature, (List, LargeList))
    element = feature.feature if is_list else feature
    if is_list and isinstance(element, Value) and is_number(element.pa_type):
        _refuse_vectors(stated, column, element.pa_type)
    if not (isinstance(element, ClassLabel) or (isinstance(element, Value) and _is_text_or_integer(element.pa_type))):
        raise DatasetError(
            f"The column {column!r} holds {feature}; labels must be ClassLabel, text, whole numbers, or lists of these."
        )
    cells = {split: _values(rows, column) for split, rows in stated.items()}
    found = {value for values in cells.values() for cell in values for value in (cell or () if is_list else (cell,))}
    found -= {None, ""}
    if isinstance(element, ClassLabel):
        found = {value for value in found if value >= 0}  # -1 is the library's "no label"
        beyond = sorted(value for value in found if value >= len(element.names))
        if beyond:
            raise DatasetError(
                f"The column {column!r} has {len(element.names)} classes, but also the numbers {examples(beyond)}."
            )
        name_of, names = dict(enumerate(element.names)), list(element.names)
    else:
        name_of = {value: str(value) for value in sorted(found)}
        names = list(name_of.values())

    def labels(cell: Any) -> ClipLabels:
        if is_list and cell is not None:
            return ClipLabels(tuple(dict.fromkeys(name_of[value] for value in cell if value in name_of)))
        return ClipLabels((name_of[cell],) if not is_list and cell in name_of else None)

    problem_type = MULTI_LABEL if is_list else SINGLE_LABEL
    return problem_type, names, {split: [labels(cell) for cell in values] for split, values in cells.items()}


def _refuse_vectors(stated: Mapping[str, Dataset], column: str, kind: pa.DataType) -> None:
    """Lists of one zero or one a label would be read as the numbers of labels, of which no clip has one twice."""
    cells = [cell for rows in stated.values() for cell in _values(rows, column) if cell]
    values = {None if value is None or value != value else value for cell in cells for value in cell}
    repeated = any(len({*cell}) < len(cell) for cell in cells) or not pa.types.is_integer(kind)
    lengths = {len(cell) for cell in cells}
    # Of two numbers that are 0 and 1, every clip would have both labels.
    if len(lengths) == 1 and values <= {0, 1, None} and (repeated or lengths == {2}):
        raise DatasetError(
            f"The column {column!r} holds lists of {len(cells[0])} zeros and ones, one a label; expected are the names "
            f"or the numbers of a clip's labels, such as [2, 5]. Say what the places of the lists stand for by "
            f"label_column: {column} and label_columns: [first label, second label, …]."
        )


def _is_text_or_integer(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)


def read_ids(stated: Mapping[str, Dataset], audio: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """The column ``id``, else the names of the audio files, else ``<split>-<row>``: the first that is unique."""
    paths = {split: arrow_column(rows, "audio") for split, rows in audio.items()}
    paths = {split: pc.struct_field(column, "path").to_pylist() for split, column in paths.items()}
    candidates = [
        # The name without its folders: those may be of the machine that wrote the dataset.
        {split: [path and PurePath(path).name for path in values] for split, values in paths.items()},
        {split: [f"{split}-{index}" for index in range(len(rows))] for split, rows in stated.items()},
    ]
    if all("id" in rows.column_names for rows in stated.values()):
        candidates.insert(0, {split: _values(rows, "id") for split, rows in stated.items()})
    for ids in candidates:
        every = [value for values in ids.values() for value in values]
        if None not in every and "" not in every and len(set(map(str, every))) == len(every):
            break
    return {split: list(map(str, values)) for split, values in ids.items()}


def read_groups(
    stated: Mapping[str, Dataset], column: str | None, ids: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The group of every clip; a clip without one is its own."""
    if column is None:
        return {split: list(values) for split, values in ids.items()}
    for split, rows in stated.items():
        if column not in rows.column_names:
            raise DatasetError(
                f"group_column: split {split} has no column {column!r}; its columns are {examples(rows.column_names)}."
            )
    return {
        split: [
            clip_id if group is None else str(group)
            for group, clip_id in zip(_values(rows, column), ids[split], strict=True)
        ]
        for split, rows in stated.items()
    }


def split_off_silent(
    every: Mapping[str, Sequence[Clip]], audio: Mapping[str, Dataset], arguments: DataArguments
) -> tuple[dict[str, list[Clip]], list[SkippedClip]]:
    """The clips that have audio, and those whose cell holds neither bytes nor a path."""
    clips, skipped = {}, []
    for split, rows in every.items():
        cells = arrow_column(audio[split], "audio")
        fields = [pc.is_valid(pc.struct_field(cells, name)) for name in ("bytes", "path")]
        sounds = pc.and_(pc.is_valid(cells), pc.or_(*fields)).to_pylist()
        clips[split] = [clip for clip, is_there in zip(rows, sounds, strict=True) if is_there]
        skipped += [
            SkippedClip(clip.id, split, "", "the row holds no audio")
            for clip, is_there in zip(rows, sounds, strict=True)
            if not is_there
        ]
    if skipped:
        total = sum(map(len, every.values()))
        message = f"{arguments.hub_id}: {len(skipped):,} of {total:,} rows hold no audio: "
        message += examples([clip.id for clip in skipped])
        if len(skipped) > arguments.max_skipped_share * total:
            raise DatasetError(f"{message}. Is audio_column right? If so, raise max_skipped_share.")
        logger.warning("%s. They are skipped and listed in skipped_clips.csv.", message)
    return clips, skipped


def _values(rows: Dataset, column: str) -> list:
    return arrow_column(rows, column).to_pylist()


def arrow_column(rows: Dataset, column: str) -> pa.ChunkedArray:
    """One column as it lies on disk: views, no copies, and nothing of the other columns."""
    return rows.select_columns([column]).with_format("arrow")[:][column]
