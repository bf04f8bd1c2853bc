import json

import pytest
from fake_datasets import FMA_SMALL, fma_path, make_fma, write_tone, write_tracks

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.data import fma
from hf_tagger.data.base import SPLITS
from hf_tagger.errors import DatasetError


def load(root, **options):
    return load_tagging_dataset(DataArguments(dataset_name="fma", dataset_root=str(root), **options))


def names(dataset, labels):
    return [dataset.label_names[index] for index in labels]


def sizes(dataset):
    return [len(dataset[split]) for split in SPLITS]


def test_small_has_its_published_sizes_and_eight_genres(tmp_path):
    dataset = load(make_fma(tmp_path, full_size=True))
    assert sizes(dataset) == [6_400, 800, 800]
    assert dataset.label_names == list(FMA_SMALL)
    assert dataset.problem_type == "single_label_classification"
    assert dataset["train"][0]["id"] == "000002"
    assert len(dataset["train"][0]["audio"]["array"]) > 4_000


def test_medium_contains_small(tmp_path):
    dataset = load(make_fma(tmp_path, audio="fma_medium"), protocol="medium", allow_size_mismatch=True)
    assert sizes(dataset) == [24, 24, 24]
    assert len(dataset.label_names) == 16
    assert "Jazz" in names(dataset, dataset["train"]["labels"][:])


def test_small_is_read_from_the_audio_of_a_larger_subset(tmp_path):
    assert sizes(load(make_fma(tmp_path, audio="fma_large"), allow_size_mismatch=True)) == [8, 8, 8]


@pytest.mark.parametrize("protocol", ["large", "full"])
def test_large_and_full_have_several_genres_a_track(tmp_path, protocol):
    dataset = load(make_fma(tmp_path, audio=f"fma_{protocol}"), protocol=protocol, allow_size_mismatch=True)
    assert dataset.problem_type == "multi_label_classification"
    assert dataset.label_names[:2] == ["International", "Blues"]  # the order of genres.csv
    assert names(dataset, dataset["test"]["labels"][-1]) == ["Pop", "Experimental Pop"]
    assert sizes(dataset) == [26, 25, 25]


def test_a_track_without_genres_is_unlabelled_and_not_labelled_with_nothing(tmp_path):
    dataset = load(make_fma(tmp_path, audio="fma_large"), protocol="large", allow_size_mismatch=True)
    assert dataset["train"]["id"][-1] == "155000"
    assert dataset["train"]["labels"][-1] is None


def test_the_artist_is_the_group(tmp_path):
    dataset = load(make_fma(tmp_path), allow_size_mismatch=True)
    assert dataset["train"]["group"][:3] == ["0-training", "1-training", "1-training"]


@pytest.mark.shared
def test_the_facts_are_those_of_the_authors(shared):
    facts = json.loads((shared / "samples" / "fma" / "facts.json").read_text())
    for protocol in ("small", "medium", "large"):
        assert list(fma.FACTS.protocol(protocol).sizes.values()) == facts["splits"][protocol]
    assert list(fma.SMALL_GENRES) == facts["small_genres"]
    assert list(fma.MEDIUM_GENRES) == facts["medium_genres"]
    assert all(track in fma.FACTS.notes for track in facts["fma_small_short_or_empty"])


@pytest.mark.shared
def test_the_real_header_and_rows_are_read(shared, tmp_path):
    for name in ("tracks", "genres"):
        (tmp_path / f"{name}.csv").write_bytes((shared / "samples" / "fma" / f"{name}.sample.csv").read_bytes())
    for track in ("2", "5", "10"):
        write_tone(fma_path(tmp_path, track))
    with pytest.raises(DatasetError, match="instead of 6,400"):
        load(tmp_path)


def test_the_root_may_be_the_audio_folder_with_the_metadata_beside(tmp_path):
    make_fma(tmp_path)
    assert sizes(load(tmp_path / "fma_small", allow_size_mismatch=True)) == [8, 8, 8]


