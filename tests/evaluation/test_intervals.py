"""Bootstrap intervals and comparisons: values against scores of the drawn clips, and coverage by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from hf_tagger.evaluation.intervals import (
    Interval,
    bootstrap_intervals,
    bootstrap_weights,
    compare_models,
    count_groups,
)
from hf_tagger.evaluation.metrics import METRIC_NAMES, score_clips
from hf_tagger.evaluation.weighted_scores import WeightedScores

MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def clips_of(problem_type, clips=60, labels=7, unknown=0.1, seed=0, digits=1):
    """Probabilities with many ties, and references with unknown entries."""
    generator = np.random.default_rng(seed)
    probabilities = np.round(generator.random((clips, labels)), digits)
    if problem_type == SINGLE:
        return probabilities, generator.integers(0, labels, clips)
    references = (generator.random((clips, labels)) < 0.2).astype(float)
    references[generator.random((clips, labels)) < unknown] = np.nan
    return probabilities, references


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
@pytest.mark.parametrize("digits", [1, 6])
def test_scores_under_weights_are_those_of_clips_that_are_repeated_so_often(problem_type, digits):
    probabilities, references = clips_of(problem_type, digits=digits)
    (weights,) = bootstrap_weights(60, None, resamples=40, seed=1)
    weights[0] = 1
    scores = WeightedScores(probabilities, references, problem_type)(weights)
    assert tuple(scores) == METRIC_NAMES[problem_type]
    for row, own in enumerate(weights):
        drawn = np.repeat(np.arange(60), own)
        expected = score_clips(probabilities[drawn], references[drawn], problem_type)
        for name, values in scores.items():
            assert values[row] == pytest.approx(expected[name], abs=1e-12)


@pytest.mark.parametrize(("problem_type", "name"), [(MULTI, "f1_macro"), (SINGLE, "accuracy")])
def test_a_metric_that_is_only_known_as_a_function_is_computed_from_repeated_clips(monkeypatch, problem_type, name):
    """A new metric is one line in metrics.py, and has intervals."""
    probabilities, references = clips_of(problem_type)
    (weights,) = bootstrap_weights(60, None, resamples=20, seed=1)
    scores = WeightedScores(probabilities, references, problem_type)
    expected, fast = scores(weights), scores._parts
    monkeypatch.setattr(scores, "_parts", lambda own: {key: value for key, value in fast(own).items() if key != name})
    np.testing.assert_allclose(scores(weights)[name], expected[name], atol=1e-12)


def test_a_draw_without_any_clip_that_carries_a_tag_leaves_the_tag_out_and_then_the_metric_undefined():
    probabilities = [[0.9, 0.2], [0.1, 0.7], [0.3, 0.4]]
    references = [[1, 0], [0, 1], [0, 0]]
    scores = WeightedScores(probabilities, references, MULTI)(np.array([[1, 1, 1], [0, 2, 1], [0, 0, 3]]))
    assert scores["roc_auc_macro"] == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert scores["f1_macro"] == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert scores["lrap"] == pytest.approx([1, 1, 1])


def test_much_memory_is_not_needed_at_once(monkeypatch):
    """Weightings are taken a few at a time; the values stay the same."""
    probabilities, references = clips_of(MULTI)
    (weights,) = bootstrap_weights(60, None, resamples=40, seed=1)
    scores = WeightedScores(probabilities, references, MULTI)
    whole = scores(weights)
    monkeypatch.setattr("hf_tagger.evaluation.weighted_scores._VALUES_AT_ONCE", 100)
    for name, values in scores(weights).items():
        np.testing.assert_array_equal(values, whole[name])


def test_clips_of_one_group_are_drawn_together():
    groups = ["a", "b", "a", None, None, "b"]
    draws = np.concatenate(list(bootstrap_weights(6, groups, resamples=250, seed=0)))
    assert draws.shape == (250, 6)
    assert (draws[:, 0] == draws[:, 2]).all()
    assert (draws[:, 1] == draws[:, 5]).all()
    assert (draws[:, 3] != draws[:, 4]).any()  # without a group a clip stands for itself
    assert count_groups(6, groups) == 4
    assert (draws[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_intervals_are_the_middle_of_the_draws_and_the_same_every_time(problem_type):
    probabilities, references = clips_of(problem_type)
    first = bootstrap_intervals(probabilities, references, problem_type, resamples=200, seed=3)
    assert first == bootstrap_intervals(probabilities, references, problem_type, resamples=200, seed=3)
    assert first != bootstrap_intervals(probabilities, references, problem_type, resamples=200, seed=4)
    scores = WeightedScores(probabilities, references, problem_type)
    draws = np.concatenate([scores(own)["f1_macro"] for own in bootstrap_weights(60, None, 200, 3)])
    value = score_clips(probabilities, references, problem_type)["f1_macro"]
    expected = np.percentile(draws, [2.5, 97.5]) - (draws.mean() - value)
    assert [first["f1_macro"].low, first["f1_macro"].high] == pytest.approx(expected)


def test_draws_that_are_too_high_move_the_interval_down_but_not_out_of_the_metrics_range():
    draws = np.linspace(0.4, 0.6, 1_001)
    moved = Interval.of(draws, 0.3, 0.95)
    assert (moved.low, moved.high) == pytest.approx((0.205, 0.395))
    lowest = Interval.of(draws, 0.05, 0.95)
    assert (lowest.low, lowest.high) == pytest.approx((0.0, 0.145))
    difference = Interval.of(draws - 0.5, 0.0, 0.95, within=(-1.0, 1.0))
    assert (difference.low, difference.high) == pytest.approx((-0.095, 0.095))


def test_an_undefined_metric_has_no_interval_and_one_that_is_undefined_in_some_draws_says_so():
    references = np.zeros((20, 2))
    references[0, 0] = 1
    intervals = bootstrap_intervals(np.linspace(0, 1, 40).reshape(20, 2), references, MULTI, resamples=400)
    assert 0.3 < intervals["ap_macro"].undefined < 0.42  # (1 - 1/20)^20 = 0.358: the one clip is not drawn
    assert intervals["lrap"].undefined == 0
    assert bootstrap_intervals([[0.5], [0.5]], [[1], [1]], MULTI, resamples=10)["ap_macro"] is None
    assert Interval.of(np.array([np.nan, np.nan]), 0.5, 0.95) is None


def covered(draw, value, metric, problem_type, repetitions=300, groups=None):
    """Share of simulated test splits whose interval contains the true value."""
    inside = 0
    for seed in range(repetitions):
        probabilities, references = draw(np.random.default_rng(seed))
        interval = bootstrap_intervals(probabilities, references, problem_type, groups, resamples=300, seed=seed)[
            metric
        ]
        inside += interval.low <= value <= interval.high
    return inside / repetitions


# 300 repetitions at 95 %: a standard error of 1.3 %. The bootstrap of 150 clips is a little too narrow.


def test_intervals_of_the_accuracy_contain_the_true_one_in_95_of_100_test_splits():
    def draw(generator):
        right = generator.random(150) < 0.7
        return np.eye(2)[np.where(right, 1, 0)], np.ones(150, dtype=int)

    assert 0.92 <= covered(draw, 0.7, "accuracy", SINGLE) <= 0.98


def test_intervals_of_the_roc_auc_contain_the_true_one_in_95_of_100_test_splits():
    """Scores of two normal distributions one deviation apart: the area is Φ(1/√2)."""

    def draw(generator):
        carried = np.arange(150) % 3 == 0
        return norm.cdf(generator.normal(carried.astype(float)))[:, None], carried[:, None]

    assert 0.92 <= covered(draw, norm.cdf(1 / np.sqrt(2)), "roc_auc_macro", MULTI) <= 0.98


def test_intervals_of_average_precision_over_many_rare_tags_contain_what_such_splits_have_on_average():
    """Thirty tags of about twelve clips each: draws are far too high, but about as much for every tag."""

    def draw(generator):
        carried = generator.random((300, 30)) < 0.04
        return norm.cdf(generator.normal(1.5 * carried)), carried

    splits = [draw(np.random.default_rng(1_000 + seed)) for seed in range(200)]
    usual = np.mean([WeightedScores(*own, MULTI)(np.ones((1, 300)))["ap_macro"][0] for own in splits])
    assert 0.87 <= covered(draw, usual, "ap_macro", MULTI, repetitions=60) <= 1.0
    intervals = [bootstrap_intervals(*own, MULTI, resamples=100)["ap_macro"] for own in splits[:5]]
    assert all(own.high - own.low > 0.04 for own in intervals)


def test_clips_of_one_song_need_groups_for_an_honest_interval():
    """Thirty songs of five clips that are all right or all wrong: 30 decisions, not 150."""
    songs = np.repeat([f"song {number}" for number in range(30)], 5)

    def draw(generator):
        right = np.repeat(generator.random(30) < 0.7, 5)
        return np.eye(2)[np.where(right, 1, 0)], np.ones(150, dtype=int)

    assert covered(draw, 0.7, "accuracy", SINGLE) < 0.75
    assert 0.9 <= covered(draw, 0.7, "accuracy", SINGLE, groups=songs) <= 0.98


def test_a_comparison_tells_models_apart_whose_own_intervals_overlap():
    """What is hard for both cancels out: the second model is right where the first is, and on six clips more."""
    references = np.ones(100, dtype=int)
    right = np.arange(100) < 60
    first, second = (np.eye(2)[own.astype(int)] for own in (right, right | (np.arange(100) >= 94)))
    intervals = [bootstrap_intervals(own, references, SINGLE)["accuracy"] for own in (first, second)]
    assert intervals[0].high > intervals[1].low
    comparison = compare_models(first, second, references, SINGLE)["accuracy"]
    assert (comparison.first, comparison.second) == (0.6, 0.66)
    assert comparison.difference == pytest.approx(0.06)
    # The number of draws of six clips in 100: nearly Poisson with mean 6, whose middle 95 % are 2 to 11.
    assert comparison.low == pytest.approx(0.02, abs=0.006)
    assert comparison.high == pytest.approx(0.11, abs=0.011)
    assert comparison.is_significant
    assert comparison.p_value < 0.02
    assert comparison.as_dict()["is_significant"] is True


def test_equal_models_do_not_differ_and_swapped_ones_differ_the_other_way():
    probabilities, references = clips_of(MULTI)
    other, _ = clips_of(MULTI, seed=9)
    same = compare_models(probabilities, probabilities, references, MULTI)["ap_macro"]
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert not same.is_significant
    one = compare_models(probabilities, other, references, MULTI)["ap_macro"]
    back = compare_models(other, probabilities, references, MULTI)["ap_macro"]
    assert (back.difference, back.low, back.high) == pytest.approx((-one.difference, -one.high, -one.low))
    assert back.p_value == one.p_value


def test_impossible_input_is_refused():
    probabilities, references = clips_of(SINGLE)
    with pytest.raises(ValueError, match=r"groups: got 2 for 60 clips"):
        bootstrap_intervals(probabilities, references, SINGLE, groups=["a", "b"])
    with pytest.raises(ValueError, match=r"resamples must be at least 1, received 0"):
        bootstrap_intervals(probabilities, references, SINGLE, resamples=0)
    with pytest.raises(ValueError, match=r"expected \[weightings, 60 clips\]"):
        WeightedScores(probabilities, references, SINGLE)(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"shapes \(60, 7\) and \(60, 9\); they must be equal"):
        compare_models(probabilities, np.pad(probabilities, ((0, 0), (0, 2))), references, SINGLE)
