"""What the pictures of variants show, read from their Figure objects, and that nothing in them overlaps."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from hf_tagger.evaluation.assessment import Predictions
from hf_tagger.evaluation.rare_classes import TrainedVariant, compare_rare_classes
from hf_tagger.evaluation.variant_plots import (
    plot_rare_classes,
    plot_variants,
    rare_classes_figure,
    variants_figure,
)


def row(name, score=0.5, **changes):
    return {
        "variant": name,
        "split": "test",
        "ap_macro": score,
        "ap_macro_low": None if score is None else score - 0.05,
        "ap_macro_high": None if score is None else score + 0.03,
        "parameters": 254_622,
        "training_seconds": 1_234.4,
        "trained_on": "cpu, 2 threads",
        **changes,
    }


def points(axes, position):
    """The marked points of a line of the picture, by their horizontal place."""
    marked = (line for line in axes.lines if line.get_marker() == "o")
    return [float(line.get_xdata()[0]) for line in marked if list(line.get_ydata()) == [position]]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def overlaps(figure):
    """Pairs of texts of one axes that cover each other, and texts that leave the picture."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = []
    for axes in figure.axes:
        low, high = sorted(axes.get_xlim())
        ticks = [
            tick.label1
            for tick in axes.xaxis.get_major_ticks()
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
        shown = [text for text in (*axes.texts, *axes.get_yticklabels(), *ticks) if text.get_visible()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown if text.get_text()]
        found += [(a[0], b[0]) for a, b in itertools.combinations(boxes, 2) if a[1].overlaps(b[1])]
        right = axes.get_window_extent(renderer).x1
        found += [text.get_text() for text in axes.texts if text.get_window_extent(renderer).x1 > right + 1]
    return found


def test_a_line_shows_score_interval_seconds_and_parameters_the_best_on_top():
    figure = variants_figure([row("crnn", 0.4, training_seconds=90.0, parameters=87_100_000), row("fcn", 0.6)])
    scores, seconds, parameters = figure.axes
    assert names(scores) == ["fcn", "crnn"]
    assert (points(scores, 0), points(scores, 1)) == ([0.6], [0.4])
    intervals = [list(line.get_xdata()) for line in scores.lines if line.get_marker() == "None"]
    assert intervals == [pytest.approx([0.55, 0.63]), pytest.approx([0.35, 0.43])]
    assert scores.get_ylim()[0] > scores.get_ylim()[1]
    assert (points(seconds, 0), points(seconds, 1)) == ([1_234.4], [90.0])
    assert (points(parameters, 0), points(parameters, 1)) == ([254_622], [87_100_000])
    assert (seconds.get_xscale(), parameters.get_xscale()) == ("log", "log")
    assert [texts(axes) for axes in figure.axes] == [["0.600", "0.400"], ["1,234", "90"], ["255k", "87.1M"]]
    assert scores.get_title(loc="left") == "Average precision, PR-AUC (macro)"
    assert scores.get_xlabel() == "test split, 95% intervals"
    assert seconds.get_xlabel() == "on cpu, 2 threads"


def test_what_is_not_known_is_said():
    figure = variants_figure([row("a", None), row("b", 0.5, training_seconds=None, parameters=None), row("c", 0.4)])
    scores, seconds, parameters = figure.axes
    assert names(scores) == ["b", "c", "a"]
    assert texts(scores) == ["0.500", "0.400", "undefined"]
    assert texts(seconds) == ["–", "1,234", "1,234"]
    assert texts(parameters) == ["–", "255k", "255k"]
    nothing = variants_figure([row("a", None, training_seconds=None, parameters=None)])
    assert [texts(axes) for axes in nothing.axes] == [["undefined"], ["–"], ["–"]]


def test_seconds_of_different_devices_are_marked():
    figure = variants_figure([row("a"), row("b", trained_on="H100")])
    assert figure.axes[1].get_xlabel() == "on different devices"


@pytest.mark.parametrize("count", [1, 5, 20])
def test_no_names_or_numbers_overlap(count):
    generator = np.random.default_rng(count)
    rows = [
        row(
            f"short_cnn_of_a_rather_long_name_with_seed_{number}",
            float(generator.uniform(0.3, 0.45)),
            training_seconds=float(10 ** generator.uniform(2, 4.5)),
            parameters=int(10 ** generator.uniform(4.5, 8)),
        )
        for number in range(count)
    ]
    figure = variants_figure(rows)
    assert overlaps(figure) == []
    assert len(set(names(figure.axes[0]))) == count  # what tells them apart is not cut off


@pytest.fixture(scope="module")
def study():
    labels = {f"tag {number}": 10 * 2**number for number in range(9)}
    references = (np.random.default_rng(0).random((90, 9)) < np.linspace(0.1, 0.6, 9)).astype(float)
    noise = np.random.default_rng(1).normal(size=references.shape)
    trained = []
    for name, right in (("plain", 1), ("helped", np.linspace(4, 1, 9)), ("other", np.tile([1.3, 1.0, 0.7], 3))):
        probabilities = 1 / (1 + np.exp(-(noise + right * references)))
        ids = [str(number) for number in range(90)]
        predictions = Predictions(
            ids, [None] * 90, probabilities, references, list(labels), "multi_label_classification"
        )
        trained.append(TrainedVariant(name, labels, predictions))
    return compare_rare_classes(trained)


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_every_label_stands_at_its_training_clips_and_a_third_at_its_mean(study):
    plain, helped, other, _ = rare_classes_figure(study, "test").axes
    assert [axes.get_title(loc="left") for axes in (plain, helped, other)] == ["plain", "helped", "other"]
    expected = {name: [[study.support[label], own[label]] for label in study.support] for name, own in study.ap.items()}
    assert lines(plain)["a label"] == expected["plain"]
    assert lines(helped)["a label"] == expected["helped"]
    assert lines(helped)["the label by plain"] == expected["plain"]
    assert "the label by plain" not in lines(plain)
    for group in study.groups:
        (start, value), (end, same) = lines(helped)[f"mean: {group.name}"]
        assert value == same == study.scores["helped"][group.name].value
        assert start < group.fewest < group.most < end
    assert {axes.get_xscale() for axes in (plain, helped, other)} == {"log"}
    assert plain.get_ylabel() == "Average precision (test)"


def test_differences_to_the_first_are_filled_where_chance_does_not_explain_them(study):
    axes = rare_classes_figure(study, "test").axes[-1]
    assert names(axes) == ["helped", "other"]
    marked = [line for line in axes.lines if line.get_marker() == "o"]
    wanted = [study.differences[name][group.name] for group in study.groups for name in ("helped", "other")]
    assert [line.get_xdata()[0] for line in marked] == [own.difference for own in wanted]
    assert [line.get_markerfacecolor() != "white" for line in marked] == [own.is_significant for own in wanted]
    assert {own.is_significant for own in wanted} == {True, False}
    intervals = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"][:-1]  # the last is at 0
    assert intervals == [[own.low, own.high] for own in wanted]
    places = [line.get_ydata()[0] for line in marked]
    assert len(set(places)) == len(places)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[0] == "Rarest (3 labels, 10 to 40 clips)"
    assert overlaps(axes.figure.figure) == []


def test_pictures_are_written_and_equal_input_gives_equal_files(study, tmp_path):
    for name in ("first.png", "second.png"):
        plot_variants([row("a"), row("b", 0.3)], tmp_path / "variants" / name)
        plot_rare_classes(study, "test", tmp_path / "rare" / name)
    for kind in ("variants", "rare"):
        first, second = ((tmp_path / kind / name).read_bytes() for name in ("first.png", "second.png"))
        assert first == second
        with Image.open(tmp_path / kind / "first.png") as image:
            assert min(image.size) > 200
