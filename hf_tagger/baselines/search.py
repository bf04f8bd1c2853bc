"""The search for a classifier's parameters by cross-validation on the training clips; no other clip takes part."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from ..data.base import SINGLE_LABEL
from ..errors import HfTaggerError
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_NAMES, score_clips
from .classifiers import label_scores, make_pipeline, parameter_grid, plain_parameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folds:
    """Parts of the training clips.

    Attributes:
        pairs: Of every fold the positions of the clips to fit to, and of those to score.
        kind: How they were drawn, in words.
    """

    pairs: list[tuple[np.ndarray, np.ndarray]]
    kind: str


@dataclass(frozen=True)
class SearchResult:
    """A classifier with the best parameters of its grid, fitted to all training clips.

    Attributes:
        pipeline: The fitted classifier.
        metric: Name of the metric that chose.
        parameters: The chosen parameters.
        score: Mean of the metric over the folds.
        deviation: Its standard deviation over the folds.
        table: One row a point of the grid: parameters, score of every fold, mean, deviation, rank, seconds.
        seconds: Time of search and last fit.
    """

    pipeline: Pipeline
    metric: str
    parameters: dict
    score: float
    deviation: float
    table: pd.DataFrame
    seconds: float


@dataclass(frozen=True)
class ClipScore:
    """A metric of :mod:`hf_tagger.evaluation.metrics` as scikit-learn's scorer; NaN where it is undefined."""

    metric: str
    problem_type: str
    num_labels: int

    def __call__(self, pipeline: Pipeline, features: np.ndarray, labels: np.ndarray) -> float:
        """The metric of clips that the pipeline was not fitted to."""
        scores = label_scores(pipeline, features, self.num_labels)
        value = score_clips(scores, labels, self.problem_type)[self.metric]
        return math.nan if value is None else value


def choose_metric(name: str | None, problem_type: str) -> str:
    """The metric to choose by: the one named, or the problem type's default.

    Raises:
        HfTaggerError: If it is a metric of the other problem type.
    """
    name = name or DEFAULT_METRIC[problem_type]
    if name not in METRIC_NAMES[problem_type]:
        raise HfTaggerError(
            f"metric: {name!r} is none of {problem_type}; choose one of {', '.join(METRIC_NAMES[problem_type])}."
        )
    return name


def make_folds(labels: np.ndarray, groups: Sequence[str], problem_type: str, folds: int, seed: int) -> Folds:
    """Folds that tear no album or artist apart, where clips share one; otherwise drawn by class, or by chance.

    Args:
        labels: Class indices ``[clips]`` or 0/1 ``[clips, tags]`` of the training clips.
        groups: The group of every clip. With fewer groups than folds nothing can be kept apart, and they are ignored.
        problem_type: ``single_label_classification`` or ``multi_label_classification``.
        folds: How many.
        seed: Of the draw.

    Raises:
        HfTaggerError: If there are not enough clips.
    """
    single = problem_type == SINGLE_LABEL
    most = max(Counter(labels.tolist()).values()) if single else len(labels)
    if most < folds:
        raise HfTaggerError(
            f"folds: {folds} are more than the {most} training clips of {'any class' if single else 'this dataset'}; "
            f"choose fewer."
        )
    options = {"n_splits": folds, "shuffle": True, "random_state": seed}
    number = len(set(groups))
    by_group = folds <= number < len(groups)
    if by_group:
        splitter = (StratifiedGroupKFold if single else GroupKFold)(**options)
        kind = f"{folds} folds by group ({number} groups{', stratified by class' if single else ''})"
    else:
        if number < folds and number < len(groups):
            logger.warning(
                "Folds tear groups apart: the training clips have too few groups (%d) for %d folds.", number, folds
            )
        splitter = (StratifiedKFold if single else KFold)(**options)
        kind = f"{folds} folds, {'stratified by class' if single else 'drawn by chance'}"
    pairs = splitter.split(np.zeros(len(labels)), labels if single else None, list(groups) if by_group else None)
    return Folds(list(pairs), kind)


def search_classifier(
    name: str,
    grid: dict | None,
    features: np.ndarray,
    labels: np.ndarray,
    folds: Folds,
    score: ClipScore,
    seed: int,
    processes: int,
) -> SearchResult:
    """Finds the best parameters and fits them to all training clips.

    Args:
        name: Name of the classifier.
        grid: The recipe's grid, or None for the classifier's own.
        features: float ``[clips, values]`` of the training clips.
        labels: Class indices ``[clips]`` or 0/1 ``[clips, tags]``, NaN where unknown.
        folds: What :func:`make_folds` made.
        score: The metric to choose by.
        seed: Of the classifier.
        processes: How many points of the grid are fitted at once.

    Raises:
        HfTaggerError: If scikit-learn refuses data or grid, if the metric is undefined on the folds, or if a process
            was killed.
    """
    started = time.monotonic()
    pipeline, choices = make_pipeline(name, score.problem_type, seed), parameter_grid(name, grid, score.problem_type)
    points = math.prod(len(values) for values in choices.values())
    logger.info("%s: %d points of the grid, %s, chosen by %s", name, points, folds.kind, score.metric)
    # Every process fits with one thread: joblib shares the cores among them.
    search = GridSearchCV(
        pipeline, choices, scoring=score, cv=folds.pairs, n_jobs=processes, refit=False, error_score="raise"
    )
    try:
        search.fit(features, labels)
        if not np.isfinite(search.best_score_):
            raise HfTaggerError(
                f"metric: {score.metric} is undefined on the folds of the training clips, so nothing can be chosen by "
                f"it. Use fewer folds, or choose by another metric."
            )
        with joblib.parallel_config(n_jobs=processes):  # the last fit alone has all of them
            best = pipeline.set_params(**search.best_params_).fit(features, labels)
    except ValueError as error:  # more neighbours than clips, for example
        raise HfTaggerError(
            f"{name} cannot be fitted to {len(features)} training clips: {' '.join(str(error).split())} Change "
            f"classifiers.{name} or folds."
        ) from error
    except BrokenProcessPool as error:
        raise HfTaggerError(
            f"A process that fits {name} was killed, for want of memory mostly. Run it again with fewer processes than "
            f"{processes}; the features are kept."
        ) from error
    return SearchResult(
        pipeline=best,
        metric=score.metric,
        parameters=plain_parameters(search.best_params_),
        score=float(search.best_score_),
        deviation=float(search.cv_results_["std_test_score"][search.best_index_]),
        table=_table(search.cv_results_),
        seconds=time.monotonic() - started,
    )


def _table(results: dict) -> pd.DataFrame:
    columns = {
        name.removeprefix("param_").split("__")[-1]: values
        for name, values in results.items()
        if name.startswith("param_")
    }
    folds = [name for name in results if name.startswith("split")]
    rest = ["mean_test_score", "std_test_score", "rank_test_score", "mean_fit_time", "mean_score_time"]
    return pd.DataFrame(columns | {name: results[name] for name in (*folds, *rest)}).sort_values("rank_test_score")
