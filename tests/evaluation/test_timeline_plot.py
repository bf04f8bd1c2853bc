"""What the picture of a timeline shows, read from its Figure object."""

import itertools

import numpy as np
import pytest
from PIL import Image

from hf_tagger.evaluation.aggregation import Timeline
from hf_tagger.evaluation.timeline_plot import plot_timeline, timeline_figure


def make(seconds, window=5.0, hop=2.5, labels=4, seed=0):
    starts = np.append(np.arange(0, max(seconds - window, 0), hop), max(seconds - window, 0))
    probabilities = np.random.default_rng(seed).uniform(0, 1, (len(starts), labels))
    return Timeline(probabilities, starts, window, seconds, [f"tag {number}" for number in range(labels)])


def heat(figure):
    mesh = figure.axes[0].collections[0]
    return mesh.get_array(), mesh.get_coordinates()[0, :, 0]


def rows(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def times(figure):
    figure.draw_without_rendering()
    axes = figure.axes[0]
    first, last = axes.get_xlim()
    shown = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    return [label.get_text() for value, label in shown if first <= value <= last]


def test_the_best_tags_are_rows_and_windows_are_columns_of_probability():
    timeline = make(10)
    scores = np.array([0.2, 0.9, 0.1, 0.5])
    figure = timeline_figure(timeline, scores, top_k=3, title="song.mp3")
    values, edges = heat(figure)
    np.testing.assert_array_equal(values, timeline.probabilities[:, [1, 3, 0]].T)
    np.testing.assert_array_equal(edges, timeline.edges)
    assert rows(figure) == ["tag 1  0.90", "tag 3  0.50", "tag 0  0.20"]
    assert figure.axes[0].get_ylim() == (3, 0)  # the best on top
    assert figure.axes[0].get_title(loc="left") == "song.mp3"
    assert figure.axes[0].collections[0].get_clim() == (0, 1)
    assert figure.axes[1].get_ylim() == (0, 1)
    assert figure.axes[1].get_ylabel() == "Probability"


@pytest.mark.parametrize(
    ("seconds", "title", "first", "last"),
    [
        (1, "Time (s)", "0.0", "1.0"),
        (10, "Time (s)", "0", "10"),
        (120, "Time (s)", "0", "120"),
        (215, "Time (min:s)", "0:00", "3:30"),
        (3_600, "Time (min:s)", "0:00", "60:00"),
        (36_000, "Time (min:s)", "0:00", "600:00"),
    ],
)
def test_time_is_readable_at_any_length(seconds, title, first, last):
    timeline = make(seconds)
    figure = timeline_figure(timeline, np.arange(4) / 4)
    shown = times(figure)
    assert figure.axes[0].get_xlabel().split(",")[0] == title
    assert (shown[0], shown[-1]) == (first, last)
    assert 3 <= len(shown) <= 13
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text() in shown]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_long_recording_shows_the_highest_of_neighbouring_windows():
    timeline = make(3_600)
    timeline.probabilities[:] *= 0.5
    timeline.probabilities[700, 2] = 0.97  # one window of 1,439
    figure = timeline_figure(timeline, np.array([0.1, 0.1, 0.9, 0.1]), top_k=1)
    values, edges = heat(figure)
    assert values.shape == (1, 480)
    assert values.max() == 0.97
    column = int(values[0].argmax())
    assert edges[column] <= 700 * 2.5 + 2.5 <= edges[column + 1]
    assert edges[0] == 0
    assert edges[-1] == 3_600
    assert figure.axes[0].get_xlabel().endswith("the highest of 3 windows a column")


def test_names_neither_overlap_nor_push_the_picture_away(tmp_path):
    timeline = make(60, labels=30)
    named = Timeline(
        timeline.probabilities, timeline.starts, 5.0, 60.0, ["x" * 60, "rock $&_^ $", *timeline.label_names[2:]]
    )
    figure = timeline_figure(named, np.linspace(1, 0, 30), top_k=30)
    figure.savefig(tmp_path / "timeline.png")  # draws, so that sizes are known
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))
    assert rows(figure)[0] == "x" * 27 + "…  1.00"
    assert figure.axes[0].get_window_extent().width > 0.5 * figure.bbox.width


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"scores \(3,\)"):
        timeline_figure(make(10), np.zeros(3))
    with pytest.raises(ValueError, match="top_k 0"):
        timeline_figure(make(10), np.zeros(4), top_k=0)


def test_the_picture_is_written_the_same_twice(tmp_path):
    for name in ("first", "second"):
        plot_timeline(make(600), np.arange(4) / 4, tmp_path / "new" / f"{name}.png", title="a song")
    first, second = (tmp_path / "new" / f"{name}.png" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.format == "PNG"
        assert 800 < image.width < 2_000
        assert 200 < image.height < 2_000
