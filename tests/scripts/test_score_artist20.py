"""From songs to the homework's numbers: ``predict.py --format artist20`` and ``score_artist20.py``."""

import json

import pytest
import torch
from fake_datasets import write_tone
from script_runner import load_script

from hf_tagger.errors import HfTaggerError
from hf_tagger.models.configuration_mel_cnn import MelCnnConfig
from hf_tagger.models.modeling_mel_cnn import MelCnnForAudioClassification

ARTISTS = ["aerosmith", "beatles", "cure", "madonna"]
BEST_FIRST = ["madonna", "cure", "beatles", "aerosmith"]


def save_model(folder, artists):
    """A model that finds the later artist of the list the more probable, whatever it hears."""
    config = MelCnnConfig(
        num_channels=2,
        num_blocks=2,
        window_samples=4_000,
        hop_samples=4_000,
        problem_type="single_label_classification",
        id2label=dict(enumerate(artists)),
        label2id={artist: index for index, artist in enumerate(artists)},
    )
    model = MelCnnForAudioClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.arange(len(artists)))
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "run", ARTISTS)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for number in (1, 2, 10):
        write_tone(folder / f"{number:03d}.wav", 220.0 * number)
    return folder


@pytest.fixture
def damaged(songs, tmp_path):
    """Two songs, the second of which cannot be decoded."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "001.wav").write_bytes((songs / "001.wav").read_bytes())
    (folder / "002.wav").write_bytes(b"")
    return folder


def predict(*arguments):
    load_script("predict").main([*map(str, arguments), "--device", "cpu"])


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def score(*arguments):
    load_script("score_artist20").main([*map(str, arguments)])


def test_a_prediction_file_names_the_three_most_probable_artists_of_every_song(model, songs, tmp_path, capsys):
    path = tmp_path / "new" / "predictions.json"
    predict(model, songs, "--format", "artist20", "--output", path)
    expected = dict.fromkeys(("001", "002", "010"), BEST_FIRST[:3])
    assert json.loads(path.read_text(encoding="utf-8")) == expected
    assert capsys.readouterr().out == f"3 of 3 files tagged: {path}\n"
    predict(model, songs, "--format", "artist20")
    assert json.loads(capsys.readouterr().out) == expected


def test_predictions_are_scored_against_answers(model, songs, tmp_path, capsys):
    path = tmp_path / "predictions.json"
    predict(model, songs, "--format", "artist20", "--output", path)
    answers = write_json(tmp_path / "answers.json", {"1": "madonna", "2": "beatles", "3": "madonna", "10": "aerosmith"})
    capsys.readouterr()
    score(answers, path)
    assert capsys.readouterr().out.splitlines() == [
        "Top-1 accuracy       0.2500  (1 of 4)",
        "Top-3 accuracy       0.5000  (2 of 4)",
        "Top-1 + top-3        0.7500",
        "Without a prediction, counted as wrong (1): 3",
        "Predicted artists that no answer has (1): cure",
    ]
    score(answers, path, "--top3_weight", "0.5")
    assert "Top-1 + 0.5 × top-3  0.5000" in capsys.readouterr().out


def test_a_song_that_cannot_be_decoded_is_named_and_the_others_are_written(model, damaged, tmp_path):
    path = tmp_path / "predictions.json"
    message = r"1 of 2 files could not be read:\n.*002\.wav: not tagged, empty file \(0 bytes\)$"
    with pytest.raises(HfTaggerError, match=message):
        predict(model, damaged, "--format", "artist20", "--output", path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"001": BEST_FIRST[:3]}


def test_a_file_that_cannot_be_decoded_has_its_line_in_the_other_formats(model, damaged, capsys):
    with pytest.raises(HfTaggerError, match=r"1 of 2 files could not be read; their lines say why\."):
        predict(model, damaged)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{damaged / '001.wav'}: madonna 0.644, cure 0.237, beatles 0.087, aerosmith 0.032")
    assert second == f"{damaged / '002.wav'}: not tagged, empty file (0 bytes)"
    with pytest.raises(HfTaggerError, match="their lines say why"):
        predict(model, damaged, "--format", "json", "--top_k", "1")
    first, second = json.loads(capsys.readouterr().out)
    assert [tag["label"] for tag in first["tags"]] == ["madonna"]
    assert second == {"file": str(damaged / "002.wav"), "error": "empty file (0 bytes)"}


def test_json_is_another_name_of_its_format(model, songs, capsys):
    predict(model, songs, "--json")
    first = capsys.readouterr().out
    predict(model, songs, "--format", "json")
    assert capsys.readouterr().out == first
    assert len(json.loads(first)) == 3


@pytest.mark.parametrize("form", ["artist20", "lines", "json"])
def test_two_formats_at_once_are_refused(model, songs, form, capsys):
    with pytest.raises(SystemExit) as stop:
        predict(model, songs, "--json", "--format", form)
    assert stop.value.code == 2
    assert "not allowed with argument --json" in capsys.readouterr().err


def test_another_number_of_artists_than_three_is_refused(model, songs):
    with pytest.raises(HfTaggerError, match="always names 3 artists a song; received --top_k 5"):
        predict(model, songs, "--format", "artist20", "--top_k", "5")
    with pytest.raises(HfTaggerError, match="--top_k must be at least 1, received 0"):
        predict(model, songs, "--top_k", "0")


def test_a_model_of_two_artists_cannot_do_the_homework(songs, tmp_path):
    with pytest.raises(HfTaggerError, match="a model that knows 3 artists or more; this one knows 2"):
        predict(save_model(tmp_path / "two", ARTISTS[:2]), songs, "--format", "artist20")


def test_two_files_of_one_name_are_refused_before_anything_is_tagged(model, songs, tmp_path):
    other = write_tone(tmp_path / "001.wav")
    with pytest.raises(HfTaggerError, match=r"shared by several files: 1 \(.*001\.wav, .*001\.wav\)"):
        predict("no model is read", songs, other, "--format", "artist20")
    predict(model, songs, other)


def test_mistakes_in_the_files_are_explained(tmp_path):
    answers = write_json(tmp_path / "answers.json", ["madonna", "cure"])
    twice = write_json(tmp_path / "predictions.json", {"001": ["madonna"], "1": ["cure"]})
    with pytest.raises(HfTaggerError, match=r"predictions\.json: these ids are the same song, .*: '001' and '1'"):
        score(answers, twice)
    with pytest.raises(HfTaggerError, match=r"answers\.json: expected an object like"):
        score(answers, answers)
    with pytest.raises(HfTaggerError, match="must be a number of at least 0, received -1"):
        score(answers, write_json(tmp_path / "right.json", {"1": "cure"}), "--top3_weight", "-1")
    with pytest.raises(OSError, match=r"none\.json"):  # a message for whoever runs the script, as every OSError
        score(answers, tmp_path / "none.json")
