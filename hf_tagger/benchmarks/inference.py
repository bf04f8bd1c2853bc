"""Tagging: a whole song, and many clips, from the file to the tags.

python scripts/benchmark.py inference
python scripts/benchmark.py inference --models short_cnn --model runs/short_cnn_mtat --song song.mp3

Ours is the ``music-tagging`` pipeline on the file. The stock way is transformers' ``audio-classification`` pipeline,
called for one window of the model after the other, on samples that are read as that pipeline reads files; its windows
are those that ours computes. "Batched" is the same for all windows in one call, in batches as large as ours. The limit
is the model on all windows (or spectrograms, where it does not compute them itself) that lie on the device, in ours'
batches: no decoding, no features.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from transformers import Pipeline, PreTrainedModel, SequenceFeatureExtractor, pipeline, set_seed

from ..audio import load_mono
from ..models.input_features import input_features
from ..pipeline import MusicTaggingPipeline
from ..saved_tagger import load_tagger
from ..tagging import Tagger
from ._models import SIZES, build, plan
from ._options import add_machine_options, add_size_option, chosen_machine, chosen_size, seconds, whole_number
from ._recordings import FORMATS, RATE, write_recordings
from ._results import Results
from ._stock import read_like_the_pipeline, stock_file_reader
from ._timing import in_turns

_LABELS = 50
_WARM_UP_CLIPS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--models", nargs="*", choices=list(SIZES), default=["short_cnn", "ast"], help="random models")
    parser.add_argument("--model", action="append", default=[], help="a saved model besides them; may come again")
    add_size_option(parser)
    add_machine_options(parser)
    parser.add_argument("--song", help="audio file that is repeated or cut to the length; default: made in code")
    parser.add_argument("--song_seconds", type=seconds, default=240.0, help="length of the song; 0 leaves it out")
    parser.add_argument("--format", choices=FORMATS, default="mp3", help="format of the files")
    parser.add_argument("--clips", type=whole_number(0), default=1_000, help="number of clips; 0 leaves them out")
    parser.add_argument("--clip_seconds", type=seconds, default=5.0, help="length of a clip")
    parser.add_argument("--seconds", type=seconds, default=20.0, help="time of each measurement")


def measure(options: argparse.Namespace) -> Results:
    """Seconds, and how much faster than the music plays, of every model, material and way."""
    device = chosen_machine(options)
    size = chosen_size(options, device)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        material = _material(Path(name), options)
        models = [(f"{model} ({size})", partial(_random, model, size, Path(name))) for model in options.models]
        models += [(path, partial(load_tagger, path)) for path in options.model]
        for title, load in models:
            for what, paths in material.items():
                found = _measure_one(*load(), paths, device, options)
                rows += [{"model": title, "what": what} | row for row in found]
                print(Results("", rows[-len(found) :]).table(), flush=True)
    return Results(
        f"Tagging on {device}, {options.threads} thread(s), {RATE / 1000:g} kHz stereo {options.format}, decoding "
        f"included; stock files are read by {stock_file_reader()}.",
        rows,
    )


def _material(folder: Path, options) -> dict[str, list[Path]]:
    material = {}
    if options.song_seconds:
        (song,) = write_recordings(folder / "song", 1, options.song_seconds, options.format, options.song)
        material[f"song of {options.song_seconds:g} s"] = [song]
    if options.clips:
        clips = write_recordings(folder / "clips", options.clips, options.clip_seconds, options.format, options.song)
        material[f"{options.clips:,} clips of {options.clip_seconds:g} s"] = clips
    return material


def _random(name: str, size: str, folder: Path) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    set_seed(0)
    model_plan = plan(name, size, folder / f"{name}_{size}")
    return build(model_plan, _LABELS), model_plan.feature_extractor


def _measure_one(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, paths: list[Path], device: torch.device, options
) -> list[dict]:
    ours = MusicTaggingPipeline(model, extractor, device=device)
    stock = pipeline("audio-classification", model=model, feature_extractor=extractor, device=device)
    first = _ways(ours, stock, paths[:_WARM_UP_CLIPS]) if len(paths) > _WARM_UP_CLIPS else None
    times = in_turns(_ways(ours, stock, paths), options.seconds, device, first)
    duration = sum(len(load_mono(path, 8_000)) for path in paths) / 8_000
    return [
        {
            "way": way,
            "seconds": value,
            "times real time": duration / value,
            "times stock": times["stock, window by window"] / value,
        }
        for way, value in times.items()
    ]


def _ways(ours: MusicTaggingPipeline, stock: Pipeline, paths: list[Path]) -> dict[str, Callable[[], object]]:
    rate, length = ours.tagger.sampling_rate, ours.tagger.feature_extractor.window_samples
    files, batches = [str(path) for path in paths], _batches(ours.tagger, paths)

    def windows() -> Iterator[dict]:
        for path in paths:
            samples = read_like_the_pipeline(path, rate)
            for start in ours.tagger.window_starts(len(samples)):
                yield {"raw": samples[start : start + length], "sampling_rate": rate}

    @torch.no_grad()
    def on_the_device() -> None:
        for batch in batches:
            ours.model(**batch)

    return {
        "ours": (lambda: ours(files[0])) if len(files) == 1 else (lambda: ours(files)),
        "stock, window by window": lambda: [stock(window) for window in windows()],
        "stock, batched": lambda: stock(list(windows()), batch_size=ours.tagger.batch_size),
        "limit: model alone": on_the_device,
    }


def _batches(tagger: Tagger, paths: list[Path]) -> list[dict[str, torch.Tensor]]:
    """What the model reads of all recordings, in batches on the device."""
    features, length = input_features(tagger.feature_extractor), tagger.feature_extractor.window_samples
    windows = []
    for path in paths:
        waveform = torch.from_numpy(load_mono(path, tagger.sampling_rate))
        repeated = waveform.repeat(-(-length // len(waveform))) if len(waveform) < length else waveform
        windows += [repeated[start : start + length] for start in tagger.window_starts(len(waveform))]
    return [
        features(torch.stack(windows[first : first + tagger.batch_size]).to(tagger.device))
        for first in range(0, len(windows), tagger.batch_size)
    ]
