"""What labels of different datasets mean in common, and what is said of a map with mistakes."""

import numpy as np
import pytest

from hf_tagger.data import list_datasets
from hf_tagger.data.base import protocol_lines
from hf_tagger.data.fma import MEDIUM_GENRES, SMALL_GENRES
from hf_tagger.data.gtzan import GENRES
from hf_tagger.data.label_map import LabelMap, map_probabilities, map_references, read_label_map
from hf_tagger.errors import HfTaggerError, RecipeError

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
# Genre ids of genres.csv, for titles that are no top genres.
FMA_SUBGENRES = {
    11: "Disco", 31: "Metal", 42: "Ambient Electronic", 79: "Reggae - Dub", 107: "Ambient", 267: "New Age",
    602: "Reggae - Dancehall",
}  # fmt: skip
TAGS = protocol_lines("magnatagatune/all188.txt")


def labels_of(dataset):
    return [label for own in read_label_map().concepts.values() for label in own.get(dataset, ())]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_map_names_only_labels_that_the_datasets_have():
    assert sorted(labels_of("gtzan")) == sorted(GENRES)  # all ten, each once
    assert set(labels_of("fma")) <= {*MEDIUM_GENRES, *FMA_SUBGENRES.values()}
    assert set(labels_of("magnatagatune")) <= set(TAGS)
    assert {dataset for own in read_label_map().concepts.values() for dataset in own} <= set(list_datasets())


def test_every_packaged_concept_is_of_two_datasets_at_least_and_every_tag_that_spells_a_genre_is_in_it():
    concepts = read_label_map().concepts
    assert {name: len(own) for name, own in concepts.items() if len(own) < 2} == {}
    for genre in {*GENRES, "hip hop", "electronic", "folk"} & set(TAGS):
        assert any(genre in own["magnatagatune"] for own in concepts.values()), genre


@pytest.mark.parametrize(
    ("dataset", "names", "expected"),
    [
        ("fma", SMALL_GENRES, {"hip hop", "pop", "rock", "electronic", "folk", "international"}),
        (
            "magnatagatune",
            protocol_lines("magnatagatune/top50.txt"),
            {"classical", "country", "metal", "pop", "rock", "ambient", "electronic", "international", "new age"},
        ),
        ("artist20", ["u2"], set()),
    ],
)
def test_concepts_without_a_counterpart_in_a_protocol_are_absent(dataset, names, expected):
    columns = read_label_map().columns(dataset, names)
    assert set(columns) == expected
    for concept, own in columns.items():
        assert {names[index] for index in own} <= set(read_label_map().concepts[concept][dataset])


def test_a_concept_is_as_probable_as_its_exclusive_labels_together_or_as_its_most_probable_synonym():
    columns = {"a": [0, 2], "b": [1]}
    probabilities = np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]])
    np.testing.assert_allclose(map_probabilities(probabilities, SINGLE, columns), [[0.8, 0.2], [0.4, 0.6]])
    np.testing.assert_allclose(map_probabilities(probabilities, MULTI, columns), [[0.5, 0.2], [0.3, 0.6]])


def test_a_clip_carries_a_concept_if_it_carries_any_of_its_labels():
    columns = {"a": [0, 2], "b": [1]}
    assert map_references(np.array([0, 1, 2, 3]), SINGLE, columns).tolist() == [[1, 0], [0, 1], [1, 0], [0, 0]]
    nan = np.nan
    references = np.array([[1, 0, 0], [0, 1, 1], [nan, 0, 1], [nan, 0, 0], [0, nan, 0]])
    found = map_references(references, MULTI, columns)
    np.testing.assert_array_equal(found, [[1, 0], [1, 1], [1, 0], [nan, 0], [0, nan]])


def test_a_map_of_ones_own_is_read(tmp_path):
    path = write(tmp_path / "map.yaml", "loud:\n  synthetic: [drums, bass]\n  folder: ['80s', Rock]\n")
    found = read_label_map(path)
    assert found == LabelMap(str(path), {"loud": {"synthetic": ["drums", "bass"], "folder": ["80s", "Rock"]}})
    assert found.columns("folder", ["Jazz", "80s", "Rock"]) == {"loud": [1, 2]}


def test_all_mistakes_of_a_map_are_said_at_once(tmp_path):
    text = """
rock:
  gtzan: [rock, rok]
  gtsan: [rock]
  fma: [rock, Rock]
metal:
  gtzan: [metal, rock, metal]
  magnatagatune: metal
80:
  gtzan: [pop]
years: {gtzan: [1990, true]}
nothing:
"""
    with pytest.raises(RecipeError) as caught:
        read_label_map(write(tmp_path / "map.yaml", text), {"fma": ["Rock", "Pop"]})
    assert sorted(caught.value.problems) == sorted(
        [
            "80: a concept's name must be text; put quotes around it",
            "metal, magnatagatune: expected a list of labels such as [rock, hard rock]; received 'metal'",
            "years, gtzan: labels must be text; put quotes around 1990, True",
            "nothing: expected datasets, each with its labels; received nothing",
            "there is no dataset 'gtsan'; did you mean 'gtzan'?",
            "rock: there is no label 'rok' in gtzan; did you mean 'rock'?",
            "rock: fma writes 'Rock', not 'rock'",
            "gtzan: 'rock' stands in 'rock' and in 'metal'; keep one of them",
            "gtzan: 'metal' stands twice in 'metal'; keep one of them",
        ]
    )
    assert str(tmp_path / "map.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "received nothing"),
        ("[rock]", r"expected concepts.*received \['rock'\]"),
        ("rock: {gtzan: [rock]}\nrock: {fma: [Rock]}", "stands twice"),
        ("rock: [", "cannot be read"),
    ],
)
def test_a_file_in_another_form_is_refused(tmp_path, text, message):
    with pytest.raises(HfTaggerError, match=message):
        read_label_map(write(tmp_path / "map.yaml", text))


def test_a_map_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(HfTaggerError, match=r"nowhere\.yaml cannot be read.*hf_tagger/data/label_map\.yaml"):
        read_label_map(tmp_path / "nowhere.yaml")
