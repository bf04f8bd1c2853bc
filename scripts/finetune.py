"""Train one tagger from one recipe, evaluate it, and leave a folder that anyone can load.

accelerate launch scripts/finetune.py recipes/short_cnn_gtzan.yaml --dataset_root ~/data/gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import time

from transformers import set_seed

from hf_tagger import load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import run_script
from hf_tagger.convert.merge_adapter import merge
from hf_tagger.recipe import resolved_recipe
from hf_tagger.run_report import RunReport, summary, trained_share, write_run
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.embedding_trainer import build_trainer
from hf_tagger.training.feature_statistics import set_feature_statistics
from hf_tagger.training.lora import MERGED_FOLDER
from hf_tagger.training.output_bias import label_shares
from hf_tagger.training.run_folder import open_run_folder, start_run


def main(argv: list[str]) -> None:
    data_arguments, model_arguments, training_arguments = parse_recipe(argv)
    checkpoint = open_run_folder(training_arguments, model_arguments)
    set_seed(training_arguments.seed)
    started = time.monotonic()

    plan = plan_model(model_arguments)
    feature_extractor = plan.feature_extractor
    dataset = load_tagging_dataset(data_arguments, feature_extractor.sampling_rate)
    with training_arguments.main_process_first(desc="decoding"):
        clips, skipped = prepare_clips(dataset, data_arguments, feature_extractor.sampling_rate)
    set_feature_statistics(plan, clips["train"])
    shares = label_shares(clips["train"], len(dataset.label_names), dataset.problem_type)
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
        seconds = time.monotonic() - started
        metrics = write_run(RunReport(trainer, dataset, clips, skipped, predictions, recipe, seconds))
        if model_arguments.lora is not None and model_arguments.lora.save_merged:
            merge(training_arguments.output_dir, os.path.join(training_arguments.output_dir, MERGED_FOLDER))
        print(summary(metrics, dataset.problem_type, training_arguments.output_dir))


if __name__ == "__main__":
    run_script(main)
