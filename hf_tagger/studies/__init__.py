"""Studies of saved models, one module each: ``add_arguments(parser)`` and ``run(options, recipe)``.

``scripts/study.py NAME …`` finds the module by its name, with ``-`` for ``_``.
"""

from __future__ import annotations

from ..command_line import load_subcommand, subcommand_names

_NO_STUDIES = ("conditions", "long_audio_table", "transfer_data")  # what studies use


def study_names() -> list[str]:
    """Names of the studies, as ``scripts/study.py`` takes them."""
    return subcommand_names(__path__, _NO_STUDIES)


def run_study(argv: list[str]) -> None:
    """Runs ``NAME …``: the study's own options, and fields of a recipe for what it does not know.

    Raises:
        HfTaggerError: For mistakes of the user.
    """
    study, parser = load_subcommand(__name__, "study.py", argv[0])
    options, fields = parser.parse_known_args(argv[1:])
    study.run(options, fields)
