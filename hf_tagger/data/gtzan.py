"""GTZAN: 1,000 excerpts of 30 seconds in ten genres, 100 each (22,050 Hz, mono, 16 bits).

Paper: Tzanetakis and Cook 2002. Licence: none stated. Get it from the Hub (``marsyas/gtzan``) or Kaggle
(``andradaolteanu/gtzan-dataset-music-genre-classification``); ``FACTS.how_to_get`` says where to put it.

Protocols:
    fault_filtered: 443 / 197 / 290 clips. Kereliuk, Sturm and Larsen 2015 removed the faults that Sturm found and
        made a split in which no artist is in two parts. The lists ship with this package.
    stratified: 800 / 100 / 100 clips, all genres alike, drawn by ``split_seed``. Artists and repeated excerpts are on
        both sides, so its numbers are much higher and say less.

Clips of one recording (Sturm 2013; the list ships with this package) have one ``group``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import DatasetError
from .base import (
    SINGLE_LABEL,
    SPLITS,
    Clip,
    DatasetFacts,
    Protocol,
    TaggingDatasetDict,
    dataset_root,
    folder_contents,
    protocol_lines,
)
from .rows import from_clips
from .splits import seeded_split

if TYPE_CHECKING:
    from ..arguments import DataArguments

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
CLIPS_PER_GENRE = 100

_BASES = ("genres_original", "genres", ".", "Data/genres_original")  # the last: Kaggle's archive, as it unpacks
_SUFFIXES = (".wav", ".au")

FACTS = DatasetFacts(
    name="gtzan",
    title="GTZAN",
    citation="""@article{tzanetakis2002musical,
  author  = {Tzanetakis, George and Cook, Perry},
  title   = {Musical genre classification of audio signals},
  journal = {IEEE Transactions on Speech and Audio Processing},
  volume  = {10},
  number  = {5},
  pages   = {293--302},
  year    = {2002},
  doi     = {10.1109/TSA.2002.800560}
}""",
    license="None stated: excerpts of commercial recordings, collected for research.",
    homepage="https://huggingface.co/datasets/marsyas/gtzan",
    how_to_get=(
        "How to get GTZAN: download it from https://huggingface.co/datasets/marsyas/gtzan (data/genres.tar.gz) or "
        "https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification, unpack it, and set "
        "dataset_root to the folder that holds genres_original/ or genres/, such that there is "
        "genres_original/blues/blues.00000.wav (.au is read as well)."
    ),
    problem_type=SINGLE_LABEL,
    protocols=(
        Protocol(
            name="fault_filtered",
            source="Kereliuk, Sturm and Larsen 2015, https://arxiv.org/abs/1507.04761",
            sizes={"train": 443, "validation": 197, "test": 290},
            ids_hash="267ca93226acf86a1837715a4d042c1aadd9df4f4979f794b0361111471eb613",
        ),
        Protocol(
            name="stratified",
            source="hf_tagger: stratified by genre, drawn by split_seed",
            sizes={"train": 800, "validation": 100, "test": 100},
            generated=True,
        ),
    ),
    notes=(
        "jazz.00054 is unreadable in the common download, so 442 of the 443 training clips of fault_filtered remain. "
        "Sturm (2013, https://arxiv.org/abs/1306.1461) lists repeated excerpts, wrong labels and distortions; "
        "fault_filtered leaves them out and keeps artists apart. stratified does neither."
    ),
    considerations=(
        "One person chose ten genres and 100 excerpts of each from his records and the radio around the year 2000; "
        "most are American or British. Genre is a matter of opinion, and music from elsewhere has no label of its "
        "own. The recordings are commercial, and their makers were not asked."
    ),
    hub_id="marsyas/gtzan",
    labels=GENRES,
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Loads GTZAN; see :func:`hf_tagger.data.load_tagging_dataset`."""
    root = dataset_root(arguments, FACTS)
    protocol = FACTS.protocol(arguments.protocol)
    base = _genres_folder(root)
    files = _audio_files(root / base)
    if protocol.name == "stratified":
        every = [f"{genre}.{number:05d}" for genre in GENRES for number in range(CLIPS_PER_GENRE)]
        clips = seeded_split([_clip(name, base, files) for name in every], arguments.split_seed)
    else:
        lists = {split: protocol_lines(f"gtzan/{split}.txt") for split in SPLITS}
        clips = {split: [_clip(Path(line).stem, base, files) for line in lines] for split, lines in lists.items()}
    recording = _recordings()  # after the draw: everyone else's stratified splits tear them apart, too
    clips = {
        split: [replace(clip, group=recording.get(clip.id, clip.id)) for clip in rows] for split, rows in clips.items()
    }
    return from_clips(FACTS, protocol, clips, GENRES, arguments, sampling_rate, root=root)


def _recordings() -> dict[str, str]:
    """Of every clip whose recording is in GTZAN more than once: the name of the first such clip."""
    recordings = {}
    for line in protocol_lines("gtzan/repetitions.txt"):
        genre, *numbers = line.split()
        names = [f"{genre}.{int(number):05d}" for number in numbers]
        recordings.update(dict.fromkeys(names, names[0]))
    return recordings


def _genres_folder(root: Path) -> str:
    """The folder that holds the genres, relative to the root; ``images_original`` beside it is not looked at."""
    for base in _BASES:
        if any((root / base / genre).is_dir() for genre in GENRES):
            return base
    raise DatasetError(
        f"{FACTS.title}: no folder of a genre ({', '.join(GENRES)}) was found in {root}, its genres_original/ or its "
        f"genres/. Found in {root}: {folder_contents(root)}.\n{FACTS.how_to_get}"
    )


def _audio_files(folder: Path) -> dict[str, str]:
    """``blues.00000`` → ``blues/blues.00000.wav``; wav goes before au where a clip exists in both."""
    files = {}
    for genre in GENRES:
        for suffix in reversed(_SUFFIXES):
            files.update({path.stem: f"{genre}/{path.name}" for path in (folder / genre).glob(f"{genre}.*{suffix}")})
    return files


def _clip(name: str, base: str, files: dict[str, str]) -> Clip:
    genre = name.split(".")[0]
    path = files.get(name, f"{genre}/{name}.wav")  # a missing file keeps the name that it should have
    return Clip(id=name, path=str(PurePosixPath(base, path)), labels=(genre,), group=name)
