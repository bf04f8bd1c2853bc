"""What is said of a split beyond the metrics: values worked out by hand or by scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from hf_tagger.evaluation.assessment import Fit, Predictions, assess, confused_pairs, hardest_clips
from hf_tagger.evaluation.intervals import FEWEST_GROUPS

MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def tags(clips=120, labels=4, seed=0, groups=None):
    generator = np.random.default_rng(seed)
    references = (generator.random((clips, labels)) < [0.5, 0.3, 0.2, 0.1][:labels]).astype(float)
    probabilities = references * 0.3 + generator.random((clips, labels)) * 0.35
    names = ["piano", "violin", "drums", "voice"][:labels]
    return Predictions(
        [f"clip {index}" for index in range(clips)], groups or [None] * clips, probabilities, references, names, MULTI
    )


def genres(probabilities, references):
    ids = [f"clip {index}" for index in range(len(references))]
    return Predictions(
        ids, [None] * len(ids), np.array(probabilities), np.array(references), ["rock", "jazz", "folk"], SINGLE
    )


def test_thresholds_are_fitted_on_validation_clips_and_judged_on_others():
    fit, test = Fit.on(tags(seed=1)), tags(seed=2)
    assert fit.clips == 120
    found = assess(test, fit, resamples=20)
    decided = test.probabilities >= np.array(fit.thresholds)
    for tag, row in enumerate(found["per_label"]):
        own, given = test.references[:, tag], decided[:, tag]
        assert row["threshold"] == fit.thresholds[tag]
        assert row["precision"] == pytest.approx(precision_score(own, given))
        assert row["recall"] == pytest.approx(recall_score(own, given))
        assert row["f1"] == pytest.approx(f1_score(own, given))
    expected = [f1_score(test.references, given, average="macro") for given in (test.probabilities >= 0.5, decided)]
    assert found["decisions"] == pytest.approx(
        dict(zip(("f1_macro_at_half", "f1_macro_at_thresholds"), expected, strict=True))
    )
    assert expected[1] > expected[0] + 0.05


def test_a_fitted_sharpness_alone_changes_no_number():
    assert assess(tags(), Fit(None, None, 0, [1.0, 2.0, 3.0]), resamples=20) == assess(tags(), None, resamples=20)


def test_without_validation_clips_decisions_are_made_at_one_half():
    found = assess(tags(), resamples=20)
    assert {row["threshold"] for row in found["per_label"]} == {0.5}
    assert list(found["decisions"]) == ["f1_macro_at_half"]
    assert "with_temperature" not in found["calibration"]


def test_a_tag_that_cannot_be_scored_has_no_decision_scores():
    predictions = tags()
    predictions.references[:, 3] = 0
    row = assess(predictions, resamples=20)["per_label"][3]
    assert (row["precision"], row["recall"], row["f1"]) == (None, None, None)


def test_a_tag_that_is_not_known_of_any_clip_is_no_obstacle():
    predictions, validation = tags(), tags(seed=1)
    predictions.references[:, 2] = validation.references[:, 1] = np.nan
    rows = assess(predictions, Fit.on(validation), resamples=20)["per_label"]
    assert (rows[2]["known"], rows[2]["precision"], rows[2]["f1"]) == (0, None, None)
    assert rows[0]["f1"] > 0.5


def test_everything_is_plain_json_also_where_bins_are_empty():
    found = assess(tags(), Fit.on(tags(seed=1)), resamples=20)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert None in found["calibration"]["bins"]["accuracy"]


@pytest.mark.parametrize(
    ("groups", "drawn"), [(FEWEST_GROUPS, "groups"), (FEWEST_GROUPS - 1, "clips"), (1, "clips"), (120, "clips")]
)
def test_groups_are_drawn_if_there_are_enough_of_them(groups, drawn):
    found = assess(tags(groups=[f"song {index % groups}" for index in range(120)]), resamples=50)
    assert found["bootstrap"] == {"level": 0.95, "resamples": 50, "drawn": drawn, "clips": 120, "groups": groups}
    interval = found["intervals"]["ap_macro"]
    assert interval["low"] < interval["high"]


def test_confused_classes_are_counted_the_most_frequent_first():
    guesses = [0, 1, 1, 1, 1, 2, 0, 2]
    predictions = genres(np.eye(3)[guesses] * 0.8 + 0.1, [0, 0, 0, 1, 2, 2, 2, 2])
    assert confused_pairs(predictions) == [
        {"label": "rock", "taken_for": "jazz", "clips": 2, "share": pytest.approx(2 / 3)},
        {"label": "folk", "taken_for": "rock", "clips": 1, "share": 0.25},
        {"label": "folk", "taken_for": "jazz", "clips": 1, "share": 0.25},
    ]


def test_confused_tags_are_missed_where_another_is_given_in_vain():
    names = ["piano", "violin", "drums"]
    references = np.array([[1, 0, 0], [1, 0, 1], [0, 1, np.nan], [1, 0, 0]])
    probabilities = np.array([[0.2, 0.9, 0.1], [0.1, 0.8, 0.9], [0.6, 0.2, 0.9], [0.9, 0.9, 0.1]])
    predictions = Predictions(list("abcd"), [None] * 4, probabilities, references, names, MULTI)
    assert confused_pairs(predictions) == [
        {"label": "piano", "taken_for": "violin", "clips": 2, "share": pytest.approx(2 / 3)},
        {"label": "violin", "taken_for": "piano", "clips": 1, "share": 1.0},  # drums are not known: not in vain
    ]
    assert confused_pairs(predictions, thresholds=[0.05, 0.95, 0.95]) == [
        {"label": "violin", "taken_for": "piano", "clips": 1, "share": 1.0}
    ]


def test_the_hardest_clips_come_first_with_what_was_guessed():
    predictions = genres([[0.7, 0.2, 0.1], [0.05, 0.35, 0.6], [0.5, 0.25, 0.25]], [0, 0, 2])
    worst, second, easiest = hardest_clips(predictions)
    assert worst == {
        "id": "clip 1",
        "loss": pytest.approx(-np.log(0.05)),
        "labels": ["rock"],
        "guesses": {"folk": 0.6, "jazz": 0.35, "rock": 0.05},
    }
    assert (second["id"], easiest["id"]) == ("clip 2", "clip 0")


def test_unknown_tags_make_no_clip_hard():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.9]])
    predictions = Predictions(
        ["a", "b"], [None] * 2, probabilities, np.array([[1, 1], [1, np.nan]]), ["piano", "violin"], MULTI
    )
    first, second = hardest_clips(predictions)
    assert (first["id"], first["loss"]) == ("a", pytest.approx((-np.log(0.9) - np.log(0.1)) / 2))
    assert (second["id"], second["loss"]) == ("b", pytest.approx(-np.log(0.9)))
    assert first["labels"] == ["piano", "violin"]
