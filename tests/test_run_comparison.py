"""Two runs on the same clips: what is compared, and what is refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.intervals import compare_models
from hf_tagger.evaluation.predictions import read_predictions, write_predictions
from hf_tagger.run_comparison import compare_runs

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
NAMES = ["high", "low"]


def write_run(folder, right, groups=None, order=None, labels=NAMES, clip_hash="a" * 64, split="test"):
    """A run of single-label clips, of which these were right; clips and labels may stand in another order."""
    order = list(range(len(right))) if order is None else order
    classes = np.arange(len(right)) % 2
    guesses = np.where(right, classes, 1 - classes)
    columns = [NAMES.index(name) for name in labels]
    clips = SimpleNamespace(
        ids=[f"clip {index}" for index in order],
        groups=[(groups or [None] * len(right))[index] for index in order],
        labels=[labels.index(NAMES[classes[index]]) for index in order],
        unknown_labels=[[] for _ in order],
    )
    folder.mkdir(parents=True)
    probabilities = (np.eye(2)[guesses] * 0.8 + 0.1)[order][:, columns]
    write_predictions(clips, probabilities, labels, folder / f"predictions_{split}.parquet")
    protocol = {"dataset": "folder", "name": "own", "hash": clip_hash}
    metrics = {split: {"accuracy": float(np.mean(right))}, "protocol": protocol}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def right():
    generator = np.random.default_rng(0)
    first = generator.random(120) < 0.6
    return first, first | (generator.random(120) < 0.4)


def test_the_numbers_are_those_of_a_paired_bootstrap_in_whatever_order_clips_and_labels_stand(tmp_path, right):
    first = write_run(tmp_path / "a", right[0])
    order = np.random.default_rng(1).permutation(120).tolist()
    second = write_run(tmp_path / "b", right[1], order=order, labels=NAMES[::-1])
    found = compare_runs(first, second)
    classes = np.arange(120) % 2
    probabilities = [np.eye(2)[np.where(own, classes, 1 - classes)] * 0.8 + 0.1 for own in right]
    assert found.metrics == compare_models(*probabilities, classes, SINGLE)
    assert (found.clips, found.drawn) == (120, "clips")
    accuracy = found.metrics["accuracy"]
    text = found.as_markdown()
    assert f"| Accuracy | {accuracy.first:.4f} | {accuracy.second:.4f} | {accuracy.difference:+.4f} |" in text
    assert "By Accuracy B is better than A on clips like these." in text
    assert json.loads(json.dumps(found.as_dict()))["metrics"]["accuracy"]["is_significant"] is True


def test_models_that_chance_may_have_told_apart_are_not_called_different(tmp_path, right):
    one_more = right[0].copy()
    one_more[np.flatnonzero(~right[0])[0]] = True
    found = compare_runs(write_run(tmp_path / "a", right[0]), write_run(tmp_path / "b", one_more))
    assert "By Accuracy the two cannot be told apart on these clips." in found.as_markdown()


def test_groups_are_drawn_where_there_are_enough(tmp_path, right):
    groups = [f"song {index // 4}" for index in range(120)]
    runs = [write_run(tmp_path / name, own, groups) for name, own in zip("ab", right, strict=True)]
    assert compare_runs(*runs).drawn == "groups"


def test_runs_on_other_clips_are_refused_with_their_protocols(tmp_path, right):
    first, second = write_run(tmp_path / "a", right[0]), write_run(tmp_path / "b", right[1], clip_hash="b" * 64)
    with pytest.raises(HfTaggerError, match=r"not evaluated on the same clips(?s:.)*ids aaaaaaaaaaaa…(?s:.)*bbbb"):
        compare_runs(first, second)


def test_runs_whose_clips_were_labelled_otherwise_are_refused(tmp_path, right):
    first, second = (write_run(tmp_path / name, own) for name, own in zip("ab", right, strict=True))
    clips = SimpleNamespace(
        ids=[f"clip {index}" for index in range(120)], groups=[None] * 120, labels=[0] * 120, unknown_labels=[[]] * 120
    )
    write_predictions(clips, np.full((120, 2), 0.5), NAMES, second / "predictions_test.parquet")
    with pytest.raises(HfTaggerError, match="have different labels"):
        compare_runs(first, second)


def test_what_is_lacking_is_named(tmp_path, right):
    first = write_run(tmp_path / "a", right[0])
    with pytest.raises(HfTaggerError, match=r"holds no metrics\.json"):
        compare_runs(first, tmp_path)
    with pytest.raises(HfTaggerError, match="has no numbers of the validation split"):
        compare_runs(first, first, "validation")
    fewer = write_run(tmp_path / "b", right[1][:118])
    with pytest.raises(HfTaggerError, match=r"2 clips are in the predictions of only one of .*for example clip 118"):
        compare_runs(first, fewer)
    (fewer / "predictions_test.parquet").unlink()
    with pytest.raises(HfTaggerError, match=r"predictions_test\.parquet does not exist.*--output_dir FOLDER"):
        compare_runs(first, fewer)


def test_predictions_come_back_as_they_were_written_without_unlabelled_clips(tmp_path):
    clips = SimpleNamespace(
        ids=["a", "b", "c"], groups=["x", None, "y"], labels=[[0, 2], None, []], unknown_labels=[[1], [], [0]]
    )
    probabilities = np.random.default_rng(0).random((3, 3))
    names = ["piano", "violin", "drums"]
    write_predictions(clips, probabilities, names, tmp_path / "predictions_test.parquet")
    found = read_predictions(tmp_path / "predictions_test.parquet", MULTI)
    assert (found.ids, found.groups, found.label_names) == (["a", "c"], ["x", "y"], names)
    np.testing.assert_array_equal(found.probabilities, probabilities[[0, 2]])
    np.testing.assert_array_equal(found.references, [[1, np.nan, 1], [np.nan, 0, 0]])
