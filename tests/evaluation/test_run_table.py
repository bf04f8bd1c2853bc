"""What runs left in their folders, as rows, table, CSV file and picture; and which runs are kept apart."""

import json

import pandas
import pytest
from PIL import Image

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.run_table import comparison_figure, read_runs, run_table, sort_runs, write_comparison

PROTOCOL = {"dataset": "gtzan", "name": "fault_filtered", "hash": "abcdef0123456789", "used": {"test": 290}}
TRAINING = {"seconds": 61.4, "parameters": 12_345, "trainable_parameters": 345, "device": "cpu, 2 threads"}
TAGS = {"ap_macro": 0.5, "roc_auc_macro": 0.75, "tags_scored": 48, "tags_left_out": 2}


def save_run(folder, scores=None, *, config=None, recipe=None, protocol=None, **changes):
    """A folder with the ``metrics.json`` of a run; ``changes`` replace its keys, None removes one."""
    scores = {"accuracy": 0.5, "f1_macro": 0.25, "classes_scored": 10, "classes_left_out": 0} | (scores or {})
    content = {"test": scores, "protocol": PROTOCOL | (protocol or {}), "training": TRAINING, **changes}
    folder.mkdir(parents=True)
    content = {key: value for key, value in content.items() if value is not None}
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    if config:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if recipe:
        (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder


def intervals(**ends):
    return {"test": {name: {"low": low, "high": high, "undefined": 0.0} for name, (low, high) in ends.items()}}


def table_of(*folders):
    return run_table(read_runs(folders)[0]).splitlines()


def bars(axes):
    return [patch.get_width() for patch in axes.patches]


def test_a_row_holds_what_the_run_recorded(tmp_path):
    folder = save_run(
        tmp_path / "a", config={"model_type": "short_cnn"}, intervals={"test": {"accuracy": {"low": 0.4, "high": 0.6}}}
    )
    rows, unfinished = read_runs([folder])
    assert unfinished == []
    expected = {
        "run": "a",
        "architecture": "short_cnn",
        "accuracy": 0.5,
        "accuracy_low": 0.4,
        "accuracy_high": 0.6,
        "accuracy_undefined": None,
        "f1_macro": 0.25,
        "f1_macro_low": None,
        "balanced_accuracy": None,
        **TRAINING,
        "dataset": "gtzan",
        "protocol": "fault_filtered",
        "protocol_hash": "abcdef0123456789",
        "split": "test",
        "problem_type": "single_label_classification",
        "labels": 10,
        "clips": 290,
        "folder": str(folder),
    }
    assert {name: rows[0][name] for name in expected} == expected


def test_a_run_with_nothing_but_scores_and_protocol_has_a_row_too(tmp_path):
    folder = save_run(tmp_path / "knn", {"classes_scored": 10}, protocol={"used": None}, training=None)
    (row,), _ = read_runs([folder])
    assert row["accuracy"] == 0.5
    assert [row[name] for name in ("architecture", "parameters", "seconds", "device", "clips")] == [None] * 5
    lines = run_table([row]).splitlines()
    assert lines[:3] == ["| Run | Accuracy | F1 (macro) |", "|---|---:|---:|", "| knn | 0.5000 | 0.2500 |"]
    assert lines[-1].endswith("single-label, 10 labels.")


@pytest.mark.parametrize(
    ("config", "recipe", "expected"),
    [
        ({"model_type": "mert_model"}, "model_name_or_path: m-a-p/MERT-v1-95M\n", "mert_model"),
        ({"hidden_size": 3}, None, None),
        (None, "model_type: short_cnn\nmodel_name_or_path: m-a-p/MERT-v1-95M\n", "m-a-p/MERT-v1-95M"),
        (None, "model_type: svm\n", "svm"),
        (None, "classifier: svm\n", None),
    ],
)
def test_the_architecture_is_that_of_the_configuration_or_of_the_recipe(tmp_path, config, recipe, expected):
    (row,), _ = read_runs([save_run(tmp_path / "a", config=config, recipe=recipe)])
    assert row["architecture"] == expected


def test_the_architecture_of_a_classical_baseline_is_its_classifier(tmp_path):
    recipe = "dataset_name: gtzan\nclassifiers: {svm: {C: [1, 10]}}\n"
    training = {"classifier": "svm", "parameters": None, "seconds": 9.0, "device": "cpu"}
    (row,), _ = read_runs([save_run(tmp_path / "a", recipe=recipe, training=training)])
    assert (row["architecture"], row["parameters"], row["seconds"]) == ("svm", None, 9.0)


def test_the_table_shows_intervals_dashes_and_the_conditions(tmp_path):
    first = save_run(
        tmp_path / "first",
        config={"model_type": "short_cnn"},
        intervals=intervals(accuracy=(0.41, 0.592)) | {"validation": {}},
    )
    second = save_run(
        tmp_path / "sec|ond", {"accuracy": 0.75, "f1_macro": None}, training={"device": "H100", "seconds": 5_000.7}
    )
    assert table_of(first, second) == [
        "| Run | Architecture | Accuracy | F1 (macro) | Parameters | Trainable parameters | Seconds | Device |",
        "|---|---|---:|---:|---:|---:|---:|---|",
        "| first | short_cnn | 0.5000 [0.4100, 0.5920] | 0.2500 | 12,345 | 345 | 61 | cpu, 2 threads |",
        "| sec\\|ond | – | 0.7500 | – | – | – | 5,001 | H100 |",
        "",
        "Split test of gtzan, protocol fault_filtered (hash abcdef012345), single-label, 10 labels. 290 clips. "
        "In brackets: bootstrap intervals. Seconds on different devices do not compare.",
    ]


def test_clips_that_some_runs_could_not_read_and_draws_left_out_are_told(tmp_path):
    left_out = {"test": {"accuracy": {"low": 0.1, "high": 0.9, "undefined": 0.125}, "f1_macro": None}}
    first = save_run(tmp_path / "first", intervals=left_out, bootstrap={"test": {"level": 0.95, "drawn": "clips"}})
    second = save_run(tmp_path / "second", protocol={"used": {"test": 1_288}})
    assert table_of(first, second)[-1].endswith(
        "10 labels. Not all runs could read all of its clips: first 290, second 1,288. In brackets: 95% "
        "bootstrap intervals. Up to 12.5% of the draws are not in them, where a metric was undefined."
    )


def test_a_folder_that_is_given_twice_counts_once_and_equal_names_become_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/seed", "y/seed", "other"):
        save_run(tmp_path / name)
    rows, _ = read_runs(["x/seed", "other", "x/../x/seed/", str(tmp_path / "other"), "y/seed"])
    assert [row["run"] for row in rows] == ["x/seed", "other", "y/seed"]


def test_the_run_in_the_folder_where_one_is_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(save_run(tmp_path / "here"))
    assert read_runs(["."])[0][0]["run"] == "here"


def test_folders_without_numbers_are_returned_and_nothing_else_is_an_error(tmp_path):
    run = save_run(tmp_path / "run")
    (tmp_path / "begun").mkdir()
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    rows, unfinished = read_runs([tmp_path / "begun", run, tmp_path / "notes.txt"])
    assert [row["run"] for row in rows] == ["run"]
    assert [path.name for path in unfinished] == ["begun", "notes.txt"]
    with pytest.raises(HfTaggerError, match=r"No metrics\.json in .*begun: give the folders of finished runs"):
        read_runs([tmp_path / "begun"])
    with pytest.raises(HfTaggerError, match=r"These folders do not exist: .*typo, .*oversight\."):
        read_runs([run, tmp_path / "typo", tmp_path / "oversight"])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"protocol": {"hash": "1234567890abcdef"}}, r"gtzan, protocol fault_filtered \(hash 1234567890ab\), single.*"),
        ({"protocol": {"dataset": "folder"}}, r"folder, protocol fault_filtered \(hash abcdef012345\), single-label.*"),
        ({"test": TAGS}, r"gtzan, .*, multi-label, 50 labels"),
        ({"scores": {"classes_left_out": 6}}, r"gtzan, .*, single-label, 16 labels"),
    ],
    ids=["protocol", "dataset", "problem type", "labels"],
)
def test_runs_of_different_clips_problems_or_labels_are_kept_apart(tmp_path, changes, kind):
    folders = [save_run(tmp_path / "a"), save_run(tmp_path / "b", **changes), save_run(tmp_path / "c")]
    message = rf"labels, so .*\n  - gtzan, .* \(hash abcdef012345\), single-label, 10 labels: a, c\n  - {kind}: b\n"
    with pytest.raises(HfTaggerError, match=message):
        read_runs(folders)


