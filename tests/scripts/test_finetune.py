"""A whole run, small: what it leaves, and that every piece of it agrees with the others."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import soundfile
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open
from script_runner import TINY, load_script
from transformers import AutoConfig, pipeline

from hf_tagger.errors import DatasetError, HfTaggerError, RunFolderError
from hf_tagger.evaluation.metrics import score_clips

RATE = 16_000


@pytest.fixture(scope="session")
def tags_run(tmp_path_factory):
    """A multi-label run on the embedded dataset."""
    folder = tmp_path_factory.mktemp("tags") / "run"
    argv = ["--dataset_name", "synthetic", "--synthetic_clips", "60", "--output_dir", str(folder), *TINY]
    load_script("finetune").main(argv)
    return folder


@pytest.fixture(scope="session")
def music_folder(tmp_path_factory):
    """Class folders with low and high tones, one of 40 clips damaged and one very short."""
    root = tmp_path_factory.mktemp("music")
    generator = np.random.default_rng(0)
    for name, (lowest, highest) in {"high": (1_500, 3_000), "low": (100, 300)}.items():
        (root / name).mkdir()
        for number in range(20):
            seconds = np.arange(RATE * 5) / RATE
            tone = 0.3 * np.sin(2 * np.pi * generator.uniform(lowest, highest) * seconds)
            soundfile.write(root / name / f"{number:02}.wav", tone + generator.normal(0, 0.01, len(tone)), RATE)
    (root / "low" / "03.wav").write_bytes(b"RIFF")
    soundfile.write(root / "high" / "05.wav", np.full(200, 0.1), RATE)
    return root


@pytest.fixture(scope="session")
def genre_run(music_folder, tmp_path_factory):
    """A single-label run on a folder of class folders."""
    folder = tmp_path_factory.mktemp("genres") / "run"
    argv = ["--dataset_name", "folder", "--dataset_root", str(music_folder), "--output_dir", str(folder), *TINY]
    load_script("finetune").main([*argv, "--max_skipped_share", "0.05", "--num_train_epochs", "4"])
    return folder


def read_metrics(run):
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def test_a_run_leaves_everything_that_was_promised(tags_run, genre_run):
    common = {
        "README.md",
        "config.json",
        "curves.png",
        "metrics.json",
        "model.safetensors",
        "modeling_short_cnn.py",
        "predictions_test.parquet",
        "predictions_validation.parquet",
        "preprocessor_config.json",
        "recipe.yaml",
        "skipped_clips.csv",
    }
    assert common | {"per_tag_ap.png"} <= {path.name for path in tags_run.iterdir()}
    assert common | {"confusion_matrix.png", "split.csv"} <= {path.name for path in genre_run.iterdir()}
    assert not (tags_run / "training_args.bin").exists()
    for picture in [*tags_run.glob("*.png"), *genre_run.glob("*.png")]:
        assert picture.stat().st_size > 5_000


def test_labels_come_from_the_dataset(tags_run, genre_run):
    assert AutoConfig.from_pretrained(genre_run).id2label == {0: "high", 1: "low"}
    assert AutoConfig.from_pretrained(genre_run).problem_type == "single_label_classification"
    assert AutoConfig.from_pretrained(tags_run).problem_type == "multi_label_classification"
    assert "drums" in AutoConfig.from_pretrained(tags_run).label2id


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_metrics_are_those_of_the_written_predictions(tags_run, split):
    table = parquet.read_table(tags_run / f"predictions_{split}.parquet")
    names = json.loads(table.schema.metadata[b"label_names"])
    scores = np.array(table["scores"].to_pylist())
    labels = np.array([[name in row for name in names] for row in table["labels"].to_pylist()], dtype=int)
    recorded = read_metrics(tags_run)[split]
    for name, value in score_clips(scores, labels, "multi_label_classification").items():
        assert recorded[name] == pytest.approx(value, abs=1e-12)


def test_metrics_carry_their_protocol(tags_run):
    protocol = read_metrics(tags_run)["protocol"]
    assert protocol["dataset"] == "synthetic"
    assert sum(protocol["sizes"].values()) == 60
    assert protocol["used"] == protocol["sizes"]
    assert re.fullmatch("[0-9a-f]{64}", protocol["hash"])


def test_a_damaged_clip_is_named_and_the_rest_is_learned(genre_run):
    with open(genre_run / "skipped_clips.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert rows[0]["path"].endswith("low/03.wav")
    metrics = read_metrics(genre_run)
    assert metrics["skipped_clips"] == 1
    assert sum(metrics["protocol"]["used"].values()) == 39


def test_the_usable_training_clips_of_every_class_are_counted(genre_run):
    rows = {}
    for name in ("split.csv", "skipped_clips.csv"):
        with open(genre_run / name, newline="", encoding="utf-8") as file:
            rows[name] = list(csv.DictReader(file))
    skipped = {row["id"] for row in rows["skipped_clips.csv"]}
    used = [row["id"] for row in rows["split.csv"] if row["split"] == "train" and row["id"] not in skipped]
    expected = {name: sum(clip.startswith(name) for clip in used) for name in ("high", "low")}
    assert sum(expected.values()) == len(used) == read_metrics(genre_run)["protocol"]["used"]["train"]
    assert read_metrics(genre_run)["training_support"] == expected


def test_a_drawn_split_is_written_next_to_the_run(genre_run):
    with open(genre_run / "split.csv", newline="", encoding="utf-8") as file:
        splits = {row["id"]: row["split"] for row in csv.DictReader(file)}
    assert len(splits) == 40
    assert set(splits.values()) == {"train", "validation", "test"}


def test_the_best_checkpoint_is_what_was_saved(tags_run):
    metrics = read_metrics(tags_run)
    best = metrics["training"]["best_metric"]["ap_macro"]
    assert metrics["validation"]["ap_macro"] == pytest.approx(best, abs=1e-9)


def test_the_resolved_recipe_runs_again(tags_run):
    recipe = yaml.safe_load((tags_run / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["synthetic_clips"] == 60
    assert recipe["metric_for_best_model"] == "ap_macro"
    assert recipe["model_config"] == {"num_channels": 4}


def test_evaluate_repeats_the_runs_numbers_exactly(tags_run, genre_run, capsys):
    for run in (tags_run, genre_run):
        for split in ("test", "validation"):
            load_script("evaluate").main([str(run), str(run / "recipe.yaml"), "--split", split])
            assert f"Equal to the run's own {split} numbers." in capsys.readouterr().out


def test_evaluate_refuses_a_dataset_with_other_labels(tags_run, genre_run):
    with pytest.raises(HfTaggerError, match=r"labels of only one of them: .*drums"):
        load_script("evaluate").main([str(tags_run), str(genre_run / "recipe.yaml")])


def test_predict_gives_the_scores_of_the_plain_pipeline(genre_run, music_folder, capsys):
    """Also where this package cannot be imported, on the 16-bit file as a user would read it."""
    file = music_folder / "high" / "07.wav"
    load_script("predict").main([str(genre_run), str(file), "--top_k", "2", "--json"])
    ours = json.loads(capsys.readouterr().out)[0]["tags"]
    waveform, _ = soundfile.read(file, dtype="float32")
    theirs = pipeline("audio-classification", model=str(genre_run), trust_remote_code=True)(waveform)
    assert [score["label"] for score in ours] == [score["label"] for score in theirs]
    np.testing.assert_allclose([s["score"] for s in ours], [s["score"] for s in theirs], atol=1e-5)


def test_predict_walks_folders_and_names_files_it_cannot_read(genre_run, music_folder, capsys):
    with pytest.raises(HfTaggerError, match="1 of 20 files could not be read"):
        load_script("predict").main([str(genre_run), str(music_folder / "low"), "--json"])
    results = json.loads(capsys.readouterr().out)
    assert len(results) == 20
    assert [Path(result["file"]).name for result in results if "error" in result] == ["03.wav"]


def test_predict_explains_a_folder_without_audio_and_a_model_that_is_none(genre_run, tmp_path):
    with pytest.raises(HfTaggerError, match=r"No audio file below .*\.flac"):
        load_script("predict").main([str(genre_run), str(tmp_path)])
    with pytest.raises(HfTaggerError, match="holds no model"):
        load_script("predict").main([str(tmp_path), "song.wav"])


def test_the_card_is_valid_and_its_snippet_runs_as_printed_without_this_package(tags_run, tmp_path):
    card = ModelCard.load(tags_run / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "audio-classification"
    reported = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert reported["ap_macro"] == pytest.approx(read_metrics(tags_run)["test"]["ap_macro"])
    snippet = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    blocked = "import sys; sys.modules['hf_tagger'] = None\n"
    finished = subprocess.run(
        [sys.executable, "-c", blocked + snippet],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert len(re.findall(r"^[01]\.\d{3}  ", finished.stdout, re.MULTILINE)) == 5


def test_a_second_run_into_the_same_folder_is_refused(tags_run):
    before = (tags_run / "model.safetensors").read_bytes()
    with pytest.raises(RunFolderError, match="already holds a run"):
        load_script("finetune").main(["--synthetic_clips", "60", "--output_dir", str(tags_run), *TINY])
    assert (tags_run / "model.safetensors").read_bytes() == before


def test_a_second_run_with_the_same_seed_gives_the_same_weights(tags_run, tmp_path):
    argv = ["--dataset_name", "synthetic", "--synthetic_clips", "60", "--output_dir", str(tmp_path / "again"), *TINY]
    load_script("finetune").main(argv)
    assert weights(tmp_path / "again") == weights(tags_run)


def weights(run):
    with safe_open(run / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


def test_a_run_continues_from_a_saved_model_with_other_labels(tags_run, music_folder, tmp_path):
    argv = ["--dataset_name", "folder", "--dataset_root", str(music_folder), "--max_skipped_share", "0.05"]
    tiny = [*TINY]
    del tiny[:2]  # the saved model brings its own configuration
    mismatched = ["--model_name_or_path", str(tags_run), "--output_dir", str(tmp_path / "other"), *TINY]
    mismatched[mismatched.index("--model_config.num_channels") + 1] = "8"
    with pytest.raises(HfTaggerError, match=r"num_channels: the weights .* were trained with 4, received 8"):
        load_script("finetune").main([*argv, *mismatched])
    argv += ["--model_name_or_path", str(tags_run), "--output_dir", str(tmp_path / "run"), *tiny]
    load_script("finetune").main(argv)
    assert AutoConfig.from_pretrained(tmp_path / "run").id2label == {0: "high", 1: "low"}
    assert AutoConfig.from_pretrained(tmp_path / "run").num_channels == 4


def test_too_many_damaged_clips_stop_the_run_before_training(music_folder, tmp_path):
    argv = ["--dataset_name", "folder", "--dataset_root", str(music_folder), "--output_dir", str(tmp_path / "run")]
    with pytest.raises(DatasetError, match=r"1 of 40 clips cannot be used.*max_skipped_share"):
        load_script("finetune").main([*argv, *TINY])
    assert not (tmp_path / "run" / "model.safetensors").exists()
