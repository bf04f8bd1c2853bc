"""Common concepts of datasets with different labels, so that a model can be tested on data it was not made for.

The map that ships with the package is ``label_map.yaml`` beside this file, which says how to edit it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import yaml

from ..errors import HfTaggerError, RecipeError
from ..recipe_values import load_yaml
from . import dataset_facts, list_datasets
from .base import SINGLE_LABEL

PACKAGED = "label_map.yaml"
Columns = Mapping[str, Sequence[int]]
"""Concept → positions of its labels among those of a dataset or model."""


@dataclass(frozen=True)
class LabelMap:
    """What labels of different datasets have in common.

    Attributes:
        source: The file it was read from.
        concepts: Concept → dataset → labels of that dataset that mean it.
    """

    source: str
    concepts: Mapping[str, Mapping[str, Sequence[str]]]

    def columns(self, dataset: str, label_names: Sequence[str]) -> dict[str, list[int]]:
        """The concepts that some of a dataset's labels mean, with the positions of these labels.

        Args:
            dataset: The dataset's registered name.
            label_names: Its labels, or those of a model trained on it. Of a concept's labels those that are not among
                them are passed over: protocols of one dataset differ in their labels.
        """
        positions = {name: index for index, name in enumerate(label_names)}
        columns = {
            concept: [positions[label] for label in labels.get(dataset, ()) if label in positions]
            for concept, labels in self.concepts.items()
        }
        return {concept: own for concept, own in columns.items() if own}


def read_label_map(path: str | Path | None = None, loaded: Mapping[str, Iterable[str]] | None = None) -> LabelMap:
    """Reads a label map and checks it.

    Args:
        path: The file; None for the one that ships with the package.
        loaded: Label names of datasets as they were loaded, by registered name. They need not be all that the dataset
            has in some protocol, so a label that is not among them is a mistake only if one of them is written almost
            alike. Where a dataset's labels are the same in every copy (:func:`known_labels`), any other label is one.

    Raises:
        RecipeError: With every mistake: unknown datasets and labels, labels of two concepts, wrong types.
        HfTaggerError: If the file cannot be read.
    """
    source = resources.files(__package__).joinpath(PACKAGED) if path is None else Path(path).expanduser()
    try:
        content, problems = load_yaml(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HfTaggerError(
            f"The label map {source} cannot be read: {' '.join(str(error).split())}. It must be a YAML file in the "
            f"form of hf_tagger/data/{PACKAGED}."
        ) from error
    problems = list(problems)
    concepts = _concepts(content, problems)
    datasets = list(dict.fromkeys(dataset for labels in concepts.values() for dataset in labels))
    known = known_labels()
    for dataset in datasets:
        if dataset not in list_datasets():
            problems.append(_unknown(f"dataset {dataset!r}", dataset, list_datasets()))
            continue
        _check_labels(dataset, concepts, known.get(dataset), list((loaded or {}).get(dataset, ())), problems)
    if problems:
        raise RecipeError(problems, str(source))
    return LabelMap(PACKAGED if path is None else str(path), concepts)


def known_labels() -> dict[str, Sequence[str]]:
    """All labels of those datasets whose labels are the same in every copy: registered name → labels.

    FMA's large and full read theirs from the user's ``genres.csv``, folders and the Hub have whatever is there.
    """
    facts = [dataset_facts(name) for name in list_datasets()]
    return {own.name: own.labels for own in facts if own.labels}


def map_probabilities(probabilities: np.ndarray, problem_type: str, columns: Columns) -> np.ndarray:
    """Probabilities of concepts, from those of a model's labels.

    Single-label: the sum over a concept's labels, which exclude each other. Multi-label: the highest of them. The
    probability that any of them holds is never less, and no more where they are synonyms or one contains the other,
    which is what a concept's labels are. Noisy-or, ``1 - prod(1 - p)``, would take synonyms for independent evidence:
    eight words for classical music at 0.3 each would make 0.94.

    Args:
        probabilities: Float ``[N, C]``.
        problem_type: The model's: ``multi_label_classification`` or ``single_label_classification``.
        columns: The K concepts (:meth:`LabelMap.columns`), at least one.

    Returns:
        Float ``[N, K]``.
    """
    combine = np.sum if problem_type == SINGLE_LABEL else np.max
    return np.stack([combine(probabilities[:, list(own)], axis=1) for own in columns.values()], axis=1)


def map_references(references: np.ndarray, problem_type: str, columns: Columns) -> np.ndarray:
    """Which concepts clips carry: 1 if any of the concept's labels holds, else NaN if any of them is unknown, else 0.

    Args:
        references: 0/1 ``[N, C]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        problem_type: The dataset's.
        columns: The K concepts, at least one.

    Returns:
        Float64 ``[N, K]``, whatever the problem type.
    """
    if problem_type == SINGLE_LABEL:
        return np.stack([np.isin(references, list(own)) for own in columns.values()], axis=1).astype(np.float64)
    of_concepts = []
    for own in columns.values():
        labels = references[:, list(own)]
        holds, unknown = (labels == 1).any(axis=1), np.isnan(labels).any(axis=1)
        of_concepts.append(np.where(holds, 1.0, np.where(unknown, np.nan, 0.0)))
    return np.stack(of_concepts, axis=1)


def _concepts(content: object, problems: list[str]) -> dict[str, dict[str, list[str]]]:
    """What of a file has the right form; what has not goes to the problems."""
    if not isinstance(content, dict) or not content:
        problems.append(f"expected concepts, each with datasets and their labels; received {_shown(content)}")
        return {}
    concepts: dict[str, dict[str, list[str]]] = {}
    for concept, datasets in content.items():
        if not isinstance(concept, str):
            problems.append(f"{concept!r}: a concept's name must be text; put quotes around it")
            continue
        if not isinstance(datasets, dict) or not datasets:
            problems.append(f"{concept}: expected datasets, each with its labels; received {_shown(datasets)}")
            continue
        concepts[concept] = {}
        for dataset, labels in datasets.items():
            place = f"{concept}, {dataset}"
            if not isinstance(labels, list) or not labels:
                problems.append(f"{place}: expected a list of labels such as [rock, hard rock]; received {labels!r}")
                continue
            wrong = [label for label in labels if not isinstance(label, str)]
            if wrong:
                problems.append(f"{place}: labels must be text; put quotes around {', '.join(map(repr, wrong))}")
            concepts[concept][dataset] = [label for label in labels if isinstance(label, str)]
    return concepts


def _check_labels(
    dataset: str,
    concepts: Mapping[str, Mapping[str, Sequence[str]]],
    known: Sequence[str] | None,
    loaded: Sequence[str],
    problems: list[str],
) -> None:
    """Labels of one dataset that stand twice, that it does not have, or that it writes in another way."""
    alike = {_plain(label): label for label in loaded}
    first: dict[str, str] = {}
    for concept, datasets in concepts.items():
        for label in datasets.get(dataset, ()):
            other = first.setdefault(label, concept)
            if other != concept:
                problems.append(f"{dataset}: {label!r} stands in {other!r} and in {concept!r}; keep one of them")
            elif list(datasets[dataset]).count(label) > 1:
                problem = f"{dataset}: {label!r} stands twice in {concept!r}; keep one of them"
                if problem not in problems:
                    problems.append(problem)
            if known is not None and label not in known:
                problems.append(f"{concept}: {_unknown(f'label {label!r} in {dataset}', label, known)}")
            elif known is None and label not in loaded and _plain(label) in alike:
                problems.append(f"{concept}: {dataset} writes {alike[_plain(label)]!r}, not {label!r}")


def _plain(label: str) -> str:
    return "".join(character for character in label.casefold() if character.isalnum())


def _unknown(what: str, name: object, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"there is no {what}" + (f"; did you mean {close[0]!r}?" if close else "")


def _shown(value: object) -> str:
    return "nothing" if value is None or value == {} else repr(value)
