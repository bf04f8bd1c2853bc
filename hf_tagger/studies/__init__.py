"""Studies of saved models, one module each: ``add_arguments(parser)`` and ``run(options, recipe)``.

``scripts/study.py NAME …`` finds the module by its name, with ``-`` for ``_``.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil

_NO_STUDIES = ("conditions", "long_audio_table", "transfer_data")  # what studies use


def study_names() -> list[str]:
    """Names of the studies, as ``scripts/study.py`` takes them."""
    names = (module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_STUDIES)
    return [name.replace("_", "-") for name in names]


def run_study(argv: list[str]) -> None:
    """Runs ``NAME …``: the study's own options, and fields of a recipe for what it does not know.

    Raises:
        HfTaggerError: For mistakes of the user.
    """
    study = importlib.import_module(f".{argv[0].replace('-', '_')}", __package__)
    parser = argparse.ArgumentParser(
        prog=f"scripts/study.py {argv[0]}",
        description=study.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    study.add_arguments(parser)
    options, fields = parser.parse_known_args(argv[1:])
    study.run(options, fields)
