"""``compare.py`` on folders as training leaves them."""

import json
import shutil

import pandas
import pytest
from script_runner import TINY, load_script

from hf_tagger.errors import HfTaggerError


@pytest.fixture(scope="module")
def run(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("runs") / "first"
    load_script("finetune").main(
        [
            str(root / "recipes" / "quickstart.yaml"),
            *("--synthetic_clips", "60", *TINY, "--num_train_epochs", "1", "--output_dir", str(folder)),
            *("--cache_dir", str(folder.parent / "cache")),
        ]
    )
    return folder


@pytest.fixture
def runs(run, tmp_path):
    """The run, a copy of it with other scores, and a folder of a run that was cut off."""
    shutil.copytree(run, tmp_path / "runs" / "first")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["test"] |= {"ap_macro": 0.99, "lrap": 0.0}
    (tmp_path / "runs" / "second").mkdir()
    (tmp_path / "runs" / "second" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (tmp_path / "runs" / "unfinished").mkdir()
    return tmp_path / "runs"


def compare(*arguments):
    load_script("compare").main([*map(str, arguments)])


def test_runs_are_compared_by_the_numbers_they_recorded(run, runs, tmp_path, capsys):
    output = tmp_path / "out"
    compare(*sorted(runs.iterdir()), runs / "first", "--output_dir", output)
    frame = pandas.read_csv(output / "comparison.csv").set_index("run")
    assert frame.index.tolist() == ["second", "first"]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for name in ("roc_auc_macro", "roc_auc_micro", "ap_macro", "ap_micro", "lrap", "f1_macro"):
        assert frame.loc["first", name] == metrics["test"][name]
    for name in ("parameters", "trainable_parameters", "seconds", "device"):
        assert frame.loc["first", name] == metrics["training"][name]
    assert frame.loc["first", "architecture"] == "short_cnn"
    assert frame.loc["first", "clips"] == metrics["protocol"]["used"]["test"]
    assert frame.loc["first", "labels"] == 8
    printed = capsys.readouterr().out
    assert (output / "comparison.md").read_text(encoding="utf-8") in printed
    assert printed.endswith(f"Not in the table, without metrics.json: {runs / 'unfinished'}\n")
    assert (output / "comparison.png").stat().st_size > 10_000


def test_split_and_order_can_be_chosen_and_the_folder_has_a_default(run, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    compare(runs / "second", runs / "first", "--sort_by", "lrap")
    assert pandas.read_csv("comparison/comparison.csv")["run"].tolist() == ["first", "second"]
    compare(runs / "first", "--split", "validation")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    written = pandas.read_csv("comparison/comparison.csv")
    assert written["ap_macro"].tolist() == [metrics["validation"]["ap_macro"]]
    assert "Split validation of synthetic" in capsys.readouterr().out


def test_as_many_other_labels_are_other_labels(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "first", other, ignore=shutil.ignore_patterns("checkpoint-*"))
    metrics = json.loads((other / "metrics.json").read_text(encoding="utf-8"))
    metrics["per_label"]["test"][0]["label"] = "kazoo"
    (other / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(HfTaggerError, match="not evaluated on the same clips and labels"):
        compare(runs / "first", other, "--output_dir", tmp_path / "out")


def test_nothing_is_written_for_runs_that_do_not_compare(runs, tmp_path):
    path = runs / "second" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics["protocol"]["hash"] = "0" * 64
    path.write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(
        HfTaggerError, match=r"hash 000000000000\), multi-label, 8 labels \(names [0-9a-f]{8}\): second"
    ):
        compare(runs / "first", runs / "second", "--output_dir", tmp_path / "out")
    with pytest.raises(HfTaggerError, match="no metric 'accuracy' to sort by; they have roc_auc_macro"):
        compare(runs / "first", "--sort_by", "accuracy", "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
