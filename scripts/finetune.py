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

from hf_tagger import TaggingTrainer, load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import run_script
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.recipe import resolved_recipe
from hf_tagger.run_report import RunReport, summary, write_run
from hf_tagger.training.build import build_config, build_model
from hf_tagger.training.run_folder import open_run_folder, start_run


def main(argv: list[str]) -> None:
    data_arguments, model_arguments, training_arguments = parse_recipe(argv)
    checkpoint = open_run_folder(training_arguments, model_arguments)
    set_seed(training_arguments.seed)
    started = time.monotonic()

    config = build_config(model_arguments)
    dataset = load_tagging_dataset(data_arguments, config.sampling_rate)
    with training_arguments.main_process_first(desc="decoding"):
        clips, skipped = prepare_clips(dataset, data_arguments, config.sampling_rate)
    model, feature_extractor = build_model(model_arguments, config, dataset.label_names, dataset.problem_type)

    trainer = TaggingTrainer(
        model=model,
        args=training_arguments,
        feature_extractor=feature_extractor,
        train_dataset=TrainingWindows(
            clips["train"], config.window_samples, data_arguments.crops_per_clip, training_arguments.seed
        ),
        eval_dataset=clips["validation"],
    )
    recipe = resolved_recipe(data_arguments, model_arguments, trainer.args)
    start_run(recipe, training_arguments)
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
        print(summary(metrics, dataset.problem_type, training_arguments.output_dir))


if __name__ == "__main__":
    run_script(main)
