import csv
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile

from hf_tagger.arguments import DataArguments
from hf_tagger.audio import load_mono
from hf_tagger.data.base import SINGLE_LABEL, Clip, DatasetFacts, Protocol
from hf_tagger.data.pcm import prepare_clips, write_skipped_clips
from hf_tagger.data.rows import from_clips
from hf_tagger.errors import DatasetError

RATE = 16_000
FACTS = DatasetFacts("toy", "Toy", "", "CC0", "", "Make it.", SINGLE_LABEL, (Protocol("only", "a test"),))


def write_clips(root, seconds=(1.0, 2.0, 0.5, 3.0, 1.5, 2.5)):
    generator = np.random.default_rng(0)
    for number, duration in enumerate(seconds):
        soundfile.write(root / f"{number}.wav", generator.normal(0, 0.1, round(duration * RATE)), RATE)


def toy(root, names, **options):
    """Rows of the files of a folder: all in train but the last two, one in validation and one in test."""
    arguments = DataArguments(dataset_root=str(root), cache_dir=str(root / "store"), **options)
    clips = [Clip(name.split(".")[0], name, ("ab"[index % 2],), "group") for index, name in enumerate(names)]
    splits = {"train": clips[:-2], "validation": clips[-2:-1], "test": clips[-1:]}
    return from_clips(FACTS, FACTS.protocols[0], splits, ["a", "b"], arguments, RATE, root=root), arguments


def prepare(root, names, **options):
    dataset, arguments = toy(root, names, **options)
    return prepare_clips(dataset, arguments, RATE)


NAMES = [f"{number}.wav" for number in range(6)]


def test_the_store_gives_the_samples_of_the_files(tmp_path):
    write_clips(tmp_path)
    clips, skipped = prepare(tmp_path, NAMES)
    assert skipped == []
    assert clips["train"].ids == ["0", "1", "2", "3"]
    assert clips["train"].num_samples.tolist() == [16_000, 32_000, 8_000, 48_000]
    for index, name in enumerate(NAMES[:4]):
        expected = load_mono(tmp_path / name, RATE)
        np.testing.assert_array_equal(clips["train"].read(index), expected)
        np.testing.assert_array_equal(clips["train"].read(index, 100, 150), expected[100:150])


def test_samples_are_read_from_the_memory_mapped_file_without_a_copy(tmp_path):
    write_clips(tmp_path)
    clips, _ = prepare(tmp_path, NAMES)
    view = clips["train"]._stored(3, 0, 48_000)
    assert not view.flags.owndata
    assert not view.flags.writeable  # a file mapped for reading, not memory of ours


def test_a_store_travels_to_another_process_as_its_path(tmp_path):
    write_clips(tmp_path, seconds=[10.0] * 6)
    clips, _ = prepare(tmp_path, NAMES)
    pickled = pickle.dumps(clips["train"])
    assert len(pickled) < 20_000 < clips["train"].num_samples.sum()
    np.testing.assert_array_equal(pickle.loads(pickled).read(2), clips["train"].read(2))


