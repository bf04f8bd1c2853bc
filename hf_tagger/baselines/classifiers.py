"""The classifiers of scikit-learn by name, the grids they are searched over, and their scores as probabilities.

A score is what stands in ``predictions_<split>.parquet``, 0 to 1, highest for the most probable label:

* kNN, forests and logistic regression say a probability themselves (``predict_proba``).
* The support vector machine says how far a clip lies from its borders (``decision_function``). Multi-label: one machine
  a tag, sigmoid of the signed distance in units of the margin. Single-label: softmax of the votes of all pairs of
  classes, which distances break the ties of (``decision_function_shape="ovr"``). Both keep the order of labels and are
  not calibrated: ``loss`` says little of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ..argument_checks import unknown_name
from ..data.base import MULTI_LABEL

_STEP = "classifier"
_OURS = ("random_state", "n_jobs", "verbose", "warm_start", "probability", "decision_function_shape")


@dataclass(frozen=True)
class Classifier:
    """A classifier of scikit-learn.

    Attributes:
        make: Makes it, with a seed.
        grid: What is searched where the recipe gives no grid.
        all_tags_at_once: Whether it can be fitted to 0/1 ``[clips, tags]``.
    """

    make: Callable[[int], ClassifierMixin]
    grid: dict[str, list]
    all_tags_at_once: bool = False


# Grids of our own: a decade around scikit-learn's defaults, which suit scaled features.
CLASSIFIERS: dict[str, Classifier] = {
    "knn": Classifier(
        lambda seed: KNeighborsClassifier(),
        {"n_neighbors": [1, 3, 5, 11, 21], "weights": ["uniform", "distance"]},
        all_tags_at_once=True,
    ),
    "random_forest": Classifier(
        lambda seed: RandomForestClassifier(n_estimators=500, random_state=seed),
        {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]},
        all_tags_at_once=True,
    ),
    "extra_trees": Classifier(
        lambda seed: ExtraTreesClassifier(n_estimators=500, random_state=seed),
        {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]},
        all_tags_at_once=True,
    ),
    "svm": Classifier(
        lambda seed: SVC(random_state=seed),
        {"kernel": ["rbf"], "C": [0.3, 1, 3, 10, 30], "gamma": ["scale", 0.0003]},
    ),
    "logistic_regression": Classifier(
        lambda seed: LogisticRegression(max_iter=1_000, random_state=seed), {"C": [0.0003, 0.001, 0.01, 0.1, 1]}
    ),
}


class OneVsRest(ClassifierMixin, BaseEstimator):
    """One copy of a classifier a tag, fitted to the clips where the tag is known; scikit-learn's own knows no unknown.

    A tag that all of these clips carry, or none, gets the probability 1 or 0; one that is never known gets 0.5.

    Args:
        estimator: The classifier of one tag.
        all_tags_at_once: Whether one classifier may be fitted to all tags, which is faster; used if all are known.
    """

    def __init__(self, estimator: ClassifierMixin, all_tags_at_once: bool = False):
        self.estimator, self.all_tags_at_once = estimator, all_tags_at_once

    def fit(self, features: np.ndarray, labels: np.ndarray) -> OneVsRest:
        """Fits to float ``[clips, values]`` and 0/1 ``[clips, tags]``, NaN where unknown."""
        known = ~np.isnan(labels)
        shares = [
            column[is_known].mean() if is_known.any() else 0.5
            for column, is_known in zip(labels.T, known.T, strict=True)
        ]
        self.constant_ = np.array(shares)  # [tags]; overwritten by those that can be learned
        self.learned_ = [tag for tag, column in enumerate(labels.T) if {0.0, 1.0} <= set(column)]
        if self.all_tags_at_once and known.all() and len(self.learned_) > 1:
            self.together_ = [clone(self.estimator).fit(features, labels[:, self.learned_].astype(np.int64))]
            return self
        self.together_ = []
        self.apart_ = Parallel()(delayed(_fit_known)(self.estimator, features, labels[:, tag]) for tag in self.learned_)
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Scores 0 to 1: float ``[clips, values]`` → ``[clips, tags]``."""
        scores = np.tile(self.constant_, (len(features), 1))
        if self.together_:
            columns = [probabilities[:, 1] for probabilities in self.together_[0].predict_proba(features)]
        else:
            columns = [_scores(fitted, features)[:, 1] for fitted in self.apart_]
        for tag, column in zip(self.learned_, columns, strict=True):
            scores[:, tag] = column
        return scores


