"""Reads the next recordings while the model hears this one: decoders leave Python's lock to others most of the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from .data.pcm import usable_cores

_MOST_READERS = 8  # decoding is some hundred times faster than real time: these feed any single accelerator
_MOST_SAMPLES = 40_000_000  # that wait: 160 MB, 40 minutes at 16 kHz; beyond, nothing more is read ahead

Recording = TypeVar("Recording")


def read_ahead(
    read: Callable[[Recording], np.ndarray], recordings: Iterable[Recording], readers: int | None = None
) -> Iterator[Future[np.ndarray]]:
    """Reads recordings in threads, in their order.

    Each thread holds one recording that it reads; of finished ones two a thread wait, and fewer if they are long.

    Args:
        read: Makes samples ``[samples]`` of a recording; called in several threads at once.
        recordings: What to read.
        readers: Number of threads; default: the cores of this process, eight at most.

    Yields:
        Of each recording a future, whose ``result()`` is what ``read`` returned; or raises what it raised.
    """
    readers = readers or min(usable_cores(), _MOST_READERS)
    remaining, waiting = iter(recordings), deque[Future]()
    with ThreadPoolExecutor(readers, thread_name_prefix="read_ahead") as pool:
        try:
            while True:
                while len(waiting) < 2 * readers and _samples_of_finished(waiting) < _MOST_SAMPLES:
                    try:
                        waiting.append(pool.submit(read, next(remaining)))
                    except StopIteration:
                        break
                if not waiting:
                    return
                yield waiting.popleft()
        finally:  # the caller may have stopped early
            for future in waiting:
                future.cancel()


def _samples_of_finished(waiting: Iterable[Future]) -> int:
    return sum(len(future.result()) for future in waiting if future.done() and future.exception() is None)
