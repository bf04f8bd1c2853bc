"""scripts/baselines.py from files to one table: the form of its results is that of a model's run."""

import csv
import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml
from fake_datasets import (
    make_artist20,
    make_class_folder,
    make_fma,
    make_gtzan,
    make_magnatagatune,
    write_metadata,
    write_tone,
)
from script_runner import TINY, load_script

from hf_tagger.baselines import feature_store
from hf_tagger.errors import RunFolderError
from hf_tagger.evaluation.study_table import study_row, study_table

QUICK = ["--processes", "1", "--preprocessing_num_workers", "1", "--folds", "2"]
FEATURES = ["--features", "mfcc", "spectral_centroid", "zero_crossing_rate", "--statistics", "mean", "std"]
GRIDS = "{knn: {n_neighbors: [1, 3]}, svm: {C: [1, 10]}, random_forest: {n_estimators: [10]}}"


def main(root, folder, *flags):
    arguments = ["--dataset_root", str(root), "--output_dir", str(folder), "--cache_dir", str(folder.parent / "cache")]
    load_script("baselines").main([*arguments, *QUICK, *FEATURES, *flags])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def genres(tmp_path_factory):
    """A folder of three classes, and the folder of three classifiers on it."""
    root = make_class_folder(tmp_path_factory.mktemp("genres"), {"low": 20, "middle": 20, "high": 20})
    folder = tmp_path_factory.mktemp("runs") / "genres"
    main(root, folder, "--dataset_name", "folder", "--classifiers", GRIDS)
    return root, folder


