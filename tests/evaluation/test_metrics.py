"""How the metrics behave: what is left out, what is refused, what is left behind (values: test_golden_metrics.py)."""

import json
import socket
import warnings

import numpy as np
import pytest

from hf_tagger.evaluation.metrics import (
    DEFAULT_METRIC,
    METRIC_NAMES,
    METRIC_TITLES,
    TaggingMetrics,
    check_selectable,
    per_label_table,
    score_clips,
)

MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def make_clips(problem_type, clips=30, labels=5, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.random((clips, labels))
    if problem_type == MULTI:
        return probabilities, (generator.random((clips, labels)) < 0.4).astype(np.float32)
    return probabilities / probabilities.sum(axis=1, keepdims=True), generator.integers(0, labels, clips)


def score(problem_type, predictions, references):
    return TaggingMetrics(problem_type).compute(predictions=predictions, references=references)


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_perfect_predictions_score_one(problem_type):
    _, references = make_clips(problem_type)
    perfect = references if problem_type == MULTI else np.eye(5)[references]
    found = score(problem_type, perfect, references)
    assert {name: found[name] for name in METRIC_NAMES[problem_type]} == dict.fromkeys(METRIC_NAMES[problem_type], 1.0)


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_every_selectable_metric_is_computed_and_titled(problem_type):
    found = score(problem_type, *make_clips(problem_type))
    assert set(METRIC_NAMES[problem_type]) == {name for name in found if not name.endswith(("_scored", "_left_out"))}
    assert DEFAULT_METRIC[problem_type] in METRIC_NAMES[problem_type]
    assert set(METRIC_NAMES[problem_type]) <= set(METRIC_TITLES)


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_results_are_plain_numbers_that_json_takes(problem_type):
    found = score(problem_type, *make_clips(problem_type))
    assert {type(value) for value in found.values()} == {float, int}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_batches_give_the_same_as_one_call(problem_type):
    predictions, references = make_clips(problem_type)
    metrics = TaggingMetrics(problem_type)
    for start in range(0, len(predictions), 7):
        metrics.add_batch(predictions=predictions[start : start + 7], references=references[start : start + 7])
    assert metrics.compute() == score(problem_type, predictions, references)


def test_an_instance_starts_empty_after_compute():
    metrics = TaggingMetrics(SINGLE)
    assert metrics.compute(predictions=[[0.9, 0.1]], references=[1])["accuracy"] == 0.0
    assert metrics.compute(predictions=[[0.9, 0.1]], references=[0])["accuracy"] == 1.0


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_double_precision_survives_the_way_through_evaluate(problem_type):
    # The two scores differ by less than float32 can tell, and the order decides.
    close = [[0.5 + 1e-12, 0.5], [0.5, 0.5 + 1e-12]]
    references = [[1, 0], [0, 1]] if problem_type == MULTI else [0, 1]
    assert score(problem_type, close, references)[DEFAULT_METRIC[problem_type]] == 1.0


def test_torch_tensors_and_booleans_are_taken():
    torch = pytest.importorskip("torch")
    predictions, references = make_clips(MULTI)
    found = score(MULTI, torch.tensor(predictions), torch.tensor(references).bool())
    assert found == score(MULTI, predictions, references)


def test_tags_without_both_outcomes_are_left_out_of_macro_means_and_counted():
    predictions, references = make_clips(MULTI)
    kept = score(MULTI, predictions[:, 2:], references[:, 2:])
    references[:, 0], references[:, 1] = 0, 1
    found = score(MULTI, predictions, references)
    assert (found["tags_scored"], found["tags_left_out"]) == (3, 2)
    for name in ("roc_auc_macro", "ap_macro", "f1_macro"):
        assert found[name] == kept[name]
    assert found["ap_micro"] != kept["ap_micro"]


def test_macro_metrics_are_none_when_no_tag_can_be_scored():
    found = score(MULTI, [[0.2, 0.7]], [[0, 1]])
    assert (found["roc_auc_macro"], found["ap_macro"], found["f1_macro"]) == (None, None, None)
    assert (found["roc_auc_micro"], found["ap_micro"], found["lrap"]) == (1.0, 1.0, 1.0)
    nothing = score(MULTI, [[0.2, 0.7]], [[0, 0]])
    assert (nothing["roc_auc_micro"], nothing["ap_micro"], nothing["tags_left_out"]) == (None, None, 2)


def test_an_undefined_metric_cannot_choose_a_checkpoint():
    found = score(MULTI, [[0.2, 0.7]], [[0, 1]])
    check_selectable(found, "lrap")
    with pytest.raises(ValueError, match="ap_macro is undefined on the validation split"):
        check_selectable(found, "ap_macro")
    with pytest.raises(ValueError, match="'accuracy' is not computed here; choose one of: roc_auc_macro"):
        check_selectable(found, "accuracy")


def test_classes_that_no_reference_names_take_no_part_in_means():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(SINGLE, [[0.1, 0.8, 0.1], [0.1, 0.2, 0.7]], [1, 1])
    assert found["balanced_accuracy"] == 0.5
    assert found["f1_macro"] == pytest.approx(2 / 3)
    assert (found["classes_scored"], found["classes_left_out"]) == (1, 2)


def test_of_equally_probable_classes_the_first_is_said():
    predictions = [[0.25] * 4] * 4
    found = score(SINGLE, predictions, [0, 1, 2, 3])
    assert found["accuracy"] == 0.25
    assert found["top3_accuracy"] == 0.75


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_top3_is_one_with_three_classes_or_fewer(classes):
    assert score(SINGLE, *make_clips(SINGLE, labels=classes))["top3_accuracy"] == 1.0


BAD_INPUT = {
    "logits": (SINGLE, [[0.5, 0.5], [-3.0, 4.0]], [0, 1], r"outside 0..1 in 1 of 2 clips, the first in row 1.*logits"),
    "NaN": (MULTI, [[0.5, 0.5], [float("nan"), 0.1]], [[0, 1], [1, 0]], r"NaN or infinite .* first in row 1"),
    "infinity": (SINGLE, [[float("inf"), 0.5]], [0], r"NaN or infinite values in 1 of 1 clips, the first in row 0"),
    "class beyond the last": (SINGLE, [[0.5, 0.5]] * 3, [0, 2, 5], r"from 0 to 1 .* 2 of 3 clips, the first in row 1"),
    "unlabelled clip": (SINGLE, [[0.5, 0.5]], [-100], r"leave out clips whose labels are not known"),
    "class that is no whole number": (SINGLE, [[0.5, 0.5]], [0.7], r"only whole numbers from 0 to 1"),
    "tag that is neither 0 nor 1": (MULTI, [[0.5, 0.5]], [[0, 2]], r"only whole numbers from 0 to 1 .* row 0"),
    "unlabelled multi-label clip": (MULTI, [[0.5, 0.5]], [[float("nan")] * 2], r"labels are not known"),
    "fewer references": (SINGLE, [[0.5, 0.5], [0.5, 0.5]], [0], r"predictions \(2\) and references \(1\)"),
    "fewer tags in references": (MULTI, [[0.5, 0.5]], [[1]], r"references: got shape \(1, 1\); expected \(1, 2\)"),
    "rows of different lengths": (MULTI, [[0.5, 0.5], [0.5]], [[1, 0], [1, 0]], r"rows of equal length"),
    "said classes": (SINGLE, [1, 0], [1, 0], r"(?s)don't match the expected format.*predictions"),
    "no clips": (SINGLE, np.empty((0, 2)), np.empty(0), r"predictions: got shape \(0,\); expected \[clips, labels\]"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused_and_does_not_stay_in_the_instance(name):
    problem_type, predictions, references, message = BAD_INPUT[name]
    metrics = TaggingMetrics(problem_type)
    with pytest.raises(ValueError, match=message):
        metrics.compute(predictions=predictions, references=references)
    good = make_clips(problem_type)
    assert metrics.compute(predictions=good[0], references=good[1]) == score(problem_type, *good)


def test_rounding_errors_of_probabilities_are_taken():
    assert score(SINGLE, [[1.0 + 1e-7, -1e-8]], [0])["accuracy"] == 1.0


def test_unknown_problem_types_are_refused():
    for call in (lambda: TaggingMetrics("regression"), lambda: score_clips([[0.5]], [0], "regression")):
        with pytest.raises(ValueError, match="'regression' is not known; it must be multi_label_classification or"):
            call()


def test_per_label_rows_keep_the_order_and_say_none_where_undefined():
    table = per_label_table([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]], [0, 1], ["rock", "jazz", "polka"], SINGLE)
    assert [row["label"] for row in table] == ["rock", "jazz", "polka"]
    assert [row["support"] for row in table] == [1, 1, 0]
    assert table[0] == {
        "label": "rock",
        "support": 1,
        "prevalence": 0.5,
        "ap": 1.0,
        "roc_auc": 1.0,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert (table[1]["precision"], table[1]["recall"], table[1]["f1"]) == (None, 0.0, 0.0)
    assert set(list(table[2].values())[3:]) == {None}


def test_the_number_of_label_names_must_fit():
    with pytest.raises(ValueError, match="label_names: 1 names for 2 columns"):
        per_label_table([[0.5, 0.5]], [0], ["rock"], SINGLE)


def test_two_instances_hold_their_own_batches():
    first, second = TaggingMetrics(SINGLE), TaggingMetrics(SINGLE)
    for _ in range(3):
        first.add_batch(predictions=[[0.9, 0.1]], references=[0])
        second.add_batch(predictions=[[0.9, 0.1]], references=[1])
    assert (first.compute()["accuracy"], second.compute()["accuracy"]) == (1.0, 0.0)


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_neither_network_nor_disk_is_used(problem_type, monkeypatch, tmp_path):
    def refuse(*_arguments, **_options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    score(problem_type, *make_clips(problem_type))
    # With no file there is no lock either, so parallel processes cannot disturb each other.
    assert list(tmp_path.iterdir()) == []
