"""The datasets of a study of transfer: which recipes are of the same one, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..arguments import DataArguments
from ..data import load_tagging_dataset
from ..data.base import TaggingDatasetDict
from ..data.label_map import read_label_map
from ..recipe import parse_recipe


@dataclass(frozen=True, eq=False)
class Tested:
    """A dataset to test on.

    Attributes:
        name: Its title and protocol.
        origin: Equal for clips of one source: an id of both is the same clip.
        recipe: Path of its recipe and flags that override the fields.
        dataset: The dataset; nothing of it is decoded.
        columns: Concept → positions of its labels.
    """

    name: str
    origin: tuple
    recipe: Sequence[str]
    dataset: TaggingDatasetDict
    columns: Mapping[str, Sequence[int]]

    def labels(self, concept: str) -> list[str]:
        """The labels that mean a concept; none where it is absent."""
        return [self.dataset.label_names[index] for index in self.columns.get(concept, ())]


def read_datasets(command_lines: Sequence[Sequence[str]], label_map: str | None) -> list[Tested]:
    """The dataset of every recipe; the same object where recipes are of the same clips with the same labels.

    Args:
        command_lines: Path of each recipe and flags that override its fields.
        label_map: A label map's file; None for the one that ships with the package.

    Raises:
        HfTaggerError: For mistakes of a recipe or of the map.
    """
    arguments = [parse_recipe(list(own), check_model=False)[0] for own in command_lines]
    datasets = [load_tagging_dataset(own, sampling_rate=None) for own in arguments]
    loaded: dict[str, list[str]] = {}
    for own, dataset in zip(arguments, datasets, strict=True):
        loaded.setdefault(own.dataset_name, []).extend(dataset.label_names)
    concepts = read_label_map(label_map, loaded)
    kept: dict[tuple, Tested] = {}
    result = []
    for command_line, own, dataset in zip(command_lines, arguments, datasets, strict=True):
        title, origin = _title_and_origin(own, dataset)
        key = (origin, dataset.protocol_record()["hash"], *dataset.label_names)
        if key not in kept:
            name = f"{title} ({dataset.protocol.name})"
            same = sum(other.name.startswith(name) for other in kept.values())
            columns = concepts.columns(own.dataset_name, dataset.label_names)
            kept[key] = Tested(f"{name} {same + 1}" if same else name, origin, command_line, dataset, columns)
        result.append(kept[key])
    return result


def _title_and_origin(arguments: DataArguments, dataset: TaggingDatasetDict) -> tuple[str, tuple]:
    """How to call a dataset, and what tells whether two are the same data.

    Published data is the same wherever it lies; two folders of a user's may have equal file names and other music.
    """
    title, place = dataset.facts.title, arguments.hub_id or arguments.dataset_root
    if dataset.protocol.sizes is not None or place is None:
        return title, (dataset.facts.name,)
    path = Path(place).expanduser()
    if not path.exists():  # a repository on the Hub
        return title, (dataset.facts.name, place)
    return (title if path.name in title else f"{title}, {path.name}"), (dataset.facts.name, str(path.resolve()))
