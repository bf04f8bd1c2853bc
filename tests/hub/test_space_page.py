"""What a Space's page shows of a recording: the pipeline's tags, their timeline, a spectrogram, the moment of a tag."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_taggers import FITTED, RATE, save, song
from transformers import pipeline

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "explain"))
import known_tagger as known

from hf_tagger.errors import HfTaggerError
from hf_tagger.hub import space_page
from hf_tagger.hub.space_heard import _rounded, clock
from hf_tagger.hub.space_page import Listener
from hf_tagger.tagging import Tagger


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"), fit=FITTED)


@pytest.fixture(scope="module")
def listener(model):
    return Listener(Tagger.from_pretrained(model, "cpu"), most_seconds=20)


def write(path, waveform, rate=RATE):
    soundfile.write(path, waveform, rate, subtype="PCM_16")
    return path


def test_tags_and_timeline_are_those_of_the_pipeline(listener, model, tmp_path):
    path = write(tmp_path / "song.wav", song(12.4))
    heard = listener.hear(path)
    expected = pipeline("music-tagging", model=str(model), device="cpu")(str(path), timeline=True)
    assert list(heard.scores) == [tag["label"] for tag in expected["tags"]]
    assert list(heard.scores.values()) == [tag["score"] for tag in expected["tags"]]
    assert heard.given == [tag["label"] for tag in expected["tags"] if tag["given"]]
    edges = [cell["start"] for cell in expected["timeline"]] + [expected["timeline"][-1]["end"]]
    assert heard.timeline.edges == pytest.approx(edges)
    rows = [[cell["scores"][label] for label in heard.scores] for cell in expected["timeline"]]
    np.testing.assert_array_equal(heard.timeline.probabilities, rows)
    assert heard.summary == f"Heard: 12.4 s. Above their thresholds: {', '.join(heard.given)}."


def test_two_channels_are_heard_as_their_mean_at_any_rate(listener, tmp_path):
    stereo = np.stack([song(4, 44_100), song(4, 44_100, seed=1)], axis=1)
    both = listener.hear(write(tmp_path / "stereo.wav", stereo, 44_100)).scores
    mono = listener.hear(write(tmp_path / "mono.wav", stereo.mean(axis=1), 44_100)).scores
    assert both == pytest.approx(mono, abs=1e-3)  # 16 bits of a mean


def test_of_a_long_recording_the_beginning_is_heard_and_the_page_says_so(listener, tmp_path):
    waveform = song(30)
    long = listener.hear(write(tmp_path / "long.wav", waveform))
    beginning = listener.hear(write(tmp_path / "beginning.wav", waveform[: 20 * RATE]))
    assert long.scores == beginning.scores
    assert (long.seconds, long.total_seconds) == (20, 30)
    assert long.summary.startswith("Heard: the first 20.0 s of 30.0 s. ")


def test_a_timeline_has_no_more_cells_than_can_be_computed_while_one_waits(listener, tmp_path, monkeypatch):
    monkeypatch.setattr(space_page, "_MOST_CELLS", 4)
    heard = listener.hear(write(tmp_path / "song.wav", song(10)))
    assert heard.timeline.edges == pytest.approx([0, 2.5, 5, 7.5, 10])


def test_without_thresholds_nothing_is_said_of_them(tmp_path):
    listener = Listener(Tagger.from_pretrained(save(tmp_path / "model"), "cpu"), 600)
    heard = listener.hear(write(tmp_path / "song.wav", song(4)))
    assert (heard.given, heard.summary) == (None, "Heard: 4.0 s.")


def known_listener(seconds=2.5):
    return Listener(known.known_tagger(seconds), 600)


def test_the_most_relevant_seconds_are_those_that_the_model_reacts_to(tmp_path):
    """The tone sounds from 2 to 3 s; windows lie at 0 and 2.5 s and, for the timeline, around every second."""
    waveform = known.song()
    listener = known_listener()
    stretch = listener.most_relevant(listener.hear(write(tmp_path / "song.wav", waveform, known.RATE)), "whistle")
    assert stretch.end - stretch.start == pytest.approx(1.25, abs=0.02)
    assert stretch.start <= 2.05
    assert stretch.end >= 2.95
    assert stretch.probability > 0.9
    assert stretch.alone == pytest.approx(stretch.probability, abs=0.05)
    assert stretch.without < 0.1
    rate, samples = stretch.audio
    assert (rate, samples.dtype) == (known.RATE, np.int16)
    own = waveform[round(stretch.start * rate) :][: len(samples)]
    np.testing.assert_allclose(samples / 32_768, own, atol=1 / 32_768)
    assert stretch.summary == (
        f"From {stretch.start:.1f} to {stretch.end:.1f} s. Probability of the tag in the window around them: "
        f"{_rounded(stretch.probability)}; with these seconds alone {_rounded(stretch.alone)}, "
        f"without them {_rounded(stretch.without)}."
    )


def test_a_tag_that_no_moment_decides_is_told_so(tmp_path):
    listener = known_listener()
    stretch = listener.most_relevant(listener.hear(write(tmp_path / "song.wav", known.song(), known.RATE)), "hum")
    assert stretch.without == stretch.alone == stretch.probability == pytest.approx(0.0474, abs=1e-4)
    assert stretch.summary.endswith("0.05; with these seconds alone 0.05, without them 0.05. The rest of the window "
                                    "shows it as well.")  # fmt: skip


def test_of_a_recording_shorter_than_a_window_half_is_played(tmp_path):
    listener = known_listener(seconds=10)
    heard = listener.hear(write(tmp_path / "song.wav", known.song(5), known.RATE))
    stretch = listener.most_relevant(heard, "whistle")
    assert stretch.end - stretch.start == pytest.approx(2.5, abs=0.05)
    assert stretch.start <= 2.05
    assert stretch.end >= 2.95


def test_the_spectrogram_has_a_tone_at_its_time_and_height_and_frames_the_stretch(tmp_path):
    listener = known_listener()
    heard = listener.hear(write(tmp_path / "song.wav", known.song(), known.RATE))
    axes = heard.spectrogram_figure().axes[0]
    (image,) = axes.images
    assert list(image.get_extent()) == [0, 5, 0, len(heard.decibels)]
    assert (axes.get_xlabel(), len(axes.patches)) == ("Time (s)", 0)
    heights = {text.get_text(): place for place, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)}
    assert list(heights) == ["250", "500", "1,000", "2,000"]  # 4,000 is the upper edge
    values = image.get_array()
    row, column = (int(heights["1,000"]), int(2.5 / 5 * values.shape[1]))
    assert values[row - 1 : row + 2, column].max() > -15
    assert values[row - 1 : row + 2, column // 2].max() < -30
    framed = heard.spectrogram_figure(listener.most_relevant(heard, "whistle")).axes[0]
    assert framed.patches[0].get_x() == pytest.approx(listener.most_relevant(heard, "whistle").start)
    assert framed.get_title(loc="left") == "Spectrogram; framed: the most relevant seconds of whistle"


def test_the_timelines_picture_shows_the_tags_of_the_page(listener, tmp_path):
    heard = listener.hear(write(tmp_path / "song.wav", song(6)))
    axes = heard.timeline_figure().axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"{label}  {score:.2f}" for label, score in heard.scores.items()
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^This file cannot be heard: empty file \(0 bytes\)\.$"),
        (b"no music, only text", "^This file cannot be heard: not a (known audio )?format"),
        (np.zeros(0), "^This file cannot be heard: no samples"),
        (np.zeros(5 * RATE), r"^The 5\.0 s heard are nothing but silence\.$"),
        (song(0.05), r"^This recording is 0\.050 s long; at least 0\.1 s are needed\.$"),
    ],
)
def test_what_cannot_be_heard_is_told_in_a_sentence(listener, tmp_path, content, message):
    path = tmp_path / "song.wav"
    path.write_bytes(content) if isinstance(content, bytes) else write(path, content)
    with pytest.raises(HfTaggerError, match=message):
        listener.hear(path)


def test_the_shortest_recording_is_heard_whole(listener, tmp_path):
    heard = listener.hear(write(tmp_path / "song.wav", song(0.1)))
    assert heard.timeline.edges == pytest.approx([0, 0.1])
    stretch = listener.most_relevant(heard, next(iter(heard.scores)))
    assert 0 <= stretch.start < stretch.end <= 0.1
    assert heard.spectrogram_figure(stretch).axes[0].get_xlim() == (0, 0.1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "0.1 s"), (59.9, "59.9 s"), (119.9, "2:00"), (245.4, "4:05"), (3_600, "1:00:00")]
)
def test_lengths_are_written_as_on_a_player(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("probability", "text"), [(1.0, "over 0.99"), (0.994, "0.99"), (0.5, "0.50"), (0.005, "0.01"), (0.0, "under 0.01")]
)
def test_no_probability_is_written_as_certain(probability, text):
    assert _rounded(probability) == text


def test_a_file_that_would_take_all_memory_is_refused_before_it_is_decoded(listener, tmp_path, monkeypatch):
    monkeypatch.setattr(space_page, "_LONGEST_SECONDS", 3.0)
    assert listener.hear(write(tmp_path / "short.wav", song(3.0))).seconds == 3.0
    monkeypatch.setattr(space_page, "load_mono", lambda *given: pytest.fail("decoded"))
    with pytest.raises(HfTaggerError, match=r"This file is 3.5 s long; at most 3.0 s are taken\."):
        listener.hear(write(tmp_path / "long.wav", song(3.5)))
