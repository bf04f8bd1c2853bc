"""The study of rules over windows, as a user starts it; the models are small and have learned a little."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import soundfile
from PIL import Image
from script_runner import TINY, load_script

from hf_tagger import ModelArguments, MusicTaggingPipeline
from hf_tagger.audio import load_mono
from hf_tagger.data.base import MULTI_LABEL
from hf_tagger.data.clip_views import SingleWindows, Song
from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.aggregation import aggregate, aggregate_all, fit_sharpness
from hf_tagger.evaluation.metrics import score_clips
from hf_tagger.evaluation.study_plots import study_lines_figure
from hf_tagger.saved_evaluation import open_saved
from hf_tagger.studies import run_study, study_names
from hf_tagger.studies.conditions import Condition
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import plan_model

RATE = 16_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the embedded dataset, with windows of one second."""
    folder = tmp_path_factory.mktemp("long_audio") / "run"
    argv = ["--dataset_name", "synthetic", "--synthetic_clips", "80", "--cache_dir", str(folder.parent / "cache")]
    argv += ["--window_seconds", "1"]
    load_script("finetune").main([*argv, *TINY, "--output_dir", str(folder)])
    return folder


@pytest.fixture(scope="module")
def saved(run):
    with open_saved(str(run), [str(run / "recipe.yaml")]) as opened:
        yield opened


@pytest.fixture
def opened(monkeypatch, saved):
    """Studies of the run get what is open already, which saves making its clips again."""
    monkeypatch.setattr("hf_tagger.studies.long_audio.open_saved", lambda model, recipe: nullcontext(saved))


@pytest.fixture(scope="module")
def genre_run(tmp_path_factory):
    """A single-label run on a folder of class folders."""
    music = tmp_path_factory.mktemp("music")
    for number in range(40):
        name = music / ("high", "low")[number % 2] / f"{number:02}.wav"
        name.parent.mkdir(exist_ok=True)
        frequency = (1_500, 200)[number % 2] * (1 + number / 100)
        soundfile.write(name, 0.3 * np.sin(2 * np.pi * frequency * np.arange(2 * RATE) / RATE), RATE)
    folder = music.parent / "genre_run"
    argv = ["--dataset_name", "folder", "--dataset_root", str(music), "--cache_dir", str(music.parent / "cache")]
    load_script("finetune").main([*argv, *TINY, "--window_seconds", "1", "--output_dir", str(folder)])
    return folder


@pytest.fixture
def song(tmp_path):
    """Three and a half seconds: a low tone, then noise."""
    time = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 3 // 2)
    soundfile.write(tmp_path / "a song.wav", np.concatenate([0.4 * np.sin(2 * np.pi * 110 * time), noise]), RATE)
    return tmp_path / "a song.wav"


def study(run, *flags):
    run_study(["long-audio", str(run), str(run / "recipe.yaml"), *flags])


def read(folder):
    record = json.loads((folder / "long_audio.json").read_text(encoding="utf-8"))
    return record, {(own["clips"], own["rule"]): own for own in record["rules"]}


def test_the_mean_over_the_models_own_windows_is_what_every_evaluation_says(saved):
    hop = saved.trainer.processing_class.hop_samples
    clips = saved.clips["test"]
    windows = saved.window_probabilities(clips, hop)
    assert min(len(own) for own in windows) > 3
    np.testing.assert_allclose(
        aggregate_all("mean", windows, saved.dataset.problem_type), saved.predict(clips, "test").predictions, rtol=1e-9
    )


