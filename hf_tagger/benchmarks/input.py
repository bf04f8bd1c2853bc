"""Training input: random windows of long recordings, as batches of a DataLoader.

python scripts/benchmark.py input
python scripts/benchmark.py input --song song.mp3 --formats mp3 --window_seconds 3.7

The stock way decodes the file, crops and calls the feature extractor of AST for every window; ours reads the crop out
of the store, and leaves the spectrogram to the model's device, where it is computed batched ("+ filterbank": the same
with AST's spectrogram on one CPU core, for a comparison of equal work). The limit copies windows out of memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import ASTFeatureExtractor

from ..cores import usable_cores
from ..data.pcm import PreparedClips
from ..data.windows import TrainingWindows, WindowCollator
from ..models.input_features import input_features
from ._data import training_clips
from ._options import seconds, whole_number
from ._recordings import FORMATS, write_recordings
from ._results import Results
from ._stock import stack, stock_dataset, stock_decoder

_LABELS = 2
_ROUNDS = 3
_LEAST_BATCHES = 3
_MANY = 1_000_000  # windows of a data set that no measurement comes to the end of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--song", help="audio file from which clips are cut; default: clips made in code")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="formats of the files")
    parser.add_argument("--clips", type=whole_number(4), default=32, help="number of clips, at least 4")
    parser.add_argument("--clip_seconds", type=seconds, default=30.0, help="length of a clip")
    parser.add_argument("--window_seconds", type=seconds, default=10.24, help="length of a window")
    parser.add_argument("--batch_size", type=whole_number(1), default=16, help="windows of a batch")
    parser.add_argument(
        "--workers", type=whole_number(0), nargs="+", default=[0, 1, usable_cores()], help="worker processes"
    )
    parser.add_argument("--seconds", type=seconds, default=10.0, help="time of each measurement, in three rounds")


def measure(options: argparse.Namespace) -> Results:
    """Windows per second of every way: median of three rounds, in each of which every way has its turn."""
    torch.set_num_threads(1)
    extractor = ASTFeatureExtractor()
    extractor.max_length = max(round(options.window_seconds * 100) - 2, 1)  # frames of 25 ms every 10 ms
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for workers in options.workers:
            ways: dict[str, _Way] = {}
            for suffix in options.formats:
                folder = Path(name, suffix)
                paths = sorted(folder.glob(f"*.{suffix}")) or write_recordings(
                    folder, options.clips, options.clip_seconds, suffix, options.song
                )
                ways |= _ways(paths, suffix, suffix == options.formats[0], extractor, workers, options)
            rates: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(_ROUNDS):
                for way, batches in ways.items():
                    rates[way].append(batches.per_second(options.seconds / _ROUNDS) * options.batch_size)
            typical = {way: statistics.median(found) for way, found in rates.items()}
            stock = typical[f"stock, {options.formats[0]}"]
            rows += [
                {"workers": workers, "way": way, "windows per second": rate, "times stock": rate / stock}
                for way, rate in typical.items()
            ]
    return Results(
        f"Windows of {options.window_seconds:g} s from clips of {options.clip_seconds:g} s (44.1 kHz, stereo), batches "
        f"of {options.batch_size}, one thread a process; stock files are decoded by {stock_decoder()}.",
        rows,
        [
            "Without workers one process on one core does everything; with workers these and the main process share "
            "the cores. Files and stores lie in the page cache."
        ],
    )


class _Way:
    """Batches of a loader, and what is still done with each."""

    def __init__(self, loader: DataLoader, work: Callable[[dict], object] = lambda batch: None):
        self._loader, self._work = loader, work

    def per_second(self, seconds: float) -> float:
        """Batches in a second. Those that workers have ready before the clock starts are not counted: a loader begins
        anew here, and fills its queue twice first."""
        batches = iter(self._loader)
        for _ in range(2 + 2 * self._loader.num_workers * (self._loader.prefetch_factor or 0)):
            self._work(next(batches))
        done, started = 0, time.perf_counter()
        while done < _LEAST_BATCHES or time.perf_counter() < started + seconds:
            self._work(next(batches))
            done += 1
        return done / (time.perf_counter() - started)


def _ways(
    paths: list[Path], suffix: str, is_first: bool, extractor: ASTFeatureExtractor, workers: int, options
) -> dict[str, _Way]:
    cache, rate = paths[0].parent / "cache", extractor.sampling_rate
    samples = round(options.window_seconds * rate)
    stock = stock_dataset(paths, extractor, options.window_seconds)
    many = np.random.default_rng(0).integers(len(paths), size=_MANY)
    collate = WindowCollator("single_label_classification", _LABELS)

    def loader(dataset: Dataset, collate: Callable) -> DataLoader:
        return DataLoader(dataset, options.batch_size, collate_fn=collate, num_workers=workers)

    def windows(**store: object) -> DataLoader:
        clips = training_clips(paths, rate, cache, **store)
        return loader(_Shuffled(TrainingWindows(clips, samples), many), collate)

    ways = {
        f"stock, {suffix}": _Way(loader(stock.select(many), stack)),
        f"ours without a store, {suffix}": _Way(windows(pcm_store=False)),
    }
    if not is_first:  # what lies in a store does not depend on the file it came from
        return ways
    features = input_features(extractor)
    return ways | {
        "store, 16-bit samples": _Way(windows()),
        "store, FLAC": _Way(windows(store_format="flac")),
        "store + filterbank": _Way(windows(), lambda batch: features(batch["input_values"])),
        "limit: windows out of memory": _Way(
            loader(_InMemory(training_clips(paths, rate, cache), samples), torch.utils.data.default_collate)
        ),
    }


class _Shuffled(Dataset):
    """Training windows in a random order that does not end."""

    def __init__(self, windows: TrainingWindows, order: np.ndarray):
        self._windows, self._order = windows, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, item: int) -> dict:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: list[int]) -> list[dict]:
        # A number beyond the length is another window of the clip with that number modulo the length.
        return self._windows.__getitems__([int(self._order[item]) + item * len(self._windows) for item in items])


class _InMemory(Dataset):
    """Float windows at known places: what is left if nothing has to be found, read or converted."""

    def __init__(self, clips: PreparedClips, samples: int):
        self.waveforms = torch.from_numpy(np.stack([clips.read(index)[:samples] for index in range(len(clips))]))

    def __len__(self) -> int:
        return _MANY

    def __getitem__(self, item: int) -> torch.Tensor:
        return self.waveforms[item % len(self.waveforms)]
