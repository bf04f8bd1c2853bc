"""Fit classical baselines (kNN, random forest, SVM on librosa's features) to one recipe's clips, and evaluate them.

python scripts/baselines.py recipes/classical_gtzan.yaml --dataset_root ~/data/gtzan
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import time
from pathlib import Path

import joblib

from hf_tagger import load_tagging_dataset, prepare_clips
from hf_tagger.baselines.feature_store import FeatureSettings, features_of
from hf_tagger.baselines.recipe import parse_baseline_recipe, resolved_baseline_recipe
from hf_tagger.baselines.report import BaselineReport, check_folders, write_table
from hf_tagger.baselines.search import ClipScore, choose_metric, make_folds, search_classifier
from hf_tagger.command_line import run_script
from hf_tagger.data.pcm import store_folder
from hf_tagger.data.windows import labels_of


def main(argv: list[str]) -> None:
    data_arguments, arguments = parse_baseline_recipe(argv)
    check_folders(arguments)
    processes = arguments.processes or joblib.cpu_count()
    folder = Path(arguments.output_dir).expanduser()

    dataset = load_tagging_dataset(data_arguments, arguments.sampling_rate)
    metric = choose_metric(arguments.metric, dataset.problem_type)
    clips, skipped = prepare_clips(dataset, data_arguments, arguments.sampling_rate)
    train, num_labels = clips["train"], len(dataset.label_names)
    labels = labels_of(train, dataset.problem_type, num_labels)
    groups = [train.groups[index] for index in train.labelled]
    folds = make_folds(labels, groups, dataset.problem_type, arguments.folds, arguments.seed)

    started = time.monotonic()
    settings = FeatureSettings(tuple(arguments.features), tuple(arguments.statistics))
    store = store_folder(data_arguments)
    features = {split: features_of(own, settings, store, split, processes) for split, own in clips.items()}
    seconds = time.monotonic() - started
    report = BaselineReport(dataset, clips, skipped, features, folds, seconds, processes)
    print(f"Features: {seconds:.3f} s for {sum(map(len, clips.values()))} clips")

    score = ClipScore(metric, dataset.problem_type, num_labels)
    recipe, metrics = resolved_baseline_recipe(data_arguments, arguments), {}
    for name, grid in arguments.classifiers.items():
        known = features["train"][train.labelled]
        result = search_classifier(name, grid, known, labels, folds, score, arguments.seed, processes)
        metrics[name] = report.write(name, result, recipe)
        print(f"{name}: {result.parameters}, {metric} {result.score:.4f} ± {result.deviation:.4f} in {folds.kind}")
    print(f"\n{write_table(metrics, folder)}\nWritten to {folder}, a folder for each classifier.")


if __name__ == "__main__":
    run_script(main)