def test_the_root_may_hold_audio_and_tables_directly(tmp_path):
    make_fma(tmp_path)
    for name in ("tracks.csv", "genres.csv"):
        (tmp_path / "fma_metadata" / name).rename(tmp_path / "fma_small" / name)
    (tmp_path / "fma_metadata").rmdir()
    assert sizes(load(tmp_path / "fma_small", allow_size_mismatch=True)) == [8, 8, 8]


def test_missing_metadata_says_what_was_looked_for_and_found(tmp_path):
    write_tone(fma_path(tmp_path / "fma_small", "2"))
    with pytest.raises(DatasetError, match=r"(?s)tracks.csv was found neither in .*: fma_small/.*fma_metadata.zip"):
        load(tmp_path)


def test_missing_audio_says_what_was_looked_for_and_found(tmp_path):
    make_fma(tmp_path, audio="fma_small")
    with pytest.raises(DatasetError, match=r"looked for 000, fma_medium/000, fma_large/000; found: .*fma_small/"):
        load(tmp_path, protocol="medium")


def test_trimmed_clips_do_not_pass_for_full_tracks(tmp_path):
    make_fma(tmp_path, audio="fma_large")
    with pytest.raises(DatasetError, match="looked for 000, fma_full/000;"):
        load(tmp_path, protocol="full")


def test_a_table_of_another_kind_is_an_error(tmp_path):
    make_fma(tmp_path)
    (tmp_path / "fma_metadata" / "tracks.csv").write_text("track_id,title\n2,Food\n")
    with pytest.raises(DatasetError, match="three header lines"):
        load(tmp_path)


def test_a_missing_column_is_an_error_that_names_it(tmp_path):
    make_fma(tmp_path)
    file = tmp_path / "fma_metadata" / "tracks.csv"
    file.write_text(file.read_text().replace("genre_top", "genre_best", 1))
    with pytest.raises(DatasetError, match=r"lacks the column \('track', 'genre_top'\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genres_all": "[10, 4711]"}, "track 000007 has genres that genres.csv does not list: 4711"),
        ({"genres_all": "__import__('os')"}, "genres_all of track 000007 is"),
        ({"genres_all": "10"}, "it must be a list"),
        ({"split": "holdout"}, "track 000007 is in the split 'holdout'"),
        ({"subset": "huge"}, "unknown subsets huge"),
        ({"id": "seven"}, "track ids that are no numbers: seven"),
    ],
)
def test_a_bad_cell_is_an_error_that_names_it(tmp_path, change, message):
    make_fma(tmp_path, audio="fma_large")
    good = {"id": "7", "split": "training", "subset": "large", "genres_all": "[10]"}
    write_tracks(tmp_path / "fma_metadata" / "tracks.csv", [{**good, **change}])
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, protocol="large", allow_size_mismatch=True)


def test_a_track_of_small_without_a_genre_is_an_error(tmp_path):
    make_fma(tmp_path)
    write_tracks(tmp_path / "fma_metadata" / "tracks.csv", [{"id": "7", "split": "test", "subset": "small"}])
    with pytest.raises(DatasetError, match="have no genre_top: 000007"):
        load(tmp_path, allow_size_mismatch=True)


def test_an_unknown_genre_is_an_error_that_names_it(tmp_path):
    make_fma(tmp_path)
    row = {"id": "7", "split": "test", "subset": "small", "genre_top": "Polka"}
    write_tracks(tmp_path / "fma_metadata" / "tracks.csv", [row])
    with pytest.raises(DatasetError, match="unknown labels Polka"):
        load(tmp_path, allow_size_mismatch=True)


def test_genre_titles_that_differ_only_by_case_are_an_error(tmp_path):
    make_fma(tmp_path, audio="fma_large")
    with open(tmp_path / "fma_metadata" / "genres.csv", "a") as file:
        file.write("9999,1,0,hip-hop,9999\n")
    with pytest.raises(DatasetError, match="Hip-Hop and hip-hop"):
        load(tmp_path, protocol="large", allow_size_mismatch=True)
