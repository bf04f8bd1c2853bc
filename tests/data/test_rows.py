import logging
import os

import pytest
from datasets import ClassLabel, List
from fake_datasets import encoded_tone, write_tone

from hf_tagger import DataArguments
from hf_tagger.data.base import (
    MULTI_LABEL,
    SINGLE_LABEL,
    SPLITS,
    Clip,
    DatasetFacts,
    Protocol,
    SkippedClip,
    examples,
    folder_contents,
    hash_ids,
)
from hf_tagger.data.rows import from_clips, label_values
from hf_tagger.errors import DatasetError

NAMES = ("a", "b")


def make(root, clips, *, problem_type=SINGLE_LABEL, names=NAMES, skipped=(), options=None, **protocol):
    """Rows of the given clips, as a dataset called Toy."""
    rule = Protocol("only", "a test", **protocol)
    facts = DatasetFacts("toy", "Toy", "", "CC0", "", "Get it there.", problem_type, (rule,))
    arguments = DataArguments(dataset_root=str(root), **(options or {}))
    return from_clips(facts, rule, clips, names, arguments, 16_000, root=root, skipped=skipped)


def files(root, count=4, labels="ab"):
    """The clips of three splits, all of them real files: all but two in train."""
    clips = []
    for number in range(count):
        write_tone(root / "folder" / f"{number}.wav")
        clips.append(Clip(f"clip {number}", f"folder/{number}.wav", (labels[number % len(labels)],), f"group {number}"))
    return {"train": clips[:-2], "validation": clips[-2:-1], "test": clips[-1:]}


def test_rows_have_id_audio_labels_and_group(tmp_path):
    dataset = make(tmp_path, files(tmp_path))
    assert dataset["train"].column_names == ["id", "audio", "labels", "group"]
    assert isinstance(dataset["train"].features["labels"], ClassLabel)
    row = dataset["train"][1]
    assert (row["id"], row["labels"], row["group"]) == ("clip 1", 1, "group 1")
    assert row["audio"]["path"] == str(tmp_path / "folder" / "1.wav")
    assert row["audio"]["array"].shape == (4_800,)
    assert dataset.protocol_record() == {
        "dataset": "toy",
        "name": "only",
        "source": "a test",
        "sizes": {"train": 2, "validation": 1, "test": 1},
        "sizes_expected": None,
        "hash": hash_ids({"train": ["clip 0", "clip 1"], "validation": ["clip 2"], "test": ["clip 3"]}),
    }


def test_unknown_labels_are_one_column_more_in_all_splits(tmp_path):
    clips = files(tmp_path)
    clips["train"][0] = Clip("clip 0", "folder/0.wav", ("b",), "x", unknown_labels=("a",))
    dataset = make(tmp_path, clips, problem_type=MULTI_LABEL)
    assert [rows.column_names[-2:] for rows in dataset.values()] == [["group", "unknown_labels"]] * 3
    assert dataset["train"].features["unknown_labels"] == dataset["train"].features["labels"]
    assert dataset["train"]["unknown_labels"][:] == [[0], []]
    assert dataset["test"]["unknown_labels"][:] == [[]]


@pytest.mark.parametrize(
    ("labels", "unknown", "message"),
    [
        (("a",), ("a",), r"unknown labels must be some of those that a clip does not carry, .*; not so for clip 0\."),
        ((), ("a", "b"), r"labels None where nothing is known; not so for clip 0\."),
        ((), ("c",), r"unknown labels c\. Known are: a, b\."),
    ],
)
def test_a_label_is_carried_absent_or_unknown(tmp_path, labels, unknown, message):
    clips = files(tmp_path)
    clips["train"][0] = Clip("clip 0", "folder/0.wav", labels, "x", unknown_labels=unknown)
    with pytest.raises(DatasetError, match=message):
        make(tmp_path, clips, problem_type=MULTI_LABEL)


def test_several_labels_are_a_list_of_class_indices(tmp_path):
    clips = files(tmp_path)
    clips["train"][0] = Clip("clip 0", "folder/0.wav", ("b", "a", "b"), "x")
    clips["test"][0] = Clip("clip 3", "folder/3.wav", (), "x")
    dataset = make(tmp_path, clips, problem_type=MULTI_LABEL)
    assert isinstance(dataset["train"].features["labels"], List)
    assert dataset["train"]["labels"][:] == [[0, 1], [1]]
    assert dataset["test"]["labels"][:] == [[]]


def test_labels_that_are_not_known_are_none():
    clips = [Clip("1", None, None, "1"), Clip("2", None, ("b",), "2")]
    assert label_values(clips, NAMES, SINGLE_LABEL) == [None, 1]
    assert label_values(clips, NAMES, MULTI_LABEL) == [None, [1]]


def test_clips_may_hold_their_audio_themselves(tmp_path):
    content = encoded_tone(440.0)
    clips = {split: [Clip(f"{split} {name}", None, (name,), "x", content) for name in NAMES] for split in SPLITS}
    row = make(None, clips)["test"][0]
    assert row["audio"]["path"] is None
    assert row["audio"]["array"].shape == (4_800,)


def test_an_id_in_two_splits_is_refused(tmp_path):
    clips = files(tmp_path)
    clips["test"] = clips["train"][:1]
    with pytest.raises(DatasetError, match="1 ids stand more than once: clip 0"):
        make(tmp_path, clips)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "folder/../../x.wav"])
def test_a_path_outside_of_the_root_is_refused(tmp_path, path):
    clips = files(tmp_path)
    clips["train"].append(Clip("thief", path, ("a",), "x"))
    with pytest.raises(DatasetError, match=r"'thief' names the path .* outside of dataset_root"):
        make(tmp_path, clips)


