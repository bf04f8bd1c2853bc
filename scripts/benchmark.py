"""Measure what stands between the data and the model; every comparison within one run.

python scripts/benchmark.py input --dataset_root ~/data/magnatagatune --dataset_name magnatagatune
python scripts/benchmark.py features
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import statistics
import time

import torch
from transformers import ASTFeatureExtractor

from hf_tagger import DataArguments, load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.command_line import run_script
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.models.input_features import filterbank_of
from hf_tagger.training.build import plan_model


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "what",
        choices=["input", "features"],
        help="input: random training windows per second on one core; features: AST's filterbank on one core",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each measurement")
    options, recipe = parser.parse_known_args(argv)
    torch.set_num_threads(1)
    if options.what == "features":
        compare_filterbanks(options.seconds)
        return

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


def compare_filterbanks(seconds: float) -> None:
    """AST's filterbank of 16 clips of 10.24 s: by transformers' extractor clip by clip, and batched by ours."""
    extractor = ASTFeatureExtractor()
    filterbank = filterbank_of(extractor)
    clips = torch.randn(16, 163_840, generator=torch.Generator().manual_seed(0)) * 0.1
    arrays = list(clips.numpy())
    ways = {
        "ASTFeatureExtractor": lambda: extractor(arrays, sampling_rate=16_000, return_tensors="pt"),
        "batched": lambda: filterbank(clips),
    }
    times = {name: [] for name in ways}
    started = time.perf_counter()
    while time.perf_counter() - started < 2 * seconds or min(map(len, times.values())) < 4:
        for name, compute in ways.items():  # in turns, so that both meet the same moments of the machine
            before = time.perf_counter()
            compute()
            times[name].append((time.perf_counter() - before) / len(clips))
    typical = {name: statistics.median(values[1:]) for name, values in times.items()}  # the first one warms up
    print("\nFilterbank of a clip of 10.24 s, one thread, batches of 16, median:")
    for name, value in typical.items():
        ratio = typical["ASTFeatureExtractor"] / value
        print(f"  {name:<20} {1_000 * value:>8.2f} ms   {ratio:>6.1f} x")


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
