"""Forks beside other threads: loaders fork their workers from processes that communicate in threads of their own.

CPython before 3.12 can leave a forked process waiting for ever: the lock on its list of threads is made anew only after
its first use there (``PyOS_AfterFork_Child``: ``_PyEval_ReInitThreads`` before ``_PyRuntimeState_ReInitThread``), and a
thread of the parent may have held it. The threads of torch.distributed take it when they are the last to let go of a
tensor that Python has made, such as the random state that Accelerate shares right before it forks an epoch's workers.
Seen with CPython 3.11.7, gloo and one worker a process: after some hundred forks a worker hangs, and all processes of
the run wait for its first batch.
"""

from __future__ import annotations

import functools
import os
import sys
import time

import torch

# Seconds: such a thread needs microseconds, and longer only where cores are short.
PAUSE = 0.02


@functools.cache
def let_threads_settle_before_forks() -> None:
    """From now on a fork of this process waits 20 ms, if it is one of several that train together.

    The wait lets go of the interpreter, so that threads that wait for it come to an end. Does nothing where the lock is
    made anew in time (from CPython 3.12 on), or where there are no forks.
    """
    if sys.version_info < (3, 12) and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_settle)


def _settle() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        time.sleep(PAUSE)