def test_equal_clips_of_another_protocol_name_and_unrecorded_labels_are_compared(tmp_path):
    old = save_run(tmp_path / "old", test={"accuracy": 0.5}, protocol={"name": "earlier name"})
    assert len(read_runs([old, save_run(tmp_path / "new")])[0]) == 2


def test_every_run_that_cannot_be_compared_is_named_at_once(tmp_path):
    save_run(tmp_path / "good")
    save_run(tmp_path / "validated", test=None, validation={"accuracy": 0.5})
    save_run(tmp_path / "unscored", test={})
    save_run(tmp_path / "unknown", protocol={"hash": None, "name": 3})
    (save_run(tmp_path / "cut") / "metrics.json").write_text('{"test": ', encoding="utf-8")
    (save_run(tmp_path / "list") / "metrics.json").write_text("[]", encoding="utf-8")
    (save_run(tmp_path / "config") / "config.json").write_text("", encoding="utf-8")
    (save_run(tmp_path / "recipe") / "recipe.yaml").write_text("model_type: [", encoding="utf-8")
    with pytest.raises(HfTaggerError) as error:
        read_runs(sorted(tmp_path.iterdir()))
    head, *lines = str(error.value).splitlines()
    assert head == "7 of 8 runs cannot be compared:"
    for line, part in zip(
        lines,
        [
            "config/config.json is not valid JSON",
            "cut/metrics.json is not valid JSON",
            "list/metrics.json must hold an object, found a list.",
            "recipe/recipe.yaml cannot be read",
            "unknown/metrics.json does not say of which clips its numbers are: its protocol lacks name, hash.",
            "unscored/metrics.json has no scores of the split test; it has those of: none.",
            "validated/metrics.json has no scores of the split test; it has those of: validation.",
        ],
        strict=True,
    ):
        assert part in line
    assert read_runs([tmp_path / "validated"], "validation")[0][0]["accuracy"] == 0.5


