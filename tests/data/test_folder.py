import json
import os

import pytest
from fake_datasets import link, make_class_folder, write_metadata, write_tone

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.data.base import SPLITS
from hf_tagger.errors import DatasetError


def load(root, **options):
    return load_tagging_dataset(DataArguments(dataset_name="folder", dataset_root=str(root), **options))


def column(dataset, name):
    return {split: dataset[split][name][:] for split in SPLITS}


def rows_of(label="label", count=6, **columns):
    """Rows of two classes, ``count`` clips each."""
    return [
        {"file_name": f"{name}_{index}.wav", label: name, **{key: value(index) for key, value in columns.items()}}
        for name in ("cat", "dog")
        for index in range(count)
    ]


def test_class_folders_become_classes_and_the_split_is_drawn(tmp_path):
    dataset = load(make_class_folder(tmp_path, {"dog": 20, "cat": 20}))
    assert dataset.label_names == ["cat", "dog"]
    assert dataset.problem_type == "single_label_classification"
    assert (dataset.protocol.name, dataset.protocol.generated) == ("seeded", True)
    assert [len(dataset[split]) for split in SPLITS] == [32, 4, 4]
    for split in SPLITS:
        assert dataset[split]["labels"][:].count(0) == dataset[split]["labels"][:].count(1)
    assert dataset["train"][0]["id"].startswith("cat/clip_")
    assert len(dataset["train"][0]["audio"]["array"]) == 4_800


def test_hidden_files_and_notes_are_no_clips(tmp_path):
    dataset = load(make_class_folder(tmp_path, {"a": 5, "b": 5}))
    assert sum(map(len, dataset.values())) == 10
    assert dataset.skipped == []


def test_the_draw_depends_on_the_seed_and_on_nothing_else(tmp_path):
    make_class_folder(tmp_path, {"a": 20, "b": 20})
    first, again, other = (column(load(tmp_path, split_seed=seed), "id") for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_train_validation_and_test_folders_are_the_split(tmp_path):
    for below, count in (("train", 5), ("val", 2), ("test", 3)):
        make_class_folder(tmp_path, {"a": count, "b": count}, below=below)
    dataset = load(tmp_path)
    assert (dataset.protocol.name, dataset.protocol.generated) == ("given", False)
    assert [len(dataset[split]) for split in SPLITS] == [10, 4, 6]
    assert dataset["validation"]["id"][:] == ["val/a/clip_00", "val/a/clip_01", "val/b/clip_00", "val/b/clip_01"]
    assert dataset.label_names == ["a", "b"]


def test_a_missing_validation_folder_is_drawn_from_train_and_test_stays(tmp_path):
    make_class_folder(tmp_path, {"a": 20, "b": 20}, below="train")
    make_class_folder(tmp_path, {"a": 3, "b": 3}, below="test")
    dataset = load(tmp_path)
    assert dataset.protocol.name == "seeded"
    assert [len(dataset[split]) for split in SPLITS] == [36, 4, 6]
    assert all(name.startswith("train/") for split in ("train", "validation") for name in dataset[split]["id"])


def test_split_folders_beside_class_folders_are_refused(tmp_path):
    for below in ("train", "test", ""):
        make_class_folder(tmp_path, {"a": 3, "b": 3}, below=below)
    with pytest.raises(DatasetError, match="test, train look like splits, a, b like classes"):
        load(tmp_path)


def test_folders_below_a_class_belong_to_it(tmp_path):
    for name in ("rock", "jazz"):
        link(write_tone(tmp_path / ".tone.wav"), [tmp_path / name / "x" / f"y{n}" / "z.wav" for n in range(5)])
        (tmp_path / ".tone.wav").unlink()
    dataset = load(tmp_path)
    assert dataset.label_names == ["jazz", "rock"]
    assert "rock/x/y0/z" in {name for names in column(dataset, "id").values() for name in names}


def test_a_linked_class_folder_is_followed_and_a_loop_is_not(tmp_path):
    make_class_folder(tmp_path / "elsewhere", {"b": 5})
    make_class_folder(tmp_path / "root", {"a": 5})
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "root" / "a" / "again").symlink_to(tmp_path / "root")
    dataset = load(tmp_path / "root")
    assert dataset.label_names == ["a", "b"]
    assert sum(map(len, dataset.values())) == 10


