"""The leak check on a folder in which some clips are copies of others."""

import csv
import json

import numpy as np
import pytest
import soundfile
from script_runner import TINY, load_script

from hf_tagger.data import leaks

RATE = 16_000


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Thirty clips in two classes, with a table of splits and albums; three of them stand twice."""
    root = tmp_path_factory.mktemp("music")
    generator = np.random.default_rng(0)
    rows, waveforms = [], {}
    for number in range(30):
        notes = np.repeat(generator.uniform(300, 1_800, (20, 3)), RATE // 4, axis=0)  # five seconds of chords
        wave = np.sin(2 * np.pi * np.cumsum(notes, axis=0) / RATE).mean(axis=1) * 0.3
        waveforms[number] = wave + generator.normal(0, 0.003, len(wave))
    waveforms[21] = waveforms[2].copy()  # test and train, to the last sample
    waveforms[22] = 0.5 * waveforms[3][RATE // 2 :]  # test and train, quieter and without the first half second
    waveforms[5] = waveforms[4].copy()  # both in train
    for number, wave in waveforms.items():
        name = f"{'high' if number % 2 else 'low'}/{number:02}.wav"
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, wave, RATE)
        split = "train" if number < 15 else "validation" if number < 20 else "test"
        album = "shared album" if number in (0, 25) else f"album {number}"
        rows.append({"file_name": name, "label": name.split("/")[0], "split": split, "group": album})
    with open(root / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def ends_of(pairs):
    return [(own["first"], own["second"]) for own in pairs]


def test_copies_and_groups_across_splits_are_named(music, root, tmp_path, capsys):
    recipe = str(root / "recipes" / "short_cnn_folder.yaml")
    fields = ["--dataset_root", str(music), "--cache_dir", str(tmp_path / "cache"), "--preprocessing_num_workers", "1"]
    load_script("study").main(["leaks", recipe, "--output_dir", str(tmp_path), *fields])
    record, printed = json.loads((tmp_path / "leaks.json").read_text()), capsys.readouterr().out
    assert record["groups_in_several_splits"] == {"shared album": {"train": 1, "test": 1}}
    pairs = record["same_recordings"]
    names = [
        tuple(f"{split} {clip_id.split('/')[-1][:2]}" for split, clip_id in (own["first"], own["second"]))
        for own in pairs
    ]
    assert names == [("train 02", "test 21"), ("train 03", "test 22"), ("train 04", "train 05")]
    assert [own["is_exact"] for own in pairs] == [True, False, True]
    assert [own["across"] for own in pairs] == [True, True, False]
    assert 0 < pairs[1]["bit_error_rate"] < 0.35
    assert pairs[1]["offset"] == pytest.approx(0.5, abs=0.032)
    assert "2 pairs of clips in different splits are the same recording, 1 of them to the last sample" in printed
    assert "- shared album: 1 train, 1 test" in printed


def test_a_run_tells_of_leaks_in_numbers_and_card_and_listens_only_once(music, root, tmp_path, monkeypatch):
    fields = ["--dataset_root", str(music), "--cache_dir", str(tmp_path / "cache"), "--check_leaks", *TINY]
    argv = [str(root / "recipes" / "short_cnn_folder.yaml"), *fields, "--num_train_epochs", "1"]
    load_script("finetune").main([*argv, "--output_dir", str(tmp_path / "run")])
    counts = json.loads((tmp_path / "run" / "metrics.json").read_text())["leaks"]
    assert counts == {
        "groups_in_several_splits": 1,
        "same_recordings_across_splits": 2,
        "equal_clips_across_splits": 1,
    }
    found = json.loads((tmp_path / "run" / "leaks.json").read_text())
    assert len(found["same_recordings"]) == 3
    card = (tmp_path / "run" / "README.md").read_text()
    assert "1 of the known groups (recordings, songs, albums or artists) is in more than one split." in card
    assert "**2 pairs of clips in different splits are the same recording**, 1 of them to the last sample" in card

    monkeypatch.setattr(leaks, "fingerprint", None)  # whoever listened again would fail
    load_script("finetune").main([*argv, "--output_dir", str(tmp_path / "again")])
    assert json.loads((tmp_path / "again" / "leaks.json").read_text()) == found


def test_a_search_that_fails_costs_the_run_nothing_else(music, root, tmp_path, monkeypatch, caplog):
    argv = [str(root / "recipes" / "short_cnn_folder.yaml"), "--dataset_root", str(music), *TINY]
    argv += ["--cache_dir", str(tmp_path / "cache"), "--num_train_epochs", "1", "--output_dir", str(tmp_path / "run")]
    monkeypatch.setattr(leaks.Dataset, "map", failing_map(leaks.Dataset.map))
    load_script("finetune").main([*argv, "--check_leaks"])
    assert "nothing was found out about copies of recordings. The fingerprints of the train clips" in caplog.text
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["leaks"]["groups_in_several_splits"] == 1
    assert metrics["leaks"]["same_recordings_across_splits"] is None
    assert "Nobody listened for copies" in (tmp_path / "run" / "README.md").read_text()

    (tmp_path / "run" / "leaks.json").write_text("{}")  # of an earlier run
    load_script("finetune").main([*argv, "--overwrite_output_dir"])
    assert not (tmp_path / "run" / "leaks.json").exists()


def failing_map(real):
    def wrapped(self, function, **options):
        if "fingerprints-" in options.get("cache_file_name", ""):
            raise OSError(28, "No space left on device")
        return real(self, function, **options)

    return wrapped


def test_very_many_equal_clips_are_each_paired_with_the_first():
    assert list(leaks._pairs_of([3, 5, 8])) == [(3, 5), (3, 8), (5, 8)]
    assert list(leaks._pairs_of(list(range(100)))) == [(0, other) for other in range(1, 100)]
