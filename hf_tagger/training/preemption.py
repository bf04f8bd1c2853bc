"""Stopping on a signal: a whole checkpoint after the running step, then an end that says how to go on.

A cluster announces the end of a job by a signal: SIGUSR1 if it is asked to (Slurm's ``--signal``), SIGTERM otherwise.
Transformers' own ``enable_jit_checkpoint`` (seen in 5.23) is no substitute: it knows SIGTERM only; every process stops
at the step at which the signal reaches it, so several processes wait for each other for ever; it evaluates in the
middle of an epoch, which changes which checkpoint is the best; with ``save_total_limit: 1`` the checkpoint is deleted
again; and ``train()`` returns as if training were finished.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from pathlib import Path

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, IntervalStrategy

from ..errors import Interrupted

# Those that exist on this system; Windows has no SIGUSR1.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGTERM") if hasattr(signal, name))


class StopSignal:
    """The signal by which a run of one or several processes is asked to stop.

    Between :meth:`listen` and :meth:`close` the signals no longer end the process: they are noted.
    """

    def __init__(self):
        self._received = 0
        self._previous: dict[int, object] = {}
        self._shared: torch.Tensor | None = None

    def listen(self) -> None:
        """Notes signals from now on; does nothing in a thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread() or self._previous:
            return
        self._received = 0
        self._previous = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        _keep_forks_apart()

    def close(self) -> None:
        """Gives the signals their former effect back."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}

    def agreed(self, device: torch.device, world_size: int) -> int:
        """The number of a signal that has reached any of the processes, the same for all of them; 0 for none.

        With several processes all of them have to call it, after the same step: a signal reaches them at different
        times, or only one of them.
        """
        if world_size == 1:
            return self._received
        if self._shared is None:  # kept: see forks.py on tensors that a thread of torch.distributed is the last to hold
            self._shared = torch.zeros(1, dtype=torch.int32, device=device)
        self._shared.fill_(self._received)
        torch.distributed.all_reduce(self._shared, op=torch.distributed.ReduceOp.MAX)
        return int(self._shared)

    def _note(self, number: int, frame: object) -> None:
        self._received = number


class StopOnSignal(TrainerCallback):
    """Saves a checkpoint after the running step and raises :class:`~hf_tagger.errors.Interrupted`.

    An evaluation that is due after that step is done first, so that the resumed run has the numbers, the best
    checkpoint and the weights of an undisturbed one. A signal thus needs the time of one step, one evaluation and one
    checkpoint. Before and after training signals have their usual effect: the process ends at once.
    """

    def __init__(self):
        self._signal = StopSignal()
        self._number = 0
        self._stopping = False  # a checkpoint has been asked for
        self._saved = False  # and is there

    def on_train_begin(self, args, state, control, **kwargs):
        """Begins to listen, before processes that load data are forked."""
        self._number, self._stopping, self._saved = 0, False, False
        self._signal.listen()

    def on_step_end(self, args, state, control, **kwargs):
        """Asks for a checkpoint; at the end of an epoch it is left to on_epoch_end, and written once."""
        self._number = self._signal.agreed(args.device, args.world_size)
        if self._number and float(state.epoch).is_integer():
            control.should_save = False
        elif self._number:
            self._ask_for_checkpoint(args, control)

    def on_epoch_end(self, args, state, control, **kwargs):
        """Asks for a checkpoint after the evaluation of the epoch, which may be due."""
        if self._number:
            self._ask_for_checkpoint(args, control)

    def on_save(self, args, state, control, **kwargs):
        """Notes that the checkpoint is there: ``save_strategy: best`` may have refused it."""
        self._saved = self._stopping

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Stops; not in on_save, where callbacks after this one may still have something to save."""
        if self._saved:
            folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self._stop(
                args, f"stopped training after step {state.global_step} of {state.max_steps}; all is saved in {folder}"
            )

    on_step_begin = on_epoch_begin

    def on_train_end(self, args, state, control, **kwargs):
        """Stops if a signal has come when nothing was left to train; from now on signals have their usual effect."""
        self._number = self._signal.agreed(args.device, args.world_size)
        if self._number:
            self._stop(args, "came when training was over, and stopped the run before its evaluation")
        self._signal.close()

    def close(self) -> None:
        """Gives signals their usual effect back: training ended in an error."""
        self._signal.close()

    def _ask_for_checkpoint(self, args, control) -> None:
        control.should_save = self._stopping = True
        # The resumed run logs the mean loss since its start, so that of the steps before is logged now.
        control.should_log |= args.logging_strategy != IntervalStrategy.NO

    def _stop(self, args, what: str) -> None:
        if args.world_size > 1:
            # A launcher that sees one of its processes end sends SIGTERM to the others: none may end before the
            # checkpoint is whole. And they go on listening, so that all of them end with the same exit status.
            torch.distributed.barrier()
        else:
            self._signal.close()
        raise Interrupted(
            f"{signal.Signals(self._number).name} {what}. Go on by the same command with --resume_from_checkpoint, "
            f"and without --overwrite_output_dir."
        )


@functools.cache
def _keep_forks_apart() -> None:
    """Makes processes that are forked by one that listens leave its process group.

    torchrun and ``timeout`` signal the whole group. A process that loads data would die of SIGTERM, and the step that
    waits for its batch with it. They end by themselves when their parent does.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_the_process_group)


def _leave_the_process_group() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(getattr(handler, "__self__", None), StopSignal):
        os.setpgid(0, 0)
