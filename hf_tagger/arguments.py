"""The fields of a recipe: which data, which model, how to train. Every field has a meaning, a type and a range.

Each class checks itself when it is made and reports all of its mistakes at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import TrainingArguments

from .argument_checks import from_mapping, plain, range_problems, space_problems, with_nested_values
from .augmentation_arguments import AugmentationArguments
from .data_arguments import DataArguments
from .errors import RecipeError
from .loss_arguments import LossArguments
from .model_arguments import ModelArguments
from .optimizer_arguments import OptimizerPhase, phase_problems

__all__ = ["DataArguments", "ModelArguments", "TaggingArguments"]

_MAPPINGS = {"loss": LossArguments, "augmentation": AugmentationArguments}
"""Fields that a recipe gives as a mapping, and what the mapping becomes."""

TOKEN_ADVICE = (
    "hub_token: a token belongs neither into a recipe nor on a command line, where others read it; log in by "
    "`hf auth login`, or set HF_TOKEN"
)
"""What is said to who gives one; the token itself is not repeated."""


@dataclass
class TaggingArguments(TrainingArguments):
    """transformers' ``TrainingArguments`` with the defaults of this package.

    Changed defaults: output_dir, learning_rate 1e-3 and per_device_*_batch_size 16/64 (networks trained from scratch),
    evaluation, logging and saving once an epoch, the two newest checkpoints kept, the best model loaded at the end,
    dataloader_num_workers 2 (none on a CPU, whose cores the model needs), TensorBoard, losses that are NaN shown, and
    unknown batch columns kept. With CUDA the trainer sets ``accelerator_config.non_blocking`` too.

    ``push_to_hub`` asks for one push, after everything was written. ``Trainer``, which would push at every checkpoint
    and before the model is evaluated, reads False there; what was asked for is :attr:`pushes_to_hub`.
    """

    output_dir: str = field(default="runs/run", metadata={"help": "Folder that receives the model and its results."})
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Delete what an earlier run left in output_dir. Without it such a folder is refused."},
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Highest learning rate."})
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "Highest learning rate of the head. Default: learning_rate."}
    )
    layer_decay: float | None = field(
        default=None,
        metadata={
            "help": "Factor of the learning rate from one layer of the encoder to the one below it, such as 0.75. "
            "Default: all layers learn at the same rate."
        },
    )
    optimizer_phases: list[dict[str, Any]] | None = field(
        default=None,
        metadata={
            "help": "One optimizer after another, such as [{epochs: 80, optimizer: adam, learning_rate: 1e-4}, …]; a "
            "phase starts with the best weights so far. num_train_epochs must be their sum, learning_rate that of the "
            "first, lr_scheduler_type constant. Default: one optimizer, optim."
        },
    )
    ema_decay: float | None = field(
        default=None,
        metadata={
            "help": "Keep an exponential moving average of the weights with this decay, such as 0.999; it is what is "
            "evaluated and saved. Default: none."
        },
    )
    loss: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "The loss of the labels, such as {name: focal, gamma: 2} or {class_weights: balanced}. Default: "
            "cross-entropy."
        },
    )
    sampling: Literal["random", "balanced"] = field(
        default="random", metadata={"help": "Clips to train on: random, or balanced, those of rare labels more often."}
    )
    augmentation: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "How training windows are changed at random, such as {gain: {probability: 0.5}, mixup: {}}. "
            "Default: not at all."
        },
    )
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Training windows a step and a device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Evaluation windows a step and a device."})
    eval_strategy: Literal["no", "steps", "epoch"] = field(
        default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."}
    )
    save_strategy: Literal["no", "steps", "epoch", "best"] = field(
        default="epoch", metadata={"help": "When to save: no, steps, epoch or best."}
    )
    logging_strategy: Literal["no", "steps", "epoch"] = field(
        default="epoch", metadata={"help": "When to log: no, steps or epoch."}
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept, the best one included."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint that was best on the validation split."}
    )
    metric_for_best_model: str | None = field(
        default=None,
        metadata={"help": "Validation metric to choose by. Default: ap_macro (multi-label) or accuracy."},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without a better metric. Default: never."}
    )
    dataloader_num_workers: int | None = field(
        default=None,
        metadata={"help": "Processes that cut windows. Default: 2; on a CPU, whose cores the model needs, 0."},
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Leave false: our batches hold exactly what the model reads."}
    )
    report_to: None | str | list[str] = field(  # noqa: RUF036 (the order that HfArgumentParser understands)
        default="tensorboard", metadata={"help": "Where to log: tensorboard, wandb, none, …"}
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Log the mean of earlier losses in place of one that is NaN or infinite."}
    )
    search: int | None = field(
        default=None,
        metadata={"help": "Try this many sets of values from search_space instead of one training; needs optuna."},
    )
    search_space: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "What --search varies, such as {learning_rate: {low: 1e-5, high: 1e-3, log: true}, lora.rank: [2, "
            "8]}."
        },
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Resume early stopping where it was."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "Go on from a checkpoint folder, or, given alone, from the last one in output_dir."},
    )

    push_to_hub: bool = field(
        default=False,
        metadata={
            "help": "Push what the run leaves to the Hub when it is finished, in one commit; as scripts/push.py does."
        },
    )
    hub_model_id: str | None = field(
        default=None,
        metadata={"help": "The repository, NAME or NAMESPACE/NAME. Default: the name of output_dir."},
    )
    hub_private_repo: bool | None = field(
        default=None, metadata={"help": "Whether a new repository is private. Default: what the account says."}
    )
    hub_revision: str | None = field(default=None, metadata={"help": "The branch to push to. Default: the main one."})
    hub_token: str | None = field(default=None, metadata={"help": "Not here: log in by `hf auth login`."})

    def __post_init__(self) -> None:
        from transformers.integrations import INTEGRATION_TO_CALLBACK  # takes seconds, which --help has not

        infinity = math.inf
        problems = range_problems(
            self,
            {
                "learning_rate": (0, infinity, False),
                "head_learning_rate": (0, infinity, False),
                "layer_decay": (0, 1, False),
                "search": (1, infinity, True),
                "ema_decay": (0, 1, True),
                "num_train_epochs": (0, infinity, False),
                "per_device_train_batch_size": (1, infinity, True),
                "per_device_eval_batch_size": (1, infinity, True),
                "gradient_accumulation_steps": (1, infinity, True),
                "weight_decay": (0, infinity, True),
                "max_grad_norm": (0, infinity, True),
                "warmup_steps": (0, infinity, True),
                "label_smoothing_factor": (0, 1, True),
                "early_stopping_patience": (1, infinity, True),
                "max_steps": (-1, infinity, True),
                "eval_steps": (0, infinity, False),
                "save_steps": (0, infinity, False),
                "logging_steps": (0, infinity, False),
                "adam_beta1": (0, 1, True),
                "adam_beta2": (0, 1, True),
                "adam_epsilon": (0, infinity, False),
                "dataloader_prefetch_factor": (1, infinity, True),
                "data_seed": (0, 2**32 - 1, True),
                "save_total_limit": (1, infinity, True),
                "dataloader_num_workers": (0, infinity, True),
                "seed": (0, 2**32 - 1, True),
            },
        )
        problems += self._push_problems()
        if self.early_stopping_patience is not None and (self.eval_strategy == "no" or not self.load_best_model_at_end):
            problems.append("early_stopping_patience: needs an eval_strategy and load_best_model_at_end: true")
        reporters = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        problems += [
            f"report_to: {name!r} is not known; it must be none, all or of {', '.join(INTEGRATION_TO_CALLBACK)}"
            for name in reporters
            if name not in ("none", "all", *INTEGRATION_TO_CALLBACK)
        ]
        problems += space_problems(self.search_space or {})
        if self.search is not None and not self.search_space:
            problems.append("search: the recipe has no search_space, which says what varies and how far")
        for name, argument_class in _MAPPINGS.items():
            mapping = getattr(self, name)
            if mapping is not None and not isinstance(mapping, argument_class):
                made, mistakes = from_mapping(argument_class, mapping, name)
                setattr(self, name, made)
                problems += mistakes
        problems += self._make_phases()
        if self.sampling == "balanced" and getattr(self.loss, "class_weights", None) == "balanced":
            problems.append(
                "sampling and loss.class_weights: balanced twice, rare labels would weigh too much; keep one"
            )
        if problems:
            raise RecipeError(problems, "the training arguments")
        # What the recipe says, before transformers derives anything from it; a written recipe repeats this.
        self.as_given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if self.dataloader_num_workers is None:
            asked = self.dataloader_prefetch_factor is not None or self.dataloader_persistent_workers
            self.dataloader_num_workers = 2 if asked or (torch.accelerator.is_available() and not self.use_cpu) else 0
        super().__post_init__()
        self.push_to_hub = False
        # Without a metric transformers falls back to the loss; the trainer chooses by the problem type instead.
        if self.as_given["metric_for_best_model"] is None:
            self.metric_for_best_model = self.greater_is_better = None

    @property
    def pushes_to_hub(self) -> bool:
        """Whether the finished run is pushed."""
        return self.as_given["push_to_hub"]

    @property
    def hub_repository(self) -> str:
        """Where it is pushed to."""
        return self.hub_model_id or Path(self.output_dir).resolve().name

    def _push_problems(self) -> list[str]:
        problems = [TOKEN_ADVICE] if self.hub_token is not None else []
        if not self.push_to_hub:
            return problems
        try:
            validate_repo_id(self.hub_repository)
        except HFValidationError as error:
            problems.append(f"hub_model_id: the Hub refuses {self.hub_repository!r}: {error}")
        for name in ("hub_strategy", "hub_always_push"):
            if getattr(self, name) != getattr(TrainingArguments, name):
                problems.append(f"{name}: a run is pushed once, when it is finished; leave it out")
        return problems

    def _make_phases(self) -> list[str]:
        """Makes ``optimizer_phases`` of the recipe's mappings; returns what is wrong."""
        phases, problems = [], []
        if self.optimizer_phases is not None and not self.optimizer_phases:
            problems.append("optimizer_phases: the list is empty; name at least one phase, or leave it out")
        for number, phase in enumerate(self.optimizer_phases or (), start=1):
            if isinstance(phase, OptimizerPhase):
                phases.append(phase)
            else:
                made, mistakes = from_mapping(OptimizerPhase, phase, f"optimizer_phases, phase {number}")
                phases.append(made)
                problems += mistakes
        if phases and not problems:
            self.optimizer_phases = phases
            problems = phase_problems(phases, self)
        return problems

    def with_values(self, values: dict[str, Any]) -> TaggingArguments:
        """These arguments with other values, such as ``loss.gamma``; names of other arguments are passed over.

        Raises:
            RecipeError: If a value is not possible.
        """
        given = {entry.name: plain(self.as_given[entry.name]) for entry in fields(self) if entry.init}
        own = {name: value for name, value in values.items() if name.partition(".")[0] in given}
        return type(self)(**with_nested_values(given, own))

    def set_values(self, values: dict[str, Any]) -> None:
        """The same in place, for a trainer that has these arguments already."""
        changed = self.with_values(values)
        for name in {name.partition(".")[0] for name in values}:
            if name in self.as_given:
                setattr(self, name, getattr(changed, name))

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, for logs; nested arguments as mappings."""
        nested = {name: plain(getattr(self, name)) for name in (*_MAPPINGS, "optimizer_phases")}
        return {**super().to_dict(), **nested}
