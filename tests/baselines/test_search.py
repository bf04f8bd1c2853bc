"""Parameters are chosen on folds of the training clips that tear no album apart."""

import numpy as np
import pytest

from hf_tagger.baselines.search import ClipScore, choose_metric, make_folds, search_classifier
from hf_tagger.data.base import MULTI_LABEL, SINGLE_LABEL
from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.metrics import score_clips

NAN = float("nan")
ALONE = [str(number) for number in range(40)]
CLASSES = np.arange(40) % 2


def parts(folds, values):
    return [({values[index] for index in train}, {values[index] for index in test}) for train, test in folds.pairs]


def test_every_clip_is_scored_once_and_classes_are_spread_evenly():
    folds = make_folds(CLASSES, ALONE, SINGLE_LABEL, 4, 0)
    assert sorted(index for _, test in folds.pairs for index in test) == list(range(40))
    assert [np.bincount(CLASSES[test]).tolist() for _, test in folds.pairs] == [[5, 5]] * 4
    assert folds.kind == "4 folds, stratified by class"


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
def test_no_album_is_torn_apart(problem_type):
    # Two classes of four albums with five songs each, as artist20 has artists.
    albums = [f"{label}/{index // 2 % 4}" for index, label in enumerate(CLASSES)]
    labels = CLASSES if problem_type == SINGLE_LABEL else np.eye(2)[CLASSES]
    folds = make_folds(labels, albums, problem_type, 4, 0)
    assert all(train.isdisjoint(test) and test for train, test in parts(folds, albums))
    if problem_type == SINGLE_LABEL:
        assert folds.kind == "4 folds by group (8 groups, stratified by class)"
        assert all({album[0] for album in test} == {"0", "1"} for _, test in parts(folds, albums))
    else:
        assert folds.kind == "4 folds by group (8 groups)"


def test_groups_that_are_fewer_than_folds_are_ignored_and_that_is_said(caplog):
    folds = make_folds(np.eye(2)[CLASSES], ["orchestra"] * 40, MULTI_LABEL, 5, 0)
    assert folds.kind == "5 folds, drawn by chance"
    assert [len(test) for _, test in folds.pairs] == [8] * 5
    assert "tear groups apart: the training clips have too few groups (1) for 5 folds" in caplog.text


def test_the_draw_follows_the_seed():
    first, same, other = (make_folds(CLASSES, ALONE, SINGLE_LABEL, 4, seed).pairs[0][1].tolist() for seed in (0, 0, 1))
    assert first == same != other


def test_more_folds_than_clips_are_refused():
    with pytest.raises(HfTaggerError, match="folds: 21 are more than the 20 training clips of any class"):
        make_folds(CLASSES, ALONE, SINGLE_LABEL, 21, 0)


def noisy(seed=0):
    """Two classes, one in four clips on the wrong side: the nearest neighbour is fooled, the nearest nine are not."""
    generator = np.random.default_rng(seed)
    points = CLASSES[:, None] * 2.0 + generator.normal(0, 0.3, (40, 1))
    labels = np.where(generator.random(40) < 0.25, 1 - CLASSES, CLASSES)
    return points, labels


def test_the_best_point_of_the_grid_is_chosen_and_every_point_is_written_down():
    points, labels = noisy()
    folds = make_folds(labels, ALONE, SINGLE_LABEL, 4, 0)
    score = ClipScore("accuracy", SINGLE_LABEL, 2)
    result = search_classifier("knn", {"n_neighbors": [1, 9]}, points, labels, folds, score, 0, 1)
    table = result.table
    assert table["n_neighbors"].tolist() == [9, 1]  # the best first
    assert table["mean_test_score"].is_monotonic_decreasing
    assert table["mean_test_score"].iloc[0] > table["mean_test_score"].iloc[1]
    assert result.parameters == {"n_neighbors": 9}
    assert result.metric == "accuracy"
    of_folds = [table[f"split{number}_test_score"].iloc[0] for number in range(4)]
    assert result.score == pytest.approx(np.mean(of_folds))
    assert result.deviation == pytest.approx(np.std(of_folds))
    assert result.pipeline[-1].n_neighbors == 9
    assert result.pipeline[-1].n_samples_fit_ == 40  # all training clips


def test_the_score_of_a_fold_is_the_metric_of_its_clips():
    points, labels = noisy()
    tags = np.stack([labels, 1 - CLASSES], axis=1).astype(np.float32)
    tags[::7, 0] = NAN
    folds = make_folds(tags, ALONE, MULTI_LABEL, 4, 0)
    score = ClipScore("roc_auc_macro", MULTI_LABEL, 2)
    result = search_classifier("knn", {"n_neighbors": 5}, points, tags, folds, score, 0, 1)
    train, test = folds.pairs[2]
    again = result.pipeline.fit(points[train], tags[train]).predict_proba(points[test])
    expected = score_clips(again, tags[test], MULTI_LABEL)["roc_auc_macro"]
    assert result.table["split2_test_score"].tolist() == [pytest.approx(expected)]


def test_what_scikit_learn_refuses_is_told_with_the_field():
    points, labels = noisy()
    folds = make_folds(labels, ALONE, SINGLE_LABEL, 4, 0)
    score = ClipScore("accuracy", SINGLE_LABEL, 2)
    with pytest.raises(HfTaggerError, match=r"knn cannot be fitted to 40 training clips: .*classifiers\.knn or folds"):
        search_classifier("knn", {"n_neighbors": [31]}, points, labels, folds, score, 0, 1)


def test_a_metric_that_no_fold_defines_chooses_nothing():
    points, _ = noisy()
    tags = np.zeros((40, 2), dtype=np.float32)
    folds = make_folds(tags, ALONE, MULTI_LABEL, 4, 0)
    score = ClipScore("ap_macro", MULTI_LABEL, 2)
    with pytest.raises(HfTaggerError, match="metric: ap_macro is undefined on the folds"):
        search_classifier("knn", {"n_neighbors": [3]}, points, tags, folds, score, 0, 1)


def test_the_metric_is_one_of_the_data():
    assert choose_metric(None, SINGLE_LABEL) == "accuracy"
    assert choose_metric(None, MULTI_LABEL) == "ap_macro"
    assert choose_metric("lrap", MULTI_LABEL) == "lrap"
    with pytest.raises(HfTaggerError, match="metric: 'accuracy' is none of multi_label_classification; choose one of"):
        choose_metric("accuracy", MULTI_LABEL)
