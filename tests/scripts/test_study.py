import json

import pytest
from script_runner import TINY, load_script

from hf_tagger import HfTaggerError, RecipeError
from hf_tagger.evaluation.study_table import study_table

STUDY = """
dataset_name: synthetic
synthetic_clips: 60
output_dir: {folder}
variants:
  spectrogram: {{model_type: mel_cnn, model_config: {{num_channels: 4}}}}
  waveform: {{model_type: sample_cnn, model_config: {{num_channels: 2}}}}
  unused: {{model_type: crnn}}
"""


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
        "training_seconds": 1.0,
        **changes,
    }


def test_a_study_trains_its_variants_once_and_puts_them_into_one_table(tmp_path, capfd):
    recipe = tmp_path / "study.yaml"
    recipe.write_text(STUDY.format(folder=tmp_path / "runs"), encoding="utf-8")
    flags = [*TINY[2:], "--num_train_epochs", "1", "--cache_dir", str(tmp_path / "cache")]
    command = ["inputs", str(recipe), "--only", "waveform", "spectrogram", *flags]
    load_script("study").main(command)
    rows = json.loads((tmp_path / "runs" / "study.json").read_text(encoding="utf-8"))
    assert [line["variant"] for line in rows] == ["spectrogram", "waveform"]
    for line in rows:
        metrics = json.loads((tmp_path / "runs" / line["variant"] / "metrics.json").read_text(encoding="utf-8"))
        assert line["ap_macro"] == metrics["test"]["ap_macro"]
        assert line["protocol_hash"] == metrics["protocol"]["hash"]
        assert line["parameters"] == metrics["training"]["parameters"]
        assert min(line["training_windows_per_second"], line["times_real_time"]) > 0
    table = (tmp_path / "runs" / "study.md").read_text(encoding="utf-8")
    best = max(rows, key=lambda line: line["ap_macro"])["variant"]
    assert table.splitlines()[2].startswith(f"| {best} |")
    assert "training into" in capfd.readouterr().out

    load_script("study").main(command)
    assert "training into" not in capfd.readouterr().out


def test_every_variant_is_read_before_the_first_one_runs(tmp_path):
    recipe = tmp_path / "study.yaml"
    text = STUDY.format(folder=tmp_path / "runs").replace("model_type: crnn", "model_type: crn")
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="did you mean 'crnn'"):
        load_script("study").main(["inputs", str(recipe)])
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_run_is_explained(tmp_path, root):
    with pytest.raises(HfTaggerError, match=r"has no variants; scripts/finetune\.py runs it"):
        load_script("study").main(["inputs", str(root / "recipes" / "quickstart.yaml")])
    with pytest.raises(HfTaggerError, match="there is no variant crn; there are short_cnn_mel_db"):
        load_script("study").main(["inputs", str(root / "recipes" / "study_inputs.yaml"), "--only", "crn"])


def test_numbers_of_different_clips_do_not_share_a_table():
    with pytest.raises(HfTaggerError, match="must not be compared"):
        study_table([row(), row(variant="b", protocol_hash="2")])
    with pytest.raises(HfTaggerError, match="must not be compared"):
        study_table([row(), row(variant="b", split="validation")])


def test_the_best_variant_stands_first_and_a_missing_number_is_a_dash():
    lines = study_table([row(), row(variant="b", ap_macro=0.75), row(variant="c", ap_macro=None)]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| b", "| a", "| c"]
    assert lines[2].split(" | ")[1] == "0.7500"
    assert lines[4].split(" | ")[1] == "–"
