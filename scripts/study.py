"""Train every variant of a study recipe under one budget, and put their numbers and costs into one table.

python scripts/study.py inputs recipes/study_inputs.yaml --dataset_root ~/data/magnatagatune
python scripts/study.py variants recipes/study_augmentation.yaml --dataset_root ~/data/magnatagatune

Or study a saved model (each with --help of its own):

python scripts/study.py short-clips RUN RECIPE     scores by the duration of clips, and by where they are cut
python scripts/study.py robustness RUN RECIPE      scores on spoiled recordings

Or a dataset:

python scripts/study.py leaks RECIPE               groups, equal files and copies of recordings across the splits

In a study of variants each further flag is a field of the recipe and holds for all variants. A finished variant is not
trained again, one that was cut off goes on from its last checkpoint; --overwrite_output_dir trains anew. Each variant
has its own folder in output_dir, where study.md and study.json hold the table of all that are finished.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import subprocess
from pathlib import Path

import torch

from hf_tagger import HfTaggerError
from hf_tagger.command_line import INTERRUPTED_STATUS, run_script
from hf_tagger.errors import Interrupted
from hf_tagger.studies import run_study, study_names
from hf_tagger.study import Variant, collect_rows, default_folder, read_variants, write_table

_FINETUNE = str(Path(__file__).resolve().parent / "finetune.py")


def main(argv: list[str]) -> None:
    if argv and argv[0] in study_names():
        run_study(argv)
        return
    environment = dict(os.environ)  # reading a recipe writes into it (torch_compile): no matter of other variants
    options, fields = read_command_line(argv)
    variants, missing = read_variants(options.recipe, fields, options.only, options.output_dir)
    folder = Path(options.output_dir).expanduser() if options.output_dir else default_folder(options.recipe)

    failures, trained = {}, []
    for name, variant in variants.items():
        if (options.only and name not in options.only) or (variant.is_finished and not variant.overwrite):
            continue
        print(f"\n{name}: training into {variant.folder}", flush=True)
        if train(variant, environment):
            trained.append(name)
        else:
            failures[name] = "its training failed, see above"
            print(f"\n{name}: the training failed", flush=True)

    rows, unfinished, unusable = collect_rows(variants, trained, options.measure_again)
    table = write_table(rows, folder)
    print(f"\n{table}\nWritten to {folder / 'study.md'} and {folder / 'study.json'}.")
    for name, reason in (missing | unfinished).items():
        print(f"Not in the table: {name} ({reason})")
    failures = unusable | failures
    if failures:
        listing = "\n".join(f"  - {name}: {reason}" for name, reason in failures.items())
        raise HfTaggerError(
            f"{len(failures)} of {len(variants) + len(missing)} variants failed:\n{listing}\n"
            f"What was finished is kept and in the table; the same command goes on with the rest."
        )


def read_command_line(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of this script, and the fields of the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "study",
        choices=["inputs", "variants"],
        help="inputs: models and front ends under the same budget; variants: whatever else a recipe's variants change",
    )
    parser.add_argument("recipe", help="a recipe with variants; it comes right after the study's name")
    parser.add_argument(
        "--only", nargs="+", metavar="VARIANT", help="train only these; the table holds all finished ones"
    )
    parser.add_argument(
        "--output_dir", "--output-dir", metavar="FOLDER", help="the study's folder; each variant's is in it"
    )
    parser.add_argument(
        "--measure_again", "--measure-again", action="store_true", help="measure the costs anew (on a quiet machine)"
    )
    options, fields = parser.parse_known_args(argv)
    if argv[:2] != [options.study, options.recipe]:
        raise HfTaggerError(
            f"The recipe (a .yaml file) comes right after the study's name, fields follow it; received "
            f"{' '.join(argv)!r}. Write: scripts/study.py {options.study} RECIPE.yaml --field value"
        )
    return options, fields


def train(variant: Variant, environment: dict[str, str]) -> bool:
    """Trains one variant in a process of its own; False if that failed."""
    # A launcher for several accelerators only: on a CPU, accelerate's default is one thread.
    launcher = ["-m", "accelerate.commands.launch", "--quiet"] if torch.accelerator.device_count() > 1 else []
    command = [sys.executable, *launcher, _FINETUNE, *variant.training_command_line()]
    status = subprocess.run(command, env=environment, check=False).returncode
    if status == INTERRUPTED_STATUS:  # the whole study was asked to stop
        raise Interrupted(f"{variant.name} was asked to stop. The same command goes on with it.")
    return status == 0


if __name__ == "__main__":
    run_script(main)
