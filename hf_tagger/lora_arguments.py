"""The fields of a recipe's ``lora``: small matrices beside the pretrained ones are trained instead of these."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .argument_checks import range_problems
from .errors import RecipeError


@dataclass
class LoraArguments:
    """Low-rank adaptation (Hu et al. 2021, https://arxiv.org/abs/2106.09685) by the library peft.

    A pretrained weight W stays as it is and W + s·B·A is computed, with A of ``rank`` rows, B of ``rank`` columns and
    s = alpha / rank. The head is trained as a whole.
    """

    rank: int = field(default=8, metadata={"help": "Rows of A and columns of B."})
    alpha: float | None = field(
        default=None, metadata={"help": "Numerator of the scale alpha / rank. Default: the rank, so that it is 1."}
    )
    dropout: float = field(default=0.0, metadata={"help": "Dropout of what goes into A."})
    target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the linear layers and convolutions that get an adapter, such as [q_proj, v_proj]. "
            "Default: the queries and values of every attention, as in the paper's section 4.2."
        },
    )
    use_dora: bool = field(
        default=False,
        metadata={"help": "Learn the length of every column beside its direction (https://arxiv.org/abs/2402.09353)."},
    )
    use_rslora: bool = field(
        default=False, metadata={"help": "Scale by alpha / √rank, for high ranks (https://arxiv.org/abs/2312.03732)."}
    )
    save_merged: bool = field(
        default=False,
        metadata={"help": "Also write the model with the adapter added to its weights, into the folder merged."},
    )

    def __post_init__(self) -> None:
        infinity = math.inf
        problems = range_problems(
            self, {"rank": (1, infinity, True), "alpha": (0, infinity, False), "dropout": (0, 0.999, True)}
        )
        if self.target_modules is not None and not self.target_modules:
            problems.append("target_modules: an empty list adapts nothing; name layers, or leave it out")
        if problems:
            raise RecipeError(problems, "the LoRA arguments")