def test_a_path_that_comes_back_into_the_root_is_fine(tmp_path):
    clips = files(tmp_path)
    clips["train"].append(Clip("detour", "folder/../folder/0.wav", ("a",), "x"))
    assert len(make(tmp_path, clips)["train"]) == 3


def test_a_linked_audio_folder_works(tmp_path):
    clips = files(tmp_path / "disk")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "disk" / "folder")
    assert len(make(tmp_path / "root", clips)["train"]) == 2


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (("a", "A", "b"), "ab", "differ only by case or stand twice: a and A"),
        (("a", "a", "b"), "ab", "a and a"),
        (("a", "b"), "abc", "unknown labels c"),
        (("a",), "a", "at least two classes"),
        (("a", "b", "c"), "ab", "no training clip for 1 of 3 classes: c"),
    ],
)
def test_labels_must_fit_the_vocabulary(tmp_path, names, labels, message):
    with pytest.raises(DatasetError, match=message):
        make(tmp_path, files(tmp_path, count=5, labels=labels), names=names)


def test_two_classes_for_one_clip_are_refused(tmp_path):
    clips = files(tmp_path)
    clips["train"].append(Clip("both", "folder/0.wav", ("a", "b"), "x"))
    with pytest.raises(DatasetError, match="exactly one label is expected a clip; not so for both"):
        make(tmp_path, clips)


def test_a_tag_without_training_clips_is_said_in_the_log(tmp_path, caplog):
    make(tmp_path, files(tmp_path), names=("a", "b", "c"), problem_type=MULTI_LABEL)
    assert "1 of 3 tags have no training clip and cannot be learned: c" in caplog.text


def test_other_sizes_are_refused_or_said_loudly(tmp_path, caplog):
    sizes = {"train": 5, "validation": 1, "test": 1}
    with pytest.raises(DatasetError, match=r"(?s)unexpected numbers of clips: train 2 instead of 5\. .*Get it there"):
        make(tmp_path, files(tmp_path), sizes=sizes)
    with caplog.at_level(logging.WARNING):
        make(tmp_path, files(tmp_path), sizes=sizes, options={"allow_size_mismatch": True})
    assert "train 2 instead of 5. allow_size_mismatch is set: do not compare" in caplog.text


def test_a_group_in_two_splits_is_refused_where_the_protocol_forbids_it(tmp_path, caplog):
    clips = files(tmp_path)
    clips["test"] = [Clip("clip 3", "folder/3.wav", ("b",), "group 0")]
    with pytest.raises(DatasetError, match=r"1 of 3 groups .* group 0 \(in train and test\)"):
        make(tmp_path, clips, groups_are_disjoint=True)
    make(tmp_path, clips)
    assert "group 0 (in train and test)" in caplog.text


def test_missing_files_are_skipped_and_named_while_they_are_few(tmp_path, caplog):
    clips = files(tmp_path, count=10)
    os.unlink(tmp_path / "folder" / "3.wav")
    with pytest.raises(DatasetError, match=r"(?s)1 of 10 audio files were not found below .*folder/3\.wav.*Get it"):
        make(tmp_path, clips)
    dataset = make(tmp_path, clips, options={"max_skipped_share": 0.1})
    assert dataset.skipped == [SkippedClip("clip 3", "train", "folder/3.wav", "file not found")]
    assert "skipped_clips.csv" in caplog.text
    assert len(make(tmp_path, clips, options={"allow_size_mismatch": True})["train"]) == 7


def test_files_that_are_all_missing_are_an_error_even_when_sizes_may_differ(tmp_path):
    clips = files(tmp_path)
    for file in (tmp_path / "folder").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="4 of 4 audio files were not found"):
        make(tmp_path, clips, options={"allow_size_mismatch": True})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path):
    clips = files(tmp_path)
    (tmp_path / "folder").chmod(0)
    with pytest.raises(DatasetError, match="cannot be read"):
        make(tmp_path, clips)


def test_an_empty_training_split_is_refused(tmp_path):
    clips = files(tmp_path)
    with pytest.raises(DatasetError, match="the train split is empty"):
        make(tmp_path, {**clips, "train": []})


def test_other_ids_than_those_of_the_protocol_are_refused(tmp_path):
    clips = files(tmp_path)
    right = hash_ids({split: [clip.id for clip in rows] for split, rows in clips.items()})
    assert make(tmp_path, clips, ids_hash=right).protocol_record()["hash"] == right
    with pytest.raises(DatasetError, match=r"the clip ids hash to .* The split differs from the published one"):
        make(tmp_path, clips, ids_hash="0" * 64)


def test_clips_that_a_module_left_out_are_kept_in_the_record(tmp_path):
    left_out = SkippedClip("empty", "train", "folder/empty.wav", "empty file")
    assert make(tmp_path, files(tmp_path), skipped=[left_out]).skipped == [left_out]


def test_the_hash_depends_on_who_is_where_and_not_on_the_order():
    ids = {"train": ["1", "2"], "test": ["3"]}
    assert hash_ids(ids) == hash_ids({"test": ["3"], "train": ["2", "1"]})
    assert hash_ids(ids) != hash_ids({"train": ["1"], "test": ["2", "3"]})
    assert hash_ids(ids) != hash_ids({"train": ["1", "2"], "test": ["4"]})


def test_long_lists_and_folders_are_shortened_in_messages(tmp_path):
    assert examples(["a", "b"]) == "a, b"
    assert examples(range(13)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more"
    assert folder_contents(tmp_path) == "nothing"
    (tmp_path / "b.csv").touch()
    (tmp_path / "a").mkdir()
    assert folder_contents(tmp_path) == "a/, b.csv"
