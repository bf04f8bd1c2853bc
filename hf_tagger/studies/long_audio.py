"""How is a song tagged that is longer than a window? Mean, max or attention over its windows, and tags over time.

python scripts/study.py long-audio runs/short_cnn_mtat runs/short_cnn_mtat/recipe.yaml --songs song.mp3 album/

Every rule of ``evaluation/aggregation.py`` is scored on the labelled clips, and on medleys: 2, 4, 8 clips end to end
with the union of their labels, which are longer than what was labelled. No window of a medley lies across the border
of two clips: half of one piece and half of another is heard in no song, and would test the cut instead of the rule. So
the windows of the clips are those of the medleys, and computed once.

The sharpness of the attention is fitted on single validation clips, for that is what a user has: labels of clips, and
songs without labels. A further row shows what validation medleys of the same number of clips give: it knows how long
the recordings are and how many labels they carry, and tells what the first one loses by not knowing.

With --store the sharpness is written into the config.json of the run, where the pipeline ``"music-tagging"`` and
scripts/predict.py find it (--aggregate attention).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..audio import load_mono
from ..audio_files import find_audio
from ..data.base import MULTI_LABEL, TaggingDatasetDict
from ..data.clip_views import Song
from ..errors import AudioDecodingError, HfTaggerError
from ..evaluation.aggregation import AGGREGATIONS, Recordings, Timeline, aggregate, aggregate_all, fit_sharpness
from ..evaluation.calibration import negative_log_likelihood
from ..evaluation.intervals import Comparison, compare_models, groups_to_draw
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_TITLES
from ..evaluation.stored_fit import store_sharpness
from ..evaluation.study_plots import plot_study_lines
from ..evaluation.timeline_plot import TOP_TAGS, plot_timeline
from ..models.windowing import window_starts
from ..saved_evaluation import open_saved
from .conditions import Condition, StudyReport, add_model_arguments, counts, output_folder, score_probabilities
from .long_audio_table import PLAIN, rules_table, sharpness_text, song_text

MEDLEY = (1, 2, 4, 8)
_FEWEST_RECORDINGS = 2  # of a length: fewer are no ranking
_SONG_RULE = "attention"  # orders the rows of a timeline


@dataclass(frozen=True)
class RuleScore:
    """The scores of one rule on recordings of one length.

    Attributes:
        rule: Its name.
        clips: Clips in each recording.
        recordings: How many there are.
        scores: Metric → score with its interval.
        log_loss: Mean cross-entropy, in nats.
        difference: The usual metric against that of the mean, on the same draws; None if it is undefined.
    """

    rule: str
    clips: int
    recordings: int
    scores: dict[str, Condition]
    log_loss: float
    difference: Comparison | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this study."""
    add_model_arguments(parser)
    parser.add_argument("--hop", type=float, help="seconds from window to window; default: half a window")
    parser.add_argument(
        "--medley", type=counts, help="clips that are joined, by commas (multi-label only); default: 1,2,4,8"
    )
    parser.add_argument("--store", action="store_true", help="write the sharpness into the run's config.json")
    parser.add_argument("--songs", nargs="+", default=[], metavar="FILE", help="recordings, or folders of them, to tag")
    parser.add_argument("--top_k", type=int, default=TOP_TAGS, help=f"tags shown of a song; default: {TOP_TAGS}")