def test_windows_are_cut_as_in_an_evaluation_and_short_recordings_are_repeated(saved):
    waveform = np.random.default_rng(0).normal(0, 0.1, RATE // 2).astype(np.float32)
    short = saved.window_probabilities(Song(waveform, RATE), 1_000)[0]
    repeated = saved.window_probabilities(Song(np.tile(waveform, 2), RATE), 1_000)[0]
    assert len(short) == 1
    np.testing.assert_array_equal(short, repeated)
    windows = SingleWindows(Song(np.arange(40_000, dtype=np.float32), RATE), 16_000, 10_000)
    assert windows.starts.tolist() == [0, 10_000, 20_000, 24_000]
    assert windows.read(3, 0, 99_999).tolist() == list(range(24_000, 40_000))
    assert windows.read(1, 5, 7).tolist() == [10_005, 10_006]


def test_every_rule_is_scored_on_clips_and_medleys(run, saved, tmp_path, capsys):
    assert "long-audio" in study_names()
    study(run, "--hop", "0.25", "--medley", "2,1", "--output_dir", str(tmp_path))
    record, rows = read(tmp_path)
    fitted = "attention, fitted on medleys"
    assert list(rows) == [
        (1, "mean"), (1, "max"), (1, "attention"), (2, "mean"), (2, "max"), (2, "attention"), (2, fitted)
    ]  # fmt: skip
    assert [own["value"] for own in record["conditions"]] == [
        own["scores"]["ap_macro"]["value"] for own in rows.values()
    ]
    test, validation = (saved.labelled_windows(split, RATE // 4) for split in ("test", "validation"))  # by hand
    sharpness = fit_sharpness(validation.windows, validation.references, saved.dataset.problem_type)
    assert list(record["sharpness"].values()) == pytest.approx(sharpness.tolist())
    assert max(record["sharpness"].values()) > 0
    medleys, same = (own.joined(2, saved.trainer.args.seed) for own in (test, validation))
    assert rows[2, "max"]["recordings"] == len(test.windows) // 2
    same_sharpness = fit_sharpness(same.windows, same.references, saved.dataset.problem_type)
    for key, recordings, rule, own_sharpness in (
        ((1, "mean"), test, "mean", None),
        ((2, "max"), medleys, "max", None),
        ((2, "attention"), medleys, "attention", sharpness),
        ((2, fitted), medleys, "attention", same_sharpness),
    ):
        pooled = aggregate_all(rule, recordings.windows, saved.dataset.problem_type, own_sharpness)
        expected = score_clips(pooled, recordings.references, saved.dataset.problem_type)
        for metric in ("ap_macro", "roc_auc_macro", "f1_macro"):
            assert rows[key]["scores"][metric]["value"] == pytest.approx(expected[metric], abs=1e-9), (key, metric)
    difference = rows[2, "max"]["difference"]
    assert difference["difference"] == pytest.approx(
        rows[2, "max"]["scores"]["ap_macro"]["value"] - rows[2, "mean"]["scores"]["ap_macro"]["value"]
    )
    assert rows[2, "mean"]["difference"] is None
    printed = capsys.readouterr().out
    assert f"| 2 | {len(medleys.windows)} | max | {rows[2, 'max']['scores']['ap_macro']['value']:.4f} |" in printed
    assert f"{test.prevalence:.4f} of 1, {medleys.prevalence:.4f} of 2" in printed
    assert medleys.prevalence > test.prevalence
    with Image.open(tmp_path / "long_audio.png") as picture:
        assert picture.width > 1_000


def test_the_sharpness_is_stored_where_the_pipeline_finds_it(run, opened, song, tmp_path, capsys):
    before = json.loads((run / "config.json").read_text())
    try:
        study(run, "--medley", "1", "--store", "--output_dir", str(tmp_path))
        assert f"Sharpness stored in {run / 'config.json'}" in capsys.readouterr().out
        after = json.loads((run / "config.json").read_text())
        sharpness = after.pop("aggregation_sharpness")
        assert after == before
        assert sharpness == read(tmp_path)[0]["sharpness"]
        tagger = MusicTaggingPipeline.from_pretrained(run, device="cpu", aggregate="attention", top_k=None)
        (windows,) = tagger.tagger.window_probabilities([load_mono(song, RATE)])
        expected = aggregate("attention", windows, MULTI_LABEL, [sharpness[name] for name in tagger.tagger.label_names])
        found = {tag["label"]: tag["score"] for tag in tagger(song)}
        assert found == pytest.approx(dict(zip(tagger.tagger.label_names, expected, strict=True)))
        plan = plan_model(ModelArguments(model_name_or_path=str(run)))
        assert not hasattr(plan.config, "aggregation_sharpness")  # of what will be other weights
    finally:
        (run / "config.json").write_text(json.dumps(before))


def test_a_sharpness_is_stored_in_folders_only(run, opened):
    with pytest.raises(HfTaggerError, match="--store writes into the folder of a run; someone/some-tagger is none"):
        run_study(["long-audio", "someone/some-tagger", str(run / "recipe.yaml"), "--store"])


def test_songs_get_a_timeline_and_the_tags_of_every_rule(run, saved, opened, song, capsys):
    study(run, "--medley", "1", "--top_k", "3", "--songs", str(song.parent), str(song))
    folder = run / "studies" / "long_audio"
    record, _ = read(folder)
    first, second = record["songs"]
    assert (first["seconds"], first["windows"]) == (3.5, 6)  # windows of a second, by default every half of one
    assert [first["timeline"], second["timeline"]] == ["timeline_a song.png", "timeline_a song_2.png"]
    windows = saved.window_probabilities(Song(load_mono(song, RATE), RATE), RATE // 2)[0]  # by hand
    best = windows.max(axis=0)
    names = list(record["sharpness"])
    expected = [(names[label], pytest.approx(best[label], abs=1e-6)) for label in np.argsort(-best)[:3]]
    assert [(tag["label"], tag["score"]) for tag in first["tags"]["max"]] == expected
    assert list(first["tags"]) == ["mean", "max", "attention"]
    printed, text = capsys.readouterr().out, (folder / "long_audio.md").read_text()
    tops = " | ".join(f"{tags[0]['label']} {tags[0]['score']:.3f}" for tags in first["tags"].values())
    for part in (f"## {song.name} (3.5 s, 6 windows)", f"| 1 | {tops} |"):
        assert part in printed
        assert part in text
    with Image.open(folder / "timeline_a song.png") as picture:
        assert picture.width > 1_000


def test_one_bad_song_is_named_and_stops_nothing(run, opened, song, tmp_path, capsys):
    (tmp_path / "text.mp3").write_text("no music")
    files = [str(tmp_path / name) for name in ("text.mp3", "gone.wav", "a song.wav")]
    with pytest.raises(HfTaggerError, match=r"2 of 3 songs could not be read:\n.*text\.mp3: .*\n.*gone\.wav: file not"):
        study(run, "--medley", "1", "--output_dir", str(tmp_path), "--songs", *files)
    record, _ = read(tmp_path)
    assert [list(own)[1] for own in record["songs"]] == ["error", "error", "seconds"]
    assert "Not tagged: file not found" in (tmp_path / "long_audio.md").read_text()
    assert (tmp_path / "timeline_a song.png").exists()
    assert "## a song.wav (3.5 s" in capsys.readouterr().out


def test_classes_are_scored_without_medleys(genre_run, song, tmp_path):
    study(genre_run, "--output_dir", str(tmp_path), "--songs", str(song))
    record, rows = read(tmp_path)
    assert list(rows) == [(1, "mean"), (1, "max"), (1, "attention")]
    assert list(rows[1, "mean"]["scores"]) == ["accuracy", "f1_macro"]
    for tags in record["songs"][0]["tags"].values():
        assert sum(tag["score"] for tag in tags) == pytest.approx(1)
    with pytest.raises(HfTaggerError, match="one class each"):
        study(genre_run, "--output_dir", str(tmp_path), "--medley", "1,2")


def test_mistakes_are_said(run, opened, tmp_path):
    output = ("--output_dir", str(tmp_path))
    for hop in ("0", "-1", "nan", "inf"):
        with pytest.raises(HfTaggerError, match="seconds greater than 0"):
            study(run, *output, "--hop", hop)
    for hop in ("1.5", "0.00001"):
        with pytest.raises(HfTaggerError, match="at most a window of this model, 1 s"):
            study(run, *output, "--hop", hop)
    with pytest.raises(HfTaggerError, match="name at most 6"):
        study(run, *output, "--medley", "1,7")
    with pytest.raises(HfTaggerError, match="--top_k must be at least 1"):
        study(run, *output, "--top_k", "0")
    with pytest.raises(HfTaggerError, match="No audio file below"):
        study(run, *output, "--songs", str(tmp_path))
    for medley in ("0", "two", "1.5"):
        with pytest.raises(SystemExit):
            study(run, *output, "--medley", medley)


def test_medleys_that_do_not_fit_the_split_are_left_out_by_default(run, opened, tmp_path):
    study(run, "--output_dir", str(tmp_path), "--split", "validation")
    _, rows = read(tmp_path)
    assert list(dict.fromkeys(clips for clips, _ in rows)) == [1, 2, 4]  # of 8 clips
    assert "its numbers are too good" in (tmp_path / "long_audio.md").read_text()


def test_the_picture_has_a_line_with_intervals_for_every_rule_and_axes_for_every_score():
    def points(*values):
        return [Condition("", 2.0**n, value, value - 0.1, min(1, value + 0.2), {}) for n, value in enumerate(values)]

    later = [Condition("", 4.0, 0.5, None, None, {}), Condition("", 2.0, None, None, None, {})]
    figure = study_lines_figure(
        {"Score": {"a": points(0.2, 0.4, 0.9), "b": later}, "Other": {"a": points(0.3)}}, "Clips"
    )
    first, second = figure.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("Score", "Other")
    lines = {bars.get_label(): bars for bars in first.containers}
    assert lines["a"].lines[0].get_ydata().tolist() == [0.2, 0.4, 0.9]
    assert lines["b"].lines[0].get_ydata().tolist() == [0.5]
    ends = [segment[:, 1].tolist() for segment in lines["a"].lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[0.1, 0.4], [0.3, 0.6], [0.8, 1.0]])
    assert [label.get_text() for label in first.get_xticklabels()] == ["1", "2", "4"]
    places = [lines[name].lines[0].get_xdata()[-1] for name in "ab"]  # both of strength 4, side by side
    assert np.rint(places).tolist() == [2, 2]
    assert places[0] < places[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.shared
def test_a_real_song_is_tagged_as_by_predict(run, saved, shared):
    path = sorted((shared / "audio").glob("*.ogg"))[0]
    song = Song(load_mono(path, RATE), RATE)
    windows = saved.window_probabilities(song, saved.trainer.processing_class.hop_samples)[0]
    tagged = Tagger.from_pretrained(run, device="cpu").probabilities(song.waveform)
    np.testing.assert_allclose(
        aggregate_all("mean", [windows], saved.dataset.problem_type)[0], tagged.numpy(), atol=1e-5
    )
    assert len(windows) > 30
