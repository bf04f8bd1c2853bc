"""The homework's accuracies by hand-counted examples, and every form of answers and predictions that is read."""

from pathlib import Path

import pytest

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.artist20_score import (
    parse_json,
    read_answers,
    read_predictions,
    score_artists,
    score_report,
    song_keys,
)

ANSWERS = {"1": "queen", "2": "u2", "3": "cure", "4": "prince"}
PREDICTIONS = {
    "1": ("queen", "u2", "cure"),  # first
    "2": ("cure", "queen", "u2"),  # third
    "3": ("queen", "u2", "prince", "cure"),  # fourth: does not count
    "4": ("prince",),  # first
}


def test_accuracies_are_shares_of_the_answers():
    score = score_artists(ANSWERS, PREDICTIONS)
    assert (score.songs, score.first, score.among_three) == (4, 2, 3)
    assert (score.top1, score.top3) == (0.5, 0.75)
    assert (score.missing, score.unknown, score.unknown_artists) == ((), (), ())


def test_the_sum_weighs_top_3_as_asked():
    score = score_artists(ANSWERS, PREDICTIONS)
    assert score.total() == 1.25
    assert score.total(0.5) == 0.875
    assert score.total(0) == 0.5


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused(weight):
    with pytest.raises(HfTaggerError, match=f"a number of at least 0, received {weight}"):
        score_artists(ANSWERS, PREDICTIONS).total(weight)


def test_a_song_without_prediction_is_wrong_and_one_without_answer_does_not_count():
    score = score_artists(ANSWERS, {"1": ("queen",), "3": ("cure",), "9": ("queen",)})
    assert (score.top1, score.top3) == (0.5, 0.5)
    assert score.missing == ("2", "4")
    assert score.unknown == ("9",)


def test_artists_that_no_answer_has_are_named_once():
    score = score_artists(ANSWERS, {"1": ("Queen", "u2"), "2": ("Queen", "U2"), "9": ("beatles",)})
    assert score.unknown_artists == ("Queen", "U2")


@pytest.mark.parametrize(
    "content",
    [
        ["queen", "u2", "cure", "prince"],
        {"001": "queen", "002": "u2", "003": "cure", "004": "prince"},
        {"1": "queen", "02": "u2", "3": "cure", "004": "prince"},
        [
            {"id": 1, "artist": "queen"},
            {"id": "002", "label": "u2", "title": "One"},
            {"id": "3", "artist": "cure"},
            {"id": 4, "label": "prince"},
        ],
    ],
    ids=["list", "object", "mixed object", "list of objects"],
)
def test_answers_are_read_in_every_form(content):
    assert read_answers(content) == ANSWERS


def test_predictions_are_read_with_and_without_leading_zeros_as_list_or_as_text():
    content = {"001": ["queen", "u2", "cure"], "2": "u2", "010": ["cure"], "000": ["u2"], "song": ["u2"]}
    assert read_predictions(content) == {
        "1": ("queen", "u2", "cure"),
        "2": ("u2",),
        "10": ("cure",),
        "0": ("u2",),
        "song": ("u2",),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"a\.json holds no answers: .* received \{\}"),
        ([], r"a\.json holds no answers: .* received \[\]"),
        ("queen", r'a\.json holds no answers: .* received "queen"'),
        ({"001": ["queen"], "002": "u2", "003": ""}, r"""received for song '001': \["queen"\], '003': \"\"\.$"""),
        (["queen", None], r"received for song 2: null"),
        ([{"id": 1, "artist": "queen"}, "u2"], r'entry 2 of the list must be like .* received "u2"'),
        ([{"artist": "queen"}], "entry 1 of the list must be like"),
        ([{"id": True, "artist": "queen"}], "entry 1 of the list must be like"),
        ([{"id": 1.5, "artist": "queen"}], "entry 1 of the list must be like"),
        ([{"id": 1, "artist": "queen", "label": "u2"}], "entry 1 of the list must be like"),
        ({"1": "queen", "02": "u2", "001": "cure"}, r"a\.json: these ids are the same song, .*: '1' and '001'\."),
        ([{"id": 1, "artist": "queen"}, {"id": "01", "artist": "u2"}], r"the same song, .*: 1 and '01'\."),
    ],
)
def test_answers_that_cannot_be_understood_are_refused(content, message):
    with pytest.raises(HfTaggerError, match=message):
        read_answers(content, "a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([["queen"]], r'p\.json: expected an object like \{"001": .*received \[\["queen"\]\]'),
        ({"001": [], "002": ["u2"], "003": [1]}, r"received for song '001': \[\], '003': \[1\]\.$"),
        ({"001": {"queen": 0.9}}, r"""received for song '001': \{"queen": 0\.9\}"""),
        ({"001": ""}, r"""received for song '001': \[""\]"""),
        ({"001": ["queen"], "1": ["u2"]}, r"p\.json: these ids are the same song, .*: '001' and '1'\."),
    ],
)
def test_predictions_that_cannot_be_understood_are_refused(content, message):
    with pytest.raises(HfTaggerError, match=message):
        read_predictions(content, "p.json")


def test_a_key_that_stands_twice_is_refused_instead_of_losing_the_first():
    with pytest.raises(HfTaggerError, match=r"p\.json: these keys stand in it twice: '001', '002'\. Keep one"):
        parse_json(b'{"001": "queen", "002": "u2", "001": "u2", "002": "u2", "003": "u2"}', "p.json")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00"])
def test_what_is_no_json_is_named(content):
    with pytest.raises(HfTaggerError, match=r"p\.json is not JSON"):
        parse_json(content, "p.json")


def test_json_with_a_byte_order_mark_is_read():
    assert parse_json(b'\xef\xbb\xbf{"001": "beyonc\xc3\xa9"}', "p.json") == {"001": "beyoncé"}


def test_the_report_holds_the_numbers_and_names_what_does_not_fit():
    score = score_artists(ANSWERS, {"1": ("queen",), "2": ("cure", "u2"), "3": ("Prince",), "9": ("queen",)})
    assert score_report(score).splitlines() == [
        "Top-1 accuracy       0.2500  (1 of 4)",
        "Top-3 accuracy       0.5000  (2 of 4)",
        "Top-1 + top-3        0.7500",
        "Without a prediction, counted as wrong (1): 4",
        "Without an answer, ignored (1): 9",
        "Predicted artists that no answer has (1): Prince",
    ]
    assert score_report(score_artists(ANSWERS, PREDICTIONS), 0.5).splitlines() == [
        "Top-1 accuracy       0.5000  (2 of 4)",
        "Top-3 accuracy       0.7500  (3 of 4)",
        "Top-1 + 0.5 × top-3  0.8750",
    ]


def test_the_key_of_a_file_is_its_name_without_suffix():
    assert song_keys([Path("test/001.mp3"), Path("test/010.wav"), Path("my.song.ogg")]) == ["001", "010", "my.song"]


@pytest.mark.parametrize("other", ["test/1.mp3", "other/001.wav", "test/001.mp3"])
def test_files_that_would_share_a_key_are_refused(other):
    message = rf"shared by several files: 1 \(test/001\.mp3, {other}\)\. Give one file a song"
    with pytest.raises(HfTaggerError, match=message):
        song_keys([Path("test/001.mp3"), Path("test/002.mp3"), Path(other)])
