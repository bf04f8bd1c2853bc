"""What every dataset shares: the facts it states, the rows it yields, the checks it passes.

A dataset is one module of this folder. It opens with ``FACTS`` (citation, licence, how to get the data, protocols) and
has one function ``load(arguments, sampling_rate) -> TaggingDatasetDict``. Nothing else has to be registered: a module
with ``FACTS`` *is* a dataset of that module's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import DatasetDict

from ..errors import DatasetError

if TYPE_CHECKING:
    from ..arguments import DataArguments

SPLITS = ("train", "validation", "test")
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
_EXAMPLES_SHOWN = 10  # enough to see a pattern, few enough to stay on one screen


@dataclass(frozen=True)
class Protocol:
    """How a dataset is split. Two results are comparable only if their protocols are equal.

    Attributes:
        name: The name a recipe uses.
        source: Where the split comes from (paper, file or link).
        sizes: Clips expected in each split, or None where the user's data decides.
        ids_hash: Expected :func:`hash_ids`, or None where it cannot be known without the data.
        groups_are_disjoint: Whether no group (artist, album) may stand in two splits.
        generated: Whether we made the split by a seed, so that the run must write it down.
    """

    name: str
    source: str
    sizes: Mapping[str, int] | None = None
    ids_hash: str | None = None
    groups_are_disjoint: bool = False
    generated: bool = False


@dataclass(frozen=True)
class DatasetFacts:
    """What a user has to know about a dataset before using it; printed in errors and in the model card.

    Attributes:
        name: The dataset's name in recipes; equals the module's name.
        title: The name people use in writing.
        citation: BibTeX of the paper that introduced the data.
        license: The licence, in a sentence.
        homepage: Where the dataset lives.
        how_to_get: How to obtain the files and how to lay them out below ``dataset_root``.
        problem_type: transformers' ``problem_type``, or None where the user's data decides.
        protocols: The known protocols; the first one is the default.
        options: Fields of ``DataArguments`` that only some datasets understand and that this one does.
        notes: Known faults and caveats that belong beside every number.
        considerations: Whose music and whose judgement it is, and what a model of it should not be used for.
        needs_root: Whether ``dataset_root`` has to be given.
        hub_id: The dataset's repository on the Hub, for the model card's metadata.
        labels: All labels of any protocol, where they are the same in every copy.
    """

    name: str
    title: str
    citation: str
    license: str
    homepage: str
    how_to_get: str
    problem_type: str | None
    protocols: tuple[Protocol, ...]
    options: tuple[str, ...] = ()
    notes: str = ""
    considerations: str = ""
    needs_root: bool = True
    hub_id: str | None = None
    labels: tuple[str, ...] = ()

    def protocol(self, name: str | None) -> Protocol:
        """Returns the protocol called ``name`` (None: the default).

        Raises:
            DatasetError: If there is no such protocol.
        """
        known = {protocol.name: protocol for protocol in self.protocols}
        if name is None:
            return self.protocols[0]
        if name not in known:
            raise DatasetError(f"{self.name} has no protocol {name!r}; it has: {', '.join(known)}.")
        return known[name]


@dataclass(frozen=True)
class Clip:
    """One row before it becomes part of a ``datasets.Dataset``.

    Attributes:
        id: Unique within the dataset.
        path: Path of the audio file, relative to the dataset's root.
        labels: Names of the clip's labels (exactly one for a single-label dataset), or None if they are not known.
        group: What must not be torn apart by a split: recording, album or artist.
        content: The encoded audio itself, for clips that are not files.
        unknown_labels: Multi-label only: names of labels of which nobody said whether the clip carries them. Where all
            of them are unknown, ``labels`` is None instead.
    """

    id: str
    path: str | None
    labels: tuple[str, ...] | None
    group: str
    content: bytes | None = field(default=None, repr=False)
    unknown_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class SkippedClip:
    """A clip that takes no part in the run, and why."""

    id: str
    split: str
    path: str
    reason: str


class TaggingDatasetDict(DatasetDict):
    """``train``, ``validation`` and ``test`` with rows ``id, audio, labels, group``, and what is known of them.

    Where some labels of some clips are neither present nor absent but unknown, there is one column more in all splits,
    ``unknown_labels``: a list of such labels, like ``labels``.

    Attributes:
        facts: The dataset's :class:`DatasetFacts`.
        protocol: The :class:`Protocol` of this split.
        problem_type: ``single_label_classification`` or ``multi_label_classification``.
        label_names: Names of the labels, in the order of the model's outputs.
        skipped: Clips that the protocol names and that were left out while loading.
    """

    facts: DatasetFacts
    protocol: Protocol
    problem_type: str
    label_names: list[str]
    skipped: list[SkippedClip]

    def protocol_record(self) -> dict:
        """What metrics carry so that numbers of different protocols are never mixed (contract 4)."""
        return {
            "dataset": self.facts.name,
            "name": self.protocol.name,
            "source": self.protocol.source,
            "sizes": {split: len(self[split]) for split in self},
            "sizes_expected": dict(self.protocol.sizes) if self.protocol.sizes else None,
            "hash": hash_ids({split: self[split]["id"][:] for split in self}),
        }


def hash_ids(ids: Mapping[str, Iterable[str]]) -> str:
    """SHA-256 over the sorted ids of every split; independent of file order, sensitive to any moved clip."""
    digest = hashlib.sha256()
    for split in sorted(ids):
        digest.update(f"[{split}]\n".encode())
        for clip_id in sorted(ids[split]):
            digest.update(f"{clip_id}\n".encode())
    return digest.hexdigest()


def dataset_root(arguments: DataArguments, facts: DatasetFacts) -> Path:
    """The folder that a dataset was put into.

    Raises:
        DatasetError: If no folder was given, or if what was given is not a folder.
    """
    if arguments.dataset_root is None:
        raise DatasetError(f"{facts.title} needs dataset_root, the folder that holds it.\n{facts.how_to_get}")
    root = Path(arguments.dataset_root).expanduser()
    if not root.exists():
        raise DatasetError(f"dataset_root {root} does not exist.\n{facts.how_to_get}")
    if not root.is_dir():
        raise DatasetError(
            f"dataset_root {root} is a file; it must be the folder of {facts.title}.\n{facts.how_to_get}"
        )
    return root


def refuse_dataset_root(arguments: DataArguments, facts: DatasetFacts, instead: str) -> None:
    """Raises DatasetError if ``dataset_root`` was given to a dataset that would silently ignore it.

    Args:
        arguments: The user's arguments.
        facts: The dataset's facts.
        instead: What to do, as a sentence.
    """
    if arguments.dataset_root is not None:
        raise DatasetError(
            f"dataset_name {facts.name!r} does not read dataset_root (received {arguments.dataset_root}). {instead}"
        )


def protocol_lines(name: str) -> list[str]:
    """A list that ships with the package, such as ``gtzan/train.txt``; lines that start with ``#`` name its source."""
    text = resources.files(__package__).joinpath("protocols", *name.split("/")).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def folder_contents(folder: Path) -> str:
    """What lies in a folder, for messages that say what was found: ``a/, b/ and 3 more``."""
    try:
        entries = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in folder.iterdir())
    except OSError as error:
        return f"nothing readable ({error.strerror})"
    return examples(entries) if entries else "nothing"


def examples(items: Sequence[object]) -> str:
    """The first few items of a long list, and how many more there are."""
    shown = ", ".join(str(item) for item in items[:_EXAMPLES_SHOWN])
    more = len(items) - _EXAMPLES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
