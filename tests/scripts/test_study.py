import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from script_runner import ROOT, TINY, load_script

from hf_tagger import HfTaggerError, RecipeError
from hf_tagger.command_line import INTERRUPTED_STATUS
from hf_tagger.costs import measure_costs
from hf_tagger.errors import Interrupted
from hf_tagger.evaluation.study_table import study_row, study_table
from hf_tagger.study import collect_rows, read_variants, run_costs
from hf_tagger.training.build import load_saved_model
from hf_tagger.variant_studies import write_results

STUDY = """
dataset_name: synthetic
synthetic_clips: 60
variants:
  spectrogram: {model_type: mel_cnn, model_config: {num_channels: 4}}
  broken: {model_type: mel_cnn, model_config: {num_channels: 4}, per_device_train_batch_size: 1}
  waveform: {model_type: sample_cnn, model_config: {num_channels: 2}}
"""
FINISHED = ["spectrogram", "waveform"]


def row(**changes):
    return {
        "variant": "a",
        "split": "test",
        "protocol": "seeded",
        "protocol_hash": "1",
        "ap_macro": 0.5,
        "parameters": 1,
        "training_windows_per_second": 1.0,
        "times_real_time": 1.0,
        "device": "cpu, 1 threads",
        "precision": "float32",
        **changes,
    }


