"""Benchmarks: what stands between the data and the model, one module each; ``scripts/benchmark.py`` runs them.

Every comparison is made within one run, in turns, between three ways: ours; the stock way, which is that of
transformers' own example for audio classification (``datasets``' ``Audio``, ``set_transform``, the stock feature
extractor; its pipeline called window by window); and the limit, the model on a tensor that already lies on the device.

A module of this folder without a leading underscore is a benchmark: ``add_arguments(parser)`` and
``measure(options) -> Results``. There is no other list.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..command_line import load_subcommand, subcommand_names
from ._results import Results


def benchmark_names() -> list[str]:
    """Names of the benchmarks, as ``scripts/benchmark.py`` takes them."""
    return subcommand_names(__path__)


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
    benchmark, parser = load_subcommand(__name__, "benchmark.py", argv[0])
    parser.add_argument("--output", help="JSON file for the results; default: runs/benchmarks/NAME.json")
    return benchmark.measure, parser.parse_args(argv[1:])
