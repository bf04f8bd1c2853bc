"""Times of several ways to do the same, measured in turns, so that all meet the same moments of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

_LEAST_TURNS = 3
_GIBIBYTE = 2**30
_CLEAR = Path("/proc/self/clear_refs")


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    seconds: float = 10.0,
    device: torch.device | str = "cpu",
    warm_up: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Median seconds that each way takes.

    Every way is called once to warm up; then all are called in turns, until the time is over and each has had three.

    Args:
        ways: Functions by name.
        seconds: Time for all measured turns together.
        device: What has to have finished before a time is taken.
        warm_up: Called once instead, for ways that take minutes; these need have one turn only.
    """
    for work in (warm_up or ways).values():
        timed(work, device)
    least = 1 if warm_up else _LEAST_TURNS
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < least:
        for name, work in ways.items():
            times[name].append(timed(work, device))
    return {name: statistics.median(values) for name, values in times.items()}


def timed(work: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Seconds of one call, with all that it started on the device."""
    finish(device)
    started = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - started


def finish(device: torch.device | str) -> None:
    """Waits until the device has done all that it was asked for."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)


def forget_peak_memory(device: torch.device | str) -> None:
    """Begins a new measurement of :func:`peak_memory`."""
    gc.collect()  # trainers are in cycles with what they know, and would count until Python looks for them
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc: what was freed is no memory of what comes now
        if trim is not None:
            trim(0)
        with contextlib.suppress(OSError):  # some containers hide it; peak_memory then tells the process's highest
            _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets the peak of resident memory


def peak_memory(device: torch.device | str) -> float | None:
    """Highest memory in GiB since :func:`forget_peak_memory`.

    Of PyTorch's tensors on a GPU; of this process with all that it holds on a CPU under Linux; elsewhere unknown.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GIBIBYTE
    if not sys.platform.startswith("linux"):
        return None
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    peaks = [int(line.split()[1]) for line in status if line.startswith("VmHWM:")]  # kB; none under gVisor
    return peaks[0] * 1024 / _GIBIBYTE if peaks else None