def load_study(calls, train):
    """scripts/study.py, whose training runs are counted, and made by ``train(argv)`` instead of in another process."""
    study = load_script("study")

    def run(command, **_):
        argv = command[command.index(str(ROOT / "scripts" / "finetune.py")) + 1 :]
        calls.append(argv)
        try:
            return SimpleNamespace(returncode=train(argv) or 0)
        except HfTaggerError:
            return SimpleNamespace(returncode=2)

    study.subprocess = SimpleNamespace(run=run)
    return study


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study of three variants, the second of which cannot be trained."""
    folder = tmp_path_factory.mktemp("study")
    recipe = folder / "study.yaml"
    recipe.write_text(STUDY, encoding="utf-8")
    fields = [*TINY[2:], "--num_train_epochs", "1", "--cache_dir", str(folder / "cache")]
    calls = []
    study = load_study(calls, load_script("finetune").main)
    with pytest.raises(HfTaggerError) as error:
        study.main(["inputs", str(recipe), "--output_dir", str(folder / "runs"), *fields])
    return SimpleNamespace(folder=folder / "runs", recipe=recipe, fields=fields, calls=calls, error=str(error.value))


@pytest.fixture
def again(trained, tmp_path):
    """The trained study in a folder of its own; ``main(*flags)`` returns what would have been trained."""
    shutil.copytree(trained.folder, tmp_path / "runs")
    recipe = tmp_path / "study.yaml"
    recipe.write_text(trained.recipe.read_text(encoding="utf-8"), encoding="utf-8")

    def main(*flags, train=lambda argv: 0, kind="inputs"):
        calls = []
        study = load_study(calls, train)
        study.main([kind, str(recipe), "--output_dir", str(tmp_path / "runs"), *trained.fields, *flags])
        return calls

    return SimpleNamespace(main=main, folder=tmp_path / "runs", recipe=recipe)


def rows_in(folder):
    return json.loads((folder / "study.json").read_text(encoding="utf-8"))


def trained_variants(calls):
    return [argv[argv.index("--variant") + 1] for argv in calls]


def flag(argv, name):
    """The value that counts: the last one."""
    return argv[len(argv) - argv[::-1].index(name)]


def test_every_variant_is_trained_into_its_own_folder_in_that_of_the_study(trained):
    assert trained_variants(trained.calls) == ["spectrogram", "broken", "waveform"]
    for argv in trained.calls:
        assert flag(argv, "--output_dir") == str(trained.folder / flag(argv, "--variant"))
    assert sorted(path.parent.name for path in trained.folder.glob("*/model.safetensors")) == FINISHED


def test_a_variant_that_fails_does_not_stop_the_others_and_is_named_at_the_end(trained):
    assert "1 of 3 variants failed:\n  - broken: its training failed" in trained.error
    assert [line["variant"] for line in rows_in(trained.folder)] == FINISHED


def test_a_row_holds_the_numbers_of_its_run_and_the_table_begins_with_the_best(trained):
    rows = rows_in(trained.folder)
    for line in rows:
        metrics = json.loads((trained.folder / line["variant"] / "metrics.json").read_text(encoding="utf-8"))
        assert line["ap_macro"] == metrics["test"]["ap_macro"]
        assert line["protocol_hash"] == metrics["protocol"]["hash"]
        assert line["parameters"] == metrics["training"]["parameters"]
        assert min(line["training_windows_per_second"], line["times_real_time"]) > 0
        interval = metrics["intervals"]["test"]["ap_macro"]
        assert [line["ap_macro_low"], line["ap_macro_high"]] == [interval["low"], interval["high"]]
        history = json.loads((trained.folder / line["variant"] / "history.json").read_text(encoding="utf-8"))
        assert line["training_seconds"] == history[-1]["train_runtime"] < metrics["training"]["seconds"]
        assert line["trained_on"] == metrics["training"]["device"]
        assert line["repeats"] == line["variant"]
    table = (trained.folder / "study.md").read_text(encoding="utf-8")
    best = max(rows, key=lambda line: line["ap_macro"])["variant"]
    assert table.splitlines()[2].startswith(f"| {best} |")
    assert "| Training (seconds) |" in table.splitlines()[0]
    assert "Over seeds" not in table
    assert "Costs measured on: cpu" in table


def test_the_picture_shows_the_finished_variants(trained, monkeypatch):
    with Image.open(trained.folder / "study.png") as image:
        assert min(image.size) > 200
    drawn = []
    monkeypatch.setattr("hf_tagger.variant_studies.plot_variants", lambda rows, path: drawn.append((rows, path)))
    rows = rows_in(trained.folder)
    write_results("variants", rows, {}, trained.folder)
    assert drawn == [(rows, trained.folder / "study.png")]


def test_what_is_finished_is_written_before_the_next_variant_is_trained(again, monkeypatch):
    before = rows_in(again.folder)
    for name in ("study.json", "study.md", "study.png", "spectrogram/costs.json"):
        (again.folder / name).unlink()
    kept = {name: (again.folder / name / "metrics.json").read_bytes() for name in FINISHED}
    for name in FINISHED:
        (again.folder / name / "metrics.json").unlink()
    seen = []

    def train(argv):
        seen.append(sorted(path.name for path in again.folder.iterdir() if path.is_file()))
        name = flag(argv, "--variant")
        if name == "waveform":
            return INTERRUPTED_STATUS
        (again.folder / name / "metrics.json").write_bytes(kept[name])
        return 0

    monkeypatch.setattr("hf_tagger.study.measure_costs", None)  # not while variants wait to be trained
    with pytest.raises(Interrupted):
        again.main("--only", *FINISHED, train=train)
    assert seen == [[], ["study.json", "study.md", "study.png"]]
    (row,) = rows_in(again.folder)
    measured = ("training_windows_per_second", "times_real_time", "device", "precision", "batch_size", "frozen")
    assert row == {name: value for name, value in before[0].items() if name not in (*measured, "recipe_sha256")}


def test_rare_classes_are_scored_from_the_runs_predictions_by_their_training_clips(again, capsys):
    assert again.main("--only", *FINISHED, kind="rare-classes") == []
    record = json.loads((again.folder / "rare_classes.json").read_text(encoding="utf-8"))
    metrics = {name: json.loads((again.folder / name / "metrics.json").read_text()) for name in FINISHED}
    assert (record["reference"], record["split"]) == ("spectrogram", "test")
    for name, own in metrics.items():
        scored = {line["label"]: line for line in own["per_label"]["test"] if line["ap"] is not None}
        assert record["labels"].keys() == scored.keys() != set()
        for label, values in record["labels"].items():
            assert values["ap"][name] == pytest.approx(scored[label]["ap"])
            assert values["clips"] == scored[label]["support"]
            assert values["training_clips"] == own["training_support"][label] > 0
        labels = [label for group in record["groups"] for label in group["labels"]]
        mean = sum(
            record["scores"][name][group["name"]]["ap"] * len(group["labels"]) for group in record["groups"]
        ) / len(labels)
        assert mean == pytest.approx(own["test"]["ap_macro"])
    assert list(record["differences"]) == ["waveform"]
    text = (again.folder / "rare_classes.md").read_text(encoding="utf-8")
    assert "Difference to spectrogram on the same draws" in text
    printed = capsys.readouterr().out
    assert text.partition("\nAverage precision of every label")[0] in printed
    assert text.splitlines()[-1] not in printed
    with Image.open(again.folder / "rare_classes.png") as image:
        assert min(image.size) > 200


def test_a_run_that_does_not_compare_by_rare_classes_is_named_and_the_others_are_written(again):
    path = again.folder / "waveform" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    support = metrics.pop("training_support")
    path.write_text(json.dumps(metrics), encoding="utf-8")
    message = r"waveform: .*does not say how many training clips carry each label.*--only waveform --overwrite_output_"
    with pytest.raises(HfTaggerError, match=message):
        again.main("--only", *FINISHED, kind="rare-classes")
    assert [line["variant"] for line in rows_in(again.folder)] == FINISHED
    assert list(json.loads((again.folder / "rare_classes.json").read_text())["scores"]) == ["spectrogram"]
    path.write_text(json.dumps(metrics | {"training_support": dict.fromkeys(support, 9)}), encoding="utf-8")
    with pytest.raises(HfTaggerError, match="waveform was trained on clips with other labels than spectrogram"):
        again.main("--only", *FINISHED, kind="rare-classes")


def test_only_a_study_of_rare_classes_writes_them(trained):
    assert not list(trained.folder.glob("rare_classes.*"))


@pytest.mark.slow
def test_a_study_trains_in_processes_of_their_own_into_the_folder_of_its_recipe(tmp_path, capfd):
    recipe = tmp_path / "study.yaml"
    recipe.write_text(f"output_dir: {tmp_path / 'runs'}\n{STUDY}", encoding="utf-8")
    flags = [*TINY[2:], "--num_train_epochs", "1", "--cache_dir", str(tmp_path / "cache")]
    load_script("study").main(["inputs", str(recipe), "--only", "spectrogram", *flags])
    assert [line["variant"] for line in rows_in(tmp_path / "runs")] == ["spectrogram"]
    assert (tmp_path / "runs" / "spectrogram" / "model.safetensors").exists()
    printed = capfd.readouterr().out
    assert "Results on the test split" in printed
    assert "Not in the table: broken (not trained to its end yet)" in printed


def test_a_finished_variant_is_not_trained_again_and_costs_are_kept(again):
    before = rows_in(again.folder)
    assert trained_variants(again.main("--only", *FINISHED)) == []
    assert rows_in(again.folder) == before


def test_costs_are_measured_again_for_all_when_asked_for_or_with_another_recipe(again, monkeypatch):
    measured = []

    def count(folder):
        measured.append(folder)
        return load_saved_model(folder)

    monkeypatch.setattr("hf_tagger.study.load_saved_model", count)
    again.main("--only", "waveform", "--measure_again")
    assert measured == [str(again.folder / name) for name in FINISHED]
    with open(again.folder / "waveform" / "recipe.yaml", "a", encoding="utf-8") as file:
        file.write("report_to: none\n")
    run_costs(again.folder / "waveform")
    assert measured[2:] == [str(again.folder / "waveform")]


def test_only_trains_some_variants_and_the_table_holds_all_finished_ones(again, capsys):
    shutil.rmtree(again.folder / "waveform")
    assert trained_variants(again.main("--only", "broken")) == ["broken"]
    assert [line["variant"] for line in rows_in(again.folder)] == ["spectrogram"]
    printed = capsys.readouterr().out
    assert "Not in the table: broken (not trained to its end yet)" in printed
    assert "Not in the table: waveform (not trained to its end yet)" in printed


def test_a_variant_that_was_trained_with_another_recipe_is_refused(again):
    message = (
        r"(?s)- spectrogram \(.*\): learning_rate 0\.005 → 0\.001; weight_decay .*- waveform .*"
        r"--overwrite_output_dir"
    )
    with pytest.raises(HfTaggerError, match=message):
        again.main("--learning_rate", "1e-3", "--weight_decay", "0.2")
    with pytest.raises(HfTaggerError, match=r"label_smoothing_factor \(default\) → 0\.1"):
        again.main("--label_smoothing_factor", "0.1")


def test_a_variant_that_was_not_chosen_and_has_another_recipe_is_left_out_of_the_table(again, capsys):
    text = again.recipe.read_text(encoding="utf-8").replace("num_channels: 2", "num_channels: 3")
    again.recipe.write_text(text, encoding="utf-8")
    again.main("--only", "spectrogram")
    assert [line["variant"] for line in rows_in(again.folder)] == ["spectrogram"]
    printed = capsys.readouterr().out
    assert "was trained with another recipe: model_config {'num_channels': 2} → {'num_channels': 3}" in printed


def test_a_variant_that_was_not_chosen_and_has_mistakes_is_left_out_of_the_table(again, capsys):
    text = again.recipe.read_text(encoding="utf-8").replace("sample_cnn", "sample_cn")
    again.recipe.write_text(text, encoding="utf-8")
    again.main("--only", "spectrogram")
    assert "did you mean 'sample_cnn'" in capsys.readouterr().out


def test_where_files_lie_and_who_reads_them_does_not_make_another_recipe(again):
    assert again.main("--only", *FINISHED, "--dataloader_num_workers", "1", "--cache_dir", "elsewhere") == []


def test_overwriting_trains_the_chosen_variants_again(again):
    calls = again.main("--overwrite_output_dir", "--resume_from_checkpoint", "--only", "waveform")
    assert trained_variants(calls) == ["waveform"]
    assert flag(calls[0], "--overwrite_output_dir") == "true"
    assert flag(calls[0], "--resume_from_checkpoint") == "null"


def test_a_run_that_was_cut_off_goes_on_and_one_that_never_began_starts(again):
    (again.folder / "waveform" / "metrics.json").unlink()
    calls = again.main()
    assert trained_variants(calls) == ["broken", "waveform"]
    assert [flag(argv, "--resume_from_checkpoint") for argv in calls] == ["null", "last"]
    assert [flag(argv, "--overwrite_output_dir") for argv in calls] == ["false", "false"]


def test_a_run_that_was_cut_off_reaches_its_end(again):
    (again.folder / "waveform" / "metrics.json").unlink()
    again.main("--only", "waveform", train=load_script("finetune").main)
    assert [line["variant"] for line in rows_in(again.folder)] == FINISHED


def test_one_checkpoint_cannot_be_that_of_several_variants(again):
    with pytest.raises(HfTaggerError, match="each variant of a study goes on from its own"):
        again.main("--resume_from_checkpoint", "checkpoint-3")


def test_a_file_that_a_crash_cut_off_is_named(again):
    (again.folder / "waveform" / "metrics.json").write_text('{"test": ', encoding="utf-8")
    with pytest.raises(HfTaggerError, match=r"waveform: .*metrics\.json is not valid JSON"):
        again.main("--only", *FINISHED)
    assert [line["variant"] for line in rows_in(again.folder)] == ["spectrogram"]
    (again.folder / "waveform" / "recipe.yaml").unlink()
    with pytest.raises(HfTaggerError, match=r"recipe\.yaml, which says how .* cannot be read"):
        again.main()


def test_costs_are_those_of_the_runs_own_conditions(again, monkeypatch):
    given = []

    def remember(model, feature_extractor, *conditions):
        given.append(conditions)
        return measure_costs(model, feature_extractor, *conditions)

    monkeypatch.setattr("hf_tagger.study.measure_costs", remember)
    monkeypatch.setattr("hf_tagger.study.chosen_device", lambda name: torch.device(name or "meta"))
    with open(again.folder / "waveform" / "recipe.yaml", "a", encoding="utf-8") as file:
        file.write("bf16: true\n")
    costs = run_costs(again.folder / "waveform")
    assert given == [(16, torch.device("cpu"), "bf16", "none")]
    assert costs["precision"] == "bf16"
    assert costs["device"].startswith("cpu")


def test_costs_are_of_mixed_precision_what_is_trained_and_windows_of_any_length(trained, monkeypatch):
    model, feature_extractor = load_saved_model(str(trained.folder / "spectrogram"))
    feature_extractor.window_samples = 61 * feature_extractor.sampling_rate
    weights = {name: value.clone() for name, value in model.named_parameters()}
    seen = set()

    def freeze_first(model, part):
        assert part == "encoder"
        frozen = [child for name, child in model.named_children() if name != "classifier"]
        for module in frozen:
            module.requires_grad_(False)
        return frozen

    def remember(module, arguments, output):
        samples = arguments[0].shape[-1] if arguments else 0
        seen.add((module.training, torch.is_autocast_enabled("cpu"), samples))

    monkeypatch.setattr("hf_tagger.costs.freeze", freeze_first)
    monkeypatch.setattr("hf_tagger.costs._REPETITIONS", 1)
    model.spectrogram.register_forward_hook(remember)
    measure_costs(model, feature_extractor, 2, "cpu", "bf16", "encoder")
    assert seen == {(False, True, feature_extractor.window_samples)}
    changed = {name.split(".")[0] for name, value in model.named_parameters() if not value.equal(weights[name])}
    assert changed == {"classifier"}


def test_every_variant_is_read_before_the_first_one_runs(tmp_path):
    recipe = tmp_path / "study.yaml"
    text = f"output_dir: {tmp_path / 'runs'}\n{STUDY}".replace("model_type: sample_cnn", "model_type: sample_cn")
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="did you mean 'sample_cnn'"):
        load_script("study").main(["inputs", str(recipe)])
    assert not (tmp_path / "runs").exists()


def test_two_variants_in_one_folder_are_refused(tmp_path):
    recipe = tmp_path / "study.yaml"
    recipe.write_text("variants: {a: {output_dir: runs/x}, b: , c: {output_dir: runs/y/../x}}\n", encoding="utf-8")
    with pytest.raises(HfTaggerError, match="The variants a and c have the same output_dir"):
        read_variants(str(recipe), [], None, None)
    variants, _ = read_variants(str(recipe), [], None, str(tmp_path))
    assert [variant.folder for variant in variants.values()] == [tmp_path / name for name in "abc"]


def test_what_cannot_be_run_is_explained(tmp_path, root):
    with pytest.raises(HfTaggerError, match=r"has no variants; scripts/finetune\.py runs it"):
        load_script("study").main(["inputs", str(root / "recipes" / "quickstart.yaml")])
    with pytest.raises(HfTaggerError, match="there is no variant crn; there are sample_cnn, "):
        load_script("study").main(["inputs", str(root / "recipes" / "study_inputs.yaml"), "--only", "crn"])


@pytest.mark.parametrize("argv", [["inputs", "--max_steps", "2", "study.yaml"], ["inputs", "--max_steps", "2"]])
def test_the_recipe_comes_before_the_fields(argv):
    with pytest.raises(HfTaggerError, match=r"The recipe \(a \.yaml file\) comes right after the study's name"):
        load_script("study").main(argv)


def test_numbers_of_different_clips_do_not_share_a_table():
    with pytest.raises(HfTaggerError, match=r"test 1: a; test 2: b\); their numbers must not be compared"):
        study_table([row(), row(variant="b", protocol_hash="2")])
    with pytest.raises(HfTaggerError, match="must not be compared"):
        study_table([row(), row(variant="b", split="validation")])


def test_the_best_variant_stands_first_and_a_missing_number_is_a_dash():
    lines = study_table([row(), row(variant="b", ap_macro=0.75), row(variant="c", ap_macro=None)]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| b", "| a", "| c"]
    assert lines[2].split(" | ")[1] == "0.7500"
    assert lines[4].split(" | ")[1] == "–"


def test_a_column_stands_in_the_table_if_any_row_has_it():
    first = row(ap_macro=None)
    del first["times_real_time"]
    lines = study_table([first, row(variant="b", lrap=0.25)]).splitlines()
    assert lines[0].count("|") == 7
    assert lines[2] == "| b | 0.5000 | 0.2500 | 1 | 1.0 | 1 |"
    assert lines[3] == "| a | – | – | 1 | 1.0 | – |"


def test_costs_of_different_machines_are_marked():
    table = study_table([row(), row(variant="b", device="H100", precision="bf16")])
    assert "not to be compared: cpu, 1 threads, float32 (a); H100, bf16 (b)." in table


def test_training_times_of_different_devices_are_marked():
    rows = [row(training_seconds=61.6, trained_on="cpu"), row(variant="b", training_seconds=1_234.0, trained_on="H100")]
    lines = study_table(rows).splitlines()
    column = lines[0].split(" | ").index("Training (seconds)")
    assert [line.split(" | ")[column] for line in lines[2:4]] == ["62", "1,234"]
    assert "Trained on different devices, so that these seconds do not compare: cpu (a); H100 (b)." in lines
    assert not any("different devices" in line for line in study_table(rows[:1]).splitlines())


def test_variants_that_differ_in_their_seed_have_a_mean_and_a_spread():
    scored = {"plain_0": 0.5, "other": 0.9, "plain_1": 0.6, "plain_10": 0.7}
    rows = [
        row(variant=name, ap_macro=value, repeats="plain_0" if "plain" in name else name)
        for name, value in scored.items()
    ]
    lines = study_table(rows).splitlines()
    start = lines.index("Over seeds, mean ± standard deviation:")
    assert lines[start + 2].startswith("| Variant | Seeds | Average precision, PR-AUC (macro) |")
    assert lines[start + 4 :] == ["| plain | 3 | 0.6000 ± 0.1000 |"]
    unlike = [row(variant=name, repeats="fast") for name in ("fast", "slow")]
    assert study_table(unlike).splitlines()[-1] == "| fast | 2 | 0.5000 ± 0.0000 |"
    partly = [row(variant="a_0", repeats="a_0"), row(variant="a_1", repeats="a_0", ap_macro=None)]
    assert study_table(partly).splitlines()[-1] == "| a | 2 | 0.5000 (1 value) |"


def test_recipes_that_differ_in_their_seed_only_repeat_each_other(tmp_path, root):
    variants, _ = read_variants(str(root / "recipes" / "study_augmentation.yaml"), [], None, str(tmp_path))
    protocol = {"name": "clean", "hash": "1"}
    for number, variant in enumerate(variants.values()):
        variant.folder.mkdir()
        metrics = {"test": {"ap_macro": number / 10}, "protocol": protocol}
        (variant.folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    rows, missing, failures = collect_rows(variants, list(variants), lambda folder: {})
    assert (missing, failures) == ({}, {})
    assert [line["seed"] for line in rows] == [int(line["variant"][-1]) for line in rows]
    for line in rows:
        assert line["repeats"] == f"{line['variant'].partition('_')[0]}_0"
        assert line["training_seconds"] is None  # nobody wrote a history
    kinds = {name.partition("_")[0] for name in variants}
    assert len(kinds) < len(variants)
    assert sum(
        line.startswith(tuple(f"| {kind} | " for kind in kinds)) for line in study_table(rows).splitlines()
    ) == len(kinds)


def test_a_study_without_a_finished_run_says_so():
    assert study_table([]) == "No variant of this study is finished yet.\n"


def test_a_run_without_scores_is_explained():
    protocol = {"name": "seeded", "hash": "1"}
    with pytest.raises(HfTaggerError, match=r"a has no scores: .* none of a labelled test or validation split"):
        study_row("a", {"test": {}, "protocol": protocol}, {})
    only_test = study_row("a", {"test": {"accuracy": 0.5}, "protocol": protocol}, {})
    assert (only_test["split"], only_test["accuracy"]) == ("test", 0.5)
    undefined = {"test": {"ap_macro": None}, "validation": {"ap_macro": 0.5}, "protocol": protocol}
    assert study_row("a", undefined, {})["split"] == "validation"


def test_a_study_that_is_asked_to_stop_trains_nothing_further(tmp_path):
    recipe = tmp_path / "study.yaml"
    recipe.write_text(STUDY, encoding="utf-8")
    calls = []
    study = load_study(calls, lambda argv: INTERRUPTED_STATUS)
    with pytest.raises(Interrupted, match=r"spectrogram was asked to stop\. The same command goes on with it"):
        study.main(["variants", str(recipe), "--output_dir", str(tmp_path / "runs"), *TINY])
    assert len(calls) == 1
