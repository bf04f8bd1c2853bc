"""Studies of a saved model, as a user starts them; the model is small and has learned a little."""

import json

import pytest
from PIL import Image
from script_runner import TINY, load_script

from hf_tagger.data.clip_views import ChangedClips, CroppedClips
from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.degradations import Degradation
from hf_tagger.hub.shared_files import shared_files
from hf_tagger.saved_evaluation import open_saved
from hf_tagger.studies import study_names


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the embedded dataset."""
    folder = tmp_path_factory.mktemp("study") / "run"
    argv = ["--dataset_name", "synthetic", "--synthetic_clips", "80", "--cache_dir", str(folder.parent / "cache")]
    load_script("finetune").main([*argv, *TINY, "--num_train_epochs", "4", "--output_dir", str(folder)])
    return folder


def study(name, run, *flags):
    load_script("study").main([name, str(run), str(run / "recipe.yaml"), *flags])


def read(folder, name):
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return record, {(own["kind"], own["strength"]): own for own in record["conditions"]}


def test_every_study_says_what_it_does(capsys):
    assert {"short-clips", "robustness"} <= set(study_names())
    for name in study_names():
        with pytest.raises(SystemExit):
            load_script("study").main([name, "--help"])
        assert f"scripts/study.py {name}" in capsys.readouterr().out


def test_short_clips_are_scored_by_duration_and_position(run, capsys):
    study("short-clips", run, "--durations", "0.5,1,99", "--positions", "0,1", "--piece", "0.5")
    folder = run / "studies" / "short_clips"
    record, found = read(folder, "short_clips")
    metrics = json.loads((run / "metrics.json").read_text())
    whole = max(strength for kind, strength in found if kind == "duration")
    assert list(found) == [
        ("duration", 0.5), ("duration", 1.0), ("duration", whole), ("position", 0.0), ("position", 1.0)
    ]  # fmt: skip
    assert found["duration", whole]["value"] == pytest.approx(metrics["test"]["ap_macro"], abs=1e-9)
    assert found["duration", whole]["low"] == pytest.approx(metrics["intervals"]["test"]["ap_macro"]["low"], abs=1e-9)
    assert record["protocol"]["hash"] == metrics["protocol"]["hash"]
    with open_saved(str(run), [str(run / "recipe.yaml")]) as saved:  # the same by hand
        output = saved.predict(CroppedClips(saved.clips["test"], 0.5, 1.0), "test")
    assert found["position", 1.0]["value"] == pytest.approx(output.metrics["test_ap_macro"], abs=1e-12)
    printed = capsys.readouterr().out
    assert f"| 0.5 s | {found['duration', 0.5]['value']:.4f} |" in printed
    assert (folder / "short_clips.md").read_text() in printed + "\n"
    with Image.open(folder / "short_clips.png") as picture:
        assert picture.width > 800


def test_spoiled_recordings_are_scored_against_clean_ones(run, tmp_path):
    study("robustness", run, "--only", "noise", "low_pass", "--output_dir", str(tmp_path))
    _, found = read(tmp_path, "robustness")
    clean = found["clean", 0.0]["value"]
    assert clean == pytest.approx(json.loads((run / "metrics.json").read_text())["test"]["ap_macro"], abs=1e-9)
    with open_saved(str(run), [str(run / "recipe.yaml")]) as saved:  # the same by hand
        output = saved.predict(ChangedClips(saved.clips["test"], Degradation("noise", 10)), "test")
    assert found["noise", 10]["value"] == pytest.approx(output.metrics["test_ap_macro"], abs=1e-12)
    assert found["noise", 10]["value"] != clean
    assert {kind for kind, _ in found} == {"clean", "noise", "low_pass"}
    text = (tmp_path / "robustness.md").read_text()
    losses = [float(line.split("|")[4]) for line in text.split("| Lost |")[1].splitlines()[2:]]
    assert losses == sorted(losses, reverse=True)
    worst = min(found.values(), key=lambda own: own["value"])
    assert losses[0] == pytest.approx(
        max(found["clean", 0.0]["labels"][label] - value for label, value in worst["labels"].items()), abs=5e-4
    )
    assert (tmp_path / "robustness.png").exists()


@pytest.mark.slow
def test_a_study_is_told_in_the_card_and_shared(run, tmp_path, capsys):
    study("short-clips", run, "--durations", "0.5", "--positions", "0", "--add_to_card")
    study("robustness", run, "--only", "noise", "low_pass", "--add_to_card")
    card = (run / "README.md").read_text(encoding="utf-8")
    short, found = read(run / "studies" / "short_clips", "short_clips")
    own = card.split("### Short clips")[1].split("###")[0]
    assert f"| 0.5 s | {found['duration', 0.5]['value']:.4f} |" in own.split("<details>")[0]
    assert "![Scores under all conditions](short_clips.png)" in own
    assert short == json.loads((run / "short_clips.json").read_text(encoding="utf-8"))
    _, found = read(run / "studies" / "robustness", "robustness")
    own = card.split("### Spoiled recordings")[1].split("\n## ")[0].split("<details>")[0]
    for kind in ("noise", "low_pass"):  # of each kind the strength that costs most
        worst = min((own for (other, _), own in found.items() if other == kind), key=lambda own: own["value"])
        assert f": {worst['strength']:g} | {worst['value']:.4f} |" in own
    assert own.count("\n| ") == 4  # header, clean, two kinds
    shared = shared_files(run, run, "someone/tagger")
    assert {"short_clips.png", "short_clips.json", "robustness.png", "robustness.json"} <= set(shared)
    assert own in shared["README.md"].decode()
    study(
        "robustness", run, "--only", "noise", "--add_to_card", "--output_dir", str(run)
    )  # where it would be copied to
    with pytest.raises(HfTaggerError, match=r"these are other clips .* the model may be trained on"):
        study("robustness", run, "--only", "noise", "--add_to_card", "--synthetic_clips", "60")
    with pytest.raises(HfTaggerError, match="takes the folder of a finished run"):
        load_script("study").main(["robustness", str(tmp_path), str(run / "recipe.yaml"), "--add_to_card"])


def test_windows_that_a_saved_model_does_not_take_are_not_passed_over_in_silence(run, caplog):
    with open_saved(str(run), [str(run / "recipe.yaml")]):
        assert "is not used" not in caplog.text
    with open_saved(str(run), [str(run / "recipe.yaml"), "--hop_seconds", "0.125"]) as saved:
        own = saved.trainer.processing_class.hop_samples / saved.trainer.processing_class.sampling_rate
    assert f"hop_seconds: 0.125 is not used; a saved model keeps its own, {own:g} s." in caplog.text


def test_mistakes_are_said(run, tmp_path):
    with pytest.raises(HfTaggerError, match=r"seconds, at least 0\.001"):
        study("short-clips", run, "--durations", "0,1")
    with pytest.raises(HfTaggerError, match=r"between 0 \(start\) and 1 \(end\)"):
        study("short-clips", run, "--positions", "0,2")
    (tmp_path / "file").write_text("")
    with pytest.raises(HfTaggerError, match="cannot be made"):
        study("robustness", run, "--output_dir", str(tmp_path / "file" / "folder"))
    with pytest.raises(SystemExit):
        study("short-clips", run, "--durations", "long")