def test_every_classifier_leaves_its_numbers_pictures_predictions_and_search(genres):
    _, folder = genres
    assert {path.name for path in folder.iterdir()} == {
        "knn", "svm", "random_forest", "baselines.md", "baselines.json"
    }  # fmt: skip
    for name in ("knn", "svm", "random_forest"):
        assert {path.name for path in (folder / name).iterdir()} == {
            "recipe.yaml", "metrics.json", "report.html", "cv_results.csv", "skipped_clips.csv", "split.csv",
            "confusion_matrix.png", "roc.png", "precision_recall.png", "reliability.png",
            "predictions_validation.parquet", "predictions_test.parquet",
        }  # fmt: skip
        metrics = read(folder / name / "metrics.json")
        assert metrics["test"]["accuracy"] == metrics["validation"]["top3_accuracy"] == 1.0  # each class has its pitch
        assert metrics["training"]["classifier"] == name
        assert metrics["training"]["features"] == 44
        assert metrics["training"]["cross_validation"]["folds"] == "2 folds, stratified by class"
        assert (folder / name / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    with open(folder / "svm" / "cv_results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["C"] for row in rows} == {"1", "10"}
    assert {"split0_test_score", "split1_test_score", "mean_test_score", "rank_test_score"} <= set(rows[0])


def test_a_models_run_and_a_baseline_stand_in_one_table(genres, tmp_path):
    root, folder = genres
    flags = ["--dataset_name", "folder", "--dataset_root", str(root), "--cache_dir", str(tmp_path / "cache")]
    load_script("finetune").main([*flags, "--output_dir", str(tmp_path / "run"), *TINY, "--max_steps", "1"])
    model, baseline = read(tmp_path / "run" / "metrics.json"), read(folder / "svm" / "metrics.json")
    assert baseline.keys() == model.keys()
    assert model["training"].keys() <= baseline["training"].keys()
    assert baseline["test"].keys() == model["test"].keys()
    assert baseline["protocol"] == model["protocol"]
    assert baseline["per_label"]["test"][0].keys() == model["per_label"]["test"][0].keys()
    table = study_table([study_row("model", model, {}), study_row("svm", baseline, {})])
    assert "| svm | 1.0000 |" in table
    places = [where / "predictions_test.parquet" for where in (tmp_path / "run", folder / "svm")]
    own, theirs = (parquet.read_table(place) for place in places)
    assert own.schema == theirs.schema
    assert own["id"] == theirs["id"]


def test_the_same_recipe_gives_the_same_numbers_from_the_kept_features(genres, capsys, caplog):
    _, folder = genres
    caplog.set_level("INFO", "hf_tagger")
    recipe = folder / "random_forest" / "recipe.yaml"
    again = folder.parent / "again"
    load_script("baselines").main([str(recipe), "--output_dir", str(again), "--processes", "1"])
    assert "0 computed, 48 read" in caplog.text
    assert "random_forest: {'n_estimators': 10}, accuracy" in capsys.readouterr().out
    before, after = (read(where / "random_forest" / "metrics.json") for where in (folder, again))
    assert after["test"] == before["test"]
    assert after["validation"] == before["validation"]
    assert yaml.safe_load(recipe.read_text())["classifiers"] == {"random_forest": {"n_estimators": [10]}}


def test_results_are_replaced_only_if_that_is_asked_for(genres):
    root, folder = genres
    note = folder / "knn" / "notes.txt"
    note.write_text("mine")
    flags = ["--dataset_name", "folder", "--classifiers", "{knn: {n_neighbors: [1]}}"]
    with pytest.raises(RunFolderError, match="already holds results of knn"):
        main(root, folder, *flags)
    main(root, folder, *flags, "--overwrite_output_dir")
    assert read(folder / "knn" / "metrics.json")["training"]["chosen_parameters"] == {"n_neighbors": 1}
    assert note.read_text() == "mine"
    with pytest.raises(RunFolderError, match="is a file"):
        main(root, note, *flags)


def test_tags_that_are_partly_unknown_are_learned_and_scored_where_they_are_known(tmp_path):
    rows = []
    for number in range(48):
        high, split = number % 2, ("train", "train", "validation", "test")[number // 2 % 4]
        cells = {"low": 1 - high, "high": high if number % 3 else "", "loud": 0}
        rows.append({"file_name": f"{number}.wav", "split": split, "group": f"album {number // 2}", **cells})
    write_metadata(tmp_path / "data", rows)
    for number in range(1, 48, 2):  # write_metadata puts one tone everywhere
        (tmp_path / "data" / f"{number}.wav").unlink()
        write_tone(tmp_path / "data" / f"{number}.wav", 2_000.0)
    flags = ["--dataset_name", "folder", "--label_columns", "low", "high", "loud", "--metric", "roc_auc_macro"]
    grids = "{svm: {C: [1]}, extra_trees: {n_estimators: [10]}}"
    main(tmp_path / "data", tmp_path / "run", *flags, "--classifiers", grids)
    for name in ("svm", "extra_trees"):
        metrics = read(tmp_path / "run" / name / "metrics.json")
        assert metrics["test"]["roc_auc_macro"] == 1.0
        assert (metrics["test"]["tags_scored"], metrics["test"]["tags_left_out"]) == (2, 1)
        assert metrics["training"]["cross_validation"]["folds"] == "2 folds by group (12 groups)"
        assert (tmp_path / "run" / name / "per_tag_ap.png").exists()
        table = parquet.read_table(tmp_path / "run" / name / "predictions_test.parquet")
        scores = np.stack(table["scores"].to_numpy())
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert "unknown_labels" in table.column_names


LAYOUTS = {
    "classical_gtzan": (lambda root: make_gtzan(root, 2), "random_forest: {n_estimators: 5}"),
    "classical_mtat": (make_magnatagatune, "logistic_regression: {C: 1}"),
    "classical_fma_medium": (lambda root: make_fma(root, audio="fma_medium"), "svm: {C: 1}"),
    "classical_artist20": (make_artist20, "knn: {n_neighbors: 3}"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_recipe_runs_on_the_layout_of_its_dataset(name, tmp_path, root, monkeypatch):
    """All clips of a layout are alike: what is learned is chance, so its features need not be computed either."""
    make, grid = LAYOUTS[name]
    monkeypatch.setattr(feature_store, "clip_features", lambda samples, rate, *names: np.full(22, rate, np.float32))
    flags = ["--features", "mfcc", "tempo", "spectral_rolloff", "--statistics", "mean", "--max_skipped_share", "0.05"]
    flags += [] if name == "classical_artist20" else ["--folds", "2"]
    flags += ["--metric", "lrap"] if name == "classical_mtat" else []  # every clip has the same tags
    places = ["--dataset_root", str(make(tmp_path / "data")), "--cache_dir", str(tmp_path / "cache")]
    argv = [str(root / "recipes" / f"{name}.yaml"), *places, *QUICK[:4], *flags, "--allow_size_mismatch"]
    load_script("baselines").main([*argv, "--output_dir", str(tmp_path / "run"), "--classifiers", f"{{{grid}}}"])
    folder = tmp_path / "run" / grid.split(":")[0]
    metrics = read(folder / "metrics.json")
    rows = parquet.read_table(folder / "predictions_test.parquet").num_rows
    assert rows == metrics["protocol"]["used"]["test"] > 0
    kinds = {
        "classical_gtzan": "2 folds, stratified by class",
        "classical_mtat": "2 folds, drawn by chance",
        "classical_fma_medium": "2 folds by group (10 groups, stratified by class)",
        "classical_artist20": "4 folds by group (80 groups, stratified by class)",
    }
    assert metrics["training"]["cross_validation"]["folds"] == kinds[name]
    if name == "classical_artist20":  # its test songs have no labels
        assert (rows, metrics["test"]) == (233, {})
        assert read(tmp_path / "run" / "baselines.json")[0]["split"] == "validation"


@pytest.mark.slow
@pytest.mark.shared
def test_a_baseline_hears_the_instruments_of_real_recordings_and_reads_its_features_the_second_time(
    shared, tmp_path, root
):
    flags = [
        str(root / "recipes" / "classical_mtat.yaml"),
        *("--dataset_root", str(shared / "data" / "orchestra"), "--protocol", "original", "--tags", "all"),
        *("--allow_size_mismatch", "--cache_dir", str(tmp_path / "cache"), "--processes", "1"),
        *("--classifiers", "{logistic_regression: {C: [0.1]}}"),
    ]
    for name in ("first", "second"):
        load_script("baselines").main([*flags, "--output_dir", str(tmp_path / name)])
    first, second = (read(tmp_path / name / "logistic_regression" / "metrics.json") for name in ("first", "second"))
    assert first["test"]["roc_auc_macro"] >= 0.895
    assert second["test"] == first["test"]
    assert first["training"]["feature_seconds"] >= 20 * second["training"]["feature_seconds"]
