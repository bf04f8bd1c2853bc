"""Real recordings in MagnaTagATune's layout, and real songs: the way a user's own data would go."""

import csv
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from script_runner import TINY, load_script
from transformers import AutoModelForAudioClassification

from hf_tagger import DataArguments, load_tagging_dataset, prepare_clips
from hf_tagger.audio import load_mono

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def run(shared, tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("orchestra") / "run"
    argv = [
        str(root / "recipes" / "short_cnn_mtat.yaml"),
        *("--dataset_root", str(shared / "data" / "orchestra"), "--protocol", "original", "--tags", "all"),
        *("--allow_size_mismatch", "--output_dir", str(folder), *TINY),
        *("--num_train_epochs", "1", "--crops_per_clip", "1"),
    ]
    load_script("finetune").main(argv)
    return folder


def test_the_two_empty_recordings_are_named_and_the_others_are_used(run):
    with open(run / "skipped_clips.csv", newline="", encoding="utf-8") as file:
        skipped = {row["id"]: (row["split"], row["reason"]) for row in csv.DictReader(file)}
    assert skipped == {"901": ("train", "empty file (0 bytes)"), "902": ("test", "empty file (0 bytes)")}
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["protocol"]["used"] == {"train": 600, "validation": 100, "test": 200}
    assert metrics["protocol"]["sizes_expected"] == {"train": 18_706, "validation": 1_825, "test": 5_329}
    assert metrics["test"]["tags_scored"] == 21
    assert metrics["test"]["tags_left_out"] == 167


def test_the_card_says_loudly_that_these_are_not_the_published_clips(run):
    assert "Do not compare the numbers below with published ones" in (run / "README.md").read_text(encoding="utf-8")


def test_whole_songs_score_the_same_by_predict_and_by_the_plain_pipeline_without_this_package(
    run, shared, tmp_path, capsys
):
    songs = sorted((shared / "audio").glob("*.ogg"))
    load_script("predict").main([str(run), str(shared / "audio"), "--json", "--top_k", "188"])
    ours = json.loads(capsys.readouterr().out)
    assert [result["file"] for result in ours] == [str(song) for song in songs]
    for number, song in enumerate(songs):
        np.save(tmp_path / f"{number}.npy", load_mono(song, 16_000))
    program = textwrap.dedent(f"""
        import sys
        sys.modules["hf_tagger"] = None
        import json
        import numpy as np
        from transformers import pipeline
        tagger = pipeline("audio-classification", model={str(run)!r}, trust_remote_code=True, top_k=None)
        songs = [np.load(f"{{number}}.npy") for number in range({len(songs)})]
        print(json.dumps([tagger(song) for song in songs]))
    """)
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    for result, theirs in zip(ours, json.loads(finished.stdout.splitlines()[-1]), strict=True):
        scores = {score["label"]: score["score"] for score in theirs}
        assert len(scores) == 188
        for score in result["tags"]:
            assert score["score"] == pytest.approx(scores[score["label"]], abs=1e-5)


def test_librosa_and_this_package_hear_the_same_song(run, shared):
    """The card tells people to load files with librosa; its soxr resampling is ours."""
    librosa = pytest.importorskip("librosa")
    song = min((shared / "audio").glob("*.ogg"), key=lambda path: path.stat().st_size)
    ours = load_mono(song, 16_000)
    theirs, _ = librosa.load(song, sr=16_000)
    assert 0 <= len(theirs) - len(ours) <= 1  # librosa rounds the length up and pads with a zero
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-5)
    assert AutoModelForAudioClassification.from_pretrained(run).config.sampling_rate == 16_000


def test_the_store_holds_the_recordings_of_the_files(shared, tmp_path):
    arguments = DataArguments(
        dataset_name="magnatagatune",
        dataset_root=str(shared / "data" / "orchestra"),
        allow_size_mismatch=True,
        cache_dir=str(tmp_path),
    )
    dataset = load_tagging_dataset(arguments)
    clips, _ = prepare_clips(dataset, arguments, 16_000)
    row = dataset["validation"][17]
    assert clips["validation"].ids[17] == row["id"]
    assert np.abs(clips["validation"].read(17) - row["audio"]["array"]).max() <= 0.5 / 32_768 + 1e-9
