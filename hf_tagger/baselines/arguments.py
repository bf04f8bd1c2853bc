"""The fields of a baseline recipe besides those of the data: which features, which classifiers, how they are chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..argument_checks import range_problems, unknown_name
from ..errors import RecipeError
from ..evaluation.metrics import METRIC_TITLES
from .classifiers import CLASSIFIERS, grid_problems
from .features import MIN_SAMPLING_RATE, ROWS, STATISTICS


@dataclass
class BaselineArguments:
    """Which features, which classifiers, and how their parameters are chosen."""

    output_dir: str = field(
        default="runs/baselines", metadata={"help": "Folder of the table; each classifier has a folder in it."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Replace the classifiers' results that are there already."}
    )
    sampling_rate: int = field(
        default=22_050, metadata={"help": "Rate in Hz that clips are resampled to; the features belong to a rate."}
    )
    features: list[str] = field(
        default_factory=lambda: list(ROWS),
        metadata={"help": f"What is measured in every frame of a clip. Default: {', '.join(ROWS)}."},
    )
    statistics: list[str] = field(
        default_factory=lambda: list(STATISTICS),
        metadata={"help": f"How the frames of a clip become one vector. Default: {', '.join(STATISTICS)}."},
    )
    classifiers: dict[str, Any] = field(
        default_factory=lambda: {"knn": None, "random_forest": None, "svm": None},
        metadata={
            "help": "Of every classifier its grid, a list of values for each parameter of scikit-learn's class, as in "
            "{svm: {C: [1, 10]}}; null: a grid of our own. "
            f"There are {', '.join(CLASSIFIERS)}. Default: knn, random_forest and svm."
        },
    )
    metric: str | None = field(
        default=None,
        metadata={"help": "Metric that chooses the parameters. Default: accuracy, or ap_macro for multi-label data."},
    )
    folds: int = field(default=5, metadata={"help": "Parts of the training clips in the cross-validation."})
    seed: int = field(default=42, metadata={"help": "Seed of the folds and of the classifiers."})
    processes: int | None = field(
        default=None, metadata={"help": "Processes that compute features and fit classifiers. Default: one a core."}
    )

    def __post_init__(self) -> None:
        infinity = math.inf
        problems = range_problems(
            self,
            {
                "sampling_rate": (MIN_SAMPLING_RATE, 768_000, True),
                "folds": (2, infinity, True),
                "seed": (0, 2**32 - 1, True),
                "processes": (1, infinity, True),
            },
        )
        problems += _names_problems("features", self.features, list(ROWS))
        problems += _names_problems("statistics", self.statistics, list(STATISTICS))
        if self.metric is not None and self.metric not in METRIC_TITLES:
            problems.append(unknown_name("metric", self.metric, list(METRIC_TITLES)))
        if not self.classifiers:
            problems.append("classifiers: at least one is needed")
        for name, grid in self.classifiers.items():
            problems += grid_problems(name, grid)
        if problems:
            raise RecipeError(problems, "the baseline arguments")


def _names_problems(field_name: str, names: list[str], known: list[str]) -> list[str]:
    problems = [unknown_name(field_name, name, known) for name in names if name not in known]
    if not names or len(set(names)) < len(names):
        problems.append(f"{field_name}: one or more names are expected, each once; received {names!r}")
    return problems