def test_the_suffix_is_part_of_an_id_only_where_it_has_to_be(tmp_path):
    make_class_folder(tmp_path, {"a": 5, "b": 5})
    write_tone(tmp_path / "a" / "clip_00.flac")
    ids = sorted(name for names in column(load(tmp_path), "id").values() for name in names)
    assert ids[:3] == ["a/clip_00.flac", "a/clip_00.wav", "a/clip_01"]


def test_a_folder_without_audio_is_no_class_and_is_named_in_the_log(tmp_path, caplog):
    make_class_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "docs").mkdir()
    assert load(tmp_path).label_names == ["a", "b"]
    assert "no audio below docs" in caplog.text


def test_no_audio_at_all_says_which_suffixes_were_looked_for(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DatasetError, match=r"(?s)No audio files were found .*\.flac.*\.wav.*found: a/"):
        load(tmp_path)


def test_audio_in_no_class_folder_is_refused(tmp_path):
    make_class_folder(tmp_path, {"a": 5, "b": 5})
    write_tone(tmp_path / "loose.wav")
    with pytest.raises(DatasetError, match=r"1 audio files lie in no class folder: loose\.wav"):
        load(tmp_path)


def test_two_classes_of_the_same_name_by_case_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="Rock and rock"):
        load(make_class_folder(tmp_path, {"Rock": 5, "rock": 5}))


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="at least two classes"):
        load(make_class_folder(tmp_path, {"rock": 9}))


def test_a_class_without_training_clips_is_refused(tmp_path):
    make_class_folder(tmp_path, {"a": 5, "b": 5}, below="train")
    make_class_folder(tmp_path, {"a": 2, "b": 2}, below="val")
    make_class_folder(tmp_path, {"a": 2, "b": 2, "c": 2}, below="test")
    with pytest.raises(DatasetError, match="no training clip for 1 of 3 classes: c"):
        load(tmp_path)


def test_too_few_clips_for_three_splits_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"2 groups .* are too few"):
        load(make_class_folder(tmp_path, {"a": 1, "b": 1}))


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_metadata_names_files_classes_splits_and_groups(tmp_path, name, encoding):
    split = lambda index: ("train", "train", "Training", "dev", "valid", "test")[index]  # noqa: E731
    rows = rows_of(split=split, group=lambda index: f"album {index}", year=lambda index: 1999)
    dataset = load(write_metadata(tmp_path, rows, name=name, encoding=encoding))
    assert dataset.protocol.name == "given"
    assert [len(dataset[split]) for split in SPLITS] == [6, 4, 2]
    assert dataset.label_names == ["cat", "dog"]
    assert column(dataset, "group")["test"] == ["album 5", "album 5"]
    assert dataset["test"][1]["id"] == "dog_5"


def test_labels_are_tags_separated_by_a_bar_and_may_be_none(tmp_path):
    rows = [{"file_name": f"{index}.wav", "labels": tags} for index, tags in enumerate(["b | a", "a", "", "b|b"] * 3)]
    dataset = load(write_metadata(tmp_path, rows))
    assert dataset.problem_type == "multi_label_classification"
    assert dataset.label_names == ["a", "b"]
    labels = {row["id"]: row["labels"] for split in SPLITS for row in dataset[split].remove_columns("audio")}
    assert [labels[name] for name in ("0", "1", "2", "3")] == [[0, 1], [0], [], [1]]


def test_labels_may_be_a_list_in_jsonl(tmp_path):
    rows = [{"file_name": f"{index}.wav", "labels": ["a|b", 7] if index % 2 else "c|a"} for index in range(10)]
    assert load(write_metadata(tmp_path, rows, name="metadata.jsonl")).label_names == ["7", "a", "a|b", "c"]


def test_groups_stay_together_when_the_split_is_drawn(tmp_path):
    dataset = load(write_metadata(tmp_path, rows_of(count=40, group=lambda index: f"album {index // 5}")))
    groups = {split: set(names) for split, names in column(dataset, "group").items()}
    assert not groups["train"] & groups["validation"]
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    assert set.union(*groups.values()) == {f"album {number}" for number in range(8)}


def test_a_group_in_two_given_splits_is_said_in_the_log(tmp_path, caplog):
    split = lambda index: ("train", "train", "train", "val", "val", "test")[index]  # noqa: E731
    load(write_metadata(tmp_path, rows_of(split=split, group=lambda index: "one album")))
    assert "1 of 1 groups" in caplog.text
    assert "one album (in train and validation and test)" in caplog.text


