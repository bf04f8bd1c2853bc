"""Scores of the artist20 homework: is the song's artist the first of the predicted ones, or among the first three?

Predictions are a JSON object, song → artists, the most probable first: ``{"001": ["queen", "u2", "cure"], …}``. A text
instead of a list is a list of one. Answers are one of three:

* a list of the artists of the songs 1, 2, 3, …, which is how the homework keeps them: ``["queen", "madonna", …]``
* an object, song → artist: ``{"001": "queen", …}``
* a list of objects with ``id`` and ``artist`` (or ``label``): ``[{"id": 1, "artist": "queen"}, …]``

The homework's descriptions differ in the ids (``"001"`` and ``"1"``), so leading zeros do not count here, and ``1`` is
``"1"``. Artists must be spelled alike.

* top-1 accuracy: share of all answers whose artist is predicted first.
* top-3 accuracy: share of all answers whose artist is among the first three.

A song without a prediction counts as wrong. How the homework weighs the two in its sum is not documented; the sum here
is ``top-1 + weight × top-3``, with a weight of 1 unless another is given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.base import examples
from ..errors import HfTaggerError

TOP = 3
"""Artists a song that count."""
_ARTIST_KEYS = ("artist", "label")


@dataclass(frozen=True)
class Artist20Score:
    """How many answers were found, and what does not fit together. Songs are named without leading zeros.

    Attributes:
        songs: Number of answers, at least 1.
        first: Answers whose artist is predicted first.
        among_three: Answers whose artist is among the first three.
        missing: Songs with an answer and without a prediction.
        unknown: Songs with a prediction and without an answer.
        unknown_artists: Predicted artists that no answer has.
    """

    songs: int
    first: int
    among_three: int
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    unknown_artists: tuple[str, ...] = ()

    @property
    def top1(self) -> float:
        """Top-1 accuracy, 0 to 1."""
        return self.first / self.songs

    @property
    def top3(self) -> float:
        """Top-3 accuracy, 0 to 1."""
        return self.among_three / self.songs

    def total(self, top3_weight: float = 1.0) -> float:
        """``top-1 + weight × top-3``.

        Raises:
            HfTaggerError: If the weight is negative or no number.
        """
        if not (math.isfinite(top3_weight) and top3_weight >= 0):
            raise HfTaggerError(f"The weight of top-3 must be a number of at least 0, received {top3_weight}.")
        return self.top1 + top3_weight * self.top3


def song_keys(paths: Sequence[Path]) -> list[str]:
    """The keys of files in a prediction file: their names without suffix, leading zeros kept.

    Raises:
        HfTaggerError: If two files have one key, leading zeros aside.
    """
    files: dict[str, list[str]] = {}
    for path in paths:
        files.setdefault(_song(path.stem), []).append(str(path))
    shared = [f"{song} ({', '.join(names)})" for song, names in files.items() if len(names) > 1]
    if shared:
        raise HfTaggerError(
            f"Each file's name is its song's key, but these are shared by several files: {examples(shared)}. Give one "
            f"file a song; 001 and 1 are the same song."
        )
    return [path.stem for path in paths]


def parse_json(content: bytes, source: str) -> object:
    """JSON in which no key stands twice in one object, where Python would silently take the last.

    Args:
        content: The file's bytes.
        source: The file's name, for errors.

    Raises:
        HfTaggerError: If it is not JSON, or has a key twice.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        twice = [repr(key) for key in dict.fromkeys(keys) if keys.count(key) > 1] if len(set(keys)) < len(keys) else []
        if twice:
            raise HfTaggerError(f"{source}: these keys stand in it twice: {examples(twice)}. Keep one of each.")
        return dict(pairs)

    try:
        return json.loads(content, object_pairs_hook=unique)
    except ValueError as error:
        raise HfTaggerError(f"{source} is not JSON ({error}).") from error


def read_answers(content: object, source: str = "answers") -> dict[str, str]:
    """Answers in any of the three forms.

    Args:
        content: What :func:`parse_json` returns.
        source: The file's name, for errors.

    Returns:
        Song, without leading zeros → artist, in the order of the content.

    Raises:
        HfTaggerError: If the content has none of the three forms, is empty, or has two answers for one song.
    """
    if isinstance(content, Mapping):
        pairs = list(content.items())
    elif isinstance(content, list) and any(isinstance(entry, Mapping) for entry in content):
        pairs = [_pair(entry, number, source) for number, entry in enumerate(content, start=1)]
    elif isinstance(content, list):
        pairs = list(enumerate(content, start=1))
    else:
        pairs = []
    if not pairs:
        raise HfTaggerError(
            f'{source} holds no answers: expected ["queen", …] in the order of the songs, {{"001": "queen", …}} or '
            f'[{{"id": 1, "artist": "queen"}}, …]; received {_shown(content)}.'
        )
    wrong = [f"{key!r}: {_shown(artist)}" for key, artist in pairs if not _is_artist(artist)]
    if wrong:
        raise HfTaggerError(f"{source}: an answer is the name of one artist, but received for song {examples(wrong)}.")
    return _by_song(pairs, source)


