"""The fields of a recipe's ``optimizer_phases``: one optimizer after another, each for some epochs.

::

    optimizer_phases:
      - {epochs: 80, optimizer: adam, learning_rate: 1e-4}
      - {epochs: 20, optimizer: sgd, learning_rate: 1e-3, momentum: 0.9, nesterov: true}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from .argument_checks import range_problems, unknown_name
from .errors import RecipeError

_OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass
class OptimizerPhase:
    """Some epochs of training with one optimizer at one learning rate.

    ``adam`` and ``sgd`` add the weight decay to the gradient, ``adamw`` shrinks the weights themselves; Adam's betas
    and epsilon are PyTorch's defaults.
    """

    epochs: int = field(metadata={"help": "Epochs of this phase."})
    learning_rate: float = field(metadata={"help": "Learning rate, constant within the phase."})
    optimizer: Literal["adam", "adamw", "sgd"] = field(default="adamw", metadata={"help": "adam, adamw or sgd."})
    weight_decay: float = field(default=0.0, metadata={"help": "Weight decay; norms and biases have none."})
    momentum: float | None = field(default=None, metadata={"help": "sgd only: momentum. Default: 0."})
    nesterov: bool | None = field(default=None, metadata={"help": "sgd only: Nesterov momentum. Default: false."})

    def __post_init__(self) -> None:
        infinity = math.inf
        problems = range_problems(
            self,
            {
                "epochs": (1, infinity, True),
                "learning_rate": (0, infinity, False),
                "weight_decay": (0, infinity, True),
                "momentum": (0, 1, True),
            },
        )
        if self.optimizer not in _OPTIMIZERS:
            problems.append(unknown_name("optimizer", self.optimizer, list(_OPTIMIZERS)))
        elif self.optimizer != "sgd":
            problems += [
                f"{name}: belongs to sgd, not to {self.optimizer}; leave it out"
                for name in ("momentum", "nesterov")
                if getattr(self, name) is not None
            ]
        elif self.nesterov and not self.momentum:
            problems.append("nesterov: needs a momentum, such as 0.9")
        if problems:
            raise RecipeError(problems, "the phases of the optimizer")

    @property
    def options(self) -> dict[str, float | bool]:
        """What PyTorch's optimizer takes besides parameters, learning rate and weight decay."""
        if self.optimizer != "sgd":
            return {}
        return {"momentum": self.momentum or 0.0, "nesterov": bool(self.nesterov)}


def phase_problems(phases: list[OptimizerPhase], arguments: object) -> list[str]:
    """What is wrong with the training arguments beside the phases: what a phase states itself may not stand elsewhere.

    Args:
        phases: The phases, in their order.
        arguments: The training arguments.
    """
    epochs, first = sum(phase.epochs for phase in phases), phases[0].learning_rate
    wrong = {
        f"num_train_epochs: {arguments.num_train_epochs:g}; the phases have {epochs} epochs together": (
            arguments.num_train_epochs != epochs
        ),
        f"learning_rate: {arguments.learning_rate:g}; it must be that of the first phase, {first:g}": (
            arguments.learning_rate != first
        ),
        "max_steps: the phases say how long training is; leave it out": arguments.max_steps > 0,
        "weight_decay: each phase has its own; set it to 0": arguments.weight_decay != 0,
        "lr_scheduler_type: each phase has a constant learning rate; set it to constant": (
            arguments.lr_scheduler_type != "constant"
        ),
        "warmup_steps: the phases have no warm-up; set it to 0": arguments.warmup_steps != 0,
        "eval_delay: the second phase may need a checkpoint before it; leave it out": bool(arguments.eval_delay),
        f"{', '.join(_of_one_optimizer(arguments))}: each phase has its own optimizer; leave it out": (
            len(_of_one_optimizer(arguments)) > 0
        ),
        "search: it changes one optimizer's values; leave one of both out": arguments.search is not None,
        "ema_decay: a phase starts with the best weights, not with their average; leave it out": (
            arguments.ema_decay is not None
        ),
        "eval_strategy, save_strategy: a phase starts with the best checkpoint; set both to epoch, and "
        "load_best_model_at_end: true": (
            (arguments.eval_strategy, arguments.save_strategy) != ("epoch", "epoch")
            or not arguments.load_best_model_at_end
        ),
    }
    return [f"optimizer_phases with {sentence}" for sentence, is_wrong in wrong.items() if is_wrong]


def _of_one_optimizer(arguments: object) -> list[str]:
    """The fields of the one optimizer of a training without phases that are not as they are by default."""
    names = ("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "lr_scheduler_kwargs")
    defaults = {entry.name: entry.default for entry in fields(arguments)}
    return [name for name in names if getattr(arguments, name) != defaults[name]]
