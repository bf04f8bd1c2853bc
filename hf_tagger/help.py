"""``--help`` of the scripts that read a recipe, before the imports of a training, which take several seconds."""

from __future__ import annotations

import sys

import transformers.utils


def answer_help() -> None:
    """Prints every field of a recipe and ends the process, if the command line asks for it; else does nothing.

    Raises:
        SystemExit: When the help is printed.
    """
    if not {"-h", "--help"} & set(sys.argv[1:]):
        return
    # The fields are those of transformers' TrainingArguments, which import peft where it is installed, and with it
    # half of PyTorch. Their text is the same without it, and this process does nothing else.
    transformers.utils.is_peft_available = lambda: False
    from .recipe import parse_recipe

    parse_recipe(["--help"])
