"""Run every variant of a study recipe under one budget, and put their numbers and costs into one table.

python scripts/study.py inputs recipes/study_inputs.yaml --dataset_root ~/data/magnatagatune

Variants that have been finished are not run again; --only takes some of them. Each further flag is a field of the
recipe and holds for all variants. The table is printed and written to study.json and study.md in output_dir.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import dataclasses
import json
import subprocess
from pathlib import Path

import torch

from hf_tagger import HfTaggerError, parse_recipe
from hf_tagger.command_line import run_script
from hf_tagger.costs import measure_costs
from hf_tagger.evaluation.study_table import study_row, study_table
from hf_tagger.recipe import list_variants
from hf_tagger.training.build import load_saved_model

_FINETUNE = str(Path(__file__).resolve().parent / "finetune.py")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("study", choices=["inputs"], help="inputs: models and front ends under the same budget")
    parser.add_argument("recipe", help="a recipe with variants")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="some of the variants")
    options, fields = parser.parse_known_args(argv)
    names = chosen_variants(options.recipe, options.only)
    # All of them are read before the first is run: a mistake in the last one costs no night.
    recipes = {name: parse_recipe([options.recipe, "--variant", name, *fields]) for name in names}

    rows = []
    for name, (_, _, training) in recipes.items():
        run = Path(training.output_dir)
        if not (run / "metrics.json").exists():
            train(options.recipe, name, fields, run)
        model, feature_extractor = load_saved_model(str(run))
        costs = measure_costs(model, feature_extractor, training.per_device_train_batch_size)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        rows.append(study_row(name, metrics, dataclasses.asdict(costs)))
    folder = run.parent
    table = study_table(rows)
    (folder / "study.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (folder / "study.md").write_text(table, encoding="utf-8")
    print(f"\n{table}\nWritten to {folder / 'study.md'} and {folder / 'study.json'}.")


def chosen_variants(recipe: str, only: list[str] | None) -> list[str]:
    """The variants to run, in the order of the recipe."""
    names = list_variants(recipe)
    if not names:
        raise HfTaggerError(f"{recipe} has no variants; scripts/finetune.py runs it.")
    unknown = sorted(set(only or []) - set(names))
    if unknown:
        raise HfTaggerError(f"--only: there is no variant {', '.join(unknown)}; there are {', '.join(names)}.")
    return [name for name in names if not only or name in only]


def train(recipe: str, name: str, fields: list[str], run: Path) -> None:
    """Trains one variant in a process of its own; an unfinished run goes on from its last checkpoint."""
    print(f"\n{name}: training into {run}", flush=True)
    # A launcher for several accelerators only: on a CPU, accelerate's default is one thread.
    launcher = ["-m", "accelerate.commands.launch", "--quiet"] if torch.accelerator.device_count() > 1 else []
    goes_on = ["--resume_from_checkpoint"] if any(run.glob("checkpoint-*")) else ["--overwrite_output_dir"]
    command = [sys.executable, *launcher, _FINETUNE, recipe, "--variant", name, *fields, *goes_on]
    if subprocess.run(command, check=False).returncode:
        raise HfTaggerError(
            f"The run of {name} failed, see above. What was finished is kept; the same command goes on."
        )


if __name__ == "__main__":
    run_script(main)