def test_decoding_on_the_fly_gives_the_same_samples_as_the_store(tmp_path):
    write_clips(tmp_path)
    stored, _ = prepare(tmp_path, NAMES)
    live, _ = prepare(tmp_path, NAMES, pcm_store=False)
    for split in stored:
        for index in range(len(stored[split])):
            np.testing.assert_array_equal(stored[split].read(index, 10, 5_000), live[split].read(index, 10, 5_000))
    sizes = sum(file.stat().st_size for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert sizes < 2 * stored["train"].num_samples.sum() * 3  # the second store holds no samples


def test_the_second_run_decodes_nothing(tmp_path, monkeypatch):
    write_clips(tmp_path)
    prepare(tmp_path, NAMES, preprocessing_num_workers=1)
    monkeypatch.setattr("hf_tagger.data.shards.load_mono", lambda *_: pytest.fail("decoded again"))
    clips, _ = prepare(tmp_path, NAMES, preprocessing_num_workers=1)
    assert len(clips["train"]) == 4


def test_a_file_that_changed_is_decoded_again(tmp_path):
    write_clips(tmp_path)
    prepare(tmp_path, NAMES)
    soundfile.write(tmp_path / "0.wav", np.full(400, 0.5), RATE)
    clips, _ = prepare(tmp_path, NAMES)
    assert clips["train"].num_samples[0] == 400
    assert clips["train"].read(0)[7] == 0.5


@pytest.mark.parametrize("processes", [1, 2])
def test_the_number_of_processes_changes_nothing(tmp_path, processes):
    write_clips(tmp_path)
    clips, _ = prepare(tmp_path, NAMES, preprocessing_num_workers=processes)
    total = sum(float(np.abs(clips["train"].read(index)).sum()) for index in range(4))
    expected = sum(float(np.abs(load_mono(tmp_path / name, RATE)).sum()) for name in NAMES[:4])
    assert total == expected


def test_damaged_clips_are_skipped_and_named_with_their_reason(tmp_path):
    write_clips(tmp_path)
    (tmp_path / "1.wav").write_bytes(b"")
    (tmp_path / "2.wav").write_text("not audio" * 50)
    clips, skipped = prepare(tmp_path, NAMES, max_skipped_share=0.5)
    assert clips["train"].ids == ["0", "3"]
    assert clips["train"].labels == [0, 1]
    np.testing.assert_array_equal(clips["train"].read(1), load_mono(tmp_path / "3.wav", RATE))
    write_skipped_clips(skipped, tmp_path / "skipped_clips.csv")
    with open(tmp_path / "skipped_clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["split"]) for row in rows] == [("1", "train"), ("2", "train")]
    assert rows[0]["reason"] == "empty file (0 bytes)"
    assert "not a" in rows[1]["reason"]


def test_too_many_damaged_clips_stop_the_run_with_their_list(tmp_path):
    write_clips(tmp_path)
    for name in ("0.wav", "1.wav"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"2 of 6 clips cannot be used(.|\n)*0 \(train\): empty(.|\n)*1 \(train\)"):
        prepare(tmp_path, NAMES, max_skipped_share=0.2)


def test_a_split_without_any_usable_clip_stops_the_run(tmp_path):
    write_clips(tmp_path)
    (tmp_path / "5.wav").write_bytes(b"")
    with pytest.raises(DatasetError, match="No usable clip is left in test"):
        prepare(tmp_path, NAMES, max_skipped_share=0.5)


def test_an_empty_split_is_prepared_as_an_empty_one(tmp_path):
    write_clips(tmp_path)
    dataset, arguments = toy(tmp_path, NAMES)
    dataset["test"] = dataset["test"].select([])
    clips, skipped = prepare_clips(dataset, arguments, RATE)
    assert (len(clips["train"]), len(clips["test"]), skipped) == (4, 0, [])


def test_a_class_whose_training_clips_are_all_damaged_stops_the_run(tmp_path):
    write_clips(tmp_path)
    for name in ("1.wav", "3.wav"):  # all of class b in the training split
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DatasetError, match="No training clip that can be used is left for b"):
        prepare(tmp_path, NAMES, max_skipped_share=0.5)


def test_a_disk_that_fills_up_leaves_no_half_store(tmp_path):
    """The limit on a file's size fails a write in the middle, as a full disk does."""
    write_clips(tmp_path, seconds=[5.0] * 40)
    program = textwrap.dedent(f"""
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, {str(os.path.dirname(__file__))!r})
        from test_pcm import prepare
        from hf_tagger.errors import DatasetError
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            prepare(Path({str(tmp_path)!r}), [f"{{n}}.wav" for n in range(40)], preprocessing_num_workers=1)
        except DatasetError as error:
            print(error)
            sys.exit(7)
    """)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 7, finished.stderr
    assert "could not be written" in finished.stdout
    assert "cache_dir" in finished.stdout
    assert not list((tmp_path / "store").glob("pcm-*/*.arrow"))
    assert not list((tmp_path / "store").glob("pcm-*/*.partial"))
    clips, skipped = prepare(tmp_path, [f"{number}.wav" for number in range(40)])
    assert skipped == []
    assert clips["train"].num_samples.tolist() == [5 * RATE] * 38
