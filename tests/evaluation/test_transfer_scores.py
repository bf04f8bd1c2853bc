"""Scores of a model beside those of a dataset's own model, and their tables."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.assessment import Predictions
from hf_tagger.evaluation.intervals import bootstrap_intervals
from hf_tagger.evaluation.transfer_scores import TransferMatrix, score_transfer
from hf_tagger.evaluation.transfer_table import pair_tables, transfer_text

MULTI = "multi_label_classification"


def predictions(concepts=("rock", "jazz"), clips=60, seed=0, groups=None):
    """Clips of one concept each, or of none."""
    generator = np.random.default_rng(seed)
    classes = np.arange(clips) % (len(concepts) + 1)
    references = (classes[:, None] == np.arange(len(concepts))).astype(float)
    probabilities = 0.3 * references + 0.7 * generator.random(references.shape)
    names = [str(clip) for clip in range(clips)]
    return Predictions(names, groups or [None] * clips, probabilities, references, list(concepts), MULTI)


def test_a_score_is_that_of_scikit_learn_with_the_interval_of_the_bootstrap():
    own = predictions()
    found = score_transfer(own, None, one_label_each=False)
    areas = [roc_auc_score(*columns) for columns in zip(own.references.T, own.probabilities.T, strict=True)]
    interval = bootstrap_intervals(own.probabilities, own.references, MULTI)["roc_auc_macro"]
    score = found.scores["roc_auc_macro"]
    assert (score.value, score.low, score.high) == pytest.approx((np.mean(areas), interval.low, interval.high))
    assert [row["roc_auc"] for row in found.rows] == pytest.approx(areas)
    assert found.own == found.lost == {}


def test_the_own_models_concepts_are_found_by_name_and_others_left_out():
    away, home = predictions(), predictions(("folk", "jazz", "rock"), seed=1)
    home.references[:] = np.nan  # those of the model that is tested count
    found = score_transfer(away, home, one_label_each=False)
    expected = [roc_auc_score(away.references[:, 0], home.probabilities[:, 2])]
    expected.append(roc_auc_score(away.references[:, 1], home.probabilities[:, 1]))
    assert [row["own_roc_auc"] for row in found.rows] == pytest.approx(expected)
    lost = found.lost["roc_auc_macro"]
    assert lost.difference == pytest.approx(np.mean(expected) - found.scores["roc_auc_macro"].value)
    assert lost.low < lost.difference < lost.high


def test_accuracy_is_over_the_clips_of_a_shared_concept_and_needs_two_of_them():
    own = predictions()
    found = score_transfer(own, None, one_label_each=True)
    carries = own.references.any(axis=1)
    assert carries.sum() == 40
    hits = own.probabilities[carries].argmax(axis=1) == own.references[carries].argmax(axis=1)
    assert found.scores["accuracy"].value == pytest.approx(hits.mean())
    assert score_transfer(predictions(("rock",)), None, one_label_each=True).scores["accuracy"] is None


def test_what_is_unknown_takes_no_part():
    own = predictions()
    own.references[:6] = np.nan
    own.references[6:20, 1] = np.nan
    found = score_transfer(own, None, one_label_each=False)
    assert found.clips == 54
    assert found.rows[1]["roc_auc"] == pytest.approx(roc_auc_score(own.references[20:, 1], own.probabilities[20:, 1]))


def test_clips_that_only_one_of_the_models_could_read_take_no_part():
    def said(ids, probabilities):
        references = np.array([[float(own in "ac")] for own in ids])
        return Predictions(list(ids), [None] * len(ids), np.array(probabilities)[:, None], references, ["x"], MULTI)

    found = score_transfer(said("abde", [0.9, 0.1, 0.5, 1.0]), said("cdab", [0.7, 0.8, 0.6, 0.2]), one_label_each=False)
    assert found.clips == 3
    assert found.scores["roc_auc_macro"].value == 1  # a is above b and d
    assert found.own["roc_auc_macro"].value == 0.5  # a is above b, but below d


def test_groups_are_drawn_where_there_are_enough_of_them():
    assert score_transfer(predictions(), None, False).drawn == "clips"
    assert score_transfer(predictions(groups=[str(clip // 2) for clip in range(60)]), None, False).drawn == "groups"


def test_concepts_that_no_clip_carries_are_undefined_and_shown_as_such():
    own = predictions()
    own.references[:, 1] = 0
    found = score_transfer(own, own, one_label_each=False)
    assert (found.scored, found.rows[1]["roc_auc"]) == (1, None)
    assert "| jazz | 0 | – | – | – | – |" in pair_tables(found)
    own.references[:] = 0
    nothing = score_transfer(own, own, one_label_each=True)
    assert nothing.scores == {"roc_auc_macro": None, "ap_macro": None, "accuracy": None}
    assert nothing.lost == {"roc_auc_macro": None, "ap_macro": None}
    assert "| ROC-AUC (macro) | – | – | – | – |" in pair_tables(nothing)


def test_the_report_names_pairs_in_their_order_and_shows_what_is_not_shared():
    away = score_transfer(predictions(), predictions(seed=1), one_label_each=False)
    home = score_transfer(predictions(seed=1), None, one_label_each=False)
    matrix = TransferMatrix(
        ["A: one", "B: two"], ["A", "B"], [0, 1], [[home, None], [away, home]], [[0, 0], [1_200, 0]],
        {"rock": {"A": ["Rock", "Hard|Rock"], "B": []}},
    )  # fmt: skip
    text = transfer_text(matrix, "roc_auc_macro", "test", "map.yaml", ["A is small."])
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Trained on one dataset, tested on another (test)", "## B: two, tested on A", "## Labels (map.yaml)"
    ]  # fmt: skip
    value = home.scores["roc_auc_macro"]
    assert f"| A: one | {value.value:.4f} ({value.low:.4f} to {value.high:.4f}), 2 concepts | – |" in lines
    assert "1,200 of the test clips of A are training clips of B: two: its numbers there say less." in lines
    assert "A is small." in lines
    assert r"| rock | Rock, Hard\|Rock | – |" in lines
    pairs = [(own["model"], own["tested_on"], own["is_home"]) for own in matrix.as_dict()["transfers"]]
    assert pairs == [("A: one", "A", True), ("B: two", "A", False), ("B: two", "B", True)]


def test_without_a_clip_that_both_models_know_there_is_nothing_to_score():
    own = predictions()
    with pytest.raises(HfTaggerError, match="no clip of which a shared concept is known and that both models"):
        score_transfer(own, dataclasses.replace(own, ids=[f"other {name}" for name in own.ids]), one_label_each=False)
    unknown = dataclasses.replace(own, references=np.full_like(own.references, np.nan))
    with pytest.raises(HfTaggerError, match=r"no clip of which a shared concept is known\.$"):
        score_transfer(unknown, None, one_label_each=False)
