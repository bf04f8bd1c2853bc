"""The fields of a recipe's ``loss``: how the error of a label counts, and how much a rare label counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .argument_checks import range_problems, unknown_name
from .errors import RecipeError

# The one place of a loss: its parameters and their defaults. Lin et al. 2017, section 3.2, found gamma = 2 best.
# Ridnik et al. 2021 suggest plain cross-entropy for positives (gamma_positive 0), with gamma_negative 4 and margin 0.05
# on MS-COCO; the default of gamma_positive in their code is 1 (https://github.com/Alibaba-MIIL/ASL).
_PARAMETERS: dict[str, dict[str, float]] = {
    "cross_entropy": {},
    "focal": {"gamma": 2.0},
    "asymmetric": {"gamma_positive": 0.0, "gamma_negative": 4.0, "margin": 0.05},
}
_CLASS_WEIGHTS = ("none", "balanced")

# Ours: multi-label, labels down to 1 % of the clips still get their exact weight. Beyond that one clip, which may be
# labelled wrongly, would count as much as hundreds of others.
_MAX_CLASS_WEIGHT = 100.0


@dataclass
class LossArguments:
    """The loss of the labels, with p the predicted probability of a label.

    * ``cross_entropy``: −log p of a label that is present, −log(1 − p) of one that is absent (multi-label); −log p of
      the class (single-label).
    * ``focal``: the same times (1 − p)^gamma and p^gamma, so that what is already right counts less (Lin et al. 2017,
      "Focal Loss for Dense Object Detection", equation 4, https://arxiv.org/abs/1708.02002). The paper's α is left out;
      ``class_weights`` takes its place.
    * ``asymmetric``: focal with one exponent for present labels and one for absent ones, and with p − margin in place
      of p for the latter, so that an absent label predicted below the margin counts nothing (Ridnik et al. 2021,
      "Asymmetric Loss For Multi-Label Classification", equation 7, https://arxiv.org/abs/2009.14119). Multi-label data
      only.

    With any of them but plain cross-entropy without weights, the predicted probabilities are no longer frequencies:
    metrics of a ranking (average precision, ROC-AUC) do not mind, thresholds and the evaluation's ``loss`` do.
    """

    name: Literal["cross_entropy", "focal", "asymmetric"] = field(
        default="cross_entropy", metadata={"help": "cross_entropy, focal or asymmetric (multi-label data only)."}
    )
    gamma: float | None = field(
        default=None, metadata={"help": "focal only: exponent of 1 − p; 0 is cross-entropy. Default: 2."}
    )
    gamma_positive: float | None = field(
        default=None, metadata={"help": "asymmetric only: exponent for present labels. Default: 0."}
    )
    gamma_negative: float | None = field(
        default=None, metadata={"help": "asymmetric only: exponent for absent labels. Default: 4."}
    )
    margin: float | None = field(
        default=None,
        metadata={"help": "asymmetric only: probability below which an absent label counts nothing. Default: 0.05."},
    )
    class_weights: Literal["none", "balanced"] = field(
        default="none",
        metadata={
            "help": "none, or balanced: rare labels count more. With n of N clips carrying a label, (N − n) / n for "
            "those clips (multi-label), or N / (C·n) for the clips of one of C classes (single-label)."
        },
    )
    max_class_weight: float | None = field(
        default=None,
        metadata={"help": "Balanced weights above this bound, or below 1 / bound, are set to it. Default: 100."},
    )

    def __post_init__(self) -> None:
        infinity = math.inf
        problems = range_problems(
            self,
            {
                "gamma": (0, infinity, True),
                "gamma_positive": (0, infinity, True),
                "gamma_negative": (0, infinity, True),
                "margin": (0, 0.999, True),  # at 1 no absent label would count at all
                "max_class_weight": (1, infinity, True),
            },
        )
        if self.class_weights not in _CLASS_WEIGHTS:
            problems.append(unknown_name("class_weights", self.class_weights, list(_CLASS_WEIGHTS)))
        elif self.class_weights == "none" and self.max_class_weight is not None:
            problems.append("max_class_weight: bounds nothing without class_weights: balanced; set both or neither")
        if self.name in _PARAMETERS:
            problems += [
                f"{parameter}: belongs to the loss {loss}, not to {self.name}; leave it out, or set name: {loss}"
                for loss, parameters in _PARAMETERS.items()
                for parameter in parameters
                if loss != self.name and getattr(self, parameter) is not None
            ]
        else:
            problems.append(unknown_name("name", self.name, list(_PARAMETERS)))
        if problems:
            raise RecipeError(problems, "the loss arguments")

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters of the chosen loss by name, as given or by default; none for cross_entropy."""
        given = {name: getattr(self, name) for name in _PARAMETERS[self.name]}
        return _PARAMETERS[self.name] | {name: value for name, value in given.items() if value is not None}

    @property
    def class_weight_bound(self) -> float:
        """The highest balanced weight, as given or by default."""
        return _MAX_CLASS_WEIGHT if self.max_class_weight is None else self.max_class_weight
