"""MagnaTagATune (MTAT): 25,863 clips of 29 seconds with 188 tags from a game (16 kHz, mono, mp3 of 32 kbit/s).

Paper: Law et al. 2009. Licence: CC BY-NC-SA 3.0. Get it from
https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset; ``FACTS.how_to_get`` says where to put it.

Protocols, both by the folder that holds a clip (0-b train, c validation, d-f test):
    original: 18,706 / 1,825 / 5,329 clips, all but the three empty files.
    clean: 15,247 / 1,529 / 4,332 clips, those that have at least one of the 50 usual tags. Its scores are higher (by
        about 0.08 in macro average precision), so the two must never share a table.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DatasetError
from .base import (
    MULTI_LABEL,
    SPLITS,
    Clip,
    DatasetFacts,
    Protocol,
    SkippedClip,
    TaggingDatasetDict,
    dataset_root,
    examples,
    folder_contents,
    protocol_lines,
)
from .rows import from_clips
from .tables import read_csv, require_columns

if TYPE_CHECKING:
    import pandas as pd

    from ..arguments import DataArguments

_ANNOTATIONS = "annotations_final.csv"
_FOLDERS = {"train": "0123456789ab", "validation": "c", "test": "def"}
_SPLIT_OF = {folder: split for split, folders in _FOLDERS.items() for folder in folders}
_PATH = re.compile(r"[0-9a-f]/.+")
_EMPTY_CLIPS = frozenset({"35644", "55753", "57881"})  # mp3 files of 0 bytes in every copy of the dataset

FACTS = DatasetFacts(
    name="magnatagatune",
    title="MagnaTagATune",
    citation="""@inproceedings{law2009evaluation,
  author    = {Law, Edith and West, Kris and Mandel, Michael and Bay, Mert and Downie, J. Stephen},
  title     = {Evaluation of Algorithms Using Games: The Case of Music Tagging},
  booktitle = {Proceedings of the 10th International Society for Music Information Retrieval Conference (ISMIR)},
  pages     = {387--392},
  year      = {2009}
}""",
    license="CC BY-NC-SA 3.0",
    homepage="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
    how_to_get=(
        "How to get MagnaTagATune: from https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset download "
        "annotations_final.csv and mp3.zip.001 to mp3.zip.003, join the parts (cat mp3.zip.00? > mp3.zip), unpack "
        "mp3.zip, and set dataset_root to the folder that holds annotations_final.csv and the folders 0 to f, at its "
        "top or below mp3/."
    ),
    problem_type=MULTI_LABEL,
    protocols=(
        Protocol(
            name="original",
            source=(
                "by folder 0-b, c, d-f, as in Dieleman and Schrauwen 2014 (https://doi.org/10.1109/ICASSP.2014.6854950);"
                " all clips but three empty files"
            ),
            sizes={"train": 18_706, "validation": 1_825, "test": 5_329},
        ),
        Protocol(
            name="clean",
            source=(
                "by folder 0-b, c, d-f, without clips that have none of the 50 tags, as in Won et al. 2020 "
                "(https://arxiv.org/abs/2006.00751)"
            ),
            sizes={"train": 15_247, "validation": 1_529, "test": 4_332},
        ),
    ),
    options=("tags",),
    notes=(
        "56 of 230 artists stand in more than one split, so a part of the test clips is of artists known from "
        "training. Tags come from players of a game: synonyms are not merged (vocal, vocals, voice; female vocal, "
        "female voice, woman), spellings are not corrected (clasical, harpsicord), and a tag that is not given need "
        "not be wrong. Three mp3 files (clip ids 35644, 55753, 57881) are empty and left out of every split."
    ),
    considerations=(
        "The music is that of one small label (Magnatune): much classical, electronic and new age, hardly any hip hop "
        "or music from outside Europe and North America; tags such as indian or weird are what anonymous players of a "
        "game made of it. Tags of voices (female vocal, man) are what players guessed by ear, and say nothing about "
        "who a singer is."
    ),
    labels=tuple(protocol_lines("magnatagatune/all188.txt")),
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads MagnaTagATune; see :func:`hf_tagger.data.load_tagging_dataset`."""
    root = dataset_root(arguments, FACTS)
    protocol = FACTS.protocol(arguments.protocol)
    every_tag, usual_tags = protocol_lines("magnatagatune/all188.txt"), protocol_lines("magnatagatune/top50.txt")
    tags = every_tag if arguments.tags == "all" else usual_tags
    table = _read_annotations(root, every_tag)
    folder = "mp3/" if (root / "mp3").is_dir() else ""

    positive = {tag: (table[tag] == "1").to_numpy() for tag in every_tag}
    is_tagged = np.any([positive[tag] for tag in usual_tags], axis=0)
    labels = np.stack([positive[tag] for tag in tags], axis=1)  # [clips, tags]

    clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    skipped = []
    for row, (clip_id, path) in enumerate(zip(table["clip_id"], table["mp3_path"], strict=True)):
        split = _SPLIT_OF[path[0]]
        if clip_id in _EMPTY_CLIPS:
            skipped.append(SkippedClip(clip_id, split, folder + path, "empty file in every copy of the dataset"))
        elif protocol.name == "original" or is_tagged[row]:
            names = tuple(tags[column] for column in np.flatnonzero(labels[row]))
            clips[split].append(Clip(id=clip_id, path=folder + path, labels=names, group=_artist(path)))
    return from_clips(FACTS, protocol, clips, tags, arguments, sampling_rate, root=root, skipped=skipped)


def _read_annotations(root: Path, every_tag: list[str]) -> pd.DataFrame:
    """The table of tags, checked: exactly the 188 tags, only 0 and 1, and paths of the form ``<0-f>/<file>``."""
    path = root / _ANNOTATIONS
    if not path.is_file():
        raise DatasetError(
            f"{FACTS.title}: {_ANNOTATIONS} was not found in {root}; found there: {folder_contents(root)}.\n"
            f"{FACTS.how_to_get}"
        )
    table = read_csv(path, FACTS, sep="\t")
    expected = ["clip_id", *every_tag, "mp3_path"]
    require_columns(expected, list(table), path, FACTS)
    unknown = [column for column in table if column not in expected]
    if unknown:
        close = difflib.get_close_matches(unknown[0], every_tag, n=1)
        hint = f" ({unknown[0]!r} may stand for {close[0]!r})" if close else ""
        raise DatasetError(
            f"{FACTS.title}: {path} has unknown tags: {examples(unknown)}{hint}. The dataset has 188 tags; get a fresh "
            f"copy, or use dataset_name: folder for tags of your own."
        )
    for tag in every_tag:
        wrong = ~table[tag].isin(("0", "1"))
        if wrong.any():
            row = table[wrong].iloc[0]
            raise DatasetError(
                f"{FACTS.title}: {path}: clip {row['clip_id']!r} has {row[tag]!r} for the tag {tag!r}; it must be 0 or "
                f"1."
            )
    misplaced = [name for name in table["mp3_path"] if not _PATH.fullmatch(name)]
    if misplaced:
        raise DatasetError(
            f"{FACTS.title}: {path}: mp3_path must be <folder 0 to f>/<file>, below dataset_root; not so for "
            f"{examples(misplaced)}."
        )
    return table


def _artist(path: str) -> str:
    """``f/american_bach_soloists-j_s__bach_solo_cantatas-01-….mp3`` → ``american_bach_soloists``."""
    return PurePosixPath(path).name.split("-")[0]
