"""How long must a clip be? Scores of the same clips cut to shorter durations, and of pieces from start to end.

python scripts/study.py short-clips runs/short_cnn_gtzan runs/short_cnn_gtzan/recipe.yaml
"""

from __future__ import annotations

import argparse

import numpy as np

from ..data.clip_views import CroppedClips
from ..errors import HfTaggerError
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_TITLES
from ..evaluation.study_plots import Curve, plot_study_curves
from ..saved_evaluation import open_saved
from .conditions import (
    add_card_argument,
    add_model_arguments,
    add_to_card,
    check_card_clips,
    conditions_table,
    losing_labels,
    numbers,
    output_folder,
    score,
    write_study,
)

DURATIONS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)
_SHORTEST = 0.001  # seconds
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this study."""
    add_model_arguments(parser)
    add_card_argument(parser)
    parser.add_argument(
        "--durations", type=numbers, default=list(DURATIONS), help="seconds, by commas; default: 0.25 to 30"
    )
    parser.add_argument(
        "--positions", type=numbers, default=list(POSITIONS), help="from 0 (start) to 1 (end), by commas"
    )
    parser.add_argument(
        "--piece", type=float, default=1.0, help="seconds of the pieces that are taken at each position; default: 1"
    )


def run(options: argparse.Namespace, fields: list[str]) -> None:
    """Scores every duration and every position."""
    if not all(seconds >= _SHORTEST for seconds in (*options.durations, options.piece)):
        raise HfTaggerError(f"--durations and --piece are seconds, at least {_SHORTEST:g}.")
    if not all(0 <= position <= 1 for position in options.positions):
        raise HfTaggerError(f"--positions lie between 0 (start) and 1 (end), received {options.positions}.")
    folder = output_folder(options, "short_clips")
    with open_saved(options.model, [options.recipe, *fields]) as saved:
        check_card_clips(options, saved)
        clips = saved.labelled_clips(options.split)
        # Whole clips of most lengths: a duration that most clips do not have would be that of whole clips again.
        usual = float(np.median(clips.num_samples)) / clips.sampling_rate
        durations = [seconds for seconds in sorted(set(options.durations)) if seconds < usual]
        by_duration = [score(saved, CroppedClips(clips, own), options, "duration", own) for own in durations]
        whole = score(saved, clips, options, "duration", usual)
        pieces = [
            score(saved, CroppedClips(clips, options.piece, own), options, "position", own)
            for own in sorted(set(options.positions))
        ]
        if not saved.trainer.is_world_process_zero():
            return
        metric = DEFAULT_METRIC[saved.dataset.problem_type]
        title = METRIC_TITLES[metric]
        curves = [
            Curve("Duration, from the middle (s)", [*by_duration, whole], logarithmic=True),
            Curve(f"Position of a piece of {options.piece:g} s (0: start, 1: end)", pieces),
        ]
        plot_study_curves(curves, title, folder / "short_clips.png")
        parts = [
            f"# Short clips: {options.model} ({options.split}, {len(clips.labelled):,} clips)",
            conditions_table([*by_duration, whole], metric, lambda own: f"{own.strength:g} s"),
            f"Pieces of {options.piece:g} s, by their position:",
            conditions_table(pieces, metric, lambda own: f"{own.strength:g}"),
        ]
        if by_duration:
            parts += [
                f"Average precision of the labels that lose most from whole clips to {by_duration[0].strength:g} s:",
                losing_labels(whole, by_duration[0]),
            ]
        write_study(folder, "short_clips", saved, [*by_duration, whole, *pieces], "\n\n".join(parts))
        if options.add_to_card:
            intro = f"The {len(clips.labelled):,} clips of the {options.split} split, cut out of their middle:"
            add_to_card(options, folder, "short_clips", [intro, parts[1]], "\n\n".join(parts[2:]))