def read_predictions(content: object, source: str = "predictions") -> dict[str, tuple[str, ...]]:
    """Predictions as ``scripts/predict.py --format artist20`` writes them.

    Args:
        content: What :func:`parse_json` returns: an object, song → artists (the most probable first) or one artist.
        source: The file's name, for errors.

    Returns:
        Song, without leading zeros → one artist or more.

    Raises:
        HfTaggerError: If the content is something else, or has two predictions for one song.
    """
    if not isinstance(content, Mapping):
        raise HfTaggerError(
            f'{source}: expected an object like {{"001": ["queen", "u2", "cure"], …}}, received {_shown(content)}.'
        )
    pairs = [(key, [value] if isinstance(value, str) else value) for key, value in content.items()]
    wrong = [
        f"{key!r}: {_shown(value)}"
        for key, value in pairs
        if not (isinstance(value, list) and value and all(map(_is_artist, value)))
    ]
    if wrong:
        raise HfTaggerError(
            f"{source}: a prediction is a list of one artist or more, the most probable first, but received for song "
            f"{examples(wrong)}."
        )
    return {song: tuple(artists) for song, artists in _by_song(pairs, source).items()}


def score_artists(answers: Mapping[str, str], predictions: Mapping[str, Sequence[str]]) -> Artist20Score:
    """Counts the answers that were found.

    Args:
        answers: Song → artist, as :func:`read_answers` returns them.
        predictions: Song → artists, as :func:`read_predictions` returns them.
    """
    known = set(answers.values())
    named = [artist for song in answers for artist in predictions.get(song, ())[:TOP]]
    return Artist20Score(
        songs=len(answers),
        first=sum(artist in predictions.get(song, ())[:1] for song, artist in answers.items()),
        among_three=sum(artist in predictions.get(song, ())[:TOP] for song, artist in answers.items()),
        missing=tuple(song for song in answers if song not in predictions),
        unknown=tuple(song for song in predictions if song not in answers),
        unknown_artists=tuple(dict.fromkeys(artist for artist in named if artist not in known)),
    )


def score_report(score: Artist20Score, top3_weight: float = 1.0) -> str:
    """The score in lines: both accuracies, their sum, and the songs and artists that do not fit together."""
    total = score.total(top3_weight)
    sum_title = "Top-1 + top-3" if top3_weight == 1 else f"Top-1 + {top3_weight:g} × top-3"
    lines = [
        f"{'Top-1 accuracy':<20} {score.top1:.4f}  ({score.first} of {score.songs})",
        f"{'Top-3 accuracy':<20} {score.top3:.4f}  ({score.among_three} of {score.songs})",
        f"{sum_title:<20} {total:.4f}",
    ]
    for title, names in (
        ("Without a prediction, counted as wrong", score.missing),
        ("Without an answer, ignored", score.unknown),
        ("Predicted artists that no answer has", score.unknown_artists),
    ):
        if names:
            lines.append(f"{title} ({len(names)}): {', '.join(names)}")
    return "\n".join(lines)


def _song(key: str | int) -> str:
    """``"001"``, ``"1"`` and ``1`` are one song."""
    return str(key).lstrip("0") or "0"


def _is_artist(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _pair(entry: object, number: int, source: str) -> tuple[str | int, object]:
    keys = [key for key in _ARTIST_KEYS if key in entry] if isinstance(entry, Mapping) else []
    song = entry.get("id") if keys else None
    if len(keys) != 1 or isinstance(song, bool) or not isinstance(song, str | int):
        raise HfTaggerError(
            f'{source}: entry {number} of the list must be like {{"id": 1, "artist": "queen"}} (or label instead of '
            f"artist), received {_shown(entry)}."
        )
    return song, entry[keys[0]]


def _by_song(pairs: Iterable[tuple[str | int, object]], source: str) -> dict:
    songs: dict[str, object] = {}
    spellings: dict[str, list[str]] = {}
    for key, value in pairs:
        songs[_song(key)] = value
        spellings.setdefault(_song(key), []).append(repr(key))
    collisions = [" and ".join(keys) for keys in spellings.values() if len(keys) > 1]
    if collisions:
        raise HfTaggerError(
            f"{source}: these ids are the same song, since leading zeros do not count: {examples(collisions)}. Keep "
            f"one of each."
        )
    return songs


def _shown(value: object, length: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else text[: length - 1] + "…"
