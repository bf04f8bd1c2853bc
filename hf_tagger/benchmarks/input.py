"""Training input: random windows of long recordings, as batches of a DataLoader.

python scripts/benchmark.py input
python scripts/benchmark.py input --song song.mp3 --formats mp3 --window_seconds 3.7

The stock way decodes the file, crops and calls the feature extractor of AST for every window; ours reads the crop out
of the store, and leaves the spectrogram to the model's device, where it is computed batched ("+ filterbank": the same
with AST's spectrogram on one CPU core, for a comparison of equal work). The limit copies windows out of memory.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import ASTFeatureExtractor

from ..data.pcm import PreparedClips, usable_cores
from ..data.windows import TrainingWindows, WindowCollator
from ..models.input_features import input_features
from ._data import training_clips
from ._recordings import FORMATS, write_recordings
from ._results import Results
from ._stock import stack, stock_dataset, stock_decoder
from ._timing import in_turns

_LABELS = 2
_MANY = 1_000_000  # windows of a data set that no measurement comes to the end of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--song", help="audio file from which clips are cut; default: clips made in code")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="formats of the files")
    parser.add_argument("--clips", type=int, default=32, help="number of clips, at least 4")
    parser.add_argument("--clip_seconds", type=float, default=30.0, help="length of a clip")
    parser.add_argument("--window_seconds", type=float, default=10.24, help="length of a window")
    parser.add_argument("--batch_size", type=int, default=16, help="windows of a batch")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, usable_cores()], help="worker processes")
    parser.add_argument("--seconds", type=float, default=10.0, help="time of each measurement")


def measure(options: argparse.Namespace) -> Results:
    """Windows per second of every way, in turns."""
    torch.set_num_threads(1)
    extractor = ASTFeatureExtractor()
    extractor.max_length = max(round(options.window_seconds * 100) - 2, 1)  # frames of 25 ms every 10 ms
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for workers in options.workers:
            ways: dict[str, Callable[[], object]] = {}
            for suffix in options.formats:
                folder = Path(name, suffix)
                paths = sorted(folder.glob(f"*.{suffix}")) or write_recordings(
                    folder, options.clips, options.clip_seconds, suffix, options.song
                )
                ways |= _ways(paths, suffix, suffix == options.formats[0], extractor, workers, options)
            times = in_turns(ways, options.seconds * len(ways))
            stock = times[f"stock, {options.formats[0]}"]
            rows += [_row(way, workers, options.batch_size / value, stock / value) for way, value in times.items()]
            del ways  # ends the workers
    return Results(
        f"Windows of {options.window_seconds:g} s from clips of {options.clip_seconds:g} s (44.1 kHz, stereo), batches "
        f"of {options.batch_size}, one thread a process; stock files are decoded by {stock_decoder()}.",
        rows,
        ["A core: without workers one process does everything; with workers they share the cores."],
    )


def _ways(
    paths: list[Path], suffix: str, is_first: bool, extractor: ASTFeatureExtractor, workers: int, options
) -> dict[str, Callable[[], object]]:
    cache, rate = paths[0].parent / "cache", extractor.sampling_rate
    samples = round(options.window_seconds * rate)
    stock = stock_dataset(paths, extractor, options.window_seconds)
    many = np.random.default_rng(0).integers(len(paths), size=_MANY)

    def loader(dataset: Dataset, collate: Callable) -> Callable[[], object]:
        return _batches(DataLoader(dataset, options.batch_size, collate_fn=collate, num_workers=workers))

    def windows(**store: object) -> Callable[[], object]:
        clips = training_clips(paths, rate, cache, **store)
        crops = TrainingWindows(clips, samples, crops_per_clip=_MANY // len(clips))
        return loader(crops, WindowCollator("single_label_classification", _LABELS))

    ways = {f"stock, {suffix}": loader(stock.select(many), stack)}
    ways[f"ours without a store, {suffix}"] = windows(pcm_store=False)
    if not is_first:  # what lies in a store does not depend on the file it came from
        return ways
    ways["store, 16-bit samples"] = windows()
    ways["store, FLAC"] = windows(store_format="flac")
    read, features = windows(), input_features(extractor)
    ways["store + filterbank"] = lambda: features(read()["input_values"])
    ways["limit: windows out of memory"] = loader(
        _InMemory(training_clips(paths, rate, cache), samples), torch.utils.data.default_collate
    )
    return ways


class _InMemory(Dataset):
    """Float windows at known places: what is left if nothing has to be found, read or converted."""

    def __init__(self, clips: PreparedClips, samples: int):
        self.waveforms = torch.from_numpy(np.stack([clips.read(index)[:samples] for index in range(len(clips))]))

    def __len__(self) -> int:
        return _MANY

    def __getitem__(self, item: int) -> torch.Tensor:
        return self.waveforms[item % len(self.waveforms)]


def _batches(loader: DataLoader) -> Callable[[], object]:
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(batches)


def _row(way: str, workers: int, rate: float, ratio: float) -> dict[str, object]:
    return {"workers": workers, "way": way, "windows per second": rate, "times stock": ratio}
