"""Train one tagger from one recipe by a plain loop over Accelerate, for those who want to change the loop.

accelerate launch scripts/finetune_no_trainer.py recipes/short_cnn_gtzan.yaml --dataset_root ~/data/gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

from hf_tagger.help import answer_help

answer_help()  # before the imports below, which take seconds

import time

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader
from transformers import get_scheduler, set_seed

from hf_tagger import load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import run_script
from hf_tagger.data.windows import TrainingWindows, WindowCollator
from hf_tagger.recipe import resolved_recipe
from hf_tagger.run_report import RunReport, finish_run, trained_share
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.feature_statistics import set_feature_statistics
from hf_tagger.training.optimizer import make_optimizer
from hf_tagger.training.output_bias import starting_shares
from hf_tagger.training.plain_run import PlainRun, refuse_unsupported
from hf_tagger.training.run_folder import open_run_folder, start_run
from hf_tagger.training.trained_part import choose_trained_part
from hf_tagger.training.window_loss import WindowLoss


def main(argv: list[str]) -> None:
    data_arguments, model_arguments, arguments = parse_recipe(argv)
    refuse_unsupported(arguments, model_arguments)
    open_run_folder(arguments, model_arguments)
    set_seed(arguments.seed)
    started = time.monotonic()

    plan = plan_model(model_arguments)
    extractor = plan.feature_extractor
    dataset = load_tagging_dataset(data_arguments, extractor.sampling_rate)
    with arguments.main_process_first(desc="decoding"):  # of each node; nodes that share a store share the work
        clips, skipped = prepare_clips(dataset, data_arguments, extractor.sampling_rate)
    set_feature_statistics(plan, clips["train"])
    shares = starting_shares(clips["train"], len(dataset.label_names), dataset.problem_type, arguments)
    tagger = build_model(plan, dataset.label_names, dataset.problem_type, shares)
    model, frozen = choose_trained_part(tagger, model_arguments)

    set_seed(arguments.seed)  # as Trainer does when it is made
    accelerator = Accelerator(
        cpu=arguments.use_cpu,
        mixed_precision=arguments.mixed_precision,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        step_scheduler_with_optimizer=False,  # one step a batch of all processes, as the number of steps is counted
        dataloader_config=DataLoaderConfiguration(
            use_seedable_sampler=True, data_seed=arguments.data_seed, non_blocking=torch.cuda.is_available()
        ),
    )
    windows = TrainingWindows(clips["train"], extractor.window_samples, data_arguments.crops_per_clip, arguments.seed)
    run = PlainRun(model, tagger, extractor, arguments, accelerator, windows, clips["validation"])
    loader = DataLoader(
        windows,
        batch_size=arguments.per_device_train_batch_size,
        shuffle=run.sampler is None,
        sampler=run.sampler,
        collate_fn=WindowCollator(dataset.problem_type, len(dataset.label_names)),
        num_workers=arguments.dataloader_num_workers,
        pin_memory=arguments.dataloader_pin_memory,
        drop_last=arguments.dataloader_drop_last,
    )
    model, optimizer, loader = accelerator.prepare(model, make_optimizer(model, tagger, arguments), loader)
    steps, epochs = run.schedule(len(loader))
    scheduler = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        arguments.get_warmup_steps(steps),
        steps,
        arguments.lr_scheduler_kwargs,
    )
    window_loss = WindowLoss(tagger, extractor, arguments, clips["train"], frozen)
    recipe = resolved_recipe(data_arguments, model_arguments, arguments)
    start_run(recipe, arguments)
    accelerator.print(trained_share(tagger))

    for epoch in range(epochs):
        run.begin_epoch(epoch, loader)
        model.train()
        for number, batch in enumerate(loader):
            with accelerator.accumulate(model):
                window_loss.begin_step(run.state.global_step)
                with accelerator.autocast():
                    loss, _ = window_loss(model, batch)
                accelerator.backward(loss * run.accumulation_scale(number))
                if accelerator.sync_gradients and arguments.max_grad_norm:
                    accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
                optimizer.step()
                if accelerator.sync_gradients:
                    scheduler.step()
                optimizer.zero_grad()
            run.end_batch(loss, scheduler.get_last_lr()[0], accelerator.sync_gradients)
            if run.state.global_step == steps:
                break
        run.end_epoch(model, window_loss)

    predictions = run.finish(model, {split: clips[split] for split in ("validation", "test")})
    if accelerator.is_main_process:
        print(finish_run(RunReport(run, dataset, clips, skipped, predictions, recipe, time.monotonic() - started)))


if __name__ == "__main__":
    run_script(main)
