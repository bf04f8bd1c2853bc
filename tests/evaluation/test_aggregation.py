"""Rules over windows against values that were computed by hand, and the fit of the sharpness on made recordings."""

import numpy as np
import pytest

from hf_tagger.evaluation.aggregation import (
    AGGREGATIONS,
    LARGEST_SHARPNESS,
    Recordings,
    Timeline,
    aggregate,
    aggregate_all,
    auto_pool,
    fit_sharpness,
)
from hf_tagger.evaluation.calibration import negative_log_likelihood
from hf_tagger.evaluation.metric_inputs import MULTI_LABEL, SINGLE_LABEL

WINDOWS = np.array([[0.0, 0.2], [1.0, 0.2], [0.5, 0.8]])


def made(recordings=60, seed=0):
    """Ten windows each. Label 0 is heard in three windows of ten, and one window errs halfway in every recording; label
    1 is heard throughout."""
    generator = np.random.default_rng(seed)
    references = np.column_stack([np.arange(recordings) % 2 == 0, np.arange(recordings) % 3 == 0]).astype(float)
    windows = []
    for carried in references:
        own = generator.uniform(0.05, 0.25, (10, 2)) + np.array([0, 0.6 * carried[1]])
        own[0, 0] = generator.uniform(0.5, 0.6)
        if carried[0]:
            own[1:4, 0] = generator.uniform(0.8, 0.95, 3)
        windows.append(own)
    return windows, references


def losses_of(label, windows, references, sharpness):
    """Rule → log loss of one label."""
    found = {rule: aggregate_all(rule, windows, MULTI_LABEL, sharpness)[:, [label]] for rule in AGGREGATIONS}
    return {rule: negative_log_likelihood(own, references[:, [label]], MULTI_LABEL) for rule, own in found.items()}


def test_rules_give_what_was_computed_by_hand():
    assert aggregate("mean", WINDOWS, MULTI_LABEL) == pytest.approx([0.5, 0.4])
    assert aggregate("max", WINDOWS, MULTI_LABEL) == pytest.approx([1.0, 0.8])
    # Weights of label 0: 1, 3 and √3, for exp(α) = 3; of label 1: 1, 1 and 2 for exp(0.6 α) = 2.
    sharpness = [np.log(3), np.log(2) / 0.6]
    expected = [(3 + np.sqrt(3) / 2) / (4 + np.sqrt(3)), (0.2 + 0.2 + 2 * 0.8) / 4]
    assert aggregate("attention", WINDOWS, MULTI_LABEL, sharpness) == pytest.approx(expected)


def test_sharpness_leads_from_the_mean_over_softmax_pooling_to_the_max():
    mean, highest = WINDOWS.mean(axis=0), WINDOWS.max(axis=0)
    assert aggregate("attention", WINDOWS, MULTI_LABEL, [0, 0]) == pytest.approx(mean, abs=1e-15)
    softmax = (np.exp(WINDOWS) * WINDOWS).sum(axis=0) / np.exp(WINDOWS).sum(axis=0)
    assert aggregate("attention", WINDOWS, MULTI_LABEL, [1, 1]) == pytest.approx(softmax, abs=1e-15)
    assert aggregate("attention", WINDOWS, MULTI_LABEL, [np.inf, np.inf]) == pytest.approx(highest, abs=1e-15)
    steps = np.array([auto_pool(WINDOWS, step)[0] for step in (0, 0.5, 1, 5, 20, LARGEST_SHARPNESS, 1e6)])
    assert (np.diff(steps, axis=0) >= 0).all()
    assert steps[-1] == pytest.approx(highest, abs=1e-12)


def test_recordings_pooled_together_are_those_pooled_alone():
    windows = np.random.default_rng(0).uniform(size=(9, 3))
    together = auto_pool(windows, np.array([0.5, 3.0, np.inf]), first=[0, 1, 5])
    alone = [auto_pool(own, np.array([0.5, 3.0, np.inf]))[0] for own in (windows[:1], windows[1:5], windows[5:])]
    np.testing.assert_allclose(together, alone, rtol=1e-14)
    np.testing.assert_allclose(together[0], windows[0], rtol=1e-14)  # one window is its recording


