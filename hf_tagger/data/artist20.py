"""artist20: 1,413 pop songs by 20 artists, six albums each (16 kHz, mono, mp3), for artist recognition.

Paper: Ellis 2007. Licence: none stated. This is the layout of the course homework of 2025, in which the test songs
have no labels; ``FACTS.how_to_get`` says where to put it.

Protocol:
    homework: 949 / 231 / 233 songs; four albums of an artist for training, one for validation, one for the test.
        LabROSA's own lists differ (three / one / two albums, and six folds): their numbers do not compare.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import DatasetError
from .base import (
    SINGLE_LABEL,
    Clip,
    DatasetFacts,
    Protocol,
    TaggingDatasetDict,
    dataset_root,
    examples,
    folder_contents,
    protocol_lines,
)
from .rows import from_clips

if TYPE_CHECKING:
    from ..arguments import DataArguments

_LISTS = {"train": "train.json", "validation": "val.json"}
_AUDIO, _TEST = "train_val", "test"
_TEST_FILE = re.compile(r"\d{3}\.mp3")

FACTS = DatasetFacts(
    name="artist20",
    title="artist20",
    citation="""@inproceedings{ellis2007classifying,
  author    = {Ellis, Daniel P. W.},
  title     = {Classifying Music Audio with Timbral and Chroma Features},
  booktitle = {Proceedings of the 8th International Conference on Music Information Retrieval (ISMIR)},
  pages     = {339--340},
  year      = {2007}
}""",
    license="None stated: commercial recordings, for research and teaching only.",
    homepage="https://labrosa.ee.columbia.edu/projects/artistid/",
    how_to_get=(
        "How to get artist20: it is described at https://labrosa.ee.columbia.edu/projects/artistid/ and handed out by "
        "courses. Set dataset_root to the folder artist20 that holds train.json, val.json, "
        "train_val/<artist>/<album>/<track>.mp3 and test/001.mp3 to test/233.mp3."
    ),
    problem_type=SINGLE_LABEL,
    protocols=(
        Protocol(
            name="homework",
            source="train.json and val.json of the course homework of 2025: by album, 4 / 1 / 1 an artist",
            sizes={"train": 949, "validation": 231, "test": 233},
            groups_are_disjoint=True,
        ),
    ),
    notes=(
        "The 233 test songs have no labels; what can be measured is the validation split. Albums are apart, but an "
        "artist's albums share producer and mastering, which a model may learn instead of the voice. LabROSA's own "
        "split has other albums in other proportions."
    ),
    considerations=(
        "A model of it recognises 20 pop artists, who were not asked, by their recordings. It is made for research "
        "into what identifies an artist; it is no proof of who sings, and not meant for finding or imitating voices. "
        "All artists are from North America or Europe."
    ),
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads artist20; see :func:`hf_tagger.data.load_tagging_dataset`."""
    root = dataset_root(arguments, FACTS)
    protocol = FACTS.protocol(arguments.protocol)
    if not (root / _LISTS["train"]).is_file() and (root / FACTS.name).is_dir():
        root = root / FACTS.name  # the folder above the dataset was given
    clips = {split: [_clip(entry, name) for entry in _read_list(root, name)] for split, name in _LISTS.items()}
    clips["test"] = _test_clips(root)
    artists = protocol_lines("artist20/artists.txt")
    return from_clips(FACTS, protocol, clips, artists, arguments, sampling_rate, root=root)


def _read_list(root: Path, name: str) -> list[str]:
    path = root / name
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{FACTS.title}: {name} was not found in {root}; found there: {folder_contents(root)}.\n{FACTS.how_to_get}"
        ) from error
    except OSError as error:
        raise DatasetError(f"{FACTS.title}: {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise DatasetError(f"{FACTS.title}: {path} is not JSON ({error}). Get a fresh copy.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise DatasetError(
            f'{FACTS.title}: {path} must be a list of paths such as "./train_val/aerosmith/Pump/01-Young_Lust.mp3".'
        )
    return entries


def _clip(entry: str, name: str) -> Clip:
    path = PurePosixPath(entry)  # drops the leading "./"
    if len(path.parts) != 4 or path.parts[0] != _AUDIO or ".." in path.parts:
        raise DatasetError(
            f"{FACTS.title}: {name} names {entry!r}; expected is ./{_AUDIO}/<artist>/<album>/<track>.mp3, below "
            f"dataset_root."
        )
    _, artist, album, track = path.parts
    album = f"{artist}/{album}"
    return Clip(id=f"{album}/{PurePosixPath(track).stem}", path=str(path), labels=(artist,), group=album)


def _test_clips(root: Path) -> list[Clip]:
    """The songs of the test folder. They have no labels and no known album, so each is its own group."""
    folder = root / _TEST
    if not folder.is_dir():
        raise DatasetError(
            f"{FACTS.title}: the folder {_TEST}/ was not found in {root}; found there: {folder_contents(root)}.\n"
            f"{FACTS.how_to_get}"
        )
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    strange = [name for name in names if name.endswith(".mp3") and not _TEST_FILE.fullmatch(name)]
    if strange:
        raise DatasetError(f"{FACTS.title}: {folder} holds songs not named 001.mp3 to 233.mp3: {examples(strange)}.")
    return [
        Clip(id=Path(name).stem, path=f"{_TEST}/{name}", labels=None, group=Path(name).stem)
        for name in names
        if _TEST_FILE.fullmatch(name)
    ]