def run(options: argparse.Namespace, fields: list[str]) -> None:
    """Scores the rules, then tags the songs."""
    if options.hop is not None and not 0 < options.hop < float("inf"):
        raise HfTaggerError(f"--hop is a number of seconds greater than 0, received {options.hop:g}.")
    if options.top_k < 1:
        raise HfTaggerError(f"--top_k must be at least 1, received {options.top_k}.")
    if options.store and not Path(options.model).expanduser().is_dir():
        raise HfTaggerError(f"--store writes into the folder of a run; {options.model} is none. Leave it out.")
    paths = find_audio(options.songs)
    folder = output_folder(options, "long_audio")
    with open_saved(options.model, [options.recipe, *fields]) as saved:
        dataset, extractor = saved.dataset, saved.trainer.processing_class
        window, rate = extractor.window_samples, extractor.sampling_rate
        hop = _hop_samples(options.hop, window, rate)
        if not saved.clips["validation"].labelled:
            raise HfTaggerError("The validation split has no labelled clips, which the attention is fitted on.")
        lengths = _lengths(options.medley, len(saved.labelled_clips(options.split).labelled), options.split, dataset)
        splits = {split: saved.labelled_windows(split, hop) for split in dict.fromkeys([options.split, "validation"])}
        validation = splits["validation"]
        sharpness = fit_sharpness(validation.windows, validation.references, dataset.problem_type)
        heading = f"{options.split}, windows of {window / rate:g} s every {hop / rate:g} s"
        further = {
            "window_seconds": window / rate,
            "hop_seconds": hop / rate,
            "sharpness": dict(zip(dataset.label_names, sharpness.tolist(), strict=True)),
        }
        report = StudyReport(folder, saved, "long_audio", [f"# Long audio: {options.model} ({heading})"], further)
        if saved.trainer.is_world_process_zero():
            _report_rules(report, splits[options.split], validation, lengths, sharpness)
            if options.split == "validation":
                report.add("The attention is fitted on the very clips that it is scored on: its numbers are too good.")
        failed = _report_songs(report, paths, hop, sharpness, options.top_k)
        if saved.trainer.is_world_process_zero():
            print(f"Written to {folder / 'long_audio'}.md, .json and .png")
            if options.store:
                store_sharpness(Path(options.model).expanduser(), sharpness.tolist(), dataset.label_names)
                print(f"Sharpness stored in {Path(options.model) / 'config.json'}")
    if failed:
        raise HfTaggerError(f"{len(failed)} of {len(paths)} songs could not be read:\n" + "\n".join(failed))


def score_rules(
    test: Recordings,
    validation: Recordings,
    dataset: TaggingDatasetDict,
    lengths: Sequence[int],
    sharpness: np.ndarray,
    seed: int,
) -> list[RuleScore]:
    """Scores every rule on recordings of every length.

    Args:
        test: What is scored.
        validation: What medleys are made of for the rows of rules that are fitted on them; those of lengths of which
            there are too few are left out.
        dataset: Names its labels.
        lengths: Clips in a recording.
        sharpness: Of every label, fitted on single validation clips.
        seed: Of the medleys' order.
    """
    problem_type, metrics = dataset.problem_type, _metrics(dataset.problem_type)
    rows = []
    for count in lengths:
        own, fitting = test.joined(count, seed), validation.joined(count, seed)
        if count > 1 and len(own.windows) < _FEWEST_RECORDINGS:  # of the others nothing is known
            continue
        rules = {name: (name, sharpness) for name in AGGREGATIONS}
        if count > 1 and len(fitting.windows) >= _FEWEST_RECORDINGS:
            same = fit_sharpness(fitting.windows, fitting.references, problem_type)
            fitted = [name for name, rule in AGGREGATIONS.items() if rule.needs_sharpness]
            rules |= {f"{name}, fitted on medleys": (name, same) for name in fitted}
        found = {name: aggregate_all(rule, own.windows, problem_type, at) for name, (rule, at) in rules.items()}
        groups = own.groups and groups_to_draw(own.groups)
        for name, values in found.items():
            scores = score_probabilities(values, own.references, dataset, own.groups, name, count, metrics)
            log_loss = negative_log_likelihood(values, own.references, problem_type)
            difference = None
            if name != PLAIN:
                difference = compare_models(found[PLAIN], values, own.references, problem_type, groups)[metrics[0]]
            rows.append(RuleScore(name, count, len(own.windows), scores, log_loss, difference))
    return rows


