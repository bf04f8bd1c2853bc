import json

import pytest
from fake_datasets import link, make_magnatagatune, write_annotations, write_tone

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.data.base import SPLITS, protocol_lines
from hf_tagger.errors import AudioDecodingError, DatasetError

USUAL, UNUSUAL = frozenset({"guitar", "slow"}), frozenset({"harpsicord"})
PATHS = ("0/an_artist-an_album-01-a_title-0-29.mp3", "c/another-x-01-y-0-29.mp3", "f/third-x-01-y-0-29.mp3")


def load(root, **options):
    return load_tagging_dataset(DataArguments(dataset_name="magnatagatune", dataset_root=str(root), **options))


def few(root, rows=None, tags=()):
    """Three clips, one a split."""
    rows = rows or [(str(number), path, USUAL) for number, path in enumerate(PATHS, start=1)]
    link(write_tone(root / ".tone.mp3"), [root / path for path in PATHS])
    write_annotations(root / "annotations_final.csv", rows, tags)
    return root


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return make_magnatagatune(tmp_path_factory.mktemp("mtat"), full_size=True)


@pytest.mark.parametrize(
    ("protocol", "sizes"), [("original", (18_706, 1_825, 5_329)), ("clean", (15_247, 1_529, 4_332))]
)
def test_a_protocol_has_its_published_sizes_without_the_three_empty_files(full, protocol, sizes):
    dataset = load(full, protocol=protocol)
    assert tuple(len(dataset[split]) for split in SPLITS) == sizes
    assert [(clip.id, clip.split, clip.reason) for clip in dataset.skipped] == [
        (clip_id, "train", "empty file in every copy of the dataset") for clip_id in ("35644", "55753", "57881")
    ]


def test_the_tags_are_the_fifty_in_the_order_of_the_published_taggers(tmp_path):
    dataset = load(make_magnatagatune(tmp_path), allow_size_mismatch=True)
    assert dataset.label_names[:3] == ["guitar", "classical", "slow"]
    assert dataset.label_names == protocol_lines("magnatagatune/top50.txt")
    assert len(dataset.label_names) == 50
    assert dataset.problem_type == "multi_label_classification"
    assert dataset["train"]["labels"][0] == [0, 2]
    assert dataset["train"]["labels"][-1] == []  # harpsicord is none of the fifty: known to have no tag


@pytest.mark.shared
def test_the_shipped_tags_are_the_published_ones(shared):
    expected = json.loads((shared / "parity" / "mtat_taggers" / "expected.json").read_text())["tags"]
    assert protocol_lines("magnatagatune/top50.txt") == expected
    in_csv_order = (shared / "samples" / "mtat" / "tags_188_in_csv_order.txt").read_text().splitlines()
    assert protocol_lines("magnatagatune/all188.txt") == in_csv_order


def test_all_tags_come_in_the_order_of_the_csv_and_clean_still_means_the_fifty(tmp_path):
    make_magnatagatune(tmp_path)
    every = load(tmp_path, tags="all", allow_size_mismatch=True)
    assert len(every.label_names) == 188
    assert every.label_names[:2] == ["no voice", "singer"]
    assert [every.label_names[index] for index in every["train"]["labels"][-1]] == ["harpsicord"]
    clean = load(tmp_path, tags="all", protocol="clean", allow_size_mismatch=True)
    assert [len(clean[split]) for split in SPLITS] == [12, 1, 3]
    assert all(labels for split in clean for labels in clean[split]["labels"])


def test_the_split_follows_the_folder_and_the_group_is_the_artist(tmp_path):
    dataset = load(few(tmp_path), allow_size_mismatch=True)
    assert [dataset[split]["group"][:] for split in SPLITS] == [["an_artist"], ["another"], ["third"]]
    assert [dataset[split]["id"][:] for split in SPLITS] == [["1"], ["2"], ["3"]]


def test_audio_below_mp3_is_found(tmp_path):
    dataset = load(make_magnatagatune(tmp_path, mp3_folder=True), allow_size_mismatch=True)
    assert len(dataset["train"][0]["audio"]["array"]) > 4_000
    assert dataset.skipped == []


def test_artists_on_both_sides_are_said_in_the_log_and_in_the_notes(tmp_path, caplog):
    rows = [(str(number), path, USUAL) for number, path in enumerate(PATHS)]
    shared_artist = "d/an_artist-x-01-y-0-29.mp3"
    link(write_tone(tmp_path / ".another.mp3"), [tmp_path / shared_artist])
    dataset = load(few(tmp_path, [*rows, ("9", shared_artist, USUAL)]), allow_size_mismatch=True)
    assert "1 of 3 groups" in caplog.text
    assert "an_artist (in train and test)" in caplog.text
    assert "56 of 230 artists" in dataset.facts.notes


