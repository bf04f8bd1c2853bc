"""Convert a published checkpoint into a folder that recipes and transformers load.

python scripts/convert.py musicfm pretrained_msd.pt msd_stats.json pretrained/musicfm
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import importlib
import pkgutil
from types import ModuleType

import hf_tagger.convert
from hf_tagger.command_line import run_script


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(title="families", metavar="family", required=True)
    for name, family in find_families().items():
        subparser = subparsers.add_parser(name, help=family.DESCRIPTION, description=family.DESCRIPTION)
        family.add_arguments(subparser)
        subparser.set_defaults(run=family.run)
    options = parser.parse_args(argv)
    options.run(options)


def find_families() -> dict[str, ModuleType]:
    """The modules of ``hf_tagger/convert`` that have a ``run``, by the name of their sub-command."""
    modules = {
        info.name.replace("_", "-"): importlib.import_module(f"{hf_tagger.convert.__name__}.{info.name}")
        for info in pkgutil.iter_modules(hf_tagger.convert.__path__)
    }
    return {name: module for name, module in modules.items() if hasattr(module, "run")}


if __name__ == "__main__":
    run_script(main)
