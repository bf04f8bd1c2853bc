"""Train one tagger from one recipe, evaluate it, and leave a folder that anyone can load.

accelerate launch scripts/finetune.py recipes/short_cnn_gtzan.yaml --dataset_root ~/data/gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

from hf_tagger.help import answer_help

answer_help()  # before the imports below, which take seconds

import time

from transformers import set_seed

from hf_tagger import load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import run_script
from hf_tagger.recipe import resolved_recipe
from hf_tagger.run_report import RunReport, finish_run, trained_share
from hf_tagger.search import search
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.embedding_trainer import build_trainer
from hf_tagger.training.feature_statistics import set_feature_statistics
from hf_tagger.training.output_bias import starting_shares
from hf_tagger.training.run_folder import open_run_folder, start_run


def main(argv: list[str]) -> None:
    data_arguments, model_arguments, training_arguments = parse_recipe(argv)
    checkpoint = open_run_folder(training_arguments, model_arguments)
    set_seed(training_arguments.seed)
    started = time.monotonic()

    plan = plan_model(model_arguments)
    feature_extractor = plan.feature_extractor
    dataset = load_tagging_dataset(data_arguments, feature_extractor.sampling_rate)
    with training_arguments.main_process_first(
        desc="decoding"
    ):  # of each node; nodes that share a store share the work
        clips, skipped = prepare_clips(dataset, data_arguments, feature_extractor.sampling_rate)
    if training_arguments.search is not None:
        print(search(dataset, clips, data_arguments, model_arguments, training_arguments))
        return
    set_feature_statistics(plan, clips["train"])
    shares = starting_shares(clips["train"], len(dataset.label_names), dataset.problem_type, training_arguments)
    model = build_model(plan, dataset.label_names, dataset.problem_type, shares)

    trainer = build_trainer(model, feature_extractor, clips, data_arguments, model_arguments, training_arguments)
    recipe = resolved_recipe(data_arguments, model_arguments, trainer.args)
    start_run(recipe, training_arguments)
    if trainer.is_world_process_zero():
        print(trained_share(trainer.tagger))
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()

    predictions = {
        split: trainer.predict(clips[split], metric_key_prefix=split)
        for split in ("validation", "test")
        if len(clips[split])
    }
    if trainer.is_world_process_zero():
        print(finish_run(RunReport(trainer, dataset, clips, skipped, predictions, recipe, time.monotonic() - started)))


if __name__ == "__main__":
    run_script(main)
