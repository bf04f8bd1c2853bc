"""Options of benchmarks: numbers that are possible, and the machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from ..command_line import check_device
from ..cores import usable_cores
from ..tagging import chosen_device


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number of at least so much."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"a whole number of at least {least} is expected; received {text!r}")
        return number

    return read


def seconds(text: str) -> float:
    """The type of an option that is a time."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds is expected; received {text!r}")
    return number


def add_machine_options(parser: argparse.ArgumentParser, threads: int | None = None) -> None:
    """Adds ``--device`` and ``--threads``.

    Args:
        parser: Whose options these become.
        threads: The default; None for as many as there are cores.
    """
    parser.add_argument("--device", help="default: the first accelerator, or the CPU")
    parser.add_argument("--threads", type=whole_number(1), default=threads or usable_cores(), help="threads of the CPU")


def add_size_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--size`` of the models."""
    parser.add_argument("--size", choices=["small", "real"], help="default: small on a CPU, real on a GPU")


def chosen_machine(options: argparse.Namespace) -> torch.device:
    """Sets the threads, and returns the device, of :func:`add_machine_options`.

    Raises:
        HfTaggerError: If this machine has no such device.
    """
    check_device(options.device)
    torch.set_num_threads(options.threads)
    return chosen_device(options.device)


def chosen_size(options: argparse.Namespace, device: torch.device) -> str:
    """``small`` or ``real``, as :func:`add_size_option` says."""
    return options.size or ("small" if device.type == "cpu" else "real")
