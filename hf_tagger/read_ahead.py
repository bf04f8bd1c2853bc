"""Reads the next recordings while the model hears this one: decoders leave Python's lock to others most of the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np

from .cores import usable_cores

_MOST_READERS = 8  # decoding is some hundred times faster than real time: these feed any single accelerator
_MOST_SAMPLES = 40_000_000  # that are read ahead: 160 MB, 40 minutes at 16 kHz

Recording = TypeVar("Recording")


def read_ahead(
    read: Callable[[Recording], np.ndarray], recordings: Iterable[Recording], readers: int | None = None
) -> Iterator[Future[np.ndarray]]:
    """Reads recordings in threads, in their order.

    Two a thread are read ahead at most, and fewer if recordings are long: no more than would take 160 MB if all were as
    long as the longest so far, but always one; two until the first one's length is known.

    Args:
        read: Makes samples ``[samples]`` of a recording; called in several threads at once.
        recordings: What to read.
        readers: Number of threads; default: the cores of this process, eight at most.

    Yields:
        Of each recording a future, whose ``result()`` is what ``read`` returned; or raises what it raised.
    """
    readers = readers or min(usable_cores(), _MOST_READERS)
    remaining, waiting, longest = iter(recordings), deque[Future](), 0
    with ThreadPoolExecutor(readers, thread_name_prefix="read_ahead") as pool:
        try:
            while True:
                longest = max([longest, *map(len, _finished(waiting))])
                most = min(2 * readers, max(_MOST_SAMPLES // longest, 1)) if longest else min(2 * readers, 2)
                for recording in islice(remaining, max(most - len(waiting), 0)):
                    waiting.append(pool.submit(read, recording))
                if not waiting:
                    return
                yield waiting.popleft()
        finally:  # the caller may have stopped early
            for future in waiting:
                future.cancel()


def _finished(waiting: Iterable[Future]) -> list[np.ndarray]:
    return [future.result() for future in waiting if future.done() and future.exception() is None]
