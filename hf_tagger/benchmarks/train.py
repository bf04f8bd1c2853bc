"""Training steps: ours from the store, the stock Trainer from files, and the limit, a bare loop over a batch in place.

python scripts/benchmark.py train                                          # small models on a CPU, real ones on a GPU
python scripts/benchmark.py train --models ast mert --precisions bf16 --compile off on --batch_size 32

The stock way is transformers' Trainer over the same files with ``Audio``, a random crop and the feature extractor in
``set_transform``. All train the same model with the same optimizer. MFU, model FLOPs utilisation (Chowdhery et al.
2022, PaLM, https://arxiv.org/abs/2204.02311, appendix B), is the share of the operations that a large matrix product
reaches on the same device in the same precision.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from transformers import set_seed

from ..cores import usable_cores
from ..data.windows import TrainingWindows
from ..errors import HfTaggerError
from ._data import training_clips
from ._models import SIZES, build, plan
from ._options import add_machine_options, add_size_option, chosen_machine, chosen_size, seconds, whole_number
from ._recordings import write_recordings
from ._results import Results
from ._steps import (
    WARM_UP,
    Conditions,
    Pace,
    best_operations_per_second,
    limit_pace,
    operations_per_window,
    our_pace,
    stock_pace,
)
from ._stock import stock_dataset, stock_decoder

_PRECISIONS = {"fp32": None, "bf16": "bf16", "fp16": "fp16"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--models", nargs="+", choices=list(SIZES), default=["short_cnn", "ast"], help="what is trained"
    )
    add_size_option(parser)
    parser.add_argument("--precisions", nargs="+", choices=list(_PRECISIONS), default=["fp32"], help="mixed precision")
    parser.add_argument("--compile", nargs="+", choices=["off", "on"], default=["off"], help="torch.compile")
    add_machine_options(parser)
    parser.add_argument("--batch_size", type=whole_number(1), default=16, help="windows of a step")
    parser.add_argument("--steps", type=whole_number(1), default=20, help="measured steps of a round")
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="rounds; the median is told")
    parser.add_argument("--workers", type=whole_number(0), help="processes of our loader; default: as in any training")
    parser.add_argument("--stock_workers", type=whole_number(0), default=usable_cores(), help="of the stock loader")
    parser.add_argument("--clips", type=whole_number(4), default=32, help="number of clips, at least 4")
    parser.add_argument("--clip_seconds", type=seconds, default=30.0, help="length of a clip")
    parser.add_argument("--song", help="audio file from which clips are cut; default: clips made in code")
    parser.add_argument("--without_stock", action="store_true", help="leave the stock way out, which takes longest")


def measure(options: argparse.Namespace) -> Results:
    """Windows per second, share of the limit, memory and utilisation of every model, precision and way."""
    device = chosen_machine(options)
    if device.type != "cpu" and (device.index or torch.accelerator.device_count() > 1):
        raise HfTaggerError(
            "Trainer takes all accelerators that it sees, and this compares one: set CUDA_VISIBLE_DEVICES to it."
        )
    size = chosen_size(options, device)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_recordings(folder / "clips", options.clips, options.clip_seconds, "mp3", options.song)
        for model in options.models:
            for precision in options.precisions:
                for compiles in options.compile:
                    conditions = Conditions(
                        options.batch_size,
                        options.steps,
                        options.workers,
                        _PRECISIONS[precision],
                        compiles == "on",
                        device,
                    )
                    names = {"model": f"{model} ({size})", "precision": precision, "compile": compiles}
                    found = _measure_one(model, size, paths, folder, conditions, options)
                    rows += [names | row for row in found]
                    print(Results("", [names | row for row in found]).table(), flush=True)
    return Results(
        f"Training on {device}, {options.threads} threads, batches of {options.batch_size}, "
        f"{'the default number of' if options.workers is None else options.workers} workers (stock: "
        f"{options.stock_workers}), mp3 clips of {options.clip_seconds:g} s; "
        f"stock files are decoded by {stock_decoder()}.",
        rows,
        [
            "Share of the limit: of that measured right before and right after; median over the rounds.",
            "Memory: of the main process with all that it holds on a CPU, of tensors on a GPU.",
        ],
    )


def _measure_one(model: str, size: str, paths: list[Path], folder: Path, conditions: Conditions, options) -> list[dict]:
    set_seed(0)
    model_plan = plan(model, size, folder / f"{model}_{size}")
    tagger, extractor = build(model_plan, labels=2), model_plan.feature_extractor
    samples, rate = extractor.window_samples, extractor.sampling_rate
    needed = (WARM_UP + conditions.steps) * conditions.batch_size
    clips = training_clips(paths, rate, folder / "cache")
    windows = TrainingWindows(clips, samples, crops_per_clip=-(-needed // len(clips)))
    ways = {"ours": lambda: our_pace(tagger, extractor, windows, conditions)}
    if not options.without_stock:
        stock = stock_dataset(paths, extractor, samples / rate).select([i % len(paths) for i in range(needed)])
        stock_conditions = dataclasses.replace(conditions, workers=options.stock_workers)
        ways["stock"] = lambda: stock_pace(tagger, stock, stock_conditions)
    limits = [limit_pace(tagger, extractor, windows, conditions)]
    paces: dict[str, list[Pace]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for way, run in ways.items():
            paces[way].append(run())
            limits.append(limit_pace(tagger, extractor, windows, conditions))
            around = statistics.mean(limit.windows_per_second for limit in limits[-2:])
            shares[way].append(paces[way][-1].windows_per_second / around)
    operations = operations_per_window(tagger, extractor, windows)
    best = best_operations_per_second(conditions.precision, conditions.device)
    rows = []
    for way, found in {"limit": limits, **paces}.items():
        pace = statistics.median(one.windows_per_second for one in found)
        memory = [one.peak_memory for one in found if one.peak_memory is not None]
        rows.append(
            {
                "way": way,
                "windows per second": pace,
                "share of the limit": statistics.median(shares[way]) if way in shares else 1.0,
                "peak memory (GiB)": max(memory, default=None),
                "MFU": pace * operations / best,
            }
        )
    return rows
