"""Classifiers learn, their scores are between 0 and 1, and unknown labels take no part."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from hf_tagger.baselines.classifiers import (
    CLASSIFIERS,
    OneVsRest,
    grid_problems,
    label_scores,
    make_pipeline,
    parameter_grid,
    plain_parameters,
)
from hf_tagger.data.base import MULTI_LABEL, SINGLE_LABEL

NAN = float("nan")


def blobs(clips=60, seed=0):
    """Three classes on a circle, of very different scales in both directions, and their tags: 0 or 1, and 1 or 2."""
    classes = np.arange(clips) % 3
    angles = 2 * np.pi * classes / 3
    points = np.stack([np.cos(angles), 1_000 * np.sin(angles)], axis=1)
    points = points + np.random.default_rng(seed).normal(0, 0.1, points.shape) * [1, 1_000]
    tags = np.stack([classes <= 1, classes >= 1], axis=1).astype(np.float32)
    return points.astype(np.float32), classes, tags


def quick(name, problem_type):
    pipeline = make_pipeline(name, problem_type, 0)
    keys = [key for key in pipeline.get_params() if key.endswith("n_estimators")]
    return pipeline.set_params(**dict.fromkeys(keys, 20))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_tells_classes_apart_and_its_scores_are_shares(name):
    points, classes, _ = blobs()
    pipeline = quick(name, SINGLE_LABEL).fit(points, classes)
    others, expected, _ = blobs(seed=1)
    scores = label_scores(pipeline, others, 3)
    assert scores.shape == (60, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    assert scores.min() >= 0
    assert (scores.argmax(axis=1) == expected).mean() >= 0.95


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_learns_every_tag(name):
    points, _, tags = blobs()
    pipeline = quick(name, MULTI_LABEL).fit(points, tags)
    others, _, expected = blobs(seed=1)
    scores = label_scores(pipeline, others, 2)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert ((scores >= 0.5) == (expected == 1)).mean() >= 0.95


def test_the_most_probable_class_is_the_one_that_the_support_vector_machine_predicts():
    points, classes, _ = blobs(90)
    points += np.random.default_rng(2).normal(0, 0.5, points.shape) * [1, 1_000]
    pipeline = make_pipeline("svm", SINGLE_LABEL, 0).fit(points, classes)
    predicted = pipeline.set_params(classifier__break_ties=True).predict(points)
    assert 0.5 < (predicted == classes).mean() < 1  # some clips lie on the wrong side
    np.testing.assert_array_equal(label_scores(pipeline, points, 3).argmax(axis=1), predicted)


def test_the_support_vector_machine_of_a_tag_says_0_5_at_its_border():
    points, _, tags = blobs()
    pipeline = make_pipeline("svm", MULTI_LABEL, 0).fit(points, tags)
    machine = pipeline[-1].apart_[1]
    decisions = machine.decision_function(pipeline[0].transform(points))
    np.testing.assert_allclose(label_scores(pipeline, points, 2)[:, 1], expit(decisions))


def test_of_two_classes_the_scores_are_one_probability():
    points, classes, _ = blobs()
    pipeline = make_pipeline("svm", SINGLE_LABEL, 0).fit(points, np.minimum(classes, 1))
    scores = label_scores(pipeline, points, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    np.testing.assert_array_equal(scores.argmax(axis=1), np.minimum(classes, 1))


def test_a_class_without_training_clips_has_the_score_0():
    points, classes, _ = blobs()
    pipeline = make_pipeline("knn", SINGLE_LABEL, 0).fit(points[classes != 1], classes[classes != 1])
    scores = label_scores(pipeline, points, 4)
    assert scores.shape == (60, 4)
    assert not scores[:, [1, 3]].any()
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_an_unknown_label_takes_no_part():
    points, _, tags = blobs()
    partly = tags.copy()
    partly[:20, 0] = NAN
    fitted = OneVsRest(LogisticRegression()).fit(points, partly)
    alone = LogisticRegression().fit(points[20:], tags[20:, 0])
    np.testing.assert_allclose(fitted.predict_proba(points)[:, 0], alone.predict_proba(points)[:, 1])
    both = LogisticRegression().fit(points, tags[:, 1])
    np.testing.assert_allclose(fitted.predict_proba(points)[:, 1], both.predict_proba(points)[:, 1])


@pytest.mark.parametrize("all_tags_at_once", [True, False])
def test_tags_that_say_nothing_have_one_score_and_the_others_are_learned(all_tags_at_once):
    points, _, tags = blobs()
    column = np.ones(60, dtype=np.float32)
    labels = np.stack([0 * column, tags[:, 0], column, tags[:, 1]], axis=1)
    fitted = OneVsRest(KNeighborsClassifier(3), all_tags_at_once).fit(points, labels)
    scores = fitted.predict_proba(points[:5])
    np.testing.assert_array_equal(scores[:, 0], 0)
    np.testing.assert_array_equal(scores[:, 2], 1)
    alone = KNeighborsClassifier(3).fit(points, tags[:, 0]).predict_proba(points[:5])[:, 1]
    np.testing.assert_allclose(scores[:, 1], alone)
    never = np.stack([NAN * column, tags[:, 0]], axis=1)
    scores = OneVsRest(KNeighborsClassifier(3), all_tags_at_once).fit(points, never).predict_proba(points[:5])
    np.testing.assert_array_equal(scores[:, 0], 0.5)
    np.testing.assert_allclose(scores[:, 1], alone)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_grid_of_our_own_names_parameters_that_the_pipeline_has(name, problem_type):
    assert grid_problems(name, CLASSIFIERS[name].grid) == []
    grid = parameter_grid(name, None, problem_type)
    pipeline = make_pipeline(name, problem_type, 0)
    pipeline.set_params(**{key: values[-1] for key, values in grid.items()})
    chosen = {key: values[-1] for key, values in grid.items()}
    assert plain_parameters(chosen) == {key: values[-1] for key, values in CLASSIFIERS[name].grid.items()}


def test_one_value_stands_for_a_list_of_one():
    assert parameter_grid("svm", {"C": 3, "kernel": ["rbf"]}, SINGLE_LABEL) == {
        "classifier__C": [3],
        "classifier__kernel": ["rbf"],
    }


@pytest.mark.parametrize(
    ("name", "grid", "messages"),
    [
        ("svn", None, ["classifiers: 'svn' is not known; did you mean 'svm'?"]),
        ("svm", [1], ["classifiers.svm: a mapping {parameter: [values]} is expected, or null; received [1]"]),
        ("svm", {"c": [1]}, ["classifiers.svm.c: 'c' is not known"]),
        ("svm", {"C": []}, ["classifiers.svm.C: an empty list"]),
        ("svm", {"C": [1, -1], "kernel": "rfb"}, ["the range (0.0, inf]. Got -1", "Got 'rfb' instead"]),
        ("svm", {"C": ["1"]}, ["classifiers.svm.C: The 'C' parameter of SVC must be a float"]),
        ("random_forest", {"n_estimators": [10.5]}, ["classifiers.random_forest.n_estimators: The"]),
        ("random_forest", {"random_state": [1]}, ["'random_state' is not known"]),
        ("knn", {"weights": ["distances"], "n_neighbors": [0]}, ["'distances'", "Got 0 instead"]),
        ("knn", {"n_neighbors": [3]}, []),
    ],
)  # fmt: skip
def test_every_mistake_in_a_grid_is_named(name, grid, messages):
    problems = grid_problems(name, grid)
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert message in problem