def test_other_sizes_are_refused_and_when_allowed_said_loudly(tmp_path, caplog):
    make_magnatagatune(tmp_path)
    with pytest.raises(DatasetError, match=r"train 24 instead of 18,706.*(?s:.)*allow_size_mismatch: true"):
        load(tmp_path)
    load(tmp_path, allow_size_mismatch=True)
    assert "do not compare these results with published ones" in caplog.text


def test_an_unknown_tag_is_an_error_that_names_it_and_its_likely_meaning(tmp_path):
    tags = [*protocol_lines("magnatagatune/all188.txt"), "guitarr"]
    with pytest.raises(DatasetError, match=r"unknown tags: guitarr \('guitarr' may stand for 'guitars?'\)"):
        load(few(tmp_path, tags=tags))


def test_a_missing_tag_column_is_an_error_that_names_it(tmp_path):
    tags = [tag for tag in protocol_lines("magnatagatune/all188.txt") if tag != "sitar"]
    with pytest.raises(DatasetError, match="lacks the column 'sitar'"):
        load(few(tmp_path, tags=tags))


def test_a_value_that_is_neither_zero_nor_one_is_an_error_that_names_the_cell(tmp_path):
    few(tmp_path)
    file = tmp_path / "annotations_final.csv"
    file.write_text(file.read_text().replace('"2"\t"0"', '"2"\t"yes"'))
    with pytest.raises(DatasetError, match="clip '2' has 'yes' for the tag 'no voice'"):
        load(tmp_path)


def test_a_clip_that_is_listed_twice_is_an_error(tmp_path):
    rows = [(str(number), path, USUAL) for number, path in enumerate(PATHS, start=1)]
    with pytest.raises(DatasetError, match="1 ids stand more than once: 2"):
        load(few(tmp_path, [*rows, ("2", PATHS[0], USUAL)]), allow_size_mismatch=True)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "f/../../../etc/passwd", "g/a.mp3", "a.mp3"])
def test_a_path_outside_of_the_folders_is_refused(tmp_path, path):
    rows = [(str(number), name, USUAL) for number, name in enumerate(PATHS)]
    with pytest.raises(DatasetError, match=r"below dataset_root|outside of dataset_root"):
        load(few(tmp_path, [*rows, ("9", path, USUAL)]), allow_size_mismatch=True)


def test_files_that_are_missing_are_counted_against_the_allowed_share(tmp_path):
    make_magnatagatune(tmp_path)
    next((tmp_path / "0").iterdir()).unlink()
    with pytest.raises(DatasetError, match="unexpected numbers"):
        load(tmp_path)
    dataset = load(tmp_path, allow_size_mismatch=True)
    assert [clip.reason for clip in dataset.skipped] == ["file not found"]


def test_a_folder_without_annotations_says_what_was_found(tmp_path):
    (tmp_path / "mp3.zip.001").touch()
    with pytest.raises(DatasetError, match=r"(?s)annotations_final.csv was not found .* mp3.zip.001.*cat mp3.zip"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b'"clip_id"\t"caf\xe9"\n', "not UTF-8"), (b'"clip_id"\t"mp3_path"\n', "lacks 188")],
)
def test_a_damaged_table_is_an_error_that_says_how(tmp_path, content, message):
    (tmp_path / "annotations_final.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


@pytest.mark.shared
def test_real_recordings_in_the_same_layout_load_and_keep_their_empty_files(shared, caplog):
    dataset = load(shared / "data" / "orchestra", tags="all", allow_size_mismatch=True)
    assert [len(dataset[split]) for split in SPLITS] == [601, 100, 201]
    assert dataset.skipped == []
    assert "allow_size_mismatch is set" in caplog.text
    position = dataset["train"]["id"][:].index("901")
    with pytest.raises(AudioDecodingError, match="empty file"):
        dataset["train"][position]
    row = dataset["train"][0]
    assert row["audio"]["array"].shape == pytest.approx((160_000,), rel=0.02)
    assert {"clarinet", "oboe"} & {dataset.label_names[index] for index in row["labels"]}
    used = {index for split in dataset for labels in dataset[split]["labels"][:] for index in labels}
    assert len(used) >= 21


@pytest.mark.shared
def test_real_rows_of_the_dataset_are_read(shared, tmp_path):
    (tmp_path / "annotations_final.csv").write_bytes(
        (shared / "samples" / "mtat" / "annotations_final.sample.csv").read_bytes()
    )
    with pytest.raises(DatasetError, match="instead of 18,706"):
        load(tmp_path)
