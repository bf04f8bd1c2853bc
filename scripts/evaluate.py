"""Repeat a run's evaluation: the same clips, the same windows, the same numbers.

python scripts/evaluate.py runs/short_cnn_gtzan recipes/short_cnn_gtzan.yaml --split test --dataset_root ~/data/gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import json
import tempfile

from hf_tagger import TaggingTrainer, load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import output_file, run_script
from hf_tagger.run_report import compare_with_run, split_metrics
from hf_tagger.training.build import check_labels, load_saved_model


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="folder of a run")
    parser.add_argument("recipe", help="recipe of the run; flags after it override its fields")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--output", help="file for the metrics as JSON")
    options, overrides = parser.parse_known_args(argv)
    output = output_file(options.output)

    data_arguments, _, training_arguments = parse_recipe([options.recipe, *overrides], check_model=False)
    model, feature_extractor = load_saved_model(options.model)
    dataset = load_tagging_dataset(data_arguments, feature_extractor.sampling_rate)
    check_labels(model.config, dataset.label_names, dataset.problem_type)
    with training_arguments.main_process_first(desc="decoding"):
        clips, _ = prepare_clips(dataset, data_arguments, feature_extractor.sampling_rate)

    with tempfile.TemporaryDirectory() as scratch:  # the run's own folder stays as it is
        training_arguments.output_dir, training_arguments.report_to = scratch, []
        trainer = TaggingTrainer(model, training_arguments, feature_extractor)
        prediction = trainer.predict(clips[options.split], metric_key_prefix=options.split)
    if trainer.is_world_process_zero():
        metrics = split_metrics(prediction, options.split)
        result = {options.split: metrics, "protocol": dataset.protocol_record()}
        print(json.dumps(result, indent=2))
        if output:
            output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(compare_with_run(options.model, options.split, result))


if __name__ == "__main__":
    run_script(main)
