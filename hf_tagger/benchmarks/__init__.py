"""Benchmarks: what stands between the data and the model, one module each; ``scripts/benchmark.py`` runs them.

Every comparison is made within one run, in turns, between three ways: ours; the stock way, which is that of
transformers' own example for audio classification (``datasets``' ``Audio``, ``set_transform``, the stock feature
extractor; its pipeline called window by window); and the limit, the model on a tensor that already lies on the device.

A module of this folder without a leading underscore is a benchmark: ``add_arguments(parser)`` and
``measure(options) -> Results``. There is no other list.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType

from ._results import Results


def benchmark_names() -> list[str]:
    """Names of the benchmarks, as ``scripts/benchmark.py`` takes them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def read_command_line(argv: list[str]) -> tuple[Callable[[argparse.Namespace], Results], argparse.Namespace]:
    """Reads ``NAME --option value …``.

    Args:
        argv: The benchmark's name and its options.

    Returns:
        The function that measures, which raises HfTaggerError for what is not possible on this machine; and the options
        that it takes.

    Raises:
        SystemExit: For unknown options, and for ``--help``.
    """
    benchmark: ModuleType = importlib.import_module(f".{argv[0]}", __package__)
    parser = argparse.ArgumentParser(
        prog=f"scripts/benchmark.py {argv[0]}",
        description=benchmark.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    benchmark.add_arguments(parser)
    parser.add_argument("--output", help="JSON file for the results; default: runs/benchmarks/NAME.json")
    return benchmark.measure, parser.parse_args(argv[1:])
