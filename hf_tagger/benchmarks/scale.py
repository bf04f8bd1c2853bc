"""Many clips: preparing the store, opening it again and reading an epoch, for 100 to 100,000 clips.

python scripts/benchmark.py scale
python scripts/benchmark.py scale --clips 1000 --clip_seconds 30 --processes 1 2 4 --store_format flac

The clips are links to a few files: every one is decoded and kept as if it were another recording. Each number of clips
and of processes is measured in a fresh process. Memory is what preparing adds to the main process at its highest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch

from ..cores import usable_cores
from ..data.windows import TrainingWindows
from ..errors import HfTaggerError
from ._data import training_clips
from ._options import seconds, whole_number
from ._recordings import FORMATS, write_recordings
from ._results import Results
from ._timing import forget_peak_memory, peak_memory

_GIGABYTE = 1e9
_WINDOW_SHARE = 0.5  # of a clip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--clips", type=whole_number(4), nargs="+", default=[100, 1_000, 10_000, 100_000], help="numbers of clips"
    )
    parser.add_argument("--clip_seconds", type=seconds, default=3.0, help="length of a clip")
    parser.add_argument("--files", type=whole_number(1), default=50, help="files that the clips are links to")
    parser.add_argument("--format", choices=FORMATS, default="mp3", help="format of the files")
    parser.add_argument("--song", help="audio file from which they are cut; default: made in code")
    parser.add_argument(
        "--processes", type=whole_number(1), nargs="+", default=[usable_cores()], help="processes that decode"
    )
    parser.add_argument("--store_format", choices=["pcm", "flac"], default="pcm", help="format of the store")
    parser.add_argument("--sampling_rate", type=whole_number(1000), default=16_000, help="rate of the store in Hz")
    parser.add_argument("--folder", help="where clips and stores are written; default: the system's temporary folder")


def measure(options: argparse.Namespace) -> Results:
    """A row for every number of clips and of processes."""
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        files = write_recordings(folder / "files", options.files, options.clip_seconds, options.format, options.song)
        for clips in options.clips:
            links = _link(files, folder / "clips", clips)
            for processes in options.processes:
                rows.append(_in_a_process(links, folder / "store", processes, options))
                shutil.rmtree(folder / "store")
                print(Results("", rows[-1:]).table(), flush=True)
            shutil.rmtree(folder / "clips")
    return Results(
        f"Clips of {options.clip_seconds:g} s ({options.format}, 44.1 kHz, stereo) to a {options.store_format} store "
        f"of {options.sampling_rate:,} Hz; an epoch reads one window of half its length from every clip, in one "
        f"process, out of the page cache.",
        rows,
    )


def _link(files: list[Path], folder: Path, clips: int) -> list[Path]:
    links = []
    folder.mkdir()
    for number in range(clips):
        links.append(folder / f"{number:07d}{files[0].suffix}")
        os.link(files[number % len(files)], links[-1])
    return links


def _in_a_process(links: list[Path], store: Path, processes: int, options) -> dict:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, links, store, processes, options.store_format, options.sampling_rate, options.clip_seconds)
    process = context.Process(target=_measure, args=arguments)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise HfTaggerError(
            f"{len(links):,} clips: the process ended without a result; the reason stands above."
        ) from None
    finally:
        process.join()


def _measure(sender, links, store, processes, store_format, sampling_rate, clip_seconds) -> None:
    torch.set_num_threads(1)
    settings = {"store_format": store_format, "preprocessing_num_workers": processes}
    training_clips(links[:4], sampling_rate, store / "warm_up", **settings)  # imports count neither as time nor memory
    shutil.rmtree(store / "warm_up")
    forget_peak_memory("cpu")
    before = peak_memory("cpu")
    started = time.perf_counter()
    clips = training_clips(links, sampling_rate, store, **settings)
    prepared = time.perf_counter()
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    peak = peak_memory("cpu")
    clips = training_clips(links, sampling_rate, store, **settings)
    opened = time.perf_counter()
    windows = TrainingWindows(clips, round(_WINDOW_SHARE * clip_seconds * sampling_rate))
    for index in torch.randperm(len(windows)).tolist():
        windows[index]
    read = time.perf_counter()
    number = len(links)
    sender.send(
        {
            "clips": number,
            "processes": processes,
            "preparing (s)": prepared - started,
            "clips a second": number / (prepared - started),
            "memory for it (MiB)": None if peak is None else 1024 * (peak - before),
            "opening again (s)": opened - prepared,
            "epoch of reading (s)": read - opened,
            "ms a window": 1_000 * (read - opened) / len(windows),
            "store (GB)": size / _GIGABYTE,
        }
    )
    sender.close()
