"""The fields of a recipe that say which model, what of it is used, and what of it is trained."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from .argument_checks import from_mapping, range_problems, with_nested_values
from .errors import RecipeError
from .lora_arguments import LoraArguments

_CHOICES = {
    "pooling": (None, "mean", "attention"),
    "freeze": ("none", "feature_encoder", "encoder"),
    "feature_statistics": ("checkpoint", "dataset"),
}

_OF_THE_ENCODER = ("lora", "train_last_layers", "unfreeze_layers_per_epoch")


@dataclass
class ModelArguments:
    """Which model: made anew from its configuration, or continued from a saved one."""

    model_type: str = field(
        default="short_cnn", metadata={"help": "Architecture that is trained from scratch, such as short_cnn."}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Saved model (folder or Hub repository) to continue from, instead of model_type."},
    )
    model_config: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "Values of the model's configuration that differ from its defaults, as {name: value}; "
            "one of them on the command line: --model_config.name value."
        },
    )
    window_seconds: float | None = field(
        default=None, metadata={"help": "Length of the windows that the model hears. Default: the model's own."}
    )
    hop_seconds: float | None = field(
        default=None,
        metadata={"help": "Distance of the windows when longer clips are evaluated. Default: one window."},
    )
    layer: str | None = field(
        default=None,
        metadata={
            "help": "Output of a pretrained encoder that is classified: last, a number (the encoder is cut there, so "
            "that unused layers cost nothing), or weighted (a learned sum of all). Default: the model's own."
        },
    )
    pooling: Literal["mean", "attention"] | None = field(
        default=None, metadata={"help": "How the frames of a pretrained encoder become one vector: mean or attention."}
    )
    head_hidden_size: int | None = field(
        default=None, metadata={"help": "Width of the head's hidden layer on a pretrained encoder. Default: none."}
    )
    head_dropout: float | None = field(
        default=None, metadata={"help": "Dropout before the last layer of the head on a pretrained encoder."}
    )
    freeze: Literal["none", "feature_encoder", "encoder"] = field(
        default="none",
        metadata={
            "help": "What is not trained: none, feature_encoder (what makes frames of the waveform) or encoder (all "
            "but the head)."
        },
    )
    train_last_layers: int | None = field(
        default=None,
        metadata={"help": "Train only this many of a pretrained encoder's layers, the last ones, and the head."},
    )
    unfreeze_layers_per_epoch: int | None = field(
        default=None,
        metadata={
            "help": "Train the head alone in the first epoch; in every further one this many more of the encoder's "
            "layers, from the last to the first."
        },
    )
    lora: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "Train adapters in a pretrained encoder instead of its weights, as {rank: 8, alpha: 8, dropout: 0, "
            "target_modules: [q_proj, v_proj], use_dora: false, use_rslora: false, save_merged: false}; {} takes the "
            "defaults; one of them on the command line: --lora.rank 4."
        },
    )
    cache_embeddings: bool = field(
        default=True,
        metadata={
            "help": "With freeze: encoder, compute the embeddings of fixed windows once and train the head on them; "
            "false encodes random windows in every epoch."
        },
    )
    feature_statistics: Literal["checkpoint", "dataset"] = field(
        default="checkpoint",
        metadata={
            "help": "AST only: normalise its spectrogram with the checkpoint's mean and deviation, or with those of "
            "the training split (dataset), estimated at the start."
        },
    )
    feature_mean: float | None = field(
        default=None, metadata={"help": "AST only: this mean, as scripts/feature_statistics.py estimates it."}
    )
    feature_std: float | None = field(default=None, metadata={"help": "AST only: this deviation, with feature_mean."})

    def __post_init__(self) -> None:
        infinity = math.inf
        if isinstance(self.layer, str) and re.fullmatch(r"-?[0-9]+", self.layer):
            self.layer = int(self.layer)
        problems = range_problems(
            self,
            {
                "window_seconds": (0, infinity, False),
                "hop_seconds": (0, infinity, False),
                "head_hidden_size": (1, infinity, True),
                "train_last_layers": (1, infinity, True),
                "unfreeze_layers_per_epoch": (1, infinity, True),
                "head_dropout": (0, 0.999, True),
                "feature_mean": (-infinity, infinity, True),
                "feature_std": (0, infinity, False),
            },
        )
        if not isinstance(self.layer, int) and self.layer not in (None, "last", "weighted"):
            problems.append(f"layer: {self.layer!r} is not known; it must be last, weighted or the number of a layer")
        if self.freeze != "none" and self.model_name_or_path is None:
            problems.append(f"freeze: {self.freeze} needs a pretrained model; name it in model_name_or_path")
        fixed = (self.feature_mean is not None, self.feature_std is not None)
        if self.lora is not None and not isinstance(self.lora, LoraArguments):
            self.lora, mistakes = from_mapping(LoraArguments, self.lora, "lora")
            problems += mistakes
        chosen = [name for name in _OF_THE_ENCODER if getattr(self, name) is not None]
        if self.freeze == "encoder":
            chosen.append("freeze: encoder")
        if len(chosen) > 1:
            problems.append(f"{', '.join(chosen)}: each says what of the encoder is trained; keep one of them")
        problems += [
            f"{name}: needs a pretrained model; name it in model_name_or_path"
            for name in _OF_THE_ENCODER
            if getattr(self, name) is not None and self.model_name_or_path is None
        ]
        if any(fixed) and (not all(fixed) or self.feature_statistics == "dataset"):
            problems.append(
                "feature_mean and feature_std: give both, or neither with feature_statistics: dataset, which estimates "
                "them"
            )
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                options = ", ".join(str(option) for option in known if option is not None)
                problems.append(f"{name}: {getattr(self, name)!r} is not known; it must be one of {options}")
        if problems:
            raise RecipeError(problems, "the model arguments")

    def with_values(self, values: dict[str, Any]) -> ModelArguments:
        """These arguments with other values, such as ``lora.rank``; names of other arguments are passed over.

        Raises:
            RecipeError: If a value is not possible.
        """
        own = {entry.name for entry in fields(self)}
        changed = {name: value for name, value in values.items() if name.partition(".")[0] in own}
        return ModelArguments(**with_nested_values(asdict(self), changed))

    @property
    def changes_feature_statistics(self) -> bool:
        """Whether the spectrogram is normalised with others than the checkpoint's mean and deviation."""
        return self.feature_statistics == "dataset" or self.feature_mean is not None
