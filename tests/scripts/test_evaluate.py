"""The report of an evaluation, what it stores for taggers, and the comparison of two runs, as a user calls them."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile
from script_runner import TINY, load_script
from sklearn.metrics import f1_score
from transformers import AutoConfig

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.predictions import read_predictions
from hf_tagger.evaluation.thresholds import fit_thresholds

MULTI = "multi_label_classification"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the embedded dataset that differ in their seed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        argv = ["--dataset_name", "synthetic", "--synthetic_clips", "80", "--cache_dir", str(folder / "cache"), *TINY]
        load_script("finetune").main([*argv, "--seed", str(seed), "--output_dir", str(folder / f"seed_{seed}")])
    return folder / "seed_0", folder / "seed_1"


def read_metrics(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_thresholds_of_the_validation_split_are_in_the_configuration(runs):
    config, metrics = AutoConfig.from_pretrained(runs[0]), read_metrics(runs[0])
    validation = read_predictions(runs[0] / "predictions_validation.parquet", MULTI)
    expected = fit_thresholds(validation.probabilities, validation.references)
    assert list(config.label_thresholds) == sorted(validation.label_names)
    assert [config.label_thresholds[name] for name in validation.label_names] == expected
    assert [row["threshold"] for row in metrics["per_label"]["test"]] == expected
    assert config.calibration_clips == len(validation.ids)
    fitted = metrics["calibration"]["test"]["with_temperature"]
    assert config.calibration_temperature == fitted["temperature"]
    test = read_predictions(runs[0] / "predictions_test.parquet", MULTI)
    scored = [row["ap"] is not None for row in metrics["per_label"]["test"]]
    decided = test.probabilities >= np.array(expected)
    found = f1_score(test.references[:, scored], decided[:, scored], average="macro", zero_division=0)
    assert metrics["decisions"]["test"]["f1_macro_at_thresholds"] == pytest.approx(found)


def test_the_report_is_one_file_with_numbers_intervals_and_all_pictures(runs):
    page, metrics = (runs[0] / "report.html").read_text(encoding="utf-8"), read_metrics(runs[0])
    value, interval = metrics["test"]["ap_macro"], metrics["intervals"]["test"]["ap_macro"]
    assert interval["low"] < value < interval["high"]
    assert f"<td>{value:.4f}</td>" in page
    assert f"{interval['low']:.4f} to {interval['high']:.4f}" in page
    assert metrics["hardest_clips"]["test"][0]["id"] in page
    pictures = {"curves", "per_tag_ap", "roc", "precision_recall", "reliability"}
    assert {path.stem for path in runs[0].glob("*.png")} == pictures
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing beside it is needed


def test_another_evaluation_writes_its_report_into_a_folder_of_its_own(runs, tmp_path, capsys):
    before = (runs[0] / "metrics.json").read_bytes()
    load_script("evaluate").main([str(runs[0]), str(runs[0] / "recipe.yaml"), "--output_dir", str(tmp_path / "again")])
    assert "Equal to the run's own test numbers" in capsys.readouterr().out
    found, recorded = read_metrics(tmp_path / "again"), read_metrics(runs[0])
    for name in ("test", "protocol"):
        assert found[name] == recorded[name]
    for name in ("per_label", "intervals", "calibration", "decisions", "confused_pairs", "hardest_clips"):
        assert found[name]["test"] == recorded[name]["test"], name  # with the thresholds that are in the configuration
    assert (tmp_path / "again" / "report.html").exists()
    assert (runs[0] / "metrics.json").read_bytes() == before


def test_two_runs_are_compared_by_their_predictions(runs, tmp_path, capsys):
    output = tmp_path / "comparison.json"
    load_script("evaluate").main([str(runs[0]), str(runs[1]), "--output", str(output)])
    printed, found = capsys.readouterr().out, json.loads(output.read_text())
    values = [read_metrics(run)["test"]["ap_macro"] for run in runs]
    assert [found["metrics"]["ap_macro"][name] for name in ("first", "second")] == pytest.approx(values)
    assert f"| {values[0]:.4f} | {values[1]:.4f} | {values[1] - values[0]:+.4f} |" in printed


@pytest.fixture(scope="module")
def tag(runs, tmp_path_factory):
    """Tags a second of noise after the run's thresholds have been replaced; returns what is printed."""
    folder = tmp_path_factory.mktemp("thresholds")
    shutil.copytree(runs[0], folder / "run", ignore=shutil.ignore_patterns("checkpoint-*"))
    path = folder / "run" / "config.json"
    before = json.loads(path.read_text())
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)

    def tag(capsys, thresholds, *flags):
        config = {name: value for name, value in before.items() if thresholds or not name.startswith("calibration")}
        path.write_text(json.dumps(config | {"label_thresholds": thresholds}))
        load_script("predict").main([str(folder / "run"), str(folder / "noise.wav"), "--device", "cpu", *flags])
        return capsys.readouterr().out

    tag.labels = list(before["label_thresholds"])
    return tag


def test_a_file_gets_the_labels_that_reach_their_thresholds(tag, capsys):
    thresholds = {label: float(number % 2) for number, label in enumerate(tag.labels)}  # all or nothing
    (result,) = json.loads(tag(capsys, thresholds, "--json"))
    assert sorted(own["label"] for own in result["tags"]) == sorted(tag.labels[::2])
    (result,) = json.loads(tag(capsys, thresholds, "--json", "--top_k", "99"))
    assert {own["label"]: own["given"] for own in result["tags"]} == {
        label: threshold == 0 for label, threshold in thresholds.items()
    }


def test_a_file_of_which_no_label_is_sure_says_so_and_without_thresholds_five_are_shown(tag, capsys):
    assert "noise.wav: no label reaches its threshold" in tag(capsys, dict.fromkeys(tag.labels, 1.0))
    assert tag(capsys, None).count(", ") == 4


def test_mistakes_are_said(runs, tmp_path):
    evaluate = load_script("evaluate")
    with pytest.raises(HfTaggerError, match=r"remove --use_cpu"):
        evaluate.main([str(runs[0]), str(runs[1]), "--use_cpu"])
    with pytest.raises(HfTaggerError, match=r"is a run, whose own numbers would be replaced"):
        evaluate.main([str(runs[0]), str(runs[0] / "recipe.yaml"), "--output_dir", str(runs[0])])
