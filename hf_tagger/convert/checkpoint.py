"""What every conversion needs: read a published checkpoint without running its code, and a folder that is free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import HfTaggerError

# What torch's unpickler says of things that it does not make, because making them may run code.
_MARKS_OF_CODE = ("GLOBAL", "unrecognized function", "allowlisted")
_NAMES_SHOWN = 3  # of each kind of mistake: enough to recognise what a file really is


def read_checkpoint(path: str) -> dict[str, torch.Tensor]:
    """Reads the tensors of a PyTorch checkpoint on the CPU. Pickled code is refused, not run.

    Args:
        path: A file that ``torch.save`` wrote: names and tensors, or a dictionary that has them as ``state_dict``.

    Raises:
        HfTaggerError: If the file is not there, damaged, no checkpoint, or holds anything but names and tensors.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise HfTaggerError(f"There is no checkpoint {path}. Expected is the file as its authors published it.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in every way: RuntimeError, EOFError, KeyError, IndexError, …
        raise HfTaggerError(_unreadable(path, str(error) or type(error).__name__)) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise HfTaggerError(
            f"{path} holds {'nothing' if isinstance(state, Mapping) else f'a {type(state).__name__}'}; expected are "
            f"tensors by name, or a dictionary that has them as 'state_dict'."
        )
    others = [repr(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise HfTaggerError(
            f"{path} is no checkpoint of a model: expected are tensors by name, or a dictionary that has them as "
            f"'state_dict'; no tensors are {_first(others)}."
        )
    return {str(name): value for name, value in state.items()}


def check_fit(path: str, found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], expected: str) -> None:
    """Compares names and shapes.

    Args:
        path: The checkpoint's path.
        found: Its tensors, under the names of our model.
        wanted: The state of our model.
        expected: A sentence on what the file should be.

    Raises:
        HfTaggerError: If they differ; the message names the first of what is missing, unexpected and of another shape.
    """
    shapes = [
        f"{name} {list(found[name].shape)} instead of {list(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    ]
    kinds = [
        ("missing", [name for name in wanted if name not in found]),
        ("unexpected", [name for name in found if name not in wanted]),
        ("of another shape", shapes),
    ]
    wrong = "; ".join(f"{len(names)} {kind}: {_first(names)}" for kind, names in kinds if names)
    if wrong:
        raise HfTaggerError(f"The tensors of {path} are not those that were expected ({wrong}). {expected}")


def new_folder(path: str) -> Path:
    """The folder for a converted model, not yet made.

    Raises:
        HfTaggerError: If it holds files, or is one.
    """
    folder = Path(path).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HfTaggerError(
            f"{path} exists and is not an empty folder; nothing was written. Name another one, or remove it first."
        )
    return folder


def _unreadable(path: str, reason: str) -> str:
    if any(mark in reason for mark in _MARKS_OF_CODE):
        named = re.search(r"(?:GLOBAL|function) ([^\s,]+)", reason)
        return (
            f"{path} was not read: it holds more than tensors{f' ({named[1]})' if named else ''}, and loading that "
            f"could run code. Use the file as its authors published it; if it is yours, save its state_dict alone."
        )
    first_sentence = reason.split("error:")[-1].strip().split("\n")[0].split(". ")[0]  # the rest is advice to trust it
    return (
        f"{path} cannot be read: it is damaged, incomplete or no PyTorch checkpoint ({first_sentence}). "
        f"Compare its size with the published one and download it again."
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