def test_a_test_clip_needs_no_class(tmp_path):
    split = lambda index: ("train", "train", "train", "val", "val", "test")[index]  # noqa: E731
    rows = rows_of(split=split)
    rows[5]["label"] = rows[11]["label"] = ""
    assert load(write_metadata(tmp_path, rows))["test"]["labels"][:] == [None, None]


def test_the_protocol_asked_for_must_fit(tmp_path):
    write_metadata(tmp_path, rows_of())
    with pytest.raises(DatasetError, match="protocol 'given' was asked for, but the data states no validation and no"):
        load(tmp_path, protocol="given")
    assert load(tmp_path, protocol="seeded").protocol.name == "seeded"


def bad(**change):
    rows = rows_of()
    rows[0] = {**rows[0], **change}
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(label="genre"), "no column label or labels.*Its columns: file_name, genre"),
        ([{**row, "labels": "x"} for row in rows_of()], "both the columns label and labels"),
        ([{"file": row["file_name"], "label": row["label"]} for row in rows_of()], "lacks the column 'file_name'"),
        ([*rows_of(), rows_of()[0]], "1 ids stand more than once: cat_0.wav"),
        ([*rows_of(), {"file_name": "./cat_0.wav", "label": "cat"}], "1 ids stand more than once: cat_0.wav"),
        (bad(file_name="../../etc/passwd"), "lies outside of dataset_root"),
        (bad(file_name="/etc/passwd"), "lies outside of dataset_root"),
        (bad(file_name=""), "the file_name of row 1 is empty"),
        (bad(label="Cat"), "Cat and cat"),
        (bad(label=" "), "1 clips have no label: cat_0.wav"),
        (rows_of(split=lambda index: "fold 1"), "unknown splits 'fold 1'; known are train, training, validation"),
        (rows_of(split=lambda index: "test"), "no training clips, only test"),
    ],
)
def test_a_bad_table_is_an_error_that_says_what_is_wrong(tmp_path, rows, message):
    with pytest.raises(DatasetError, match=message):
        load(write_metadata(tmp_path, rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", b"", "is empty"),
        ("metadata.csv", b"file_name,label\n", "lists no clips"),
        ("metadata.csv", b"file_name,label\na.wav,caf\xe9\n", "not UTF-8 text"),
        ("metadata.csv", b"file_name,label\na.wav,a,b\nb.wav,b,c\n", "more cells than the header"),
        ("metadata.csv", b'file_name,label\n"a.wav,a\n', "is not a table"),
        ("metadata.jsonl", b"", "lists no clips"),
        ("metadata.jsonl", b'{"file_name": "a.wav"}\n{"file', "line 2, is not JSON"),
        ("metadata.jsonl", b"[1]\n", "line 1, must be an object"),
        ("metadata.jsonl", b'{"file_name": "\xe9"}\n', "not UTF-8 text"),
    ],
)
def test_a_damaged_metadata_file_is_an_error_that_says_how(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


def test_two_metadata_files_are_refused(tmp_path):
    write_metadata(tmp_path, rows_of())
    (tmp_path / "metadata.jsonl").write_text(json.dumps(rows_of()[0]))
    with pytest.raises(DatasetError, match=r"metadata\.csv and metadata\.jsonl; keep the one"):
        load(tmp_path)


def test_listed_files_that_are_missing_stop_the_run_unless_they_are_few(tmp_path):
    write_metadata(tmp_path, rows_of())
    os.unlink(tmp_path / "dog_3.wav")
    with pytest.raises(DatasetError, match=r"1 of 12 audio files were not found .*: dog_3\.wav"):
        load(tmp_path)
    dataset = load(tmp_path, max_skipped_share=0.1)
    assert [(clip.id, clip.reason) for clip in dataset.skipped] == [("dog_3", "file not found")]


@pytest.mark.parametrize(("root", "message"), [("file.wav", "is a file"), ("nowhere", "does not exist")])
def test_a_root_that_is_no_folder_is_an_error(tmp_path, root, message):
    (tmp_path / "file.wav").touch()
    with pytest.raises(DatasetError, match=message):
        load(tmp_path / root)