@pytest.mark.parametrize("rule", AGGREGATIONS)
def test_classes_that_exclude_each_other_again_have_the_sum_1(rule):
    windows = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    pooled = aggregate(rule, windows, SINGLE_LABEL, [2.0, 0.0, 5.0])
    assert pooled.sum() == pytest.approx(1, abs=1e-15)
    assert aggregate("max", windows, SINGLE_LABEL) == pytest.approx([0.7 / 1.6, 0.8 / 1.6, 0.1 / 1.6])
    assert aggregate(rule, windows, MULTI_LABEL, [2.0, 0.0, 5.0])[2] == pytest.approx(0.1)


def test_the_fitted_sharpness_is_more_likely_than_mean_and_max_on_recordings_it_has_not_seen():
    sharpness = fit_sharpness(*made(), MULTI_LABEL)
    assert 1 < sharpness[0] < 20
    heard_in_parts = losses_of(0, *made(seed=1), sharpness)
    assert heard_in_parts["attention"] < 0.8 * min(heard_in_parts["mean"], heard_in_parts["max"])
    heard_throughout = losses_of(1, *made(seed=1), sharpness)
    assert heard_throughout["attention"] <= min(heard_throughout["mean"], heard_throughout["max"]) + 0.01


def test_labels_that_all_recordings_carry_or_none_stay_at_the_mean():
    windows, references = made(12)
    assert (fit_sharpness(windows, np.column_stack([np.ones(12), np.zeros(12)]), MULTI_LABEL) == 0).all()
    references[references[:, 0] == 0, 0] = np.nan  # carried wherever it is known
    assert fit_sharpness(windows, references, MULTI_LABEL)[0] == 0


def test_unknown_labels_count_for_nothing():
    windows, references = made()
    references[:, 1] = 0  # says nothing, so that label 0 is alone
    unknown = references.copy()
    unknown[::5, 0] = np.nan
    kept = [number for number in range(60) if number % 5]
    fewer = fit_sharpness([windows[number] for number in kept], references[kept], MULTI_LABEL)
    assert fewer[0] > 0
    assert fit_sharpness(windows, unknown, MULTI_LABEL) == pytest.approx(fewer, rel=1e-9)
    assert fit_sharpness(windows, references, MULTI_LABEL)[0] != pytest.approx(fewer[0], rel=1e-3)


def test_a_label_known_of_few_recordings_stays_closer_to_the_other_labels():
    throughout, in_parts, errors = np.full(10, 0.9), np.full(10, 0.1), np.full(10, 0.1)
    in_parts[:3] = errors[:3] = 0.9
    # Labels 0 to 3 err where they are not carried, in three windows of ten; label 4 is heard in three of ten.
    carried = np.column_stack([*[throughout] * 4, in_parts])
    others = np.column_stack([*[errors] * 4, np.full(10, 0.1)])
    windows, references = [carried, others] * 20, np.tile([[1.0], [0.0]], (20, 5))
    many = fit_sharpness(windows, references, MULTI_LABEL)
    references[4:, 4] = np.nan
    few = fit_sharpness(windows, references, MULTI_LABEL)
    assert many[:4] == pytest.approx(0, abs=1e-6)
    assert few[:4] == pytest.approx(0, abs=1e-6)
    assert 0 < few[4] < 0.5 * many[4]


def test_classes_are_fitted_against_the_rest():
    windows, references = made()
    two_classes = [np.column_stack([own[:, 0], 1 - own[:, 0]]) for own in windows]
    both = np.column_stack([references[:, 0], 1 - references[:, 0]])
    single = fit_sharpness(two_classes, both.argmax(axis=1), SINGLE_LABEL)
    np.testing.assert_array_equal(single, fit_sharpness(two_classes, both, MULTI_LABEL))
    assert single[0] > 0


