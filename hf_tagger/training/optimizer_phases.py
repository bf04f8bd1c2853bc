"""One optimizer after another in one training (a recipe's ``optimizer_phases``), through transformers' ``Trainer``.

Won et al. 2020 train MagnaTagATune's taggers so: Adam, then SGD at falling rates, and each phase starts with the best
weights so far (https://arxiv.org/abs/2006.00751, section 4.2; the numbers of epochs are those of their code,
https://github.com/minzwon/sota-music-tagging-models/blob/master/training/solver.py).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback

from ..errors import HfTaggerError
from ..optimizer_arguments import OptimizerPhase

if TYPE_CHECKING:
    from .trainer import TaggingTrainer

logger = logging.getLogger(__name__)

_CLASSES = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class PhasedOptimizer(torch.optim.Optimizer):
    """An optimizer that hands its steps to that of the current phase.

    A phase of the same kind as the one before keeps its state (the momentum), another one begins without.

    Args:
        groups: Groups with ``params``, ``lr`` and ``weight_decay``; where the weight decay is 0 it stays 0, elsewhere
            it is that of the phase.
        phases: The phases.

    Attributes:
        phase: Number of the current phase, from 0.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], phases: Sequence[OptimizerPhase]):
        self.phases, self.phase, self._current = list(phases), 0, None
        super().__init__(groups, {"lr": phases[0].learning_rate, "weight_decay": 0.0})
        self._rates = [group["lr"] for group in self.param_groups]  # of the first phase
        self.enter(0)

    @property
    def rate_factor(self) -> float:
        """The current phase's learning rate over that of the first phase."""
        return self.phases[self.phase].learning_rate / self.phases[0].learning_rate

    def enter(self, phase: int) -> None:
        """Begins a phase; the groups' learning rates stay in proportion."""
        chosen = self.phases[phase]
        kind = _CLASSES[chosen.optimizer]
        if type(self._current) is not kind:
            self._current = kind([{"params": group["params"]} for group in self.param_groups], lr=chosen.learning_rate)
        for own, group in zip(self._current.param_groups, self.param_groups, strict=True):
            own |= chosen.options | {"weight_decay": chosen.weight_decay if group["weight_decay"] else 0.0}
        self.phase = phase
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.rate_factor

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of the current phase's optimizer, at the learning rates of this one's groups."""
        for own, group in zip(self._current.param_groups, self.param_groups, strict=True):
            own["lr"] = group["lr"]
        return self._current.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """The current optimizer's state, and the number of its phase."""
        return {**self._current.state_dict(), "phase": self.phase}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on in the phase of a saved state."""
        self.enter(state_dict["phase"])
        self._current.load_state_dict({name: value for name, value in state_dict.items() if name != "phase"})


def phase_schedule(optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Learning rates of the optimizer's current phase, whatever the number of steps: fp16 may have skipped some.

    Args:
        optimizer: A :class:`PhasedOptimizer`, or accelerate's wrapper of it.
    """
    phased = _unwrapped(optimizer)
    return LambdaLR(optimizer, lambda _: phased.rate_factor)


class PhaseStart(TrainerCallback):
    """Begins a phase at its first epoch, with the weights of the best checkpoint so far.

    HfTaggerError in training, if that checkpoint is gone.

    Args:
        trainer: The trainer.
    """

    def __init__(self, trainer: TaggingTrainer):
        self._trainer = trainer
        self._ends = list(itertools.accumulate(phase.epochs for phase in trainer.args.optimizer_phases))

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Does nothing within a phase, so that a resumed run does it neither twice nor not at all."""
        optimizer = _unwrapped(self._trainer.optimizer)
        phase = _phase_at(self._ends, round(state.epoch or 0, 6))
        if phase == optimizer.phase:
            return
        self._load_best_weights()
        optimizer.enter(phase)
        logger.warning("Phase %d of the optimizer begins: %s.", phase + 1, optimizer.phases[phase])

    def _load_best_weights(self) -> None:
        """Goes on with the weights of the best checkpoint so far, the same in all processes."""
        trainer, state = self._trainer, self._trainer.state
        # The recorded path is wrong when a run's folder was moved, or when a node does not see it.
        path = Path(trainer.args.output_dir) / f"checkpoint-{state.best_global_step}"
        if path.is_dir():
            state.best_model_checkpoint = str(path)
            Trainer._load_best_model(trainer)
        elif trainer.args.process_index == 0:
            raise HfTaggerError(
                f"The best checkpoint so far, {path}, is gone, so the next phase of the optimizer cannot start with it."
            )
        if trainer.args.world_size > 1:
            for value in trainer.model.state_dict().values():
                broadcast(value)


def _phase_at(ends: Sequence[int], epoch: float) -> int:
    return min(sum(epoch >= end for end in ends), len(ends) - 1)


def _unwrapped(optimizer: torch.optim.Optimizer) -> PhasedOptimizer:
    return optimizer if isinstance(optimizer, PhasedOptimizer) else optimizer.optimizer
