"""Calibration and thresholds, against definitions written out and against models whose answer is known."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, log_loss

from hf_tagger.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from hf_tagger.evaluation.thresholds import fit_thresholds

MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def honest(problem_type, clips=4_000, labels=5, seed=0):
    """Logits whose probabilities are true, and references drawn from them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (clips, labels))
    if problem_type == MULTI:
        return logits, (generator.random((clips, labels)) < expit(logits)).astype(float)
    chances = softmax(logits, axis=1)
    return logits, (chances.cumsum(axis=1) < generator.random((clips, 1))).sum(axis=1)


def probabilities_of(logits, problem_type):
    return expit(logits) if problem_type == MULTI else softmax(logits, axis=1)


def test_a_reliability_diagram_has_the_bins_of_scikit_learn():
    logits, references = honest(MULTI, clips=300, labels=2)
    probabilities = expit(logits)
    found = reliability(probabilities, references, MULTI, bins=10)
    accuracy, confidence = calibration_curve(references.ravel(), probabilities.ravel(), n_bins=10)
    assert found.counts.sum() == 600
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, confidence)
    expected = sum(
        count * abs(right - sure) for count, right, sure in zip(found.counts, accuracy, confidence, strict=True)
    )
    assert found.error == pytest.approx(expected / 600)


def test_a_single_label_diagram_is_of_the_most_probable_class():
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]]
    found = reliability(probabilities, [0, 1, 1, 0], SINGLE, bins=2)
    assert found.counts.tolist() == [0, 4]
    assert np.isnan(found.accuracy[0])
    assert found.accuracy[1] == 0.5
    assert found.confidence[1] == pytest.approx(0.7375)
    assert found.error == pytest.approx(0.2375)


def test_the_ends_of_a_bin_belong_to_it_and_unknown_entries_to_none():
    found = reliability([[0.0, 0.5, 1.0, 0.3]], [[0, 1, 1, np.nan]], MULTI, bins=2)
    assert found.counts.tolist() == [2, 1]


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_a_model_too_sure(problem_type, too_sure):
    logits, references = honest(problem_type)
    probabilities = probabilities_of(logits * too_sure, problem_type)
    temperature = fit_temperature(probabilities, references, problem_type)
    assert temperature == pytest.approx(too_sure, rel=0.05)
    better = apply_temperature(probabilities, problem_type, too_sure)
    np.testing.assert_allclose(better, probabilities_of(logits, problem_type), atol=1e-4)
    if too_sure != 1.0:
        before, after = (
            reliability(values, references, problem_type).error
            for values in (probabilities, apply_temperature(probabilities, problem_type, temperature))
        )
        assert after < before / 3


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_the_likelihood_is_that_of_scikit_learn(problem_type):
    logits, references = honest(problem_type, clips=50)
    probabilities = probabilities_of(logits, problem_type)
    own = negative_log_likelihood(probabilities, references, problem_type)
    flat = (references.ravel(), probabilities.ravel()) if problem_type == MULTI else (references, probabilities)
    assert own == pytest.approx(log_loss(*flat), rel=1e-6)


def test_certain_probabilities_and_unknown_entries_break_nothing():
    temperature = fit_temperature([[0.0, 1.0], [1.0, 0.3]], [[0, 1], [0, np.nan]], MULTI)
    assert 1 < temperature <= 20


def test_each_threshold_gives_the_best_f1_that_any_threshold_gives():
    generator = np.random.default_rng(1)
    references = (generator.random((200, 4)) < [0.05, 0.2, 0.5, 0.8]).astype(float)
    probabilities = expit(generator.normal(references * 2 - 3))
    thresholds = fit_thresholds(probabilities, references)
    for tag, threshold in enumerate(thresholds):
        scores = probabilities[:, tag]
        best = max(f1_score(references[:, tag], scores >= candidate) for candidate in scores)
        assert f1_score(references[:, tag], scores >= threshold) == pytest.approx(best)
    at_half = f1_score(references, probabilities >= 0.5, average="macro")
    assert f1_score(references, probabilities >= np.array(thresholds), average="macro") > at_half + 0.1


def test_tags_of_few_clips_share_a_threshold():
    generator = np.random.default_rng(1)
    references = np.zeros((100, 4))
    references[:40, 0] = 1
    references[:4, 1] = 1  # too few
    references[:, 3] = 1  # all: nothing to choose
    probabilities = generator.random((100, 4)) * 0.5 + references * 0.3
    own, few, none, everywhere = fit_thresholds(probabilities, references)
    assert few == none == everywhere != own
    said = probabilities >= few
    best = max(
        f1_score(references.ravel(), (probabilities >= candidate).ravel()) for candidate in probabilities.ravel()
    )
    assert f1_score(references.ravel(), said.ravel()) == pytest.approx(best)
    assert fit_thresholds(probabilities, references, fewest_clips=4)[1] != few


def test_unknown_entries_take_no_part_in_thresholds():
    references, probabilities = np.zeros((40, 1)), np.linspace(0, 0.39, 40)[:, None]
    references[30:] = 1
    expected = fit_thresholds(probabilities, references)
    assert expected == [0.295]
    more = np.concatenate([references, np.full((40, 1), 0.0)]), np.concatenate([probabilities, probabilities])
    with_unknown = np.stack([more[0][:, 0], np.append(references[:, 0], np.full(40, np.nan))], axis=1)
    both = fit_thresholds(np.repeat(more[1], 2, axis=1), with_unknown)
    assert both[1] == 0.295


def test_without_any_tagged_clip_there_is_no_threshold():
    assert fit_thresholds([[0.5]], [[0]]) is None
