"""How much does a model lose on spoiled recordings: noise, other tempo or pitch, compression, low-pass, mp3?

python scripts/study.py robustness runs/short_cnn_gtzan runs/short_cnn_gtzan/recipe.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..data.clip_views import ChangedClips
from ..evaluation.degradations import DEGRADATIONS, Degradation
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_TITLES
from ..evaluation.study_plots import Curve, plot_study_curves
from ..saved_evaluation import open_saved
from .conditions import (
    Condition,
    add_card_argument,
    add_model_arguments,
    add_to_card,
    check_card_clips,
    conditions_table,
    losing_labels,
    output_folder,
    score,
    write_study,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this study."""
    add_model_arguments(parser)
    add_card_argument(parser)
    parser.add_argument(
        "--only", nargs="+", choices=list(DEGRADATIONS), default=list(DEGRADATIONS), help="these only; default: all"
    )


def run(options: argparse.Namespace, fields: list[str]) -> None:
    """Scores every kind at every strength."""
    folder = output_folder(options, "robustness")
    with open_saved(options.model, [options.recipe, *fields]) as saved:
        check_card_clips(options, saved)
        clips = saved.labelled_clips(options.split)
        clean = score(saved, clips, options, "clean", 0.0)
        found = {
            kind: [
                score(saved, ChangedClips(clips, change), options, kind, change.strength)
                for change in (Degradation(kind, strength) for strength in DEGRADATIONS[kind].strengths)
                if change.is_possible(clips.sampling_rate)
            ]
            for kind in options.only
        }
        found = {kind: own for kind, own in found.items() if own}
        if not saved.trainer.is_world_process_zero():
            return
        metric = DEFAULT_METRIC[saved.dataset.problem_type]
        curves = [Curve(DEGRADATIONS[kind].title, own, reference=clean) for kind, own in found.items()]
        plot_study_curves(curves, METRIC_TITLES[metric], folder / "robustness.png")
        every = [own for kind in found.values() for own in kind]
        worst = _worst([clean, *every])

        def name(own):
            return own.kind if own is clean else f"{DEGRADATIONS[own.kind].title}: {own.strength:g}"

        parts = [
            f"# Robustness: {options.model} ({options.split}, {len(clips.labelled):,} clips)",
            conditions_table([clean, *every], metric, name),
            f"Average precision of the labels that lose most by {name(worst)}:",
            losing_labels(clean, worst),
        ]
        write_study(folder, "robustness", saved, [clean, *every], "\n\n".join(parts))
        if options.add_to_card:
            intro = f"The {len(clips.labelled):,} clips of the {options.split} split, each change where it costs most:"
            summary = conditions_table([clean, *map(_worst, found.values())], metric, name)
            add_to_card(options, folder, "robustness", [intro, summary], "\n\n".join(parts[1:]))


def _worst(conditions: Sequence[Condition]) -> Condition:
    return min(conditions, key=lambda own: own.value if own.value is not None else 1.0)
