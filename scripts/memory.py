"""Measure the memory of a training step (LoRA and gradient checkpointing against finetuning all weights), or of an
evaluation with its report.

python scripts/memory.py --model MERT-v1-330M --batch_size 8 --window_seconds 5
python scripts/memory.py --evaluation --clips 5000 --windows 10 --labels 50
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse

import torch

from hf_tagger.command_line import run_script
from hf_tagger.evaluation_memory import measure_evaluation_memory
from hf_tagger.memory import PUBLISHED, WAYS, measure_training_memory


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", choices=list(PUBLISHED), default="MERT-v1-330M", help="size of the random model")
    parser.add_argument("--batch_size", type=int, default=8, help="windows of a step")
    parser.add_argument("--window_seconds", type=float, default=5.0, help="length of a window")
    parser.add_argument("--precision", choices=["fp16", "bf16"], help="mixed precision; default: float32")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="what is trained")
    parser.add_argument("--evaluation", action="store_true", help="measure an evaluation instead of a training step")
    parser.add_argument("--clips", type=int, default=5_000, help="clips of the evaluation")
    parser.add_argument("--windows", type=int, default=10, help="windows of each clip")
    parser.add_argument("--labels", type=int, default=50, help="labels of the evaluation")
    options = parser.parse_args(argv)
    if options.evaluation:
        used = measure_evaluation_memory(options.clips, options.windows, options.labels)
        print(f"{options.clips:,} clips of {options.windows} windows, {options.labels} labels, report included:\n")
        print("| Before (GiB) | Peak (GiB) | Beyond the model (GiB) |\n|---:|---:|---:|")
        print(f"| {used.model_gib:.2f} | {used.peak_gib:.2f} | {used.beyond_gib:.2f} |")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{options.model}, {options.batch_size} windows of {options.window_seconds:g} s, AdamW, on {device}:\n")
    print("| Trained | Parameters trained | Model (GiB) | Peak (GiB) | Share of all weights |")
    print("|---|---:|---:|---:|---:|")
    whole = None
    for way in options.ways:
        used = measure_training_memory(
            options.model, way, options.batch_size, options.window_seconds, options.precision, device
        )
        whole = whole or used.peak_gib
        share = used.peak_gib / whole
        print(f"| {way} | {used.trainable:,} | {used.model_gib:.2f} | {used.peak_gib:.2f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    run_script(main)
