"""Splits drawn by a seed: stratified by label, and never through a group (recording, album, artist)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ..errors import DatasetError
from .base import SPLITS, Clip, DatasetFacts, Protocol

if TYPE_CHECKING:
    from ..arguments import DataArguments

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

_ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {alias: split for split, aliases in _ALIASES.items() for alias in aliases}


def canonical_split(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` for the names that people give them (``val``, ``dev``, …), else None."""
    return _SPLIT_OF.get(name.strip().lower())


def accepted_split_names() -> str:
    """The names that :func:`canonical_split` knows, for messages."""
    return ", ".join(_SPLIT_OF)


def seeded_split(clips: Sequence[Clip], seed: int, shares: Mapping[str, float] | None = None) -> dict[str, list[Clip]]:
    """Draws the splits by a seed.

    Every label is spread over the splits as evenly as whole groups allow (scikit-learn's ``StratifiedGroupKFold``). A
    clip of several labels counts for its rarest one, because the common ones spread by themselves. Shares are aims:
    a split grows where a class could otherwise not be in all of them. At the end every label that has no training clip
    gets its smallest group moved there. The result depends on the clips and the seed, not on their order.

    Args:
        clips: The clips; ``group`` says what stays together.
        seed: Any number from 0 to 2³² - 1.
        shares: Part of the clips for every split to draw. Default: 80 % train, 10 % validation, 10 % test.

    Returns:
        The splits, each in the order of ``clips``.

    Raises:
        DatasetError: If there are too few groups.
    """
    shares = dict(shares or SHARES)
    number_of_groups = len({clip.group for clip in clips})
    if number_of_groups < len(shares):
        raise DatasetError(
            f"{number_of_groups} groups (recordings, albums or artists) are too few to draw the splits "
            f"{', '.join(shares)} from; a group stays in one split. Add recordings, or state the split yourself."
        )
    ordered = sorted(clips, key=lambda clip: clip.id)
    strata = _strata(ordered)
    split_of = {}
    rest = np.arange(len(ordered))
    left = sum(shares.values())
    for split, share in reversed(shares.items()):  # test first, then validation from what is left; train is the rest
        if split == "train":
            break
        held_out = _one_fold(ordered, strata, rest, share / left, seed)
        split_of.update({ordered[index].id: split for index in held_out})
        rest = np.setdiff1d(rest, held_out)
        left -= share
    splits = {split: [clip for clip in clips if split_of.get(clip.id, "train") == split] for split in shares}
    return _with_every_label_in_train(splits, clips)


def own_protocols(source: str) -> tuple[Protocol, Protocol]:
    """The protocols of data whose split is the user's: ``given`` if it is stated in full, else ``seeded``."""
    drawn = "splits that it lacks are drawn from train by split_seed, stratified, groups kept together"
    return Protocol("given", source), Protocol("seeded", f"{source}; {drawn}", generated=True)


def complete_split(
    facts: DatasetFacts, arguments: DataArguments, given: Mapping[str, Sequence[Clip]]
) -> tuple[Protocol, dict[str, list[Clip]]]:
    """Draws the splits that the data does not state out of ``train``, with :func:`seeded_split`.

    Args:
        facts: The dataset's facts, with :func:`own_protocols`.
        arguments: ``split_seed`` is read, and ``protocol``, which may insist on one of the two.
        given: The clips of the splits that the data states; all of them in ``train`` if it states none.

    Returns:
        The protocol, ``given`` or ``seeded``, and the clips of all three splits.

    Raises:
        DatasetError: If there are no training clips, if the protocol asked for does not fit, or if there are too few
            clips to draw from.
    """
    stated = [split for split in SPLITS if given.get(split)]
    missing = [split for split in SPLITS if split not in stated]
    if "train" in missing:
        raise DatasetError(f"{facts.title}: there are no training clips, only {', '.join(stated) or 'nothing'}.")
    protocol = facts.protocol("seeded" if missing else "given")
    if arguments.protocol is not None and facts.protocol(arguments.protocol) != protocol:
        raise DatasetError(
            f"{facts.title}: protocol {arguments.protocol!r} was asked for, but the data states "
            f"{'no ' + ' and no '.join(missing) if missing else 'its whole split'}; so the protocol is "
            f"{protocol.name!r}. Leave protocol out, or change the data."
        )
    if not missing:
        return protocol, {split: list(given[split]) for split in SPLITS}
    shares = {split: SHARES[split] for split in SPLITS if split == "train" or split in missing}
    drawn = seeded_split(given["train"], arguments.split_seed, shares)
    return protocol, {split: drawn.get(split) or list(given[split]) for split in SPLITS}


def _strata(clips: Sequence[Clip]) -> np.ndarray:
    """For each clip the number of its rarest label; clips without labels are a stratum of their own."""
    counts = Counter(label for clip in clips for label in clip.labels or ())
    rarest = [min(clip.labels, key=lambda label: (counts[label], label)) if clip.labels else "" for clip in clips]
    return np.unique(rarest, return_inverse=True)[1]


def _one_fold(clips: Sequence[Clip], strata: np.ndarray, rest: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Positions of about ``share`` of the clips at ``rest``."""
    groups = np.unique([clips[index].group for index in rest], return_inverse=True)[1]
    number_of_groups = int(groups.max()) + 1
    if number_of_groups < 2:  # the caller finds train or this split empty and says so
        return rest[:0]
    stratum = strata[rest]
    largest = int(np.bincount(stratum).max())
    if largest < 2:  # no two clips are alike: nothing to stratify by
        stratum, largest = np.zeros_like(stratum), len(rest)
    # Neither more folds than groups nor than the largest class has clips, so that a fold can hold every class.
    folds = max(2, min(round(1 / share), number_of_groups, largest))
    options = {"n_splits": folds, "shuffle": True, "random_state": seed}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # rare tags are the normal case
        if number_of_groups == len(rest):  # the plain form does the same and stays fast for 100,000 clips
            parts = StratifiedKFold(**options).split(rest, stratum)
        else:
            parts = StratifiedGroupKFold(**options).split(rest, stratum, groups)
        held_out = [positions for _, positions in parts if len(positions)]
    # Folds of whole groups differ in size; the one nearest to the share is taken.
    return rest[min(held_out, key=lambda positions: abs(len(positions) - share * len(rest)))]


def _with_every_label_in_train(splits: Mapping[str, Sequence[Clip]], clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    members: dict[str, list[Clip]] = {}
    for clip in clips:
        members.setdefault(clip.group, []).append(clip)
    split_of = {clip.group: split for split, rows in splits.items() for clip in rows}
    groups_of: dict[str, set[str]] = {}  # label → groups that hold it
    for clip in clips:
        for label in clip.labels or ():
            groups_of.setdefault(label, set()).add(clip.group)
    for _, groups in sorted(groups_of.items()):
        if all(split_of[group] != "train" for group in groups):
            split_of[min(groups, key=lambda group: (len(members[group]), group))] = "train"
    result = {split: [clip for clip in clips if split_of[clip.group] == split] for split in splits}
    empty = [split for split, rows in result.items() if not rows]
    if empty:
        raise DatasetError(
            f"{len(members)} groups (recordings, albums or artists) of {len(groups_of)} labels are too few to draw the "
            f"splits {', '.join(splits)}: once every label is in train, nothing is left for {' and '.join(empty)}. Add "
            f"recordings, or state the split yourself."
        )
    return result
