"""Does the test split hold what the model has heard in training? Groups, equal files and copies across the splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, Value

from ..cores import usable_cores
from ..errors import DatasetError
from .fingerprints import find_copies, fingerprint
from .pcm import PreparedClips

LEAKS_FILE = "leaks.json"
_FEATURES = Features({"digest": Value("string"), "frames": Value("large_binary")})
_MOST_EQUAL = 50
_VERSION = 1  # part of the name of what is kept; raise it when fingerprints change


@dataclass(frozen=True)
class Pair:
    """Two clips that are the same recording.

    Attributes:
        first: Split and id of one clip.
        second: Split and id of the other.
        across: Whether they are in different splits.
        is_exact: Whether all samples are equal.
        bit_error_rate: Share of differing bits of their fingerprints; 0 for equal samples.
        offset: Seconds from the start of the first at which the second begins.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    across: bool
    is_exact: bool
    bit_error_rate: float
    offset: float


@dataclass(frozen=True)
class Leaks:
    """What several splits have in common.

    Attributes:
        clips: Split → number of clips.
        groups_are_known: Whether clips have groups other than themselves.
        torn_groups: Groups (recordings, songs, albums or artists) of several splits: group → split → number of clips.
        pairs: Clips that are the same recording, those across splits first; None if nobody listened.
    """

    clips: Mapping[str, int]
    groups_are_known: bool
    torn_groups: Mapping[str, Mapping[str, int]]
    pairs: list[Pair] | None = None

    @property
    def pairs_across(self) -> list[Pair]:
        """The pairs in different splits."""
        return [pair for pair in self.pairs or () if pair.across]

    def counts(self) -> dict:
        """Numbers for ``metrics.json``; None for what is not known."""
        heard = self.pairs is not None
        return {
            "groups_in_several_splits": len(self.torn_groups) if self.groups_are_known else None,
            "same_recordings_across_splits": len(self.pairs_across) if heard else None,
            "equal_clips_across_splits": sum(pair.is_exact for pair in self.pairs_across) if heard else None,
        }

    def as_record(self) -> dict:
        """All of it, for JSON."""
        return {
            "clips": dict(self.clips),
            "groups_in_several_splits": self.torn_groups,
            "same_recordings": None if self.pairs is None else [asdict(pair) for pair in self.pairs],
        }


def find_leaks(clips: Mapping[str, PreparedClips], processes: int | None = None) -> Leaks:
    """Compares all clips of all splits, by their groups and by listening.

    What was heard is kept beside the PCM store, so that the second time only compares.

    Args:
        clips: The usable clips of every split.
        processes: Processes that listen; None: one a core.

    Raises:
        DatasetError: If what is heard cannot be kept, or a process that listens was ended.
    """
    return replace(known_leaks(clips), pairs=_same_recordings(clips, processes))


def write_leaks(path: Path, protocol: Mapping, leaks: Leaks) -> None:
    """Writes all of it as JSON, with the protocol of the splits."""
    path.write_text(json.dumps({"protocol": protocol} | leaks.as_record(), indent=2) + "\n", encoding="utf-8")


def known_leaks(clips: Mapping[str, PreparedClips]) -> Leaks:
    """What the groups of the clips say, without listening."""
    counts: dict[str, dict[str, int]] = {}
    for split, own in clips.items():
        for group in own.groups:
            if group is not None:
                counts.setdefault(group, {}).setdefault(split, 0)
                counts[group][split] += 1
    # Where nothing is known, every clip is a group of its own, named by its id.
    known = any(group != clip_id for own in clips.values() for group, clip_id in zip(own.groups, own.ids, strict=True))
    torn = {group: splits for group, splits in sorted(counts.items()) if len(splits) > 1}
    return Leaks({split: len(own) for split, own in clips.items()}, known, torn)


def _same_recordings(clips: Mapping[str, PreparedClips], processes: int | None) -> list[Pair]:
    names = [(split, clip_id) for split, own in clips.items() for clip_id in own.ids]
    digests: dict[str, list[int]] = {}
    prints = []
    for split, own in clips.items():
        for row in _heard(own, split, processes) if len(own) else ():
            if row["digest"]:
                digests.setdefault(row["digest"], []).append(len(prints))
            prints.append(np.frombuffer(row["frames"], dtype="<u4"))
    exact = {pair for same in digests.values() for pair in _pairs_of(same)}
    found = dict.fromkeys(sorted(exact), (0.0, 0.0))
    for copy in find_copies(prints):
        found.setdefault((copy.first, copy.second), (copy.bit_error_rate, copy.offset))
    pairs = [
        Pair(names[one], names[other], names[one][0] != names[other][0], (one, other) in exact, rate, offset)
        for (one, other), (rate, offset) in found.items()
    ]
    return sorted(pairs, key=lambda pair: (not pair.across, not pair.is_exact, pair.bit_error_rate))


def _pairs_of(equal: list[int]) -> Iterable[tuple[int, int]]:
    """All pairs of equal clips; of very many each one with the first."""
    return combinations(equal, 2) if len(equal) <= _MOST_EQUAL else ((equal[0], other) for other in equal[1:])


def _heard(clips: PreparedClips, split: str, processes: int | None) -> Dataset:
    """Digest of the samples and fingerprint of every clip, in order."""
    key = hashlib.sha256(f"{_VERSION} {clips.fingerprint}".encode()).hexdigest()[:32]
    processes = min(processes or usable_cores(), len(clips))
    folder = clips.store_folder
    try:
        return Dataset.from_dict({"position": range(len(clips))}).map(
            partial(_listen, clips=clips),
            remove_columns=["position"],
            features=_FEATURES,
            cache_file_name=str(folder / f"fingerprints-{key}.arrow"),
            new_fingerprint=key,
            num_proc=processes if processes > 1 else None,
            desc=f"Listening to {split} clips",
        )
    # RuntimeError: datasets' word for a process that was killed, for want of memory mostly.
    except (OSError, RuntimeError, pa.ArrowException) as error:
        raise DatasetError(
            f"The fingerprints of the {split} clips could not be written to {folder}: {error}. Free some space or "
            f"memory, or leave check_leaks out."
        ) from error


def _listen(row: dict, clips: PreparedClips) -> dict:
    waveform = clips.read(row["position"])
    frames = fingerprint(waveform, clips.sampling_rate).astype("<u4").tobytes()
    # Silent clips are equal, but no recording.
    return {"digest": hashlib.sha256(waveform.tobytes()).hexdigest() if waveform.any() else "", "frames": frames}
