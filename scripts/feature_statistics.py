"""Estimate the mean and standard deviation of AST's spectrogram over a recipe's training split.

python scripts/feature_statistics.py recipes/ast_gtzan.yaml --dataset_root ~/data/gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import json

from hf_tagger.command_line import output_file, run_script
from hf_tagger.errors import HfTaggerError


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("recipe", help="recipe that finetunes an AST; flags after it override its fields")
    parser.add_argument("--output", help="file for the numbers as JSON")
    options, overrides = parser.parse_known_args(argv)
    output = output_file(options.output)

    # After the options: --help does not wait for them.
    from hf_tagger import load_tagging_dataset, parse_recipe, prepare_clips
    from hf_tagger.training.build import plan_model
    from hf_tagger.training.feature_statistics import ast_extractor, estimate_feature_statistics

    data_arguments, model_arguments, training_arguments = parse_recipe([options.recipe, *overrides])
    plan = plan_model(model_arguments)
    before, rate = ast_extractor(plan), plan.feature_extractor.sampling_rate
    if before is None:
        raise HfTaggerError(
            f"The model of {options.recipe} reads no spectrogram that is normalised with stored statistics: its "
            f"feature extractor is a {type(plan.feature_extractor).__name__}, an ASTFeatureExtractor is expected."
        )
    dataset = load_tagging_dataset(data_arguments, rate)
    with training_arguments.main_process_first(desc="decoding"):
        clips, _ = prepare_clips(dataset, data_arguments, rate)
    mean, std = estimate_feature_statistics(plan, clips["train"])

    numbers = {"mean": round(mean, 6), "std": round(std, 6)}
    print(f"{dataset.facts.title}, {len(clips['train'])} training clips (protocol {dataset.protocol.name}):")
    print(f"  mean {numbers['mean']}, std {numbers['std']} (the checkpoint's: {before.mean}, {before.std})")
    print("In a recipe these numbers are written")
    print(f"  feature_mean: {numbers['mean']}\n  feature_std: {numbers['std']}")
    print("or estimated at the start of every run: feature_statistics: dataset")
    if output:
        output.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