def make_pipeline(name: str, problem_type: str, seed: int) -> Pipeline:
    """A classifier by its name, on features of mean 0 and deviation 1; of multi-label data one for all tags."""
    kind = CLASSIFIERS[name]
    estimator = kind.make(seed)
    if problem_type == MULTI_LABEL:
        estimator = OneVsRest(estimator, kind.all_tags_at_once)
    return Pipeline([("scale", StandardScaler()), (_STEP, estimator)])


def parameter_grid(name: str, grid: dict | None, problem_type: str) -> dict[str, list]:
    """A recipe's grid as scikit-learn takes it for :func:`make_pipeline`; None takes the classifier's own."""
    prefix = f"{_STEP}__estimator__" if problem_type == MULTI_LABEL else f"{_STEP}__"
    chosen = CLASSIFIERS[name].grid if grid is None else grid
    return {prefix + key: values if isinstance(values, list) else [values] for key, values in chosen.items()}


def plain_parameters(parameters: dict) -> dict:
    """Parameters as a recipe names them, without the places in the pipeline: ``classifier__C`` → ``C``."""
    return {name.split("__")[-1]: value for name, value in parameters.items()}


def label_scores(pipeline: Pipeline, features: np.ndarray, num_labels: int) -> np.ndarray:
    """Scores of clips, 0 to 1: float64 ``[clips, labels]``; of single-label data they sum to 1.

    Args:
        pipeline: A fitted pipeline of :func:`make_pipeline`.
        features: float ``[clips, values]``.
        num_labels: C. A class that no training clip had has the score 0.
    """
    if isinstance(pipeline[-1], OneVsRest):
        return pipeline.predict_proba(features)
    scores = np.zeros((len(features), num_labels))
    scores[:, pipeline.classes_] = _scores(pipeline, features)
    return scores


def grid_problems(name: str, grid: object) -> list[str]:
    """What is wrong with a recipe's grid of one classifier, every value included."""
    if name not in CLASSIFIERS:
        return [unknown_name("classifiers", str(name), list(CLASSIFIERS))]
    if grid is None:
        return []
    field = f"classifiers.{name}"
    if not isinstance(grid, dict):
        return [f"{field}: a mapping {{parameter: [values]}} is expected, or null; received {grid!r}"]
    known = sorted(set(CLASSIFIERS[name].make(0).get_params()) - set(_OURS))
    problems = []
    for key, values in grid.items():
        if key not in known:
            problems.append(unknown_name(f"{field}.{key}", str(key), known))
        elif values == []:
            problems.append(f"{field}.{key}: an empty list holds nothing to search; name values, or leave it out")
        else:
            values = values if isinstance(values, list) else [values]
            problems += filter(None, (_value_problem(name, key, value) for value in values))
    return problems


def _value_problem(name: str, key: str, value: object) -> str | None:
    try:
        CLASSIFIERS[name].make(0).set_params(**{key: value})._validate_params()  # what fit() would begin with
    except ValueError as error:
        return f"classifiers.{name}.{key}: {' '.join(str(error).split())}"
    return None


def _fit_known(estimator: ClassifierMixin, features: np.ndarray, labels: np.ndarray) -> ClassifierMixin:
    known = ~np.isnan(labels)
    return clone(estimator).fit(features[known], labels[known].astype(np.int64))


def _scores(fitted: ClassifierMixin | Pipeline, features: np.ndarray) -> np.ndarray:
    """Probabilities ``[clips, classes]`` in the order of ``classes_``, or what stands for them."""
    if hasattr(fitted, "predict_proba"):
        return fitted.predict_proba(features)
    decisions = fitted.decision_function(features)
    if decisions.ndim == 1:  # two classes
        positive = expit(decisions)
        return np.stack([1 - positive, positive], axis=1)
    return softmax(decisions, axis=1)
