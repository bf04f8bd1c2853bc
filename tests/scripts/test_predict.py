"""``scripts/predict.py``: rules over windows and timelines of files. Formats: see ``test_score_artist20.py``."""

import json

import numpy as np
import pytest
import soundfile
from PIL import Image
from script_runner import load_script
from small_taggers import FITTED, LABELS, RATE, save, song

from hf_tagger import MusicTaggingPipeline
from hf_tagger.errors import HfTaggerError
from hf_tagger.prediction_files import chosen, unique_names, write_timeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in ``model``, and recordings in ``music``, one of them damaged and two of one name."""
    folder = tmp_path_factory.mktemp("predict")
    save(folder / "model", fit=FITTED, window_samples=40_000, hop_samples=30_000)
    for number, name in enumerate(("a.wav", "b/a.flac", "c.wav", "d.wav")):
        path = folder / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, song(3.5 + number, seed=number), RATE)
    (folder / "music" / "c.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def tagger(folder):
    return MusicTaggingPipeline.from_pretrained(folder / "model", device="cpu", top_k=None)


def predict(folder, *flags):
    load_script("predict").main([str(folder / "model"), str(folder / "music"), "--json", "--device", "cpu", *flags])


@pytest.mark.parametrize("rule", ["mean", "max", "attention"])
def test_every_rule_gives_the_tags_of_the_pipeline_and_a_bad_file_its_reason(folder, tagger, rule, capsys):
    with pytest.raises(HfTaggerError, match="1 of 4 files could not be read"):
        predict(folder, "--aggregate", rule, "--top_k", "3")
    results = json.loads(capsys.readouterr().out)
    music = folder / "music"
    names = ["a.wav", "b/a.flac", "c.wav", "d.wav"]
    assert [result["file"] for result in results] == [str(music / name) for name in names]
    assert results.pop(2) == {"file": str(music / "c.wav"), "error": "empty file (0 bytes)"}
    for result in results:
        expected = tagger(result["file"], aggregate=rule)
        assert [list(tag) for tag in result["tags"]] == [["label", "score", "given"]] * 3
        assert [tag["label"] for tag in result["tags"]] == [tag["label"] for tag in expected]
        np.testing.assert_allclose([t["score"] for t in result["tags"]], [t["score"] for t in expected], atol=1e-6)


def test_a_timeline_is_a_line_and_a_column_a_second(folder, tagger, tmp_path, capsys):
    with pytest.raises(HfTaggerError, match="1 of 4 files"):
        predict(folder, "--timeline", str(tmp_path / "new" / "timelines"))
    results = json.loads(capsys.readouterr().out)
    files = sorted((tmp_path / "new" / "timelines").iterdir())
    assert [path.name for path in files] == ["a.jsonl", "a.png", "a_2.jsonl", "a_2.png", "d.jsonl", "d.png"]
    assert results[1]["timeline"] == str(files[2])
    lines = [json.loads(line) for line in files[2].read_text().splitlines()]
    expected = tagger(results[1]["file"], timeline=True)
    assert [(line["start"], line["end"]) for line in lines] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4.5)]
    assert results[1]["tags"] == [tag for tag in expected["tags"] if tag["given"]]
    for line, cell in zip(lines, expected["timeline"], strict=True):
        assert set(line["scores"]) == set(LABELS)
        assert line["scores"] == pytest.approx(cell["scores"], abs=1e-6)
    with Image.open(files[3]) as picture:
        assert picture.width > 1_000


def test_the_picture_has_a_cell_for_every_second(tagger, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("hf_tagger.prediction_files.plot_timeline", lambda *arguments: drawn.append(arguments))
    result = tagger(song(3.5), timeline=True)
    write_timeline(result, tmp_path / "some.song", "Some song", top_k=2)
    ((timeline, scores, path, top_k, title),) = drawn
    assert timeline.edges.tolist() == [0, 1, 2, 3, 3.5]
    assert (path, top_k, title) == (tmp_path / "some.song.png", 2, "Some song")
    assert (tmp_path / "some.song.jsonl").exists()
    assert list(zip(timeline.label_names, scores, strict=True)) == [(t["label"], t["score"]) for t in result["tags"]]
    for label, column in zip(timeline.label_names, timeline.probabilities.T, strict=True):
        assert column.tolist() == [cell["scores"][label] for cell in result["timeline"]]


def test_labels_are_chosen_by_number_or_threshold_or_the_five_best():
    fitted = [{"label": str(n), "score": 1 - n / 10, "given": n % 2 == 0} for n in range(8)]
    plain = [{"label": str(n), "score": 1 - n / 10} for n in range(8)]
    assert [tag["label"] for tag in chosen(fitted, None)] == ["0", "2", "4", "6"]
    assert [tag["label"] for tag in chosen(fitted, 2)] == ["0", "1"]
    assert [tag["label"] for tag in chosen(plain, None)] == ["0", "1", "2", "3", "4"]


def test_files_of_one_name_get_a_number(tmp_path):
    names = ["a.wav", "b/a.mp3", "a_2.wav", "c/a.wav"]
    assert unique_names([tmp_path / name for name in names]) == ["a", "a_2", "a_2_2", "a_3"]
    assert unique_names([tmp_path / name for name in ("a.wav", "A.mp3")]) == ["a", "A_2"]  # one file on some systems


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_tagged(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HfTaggerError, match=r"--timeline .*file/timelines cannot be made"):
        predict(folder, "--timeline", str(tmp_path / "file" / "timelines"))
    with pytest.raises(SystemExit):
        predict(folder, "--aggregate", "median")
