"""Measure what stands between the data and the model; every comparison within one run.

python scripts/benchmark.py input --dataset_root ~/data/magnatagatune --dataset_name magnatagatune
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import time

import torch

from hf_tagger import DataArguments, load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import run_script
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.training.build import plan_model


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", choices=["input"], help="input: random training windows per second on one core")
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each measurement")
    options, recipe = parser.parse_known_args(argv)
    torch.set_num_threads(1)

    data_arguments, model_arguments, _ = parse_recipe(recipe)
    extractor = plan_model(model_arguments).feature_extractor
    rates = {}
    for name, pcm_store in (("PCM store", True), ("decoded on the fly", False)):
        arguments = DataArguments(**{**vars(data_arguments), "pcm_store": pcm_store})
        dataset = load_tagging_dataset(arguments, extractor.sampling_rate)
        clips, _ = prepare_clips(dataset, arguments, extractor.sampling_rate)
        rates[name] = windows_per_second(TrainingWindows(clips["train"], extractor.window_samples), options.seconds)
    slowest = min(rates.values())
    print(f"\nRandom windows of {extractor.window_samples / extractor.sampling_rate:.2f} s, one process:")
    for name, rate in rates.items():
        print(f"  {name:<20} {rate:>10,.0f} windows per second   {rate / slowest:>8,.1f} x")


def windows_per_second(windows: TrainingWindows, seconds: float) -> float:
    """Reads random windows for some seconds, clips in random order, after one second to warm up."""
    order = torch.randperm(len(windows)).tolist()
    for limit in (1.0, seconds):  # the first second warms up
        read, started = 0, time.perf_counter()
        while time.perf_counter() - started < limit:
            windows[order[read % len(order)]]
            read += 1
    return read / (time.perf_counter() - started)


if __name__ == "__main__":
    run_script(main)