def test_runs_are_sorted_by_the_usual_metric_or_by_another_and_undefined_ones_stand_last(tmp_path):
    scores = {"a": (0.5, 0.1), "b": (None, 0.3), "c": (0.75, None), "d": (0.5, 0.2)}
    folders = [save_run(tmp_path / name, {"accuracy": one, "f1_macro": two}) for name, (one, two) in scores.items()]
    rows, _ = read_runs(folders)
    assert [row["run"] for row in sort_runs(rows)] == ["c", "a", "d", "b"]
    assert [row["run"] for row in sort_runs(rows, "f1_macro")] == ["b", "d", "a", "c"]
    with pytest.raises(HfTaggerError, match=r"no metric 'ap_macro' to sort by; they have accuracy, balanced_accuracy"):
        sort_runs(rows, "ap_macro")


def test_the_csv_file_holds_whole_numbers_and_only_columns_with_a_value(tmp_path):
    first = save_run(tmp_path / "first", intervals=intervals(accuracy=(0.25, 0.625)))
    second = save_run(tmp_path / "second", {"accuracy": 1 / 3}, training={"parameters": 7})
    table = write_comparison(read_runs([first, second])[0], tmp_path / "new" / "folder")
    written = tmp_path / "new" / "folder"
    assert (written / "comparison.md").read_text(encoding="utf-8") == table
    lines = (written / "comparison.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        "run,accuracy,accuracy_low,accuracy_high,accuracy_undefined,f1_macro,parameters,trainable_parameters,seconds,"
        "device,dataset,protocol,protocol_hash,split,problem_type,labels,clips,folder"
    )
    assert lines[1].startswith('first,0.5,0.25,0.625,0.0,0.25,12345,345,61.4,"cpu, 2 threads",gtzan')
    assert lines[2].startswith("second,0.3333333333333333,,,,0.25,7,,,,gtzan")
    assert pandas.read_csv(written / "comparison.csv")["accuracy"].tolist() == [0.5, 1 / 3]


def test_the_picture_has_a_bar_a_run_and_a_line_an_interval(tmp_path):
    first = save_run(tmp_path / "first", intervals=intervals(accuracy=(0.625, 0.75)))  # beside its value
    second = save_run(tmp_path / ("x" * 50), {"accuracy": 0.75, "f1_macro": None})
    figure = comparison_figure(read_runs([first, second])[0])
    accuracy, f1 = figure.axes
    assert (accuracy.get_title(loc="left"), f1.get_title(loc="left")) == ("Accuracy", "F1 (macro)")
    assert (bars(accuracy), bars(f1)) == ([0.5, 0.75], [0.25])
    (interval,) = [collection.get_segments()[0].tolist() for collection in accuracy.collections]
    assert interval == [[0.625, 0], [0.75, 0]]
    assert [text.get_text() for text in accuracy.texts] == ["0.500", "0.750"]
    assert [text.get_text() for text in f1.texts] == ["0.250", "undefined"]
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["first", "…" + "x" * 35]
    assert figure.get_suptitle() == "Test split of gtzan, protocol fault_filtered"


def test_the_picture_is_written_the_same_twice(tmp_path):
    rows, _ = read_runs([save_run(tmp_path / "a", test=TAGS)])
    for name in ("first", "second"):
        write_comparison(rows, tmp_path / name)
    first, second = (tmp_path / name / "comparison.png" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.format == "PNG"
        assert 900 < image.width < 1_200  # two metrics of 2.9 inches, 150 dots an inch


def test_the_picture_has_three_metrics_a_line_and_grows_with_the_runs(tmp_path):
    tags = TAGS | dict.fromkeys(("roc_auc_micro", "ap_micro"), 0.5)
    rows, _ = read_runs([save_run(tmp_path / f"run {number}", test=tags) for number in range(30)])
    few, many = comparison_figure(rows[:2]), comparison_figure(rows)
    assert [axes.axison for axes in many.axes] == [True] * 4 + [False] * 2
    assert [figure.get_figwidth() for figure in (few, many)] == pytest.approx([10.3, 10.3])
    assert many.get_figheight() - few.get_figheight() == pytest.approx(2 * 28 * 0.26)  # two lines of axes


def test_runs_without_any_defined_metric_can_be_drawn(tmp_path):
    rows, _ = read_runs([save_run(tmp_path / "a", {"accuracy": None, "f1_macro": None})])
    assert comparison_figure(rows).get_suptitle().endswith("fault_filtered: no metric is defined")
    assert run_table(rows).splitlines()[2] == "| a | 12,345 | 345 | 61 | cpu, 2 threads |"
