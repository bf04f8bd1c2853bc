"""Repeat a run's evaluation, report on it, or compare two runs.

python scripts/evaluate.py runs/short_cnn_gtzan recipes/short_cnn_gtzan.yaml --split test --dataset_root ~/data/gtzan
python scripts/evaluate.py runs/short_cnn_gtzan runs/ast_gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import json
from pathlib import Path

from hf_tagger.command_line import output_file, run_script
from hf_tagger.errors import HfTaggerError


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="folder of a run")
    parser.add_argument(
        "recipe_or_run", help="recipe of the run (flags after it override its fields), or the folder of another run"
    )
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--output", help="file for the numbers as JSON")
    parser.add_argument("--output_dir", help="folder for the whole report: report.html, pictures, predictions")
    options, overrides = parser.parse_known_args(argv)
    output = output_file(options.output)
    if Path(options.recipe_or_run).is_dir():
        if overrides or options.output_dir:
            extra = [*overrides, *(["--output_dir"] if options.output_dir else [])]
            raise HfTaggerError(f"A comparison of two runs reads their predictions only; remove {' '.join(extra)}.")
        # Here and below after the options: --help does not wait for it.
        from hf_tagger.run_comparison import compare_runs

        comparison = compare_runs(options.model, options.recipe_or_run, options.split)
        print(comparison.as_markdown())
        result = comparison.as_dict()
    elif options.output_dir and (Path(options.output_dir) / "recipe.yaml").exists():
        raise HfTaggerError(f"--output_dir {options.output_dir} is a run, whose own numbers would be replaced.")
    else:
        result = evaluate_run(options, overrides)
    if output and result:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def evaluate_run(options: argparse.Namespace, overrides: list[str]) -> dict | None:
    """Evaluates a split, prints its numbers, and returns them in the main process."""
    from hf_tagger.evaluation.stored_fit import stored_fit
    from hf_tagger.evaluation_record import EvaluatedSplits, evaluation_metrics, write_evaluation
    from hf_tagger.run_report import compare_with_run
    from hf_tagger.saved_evaluation import open_saved

    with open_saved(options.model, [options.recipe_or_run, *overrides]) as saved:
        prediction = saved.predict(saved.clips[options.split], options.split)
    if not saved.trainer.is_world_process_zero():
        return None
    splits = EvaluatedSplits(saved.dataset, saved.clips, {options.split: prediction})
    metrics = evaluation_metrics(splits, stored_fit(saved.trainer.tagger.config))
    print(
        json.dumps(
            {name: metrics[name] for name in (options.split, "intervals", "protocol") if name in metrics}, indent=2
        )
    )
    if options.output_dir:
        Path(options.output_dir).mkdir(parents=True, exist_ok=True)
        splits.write_predictions(options.output_dir)
        write_evaluation(options.output_dir, f"{options.model} ({options.split})", splits, metrics)
        print(f"Report: {Path(options.output_dir) / 'report.html'}")
    print(compare_with_run(options.model, options.split, metrics))
    return metrics


if __name__ == "__main__":
    run_script(main)
