"""Train every variant of a study recipe under one budget, and put their numbers and costs into one table and picture.

python scripts/study.py inputs recipes/study_inputs.yaml --dataset_root ~/data/magnatagatune
python scripts/study.py variants recipes/study_augmentation.yaml --dataset_root ~/data/magnatagatune
python scripts/study.py rare-classes recipes/study_rare_classes.yaml --dataset_root ~/data/magnatagatune

Or study a saved model (each with --help of its own):

python scripts/study.py short-clips RUN RECIPE     scores by the duration of clips, and by where they are cut
python scripts/study.py robustness RUN RECIPE      scores on spoiled recordings
python scripts/study.py long-audio RUN RECIPE      mean, max or attention over a whole song, and tags over time
python scripts/study.py transfer RUN RUN …         models of several datasets, each on the clips of the others

Or a dataset:

python scripts/study.py leaks RECIPE               groups, equal files and copies of recordings across the splits

In a study of variants each further flag is a field of the recipe and holds for all variants. A finished variant is not
trained again, one that was cut off goes on from its last checkpoint; --overwrite_output_dir trains anew. Each variant
has its own folder in output_dir, where study.md, .json and .png hold all that are finished, after each of them.
rare-classes adds rare_classes.md, .json and .png: average precision by the training clips that carry a label.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import subprocess
from functools import partial
from pathlib import Path

import torch

from hf_tagger import HfTaggerError
from hf_tagger.command_line import INTERRUPTED_STATUS, run_script
from hf_tagger.errors import Interrupted
from hf_tagger.studies import run_study, study_names
from hf_tagger.study import Variant, collect_rows, default_folder, kept_costs, read_variants, run_costs
from hf_tagger.variant_studies import read_command_line, write_results

_FINETUNE = str(Path(__file__).resolve().parent / "finetune.py")


def main(argv: list[str]) -> None:
    if argv and argv[0] in study_names():
        run_study(argv)
        return
    environment = dict(os.environ)  # reading a recipe writes into it (torch_compile): no matter of other variants
    options, fields = read_command_line(argv, __doc__)
    variants, missing = read_variants(options.recipe, fields, options.only, options.output_dir)
    folder = Path(options.output_dir).expanduser() if options.output_dir else default_folder(options.recipe)

    chosen = [variant for name, variant in variants.items() if not options.only or name in options.only]
    to_train = [variant for variant in chosen if variant.overwrite or not variant.is_finished]
    failures, trained = {}, []
    for variant in to_train:
        print(f"\n{variant.name}: training into {variant.folder}", flush=True)
        if train(variant, environment):
            trained.append(variant.name)
            if variant is not to_train[-1]:
                write_so_far(options.study, variants, trained, folder)
        else:
            failures[variant.name] = "its training failed, see above"
            print(f"\n{variant.name}: the training failed", flush=True)

    rows, unfinished, unusable = collect_rows(variants, trained, partial(run_costs, again=options.measure_again))
    text, not_taken = write_results(options.study, rows, variants, folder)
    print(f"\n{text}")
    for name, reason in (missing | unfinished).items():
        print(f"Not in the table: {name} ({reason})")
    failures = not_taken | unusable | failures
    if failures:
        listing = "\n".join(f"  - {name}: {reason}" for name, reason in failures.items())
        raise HfTaggerError(
            f"{len(failures)} of {len(variants) + len(missing)} variants failed:\n{listing}\n"
            f"What was finished is kept and in the table; the same command goes on with the rest."
        )


def write_so_far(study: str, variants: dict[str, Variant], trained: list[str], folder: Path) -> None:
    """Writes what is finished, for a study that is cut off; costs are measured at its end, on a quiet machine."""
    try:
        write_results(study, collect_rows(variants, trained, kept_costs)[0], variants, folder)
    except HfTaggerError as error:
        print(f"\nNot written yet: {error}", flush=True)


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