def _report_rules(
    report: StudyReport, test: Recordings, validation: Recordings, lengths: Sequence[int], sharpness: np.ndarray
) -> None:
    dataset, seed = report.saved.dataset, report.saved.trainer.args.seed
    rows = score_rules(test, validation, dataset, lengths, sharpness, seed)
    metrics = _metrics(dataset.problem_type)
    chances = []
    if dataset.problem_type == MULTI_LABEL:
        chances = [Condition("chance", count, test.joined(count, seed).prevalence, None, None, {}) for count in lengths]
    report.conditions += [own.scores[metrics[0]] for own in rows]
    report.further["rules"] = [asdict(own) for own in rows]
    panels = {
        METRIC_TITLES[metric]: {
            rule: [own.scores[metric] for own in rows if own.rule == rule]
            for rule in dict.fromkeys(own.rule for own in rows)
        }
        for metric in metrics
    }
    plot_study_lines(panels, "Clips in a recording", report.folder / "long_audio.png")
    report.add(rules_table(rows, metrics, chances))
    report.add(sharpness_text(sharpness, dataset.label_names))


def _report_songs(report: StudyReport, paths: Sequence[Path], hop: int, sharpness: np.ndarray, top_k: int) -> list[str]:
    """Tags songs one after the other; returns a line for each that cannot be read."""
    saved, dataset = report.saved, report.saved.dataset
    window, rate = saved.trainer.processing_class.window_samples, saved.trainer.processing_class.sampling_rate
    failed, pictures = [], set()
    songs = report.further["songs"] = []
    for path in paths:
        try:
            song = Song(load_mono(path, rate), rate)
        except AudioDecodingError as error:
            failed.append(f"  - {path}: {error}")
            songs.append({"file": str(path), "error": str(error)})
            if saved.trainer.is_world_process_zero():
                report.add(f"## {path.name}\n\nNot tagged: {error}")
            continue
        probabilities = saved.window_probabilities(song, hop)[0]
        if not saved.trainer.is_world_process_zero():
            continue
        starts = np.array(window_starts(len(song.waveform), window, hop)) / rate
        timeline = Timeline(probabilities, starts, window / rate, len(song.waveform) / rate, dataset.label_names)
        stem = path.stem[:60]  # file systems take names of 255 bytes
        name = stem if stem not in pictures else f"{stem}_{len(songs) + 1}"
        pictures.add(name)
        picture = f"timeline_{name}.png"
        scores = aggregate(_SONG_RULE, probabilities, dataset.problem_type, sharpness)
        plot_timeline(timeline, scores, report.folder / picture, top_k, path.name)
        tags = timeline.top_tags(dataset.problem_type, sharpness, top_k)
        own = {"seconds": timeline.seconds, "windows": len(starts), "timeline": picture, "tags": tags}
        songs.append({"file": str(path), **own})
        report.add(song_text(songs[-1]))
    return failed


def _hop_samples(seconds: float | None, window: int, rate: int) -> int:
    hop = max(1, window // 2) if seconds is None else round(seconds * rate)
    if not 1 <= hop <= window:
        raise HfTaggerError(
            f"--hop {seconds:g} s: it must be at least one sample and at most a window of this model, "
            f"{window / rate:g} s, or parts of the recording would not be heard."
        )
    return hop


def _lengths(asked: list[int] | None, clips: int, split: str, dataset: TaggingDatasetDict) -> list[int]:
    most = clips // _FEWEST_RECORDINGS
    if asked is None:
        return [count for count in MEDLEY if count == 1 or (dataset.problem_type == MULTI_LABEL and count <= most)]
    if dataset.problem_type != MULTI_LABEL and asked != [1]:
        raise HfTaggerError(
            f"--medley {','.join(map(str, asked))}: a medley carries the labels of all its clips, but these clips have "
            f"one class each. Leave it out, or write --medley 1."
        )
    if max(asked) > most and asked != [1]:
        raise HfTaggerError(
            f"--medley {max(asked)}: the {split} split has {clips} labelled clips, and at least {_FEWEST_RECORDINGS} "
            f"medleys are needed; name at most {most}."
        )
    return asked


def _metrics(problem_type: str) -> list[str]:
    """The usual metric first. Of tags also ROC-AUC, whose chance is the same at any length; and F1, for the metrics of
    rankings do not see it if all long recordings are given too low probabilities alike."""
    return [DEFAULT_METRIC[problem_type], *(["roc_auc_macro"] if problem_type == MULTI_LABEL else []), "f1_macro"]