def test_medleys_carry_what_any_of_their_recordings_carries():
    windows = [np.full((length, 2), number / 10) for number, length in enumerate((1, 2, 3, 1, 1))]
    references = np.array([[1, 0], [0, np.nan], [np.nan, 1], [0, 0], [0, 0]], dtype=np.float32)
    medleys = Recordings(windows, references, list("abcde")).joined(2, seed=3)
    assert len(medleys.windows) == 2
    assert medleys.groups is None
    parts = [np.unique(np.round(own[:, 0] * 10).astype(int)).tolist() for own in medleys.windows]
    assert len({number for own in parts for number in own}) == 4  # the fifth is left over
    for own, found, labels in zip(parts, medleys.windows, medleys.references, strict=True):
        assert len(found) == sum(len(windows[number]) for number in own)
        for label in (0, 1):
            values = references[own, label]
            expected = 1 if (values == 1).any() else np.nan if np.isnan(values).any() else 0
            np.testing.assert_equal(labels[label], expected)
    again = Recordings(windows, references).joined(2, seed=3)
    np.testing.assert_array_equal(again.references, medleys.references)


def test_medleys_of_which_nothing_is_known_are_left_out():
    references = np.array([[np.nan, 0], [0, np.nan], [1, 0], [0, 0]])
    for seed in range(8):
        medleys = Recordings([np.zeros((1, 2))] * 4, references).joined(2, seed)
        assert not np.isnan(medleys.references).all(axis=1).any()
    assert min(len(Recordings([np.zeros((1, 2))] * 4, references).joined(2, seed).windows) for seed in range(8)) == 1


def test_prevalence_is_the_mean_of_the_labels_that_can_be_scored():
    references = np.array([[1, 1, 0], [0, 1, np.nan], [0, 1, 0], [np.nan, 1, 1]])
    assert Recordings([], references).prevalence == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert Recordings([], references[:, [1]]).prevalence is None


def test_the_cells_of_a_timeline_lie_side_by_side_between_the_middles_of_windows():
    # Windows of 4 s at 0, 2, 4 and 5 s of 9 s: middles at 2, 4, 6 and 7 s.
    timeline = Timeline(np.zeros((4, 1)), np.array([0, 2, 4, 5]), 4.0, 9.0, ["a"])
    assert timeline.edges.tolist() == [0, 3, 5, 6.5, 9]
    assert Timeline(np.zeros((1, 1)), np.array([0]), 4.0, 1.5, ["a"]).edges.tolist() == [0, 1.5]


def test_top_tags_are_those_of_each_rule():
    timeline = Timeline(np.array([[0.9, 0.5, 0.1], [0.0, 0.5, 0.2]]), np.array([0, 1]), 2.0, 3.0, ["a", "b", "c"])
    tags = timeline.top_tags(MULTI_LABEL, np.array([100.0, 0.0, 0.0]), top_k=2)
    assert [tag["label"] for tag in tags["mean"]] == ["b", "a"]
    assert [tag["label"] for tag in tags["max"]] == ["a", "b"]
    assert tags["attention"][0] == {"label": "a", "score": pytest.approx(0.9, abs=1e-9)}


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"no aggregation rule 'median'; choose one of: mean, max, attention"):
        aggregate("median", WINDOWS, MULTI_LABEL)
    with pytest.raises(ValueError, match=r"got shape \(0, 2\); expected \[windows, labels\]"):
        aggregate("mean", WINDOWS[:0], MULTI_LABEL)
    with pytest.raises(ValueError, match="needs the sharpness"):
        aggregate("attention", WINDOWS, MULTI_LABEL)
    with pytest.raises(ValueError, match=r"one number a label, \(2,\)"):
        aggregate("attention", WINDOWS, MULTI_LABEL, [1.0])
    with pytest.raises(ValueError, match="negative or NaN"):
        aggregate("attention", WINDOWS, MULTI_LABEL, [1.0, np.nan])
    with pytest.raises(ValueError, match="logits"):
        fit_sharpness([WINDOWS * 3], [[1, 0]], MULTI_LABEL)
