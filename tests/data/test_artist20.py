import json

import pytest
from fake_datasets import make_artist20

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.data.base import SPLITS, protocol_lines
from hf_tagger.errors import DatasetError


def load(root, **options):
    return load_tagging_dataset(DataArguments(dataset_name="artist20", dataset_root=str(root), **options))


def edit(root, name, change):
    entries = json.loads((root / name).read_text())
    (root / name).write_text(json.dumps(change(entries)))


def test_the_split_has_the_sizes_of_the_homework(tmp_path):
    dataset = load(make_artist20(tmp_path))
    assert [len(dataset[split]) for split in SPLITS] == [949, 231, 233]
    assert len(dataset.label_names) == 20
    assert dataset.label_names == sorted(dataset.label_names)
    assert dataset.label_names[0] == "aerosmith"


def test_the_album_is_the_group_and_stands_in_one_split(tmp_path):
    dataset = load(make_artist20(tmp_path))
    row = dataset["train"].select_columns(["id", "labels", "group"])[0]
    assert row == {"id": "aerosmith/Album_0/01-It's_a_Song", "labels": 0, "group": "aerosmith/Album_0"}
    assert dataset.protocol.groups_are_disjoint
    assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])


def test_test_songs_have_no_labels(tmp_path):
    test = load(make_artist20(tmp_path))["test"]
    assert test["id"][:2] == ["001", "002"]
    assert set(test["labels"]) == {None}
    assert len(test[232]["audio"]["array"]) > 4_000


def test_the_folder_above_does_as_well(tmp_path):
    make_artist20(tmp_path / "artist20")
    assert len(load(tmp_path)["train"]) == 949


@pytest.mark.shared
def test_the_shipped_artists_are_those_of_the_dataset(shared):
    assert protocol_lines("artist20/artists.txt") == (shared / "samples/artist20/artists.txt").read_text().split()


def test_an_album_in_two_splits_is_refused(tmp_path):
    make_artist20(tmp_path)
    edit(tmp_path, "val.json", lambda paths: ["./train_val/u2/Album_1/99-Encore.mp3", *paths[1:]])
    with pytest.raises(DatasetError, match=r"1 of 333 groups .*u2/Album_1 \(in train and validation\)"):
        load(tmp_path)


def test_an_unknown_artist_is_an_error_that_names_it(tmp_path):
    make_artist20(tmp_path)
    edit(tmp_path, "train.json", lambda paths: ["./train_val/abba/Arrival/01-X.mp3", *paths[1:]])
    with pytest.raises(DatasetError, match="unknown labels abba"):
        load(tmp_path)


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "./train_val/u2/../01-X.mp3", "train_val/u2/01-X.mp3", ""]
)
def test_a_path_of_another_form_is_refused(tmp_path, path):
    make_artist20(tmp_path)
    edit(tmp_path, "train.json", lambda paths: [path, *paths[1:]])
    with pytest.raises(DatasetError, match=r"train\.json names .* below dataset_root"):
        load(tmp_path)


def test_a_song_that_is_listed_twice_is_an_error(tmp_path):
    make_artist20(tmp_path)
    edit(tmp_path, "val.json", lambda paths: [paths[1], *paths[1:]])
    with pytest.raises(DatasetError, match="1 ids stand more than once"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "must be a list of paths"), ("[1]", "must be a list of paths"), ("[", "is not JSON"), ("", "is not JSON")],
)
def test_a_list_that_is_none_is_an_error(tmp_path, content, message):
    make_artist20(tmp_path)
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


def test_a_missing_part_says_what_was_found_and_how_to_get_it(tmp_path):
    make_artist20(tmp_path)
    (tmp_path / "val.json").unlink()
    with pytest.raises(DatasetError, match=r"(?s)val.json was not found .*test/.*How to get artist20"):
        load(tmp_path)


def test_a_missing_test_folder_is_an_error(tmp_path):
    make_artist20(tmp_path)
    (tmp_path / "test").rename(tmp_path / "testing")
    with pytest.raises(DatasetError, match="folder test/ was not found"):
        load(tmp_path)


def test_a_missing_test_song_is_an_error_unless_sizes_may_differ(tmp_path):
    make_artist20(tmp_path)
    (tmp_path / "test" / "100.mp3").unlink()
    with pytest.raises(DatasetError, match="test 232 instead of 233"):
        load(tmp_path)
    assert len(load(tmp_path, allow_size_mismatch=True)["test"]) == 232


def test_a_song_of_another_name_in_the_test_folder_is_an_error(tmp_path):
    make_artist20(tmp_path)
    (tmp_path / "test" / "bonus.mp3").touch()
    with pytest.raises(DatasetError, match=r"not named 001\.mp3 to 233\.mp3: bonus\.mp3"):
        load(tmp_path)
