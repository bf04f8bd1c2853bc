import logging

import pytest
from fake_datasets import GENRES, make_gtzan, write_tone

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.audio import read_audio
from hf_tagger.data import gtzan
from hf_tagger.data.base import SPLITS, hash_ids, protocol_lines
from hf_tagger.errors import AudioDecodingError, DatasetError


def load(root, sampling_rate=16_000, **options):
    return load_tagging_dataset(DataArguments(dataset_name="gtzan", dataset_root=str(root), **options), sampling_rate)


def test_fault_filtered_has_the_published_sizes_and_ids(tmp_path):
    dataset = load(make_gtzan(tmp_path))
    assert {split: len(dataset[split]) for split in dataset} == {"train": 443, "validation": 197, "test": 290}
    assert dataset.protocol.name == "fault_filtered"
    assert dataset.protocol_record()["hash"] == dataset.protocol.ids_hash
    assert dataset["train"]["id"][0] == "blues.00029"
    assert dataset.label_names == list(GENRES)
    assert dataset.problem_type == "single_label_classification"
    assert dataset.skipped == []


def test_the_stated_hash_is_that_of_the_shipped_lists():
    ids = {split: [line[line.index("/") + 1 : -4] for line in protocol_lines(f"gtzan/{split}.txt")] for split in SPLITS}
    assert hash_ids(ids) == gtzan.FACTS.protocols[0].ids_hash
    assert len(set().union(*ids.values())) == 443 + 197 + 290


@pytest.mark.shared
def test_the_shipped_lists_are_the_published_ones(shared):
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        published = (shared / "samples" / "gtzan" / f"{name}_filtered.txt").read_text().split()
        assert protocol_lines(f"gtzan/{split}.txt") == published


def test_a_row_holds_the_decoded_clip_at_the_rate_asked_for(tmp_path):
    row = load(make_gtzan(tmp_path), sampling_rate=8_000)["train"][0]
    assert row["id"] == row["group"] == "blues.00029"
    assert row["labels"] == GENRES.index("blues")
    assert row["audio"]["sampling_rate"] == 8_000
    assert row["audio"]["array"].shape == (2_400,)  # 0.3 s
    assert abs(row["audio"]["array"]).max() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("base", ["genres_original", "genres", ".", "Data/genres_original"])
@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_every_known_layout_is_found(tmp_path, base, suffix):
    dataset = load(make_gtzan(tmp_path, base=base, suffix=suffix))
    assert len(dataset["train"]) == 443
    assert read_audio(dataset["test"].with_format("arrow")[:1]["audio"][0]["path"].as_py())[1] == 22_050


def test_the_damaged_jazz_clip_stays_a_row_and_cannot_be_decoded(tmp_path):
    train = load(make_gtzan(tmp_path))["train"]
    position = train["id"][:].index("jazz.00054")
    with pytest.raises(AudioDecodingError):
        train[position]


def test_an_absent_jazz_clip_is_skipped_with_its_reason(tmp_path, caplog):
    dataset = load(make_gtzan(tmp_path, jazz_00054="absent"))
    assert len(dataset["train"]) == 442
    assert [(clip.id, clip.split, clip.path, clip.reason) for clip in dataset.skipped] == [
        ("jazz.00054", "train", "genres_original/jazz/jazz.00054.wav", "file not found")
    ]
    assert "1 of 930 audio files were not found" in caplog.text


def test_stratified_takes_all_clips_with_every_genre_alike(tmp_path):
    dataset = load(make_gtzan(tmp_path), protocol="stratified")
    for split, each in (("train", 80), ("validation", 10), ("test", 10)):
        labels = dataset[split]["labels"][:]
        assert [labels.count(genre) for genre in range(10)] == [each] * 10
    assert dataset.protocol.generated
    ids = [clip for split in dataset for clip in dataset[split]["id"][:]]
    assert len(set(ids)) == 1_000


def test_stratified_depends_on_the_seed_and_on_nothing_else(tmp_path):
    make_gtzan(tmp_path)
    first, again, other = (load(tmp_path, protocol="stratified", split_seed=seed) for seed in (0, 0, 1))
    assert first.protocol_record() == again.protocol_record()
    assert first.protocol_record()["hash"] != other.protocol_record()["hash"]


def test_clips_of_one_recording_have_one_group_and_fault_filtered_holds_one_of_them(tmp_path):
    make_gtzan(tmp_path)
    lines = [line.split() for line in protocol_lines("gtzan/repetitions.txt")]
    repeated = [f"{genre}.{int(number):05d}" for genre, *numbers in lines for number in numbers]
    assert len(repeated) == len(set(repeated)) == 120
    for protocol in ("fault_filtered", "stratified"):
        dataset = load(tmp_path, protocol=protocol)
        group_of = {
            name: group
            for rows in dataset.values()
            for name, group in zip(rows["id"][:], rows["group"][:], strict=True)
        }
        sets = [{f"{genre}.{int(number):05d}" for number in numbers} & group_of.keys() for genre, *numbers in lines]
        if protocol == "fault_filtered":
            assert all(len(own) <= 1 for own in sets)
            assert sum(len(own) for own in sets) == len(lines) - 2  # two sets are left out as versions of other songs
        else:
            assert all(len({group_of[name] for name in own}) == 1 for own in sets)
            assert len(set(group_of.values())) == 1_000 - len(repeated) + len(lines)


def test_wav_goes_before_au_where_both_are_there(tmp_path):
    write_tone(make_gtzan(tmp_path) / "genres_original" / "blues" / "blues.00029.au")
    path = load(tmp_path)["train"].with_format("arrow")[:1]["audio"][0]["path"].as_py()
    assert path.endswith("blues.00029.wav")


def test_a_few_clips_load_when_that_is_allowed(tmp_path, caplog):
    make_gtzan(tmp_path, clips_per_genre=2)
    with pytest.raises(DatasetError, match="870 of 930 audio files were not found"):
        load(tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = load(tmp_path, allow_size_mismatch=True)
    assert [len(dataset[split]) for split in SPLITS] == [20, 20, 20]
    assert "870 of 930 audio files were not found" in caplog.text


def test_a_genre_that_is_missing_is_an_error_that_names_its_files(tmp_path):
    make_gtzan(tmp_path)
    (tmp_path / "genres_original" / "rock").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"(?s)100 of 930 .*rock/rock\.\d+\.wav.*marsyas/gtzan"):
        load(tmp_path)


def test_a_folder_without_genres_says_what_was_found_there(tmp_path):
    (tmp_path / "archive.zip").touch()
    (tmp_path / "images_original").mkdir()
    with pytest.raises(DatasetError, match=r"(?s)Found in .*: archive.zip, images_original/\.\nHow to get GTZAN"):
        load(tmp_path)


def test_an_unknown_protocol_names_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match="fault_filtered, stratified"):
        load(tmp_path, protocol="random")
