"""scripts/explain.py: pictures, audio and numbers of a file of any length, and mistakes told in plain words."""

import contextlib
import io
import json

import numpy as np
import pytest
import soundfile
import torch
from fake_datasets import write_tone
from PIL import Image
from script_runner import load_script

from hf_tagger.errors import HfTaggerError
from hf_tagger.explain.explanation import file_names
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.feature_extraction_waveform import WaveformFeatureExtractor
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification

RATE = 22_050  # the files'; the model's is 16,000
LABELS = {0: "drums", 1: "bass/low", 2: "strings"}
QUICK = ["--gradient_steps", "4", "--random_orders", "3", "--deletion_steps", "4", "--bands", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = ShortCnnConfig(num_channels=4, id2label=LABELS, problem_type="multi_label_classification")
    network = ShortCnnForAudioClassification(config).train()
    with torch.no_grad():
        for _ in range(4):  # batch norms that have seen data
            network(0.1 * torch.randn(2, config.window_samples))
    network.eval().save_pretrained(folder)
    WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Five seconds in stereo, the second channel silent: two windows of the model."""
    path = tmp_path_factory.mktemp("music") / "song.wav"
    times = np.arange(5 * RATE) / RATE
    left = 0.3 * np.sin(2 * np.pi * (200 + 300 * times) * times) + 0.01 * np.random.default_rng(0).normal(
        size=len(times)
    )
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), RATE, subtype="PCM_16")
    return str(path)


def explain(*arguments):
    load_script("explain").main([*map(str, arguments), *QUICK])


@pytest.fixture(scope="module")
def likeliest(model, song, tmp_path_factory):
    """Folder of two labels' explanations, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("likeliest") / "out", io.StringIO()
    with contextlib.redirect_stdout(printed):
        explain(model, song, "--top_k", 2, "--output_dir", folder, "--seconds", 1)
    return folder, printed.getvalue()


def test_the_likeliest_labels_are_explained_in_pictures_audio_and_numbers(song, likeliest):
    folder, printed = likeliest
    result = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    assert (result["seconds"], result["windows"]) == (5, 2)
    assert result["segment_edges"] == pytest.approx(np.arange(11) / 2)
    assert len(result["band_edges"]) == 5
    first, second = result["labels"]
    assert first["probability"] > second["probability"]
    original, _ = soundfile.read(song)
    for label in (first, second):
        assert f"{label['label']} {label['probability']:.3f} (" in printed
        assert len(label["bands"]) == 4
        assert {len(values) for values in label["segments"].values()} == {10}
        for name in ("integrated gradients", "occlusion"):
            assert len(label["deletion"][name]["curve"]) == 5
            assert label["deletion"][name]["curve"][0] == pytest.approx(label["probability"])
            assert label["deletion"]["random_curves"][0][-1] == pytest.approx(label["deletion"][name]["curve"][-1])
        assert len(label["deletion"]["random_areas"]) == 3
        excerpt, rate = soundfile.read(folder / label["files"]["audio"])
        assert (rate, excerpt.shape) == (RATE, (RATE, 2))
        start = round(label["most_relevant"]["start"] * RATE)
        np.testing.assert_allclose(excerpt, original[start : start + RATE], atol=1 / 32_768)
        for kind in ("picture", "deletion"):
            image = Image.open(folder / label["files"][kind]).convert("RGB")
            assert image.width > 700
            assert len(image.getcolors(image.width * image.height)) > 50


def test_a_label_that_is_named_is_explained_as_among_others_to_the_last_byte(model, song, likeliest, tmp_path):
    folder, _ = likeliest
    among = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))["labels"][1]
    explain(model, song, "--label", among["label"], "--output_dir", tmp_path, "--seconds", 1)
    (alone,) = json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))["labels"]
    assert alone | {"files": among["files"]} == among
    for kind, name in alone["files"].items():
        assert (tmp_path / name).read_bytes() == (folder / among["files"][kind]).read_bytes()


def test_every_label_makes_a_file_name():
    assert file_names(["bass/low", "no voice", "rock'n'roll", "日本", "../.."]) == [
        "bass_low", "no_voice", "rock_n_roll", "日本", "label"
    ]  # fmt: skip


def test_audio_shorter_than_a_window_is_explained(model, tmp_path):
    path = write_tone(tmp_path / "short.wav", seconds=0.4)
    explain(model, path, "--label", "drums", "--output_dir", tmp_path / "out", "--fill", "silence")
    result = json.loads((tmp_path / "out" / "explanation.json").read_text(encoding="utf-8"))
    assert result["segment_edges"][-1] == pytest.approx(0.4)
    assert result["labels"][0]["most_relevant"] | {"by": ""} == {"start": 0, "end": pytest.approx(0.4), "by": ""}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "string"], "label: 'string' is not known; did you mean 'strings'"),
        (["--top_k", "0"], "--top_k must be at least 1"),
        (
            ["--segment_seconds", "0", "--bands", "1"],
            "segment_seconds must be .*, received 0.0; bands must be at least 2",
        ),
        (["--device", "abacus"], "--device abacus cannot be used"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(model, song, tmp_path, arguments, message):
    with pytest.raises(HfTaggerError, match=message):
        load_script("explain").main([model, song, "--output_dir", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "file not found"), (b"", "empty file"), (b"no music", "not a (known|format)"), ("wav", "no samples")],
)
def test_a_file_that_cannot_be_heard_is_told_with_the_reason(model, tmp_path, content, reason):
    path = tmp_path / "song.wav"
    if content == "wav":
        soundfile.write(path, np.zeros(0), RATE)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(HfTaggerError, match=rf"song\.wav cannot be explained: {reason}"):
        explain(model, path, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_silence_is_told(model, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    with pytest.raises(HfTaggerError, match="nothing but silence"):
        explain(model, tmp_path / "silence.wav", "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_told(model, song, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(HfTaggerError, match="out is a file"):
        explain(model, song, "--output_dir", tmp_path / "out")
