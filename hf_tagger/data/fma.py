"""FMA, the Free Music Archive dump: 106,574 tracks under Creative Commons licences, with a tree of 161 genres in use.

Paper: Defferrard et al. 2017. Licence: CC BY 4.0 for the metadata, a Creative Commons licence of its own for every
track. Get it from https://github.com/mdeff/fma; ``FACTS.how_to_get`` says where to put it.

Protocols; the split is the authors' (``set, split`` in tracks.csv) and the subsets are nested:
    small: 6,400 / 800 / 800 clips of 30 s, one of 8 genres each, balanced.
    medium: 19,922 / 2,505 / 2,573 clips of 30 s, one of 16 genres each.
    large: 84,353 / 10,958 / 11,263 clips of 30 s, several genres each out of the 163 of genres.csv.
    full: the tracks of large, not trimmed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DatasetError
from .base import (
    MULTI_LABEL,
    SINGLE_LABEL,
    SPLITS,
    Clip,
    DatasetFacts,
    Protocol,
    TaggingDatasetDict,
    dataset_root,
    examples,
    folder_contents,
)
from .rows import from_clips
from .splits import canonical_split
from .tables import read_csv, require_columns

if TYPE_CHECKING:
    import pandas as pd

    from ..arguments import DataArguments

SMALL_GENRES = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
MEDIUM_GENRES = (
    "Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop",
    "Instrumental", "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken",
)  # fmt: skip

_SUBSETS = ("small", "medium", "large")  # each holds the ones before it; `subset` names the smallest a track is in
_SOURCE = "set, split of fma_metadata/tracks.csv; Defferrard et al. 2017, https://arxiv.org/abs/1612.01840"
_LARGE_SIZES = {"train": 84_353, "validation": 10_958, "test": 11_263}
_COLUMNS = {
    "artist_id": ("artist", "id"),
    "artist": ("artist", "name"),
    "split": ("set", "split"),
    "subset": ("set", "subset"),
    "genre": ("track", "genre_top"),
    "genres": ("track", "genres_all"),
}

FACTS = DatasetFacts(
    name="fma",
    title="FMA",
    citation="""@inproceedings{defferrard2017fma,
  author    = {Defferrard, Micha{\\"e}l and Benzi, Kirell and Vandergheynst, Pierre and Bresson, Xavier},
  title     = {{FMA}: A Dataset for Music Analysis},
  booktitle = {Proceedings of the 18th International Society for Music Information Retrieval Conference (ISMIR)},
  year      = {2017},
  url       = {https://arxiv.org/abs/1612.01840}
}""",
    license="CC BY 4.0 (metadata); each track has its own Creative Commons licence, named in tracks.csv.",
    homepage="https://github.com/mdeff/fma",
    how_to_get=(
        "How to get FMA: download fma_metadata.zip and fma_small.zip (or fma_medium, fma_large, fma_full) as told at "
        "https://github.com/mdeff/fma, unpack both into one folder, and set dataset_root to it, such that there are "
        "fma_metadata/tracks.csv and fma_small/000/000002.mp3."
    ),
    problem_type=None,
    protocols=(
        Protocol("small", _SOURCE, sizes={"train": 6_400, "validation": 800, "test": 800}),
        Protocol("medium", _SOURCE, sizes={"train": 19_922, "validation": 2_505, "test": 2_573}),
        Protocol("large", _SOURCE, sizes=_LARGE_SIZES),
        Protocol("full", f"{_SOURCE}; tracks not trimmed", sizes=_LARGE_SIZES),
    ),
    notes=(
        "small and medium are single-label (genre_top), large and full multi-label (genres_all). The authors put every "
        "artist into one split. Tracks without any genre stand in the training split of large and full as unlabelled "
        "rows. Six clips of small are shorter than 30 s or empty (098565, 098567, 098569, 099134, 108925, 133297); the "
        "last three hold no audio at all and fall out when clips are prepared. For 21 clips of medium the metadata "
        "state a wrong duration (issues 8 and 44 of mdeff/fma)."
    ),
    considerations=(
        "Artists who published on the Free Music Archive chose the genres of their tracks themselves. The archive "
        "leans to experimental, electronic and rock music; International is one genre for most of the world. Every "
        "track has a licence of its own, many for non-commercial use or without derivatives: look before you publish "
        "audio or weights."
    ),
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads FMA; see :func:`hf_tagger.data.load_tagging_dataset`."""
    root = dataset_root(arguments, FACTS)
    protocol = FACTS.protocol(arguments.protocol)
    metadata = _metadata_folder(root)
    audio = _audio_folder(root, protocol.name)
    tracks = _read_tracks(metadata / "tracks.csv", protocol.name)
    if protocol.name in ("small", "medium"):
        problem_type = SINGLE_LABEL
        names = SMALL_GENRES if protocol.name == "small" else MEDIUM_GENRES
        unlabelled = tracks["id"][tracks["genre"] == ""]
        if len(unlabelled):
            raise DatasetError(
                f"{FACTS.title}: tracks.csv: tracks of {protocol.name} have no genre_top: "
                f"{examples(list(unlabelled))}. Get a fresh fma_metadata.zip.\n{FACTS.how_to_get}"
            )
        labels = [(genre,) for genre in tracks["genre"]]
    else:
        problem_type = MULTI_LABEL
        titles = _read_titles(metadata / "genres.csv")
        names = tuple(titles.values())
        labels = [_titles_of(cell, track, titles) for cell, track in zip(tracks["genres"], tracks["id"], strict=True)]

    clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    for track, label in zip(tracks.itertuples(index=False), labels, strict=True):
        split = canonical_split(track.split)
        if split is None:
            raise DatasetError(
                f"{FACTS.title}: tracks.csv: track {track.id} is in the split {track.split!r}; known are training, "
                f"validation and test."
            )
        clips[split].append(
            Clip(
                id=track.id,
                path=f"{track.id[:3]}/{track.id}.mp3",
                labels=label or None,  # "can only serve as unlabeled data for training" (the authors' creation.ipynb)
                group=track.artist_id or track.artist or track.id,
            )
        )
    return from_clips(FACTS, protocol, clips, names, arguments, sampling_rate, root=audio, problem_type=problem_type)


def _metadata_folder(root: Path) -> Path:
    for base in (root, root.absolute().parent):
        for folder in (base / "fma_metadata", base):
            if (folder / "tracks.csv").is_file():
                return folder
    raise DatasetError(
        f"{FACTS.title}: tracks.csv was found neither in {root} nor in its fma_metadata/, nor beside it. Found in "
        f"{root}: {folder_contents(root)}.\n{FACTS.how_to_get}"
    )


def _audio_folder(root: Path, subset: str) -> Path:
    """The folder that holds ``000``, ``001``, …: the root, or one of a subset that holds this one."""
    larger = _SUBSETS[_SUBSETS.index(subset) :] if subset in _SUBSETS else (subset,)  # full tracks are not trimmed ones
    candidates = [root, *(root / f"fma_{name}" for name in larger)]
    for folder in candidates:
        if folder.is_dir() and any(entry.name.isdigit() and len(entry.name) == 3 for entry in folder.iterdir()):
            return folder
    looked_for = ", ".join(f"fma_{name}/000" for name in larger)
    raise DatasetError(
        f"{FACTS.title}: no audio was found in {root}: looked for 000, {looked_for}; found: {folder_contents(root)}.\n"
        f"{FACTS.how_to_get}"
    )


def _read_tracks(path: Path, protocol: str) -> pd.DataFrame:
    """The tracks of a protocol, with the columns ``id`` (six digits) and those of ``_COLUMNS``.

    tracks.csv has three header lines: the groups (album, artist, set, track), the names within them, and a third that
    holds nothing but ``track_id``. Only the columns needed are read; the others are mostly prose.
    """
    header = read_csv(path, FACTS, header=None, nrows=3)
    found = list(zip(header.iloc[0], header.iloc[1], strict=True)) if len(header) == 3 else []
    if not found or header.iloc[2, 0] != "track_id":
        raise DatasetError(
            f"{FACTS.title}: {path} does not begin with the three header lines of FMA (groups, names, track_id). Get a "
            f"fresh fma_metadata.zip.\n{FACTS.how_to_get}"
        )
    require_columns(list(_COLUMNS.values()), found, path, FACTS)
    positions = {0: "id"} | {found.index(column): name for name, column in _COLUMNS.items()}
    tracks = read_csv(path, FACTS, header=None, skiprows=3, usecols=list(positions)).rename(columns=positions)

    unknown = tracks[~tracks["subset"].isin(_SUBSETS)]
    if len(unknown):
        raise DatasetError(
            f"{FACTS.title}: {path}: unknown subsets {examples(sorted(set(unknown['subset'])))}; known are "
            f"{', '.join(_SUBSETS)}."
        )
    strange = tracks[~tracks["id"].str.fullmatch(r"\d{1,6}")]
    if len(strange):
        raise DatasetError(f"{FACTS.title}: {path}: track ids that are no numbers: {examples(list(strange['id']))}.")
    tracks["id"] = tracks["id"].str.zfill(6)
    if protocol == "full":
        return tracks
    return tracks[tracks["subset"].isin(_SUBSETS[: _SUBSETS.index(protocol) + 1])]


def _read_titles(path: Path) -> dict[int, str]:
    """genre id → title, in the order of genres.csv."""
    if not path.is_file():
        raise DatasetError(
            f"{FACTS.title}: genres.csv was not found in {path.parent}; found there: {folder_contents(path.parent)}.\n"
            f"{FACTS.how_to_get}"
        )
    genres = read_csv(path, FACTS)
    require_columns(["genre_id", "title"], list(genres), path, FACTS)
    try:
        return dict(zip(genres["genre_id"].astype(int), genres["title"], strict=True))
    except ValueError as error:
        raise DatasetError(f"{FACTS.title}: {path}: a genre_id is not a number ({error}).") from error


def _titles_of(cell: str, track: str, titles: dict[int, str]) -> tuple[str, ...]:
    """``"[76, 103]"`` → the titles of these genres. The cell is data and is parsed as data, never evaluated."""
    try:
        ids = json.loads(cell)
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not all(type(number) is int for number in ids):
        raise DatasetError(
            f"{FACTS.title}: tracks.csv: genres_all of track {track} is {cell!r}; it must be a list such as [76, 103]."
        )
    unknown = [number for number in ids if number not in titles]
    if unknown:
        raise DatasetError(
            f"{FACTS.title}: tracks.csv: track {track} has genres that genres.csv does not list: {examples(unknown)}."
        )
    return tuple(titles[number] for number in ids)
