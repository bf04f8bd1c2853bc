"""Multi-label references that are partly unknown (NaN): every metric is over what is known, as scikit-learn has it."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    roc_auc_score,
)

from hf_tagger.evaluation.metrics import TaggingMetrics, per_label_table, score_clips
from hf_tagger.evaluation.plots import per_tag_ap_figure

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
NAN = float("nan")
NAMES = ["a", "b", "c", "d", "e", "f"]


def partly_known(seed, clips=60, tags=6, share=0.6, levels=None):
    """Probabilities, and references of which ``share`` are NaN but for one of every clip."""
    generator = np.random.default_rng(seed)
    probabilities = generator.random((clips, tags))
    if levels:
        probabilities = np.round(probabilities * levels) / levels
    references = (generator.random((clips, tags)) < 0.2 + 0.5 * probabilities).astype(float)
    unknown = generator.random((clips, tags)) < share
    unknown[np.arange(clips), generator.integers(tags, size=clips)] = False
    references[unknown] = NAN
    return probabilities, references


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [None, 4])
def test_metrics_are_scikit_learns_of_every_tag_over_the_clips_where_it_is_known(seed, levels):
    probabilities, references = partly_known(seed, levels=levels)
    known = ~np.isnan(references)
    tags = [(references[known[:, tag], tag], probabilities[known[:, tag], tag]) for tag in range(6)]
    clips = [
        label_ranking_average_precision_score([references[row, own].astype(int)], [probabilities[row, own]])
        if known[row].sum() > 1
        else 1.0  # one known tag, carried or not, is ranked first; scikit-learn takes no list of one
        for row, own in enumerate(known)
    ]
    found = TaggingMetrics(MULTI).compute(predictions=probabilities, references=references)
    expected = {
        "roc_auc_macro": np.mean([roc_auc_score(*tag) for tag in tags]),
        "roc_auc_micro": roc_auc_score(references[known], probabilities[known]),
        "ap_macro": np.mean([average_precision_score(*tag) for tag in tags]),
        "ap_micro": average_precision_score(references[known], probabilities[known]),
        "lrap": np.mean(clips),
        "f1_macro": np.mean([f1_score(own, scores >= 0.5) for own, scores in tags]),
        "tags_scored": 6,
        "tags_left_out": 0,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_golden_values_of_four_clips_by_hand():
    probabilities = [[0.9, 0.2, 0.6], [0.8, 0.7, 0.1], [0.3, 0.4, 0.5], [0.1, 0.6, 0.2]]
    references = [[1, NAN, 0], [NAN, 1, 0], [0, 0, NAN], [1, 1, NAN]]
    found = score_clips(probabilities, references, MULTI)
    # a: 0.9 and 0.1 against 0.3; b: 0.7 and 0.6 against 0.4; c: known as absent only, so it is left out.
    assert found["roc_auc_macro"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["ap_macro"] == pytest.approx((1 / 2 * (1 + 2 / 3) + 1) / 2)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 1) / 2)  # a: one of two found, none wrong
    # In descending order of the probability: 0.9 +, 0.7 +, 0.6 - (c), 0.6 + (b), 0.4 -, 0.3 -, 0.1 -, 0.1 +.
    assert found["ap_micro"] == pytest.approx((1 + 1 + 3 / 4 + 4 / 8) / 4)
    assert found["roc_auc_micro"] == pytest.approx((4 + 4 + 3.5 + 0.5) / 16)
    assert found["lrap"] == 1.0  # clips 1 and 2: the carried tag ranks before the absent one; 3 and 4: none or all
    assert (found["tags_scored"], found["tags_left_out"]) == (2, 1)


@pytest.mark.parametrize("seed", range(4))
def test_the_probability_of_an_unknown_label_changes_nothing(seed):
    probabilities, references = partly_known(seed)
    generator = np.random.default_rng(100 + seed)
    changed = np.where(np.isnan(references), generator.random(references.shape), probabilities)
    assert score_clips(changed, references, MULTI) == score_clips(probabilities, references, MULTI)
    tables = [per_label_table(scores, references, NAMES, MULTI) for scores in (changed, probabilities)]
    assert tables[0] == tables[1]


def test_a_tag_is_scored_where_it_is_known_to_be_carried_and_to_be_absent():
    probabilities, references = partly_known(0)
    references[references[:, 0] == 0, 0] = NAN  # known as carried or not at all
    references[:, 1] = NAN
    references[:, 2] = 1.0  # so that every clip has a known tag; scored of no one
    found = score_clips(probabilities, references, MULTI)
    assert (found["tags_scored"], found["tags_left_out"]) == (3, 3)
    known = ~np.isnan(references)
    expected = [average_precision_score(references[known[:, t], t], probabilities[known[:, t], t]) for t in (3, 4, 5)]
    assert found["ap_macro"] == pytest.approx(np.mean(expected))


def test_the_table_counts_and_scores_a_label_over_the_clips_where_it_is_known():
    probabilities = [[0.9, 0.2, 0.5], [0.4, 0.7, 0.5], [0.6, 0.1, 0.5], [0.2, 0.3, 0.5]]
    references = [[1, NAN, NAN], [1, 0, NAN], [0, 1, NAN], [NAN, 0, NAN]]
    first, second, third = per_label_table(probabilities, references, ["a", "b", "c"], MULTI)
    assert first == {
        "label": "a", "support": 2, "prevalence": pytest.approx(2 / 3), "ap": pytest.approx((1 + 2 / 3) / 2),
        "roc_auc": 0.5, "known": 3,
    }  # fmt: skip
    assert second == {
        "label": "b", "support": 1, "prevalence": pytest.approx(1 / 3), "ap": pytest.approx(1 / 3), "roc_auc": 0.0,
        "known": 3,
    }  # fmt: skip
    assert third == {"label": "c", "support": 0, "prevalence": None, "ap": None, "roc_auc": None, "known": 0}
    json.dumps([first, second, third], allow_nan=False)
    figure = per_tag_ap_figure([first, second, third])
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert texts == ["a  (2)", "b  (1)"]


def test_a_table_without_unknown_labels_has_no_column_for_them():
    probabilities, references = partly_known(3, share=0.0)
    assert not np.isnan(references).any()
    assert all("known" not in row for row in per_label_table(probabilities, references, NAMES, MULTI))


def test_batches_and_none_are_taken_as_nan_is():
    probabilities, references = partly_known(1)
    metrics = TaggingMetrics(MULTI)
    whole = metrics.compute(predictions=probabilities, references=references)
    for start in range(0, len(probabilities), 7):
        metrics.add_batch(
            predictions=probabilities[start : start + 7],
            references=[[None if math.isnan(v) else v for v in row] for row in references[start : start + 7]],
        )
    assert metrics.compute() == whole


@pytest.mark.parametrize(
    ("problem_type", "references", "message"),
    [
        (MULTI, [[1, NAN], [-1, 0]], r"from 0 to 1 \(or NaN where unknown\) are allowed; .* first in row 1"),
        (MULTI, [[1, NAN], [NAN, NAN]], r"NaN throughout in 1 of 2 clips, the first in row 1; leave out clips"),
        (SINGLE, [0, NAN], r"only whole numbers from 0 to 1 are allowed; not so in 1 of 2 clips, the first in row 1"),
    ],
)
def test_what_is_no_label_and_not_said_to_be_unknown_is_refused(problem_type, references, message):
    with pytest.raises(ValueError, match=message):
        score_clips([[0.5, 0.5], [0.5, 0.5]], references, problem_type)
