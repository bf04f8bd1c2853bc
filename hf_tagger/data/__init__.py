"""Datasets by name. A module of this folder that states ``FACTS`` is a dataset; there is no other list."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import DatasetError
from .base import DatasetFacts, TaggingDatasetDict

if TYPE_CHECKING:
    from ..arguments import DataArguments


def _dataset_modules() -> dict[str, ModuleType]:
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
        if not info.name.startswith("_")
    )
    return {module.FACTS.name: module for module in modules if hasattr(module, "FACTS")}


def list_datasets() -> list[str]:
    """Names that ``dataset_name`` may have."""
    return sorted(_dataset_modules())


def dataset_facts(name: str) -> DatasetFacts:
    """Citation, licence, protocols and more of one dataset.

    Raises:
        DatasetError: If there is no such dataset.
    """
    return _dataset_module(name).FACTS


def load_tagging_dataset(arguments: DataArguments, sampling_rate: int | None = 16_000) -> TaggingDatasetDict:
    """Loads a dataset as ``train``, ``validation`` and ``test`` with rows ``id, audio, labels, group``.

    ``audio`` is a ``datasets.Audio`` column that decodes to mono at ``sampling_rate``; nothing is decoded here.
    ``labels`` is a ``ClassLabel`` (single-label) or a list of them (multi-label), None where labels are not known.
    ``group`` is the recording, album or artist. Data that leave it open whether a clip carries a label have one column
    more, ``unknown_labels``, a list of such labels.

    Args:
        arguments: The dataset's name, root, protocol and options.
        sampling_rate: Rate in Hz, that of the model; the default is that of ``short_cnn``. None keeps each file's own.

    Returns:
        The splits, with ``facts``, ``protocol``, ``problem_type``, ``label_names`` and ``skipped`` beside them.

    Raises:
        DatasetError: If the dataset is unknown, missing, incomplete or not what its protocol promises. The message
            says what was looked for, what was found, and what to do.
    """
    problems = argument_problems(arguments)
    if problems:
        raise DatasetError(" ".join(f"{problem}." for problem in problems))
    return _dataset_modules()[arguments.dataset_name].load(arguments, sampling_rate)


def argument_problems(arguments: DataArguments) -> list[str]:
    """Sentences for an unknown dataset or protocol, and for options that the dataset does not understand."""
    try:
        facts = dataset_facts(arguments.dataset_name)
    except DatasetError as error:
        return [f"dataset_name: {error}".rstrip(".")]
    others = {name for module in _dataset_modules().values() for name in module.FACTS.options} - set(facts.options)
    problems = [
        f"{name}: {facts.name} does not have this option; its own options: {', '.join(facts.options) or 'none'}"
        for name in sorted(others)
        if getattr(arguments, name) is not None
    ]
    try:
        facts.protocol(arguments.protocol)
    except DatasetError as error:
        problems.append(f"protocol: {error}".rstrip("."))
    return problems


def _dataset_module(name: str) -> ModuleType:
    modules = _dataset_modules()
    if name not in modules:
        close = difflib.get_close_matches(name, modules, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DatasetError(f"There is no dataset {name!r}.{hint} Known are: {', '.join(sorted(modules))}.")
    return modules[name]
