"""What the pictures show, read from their Figure objects, and that they are written without side effects."""

import itertools

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hf_tagger.evaluation.plots import (
    confusion_matrix_figure,
    curves_figure,
    per_tag_ap_figure,
    plot_confusion_matrix,
    plot_curves,
    plot_per_tag_ap,
)


def make_log(values=(0.2, 0.6, 0.4, 0.6)):
    log = []
    for epoch, value in enumerate(values, start=1):
        step = 10 * epoch
        log.append({"loss": 1 / epoch, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": float(epoch), "step": step})
        log.append({"eval_loss": 2 / epoch, "eval_ap_macro": value, "epoch": float(epoch), "step": step})
    return [*log, {"train_runtime": 9.0, "train_loss": 0.5, "epoch": float(len(values)), "step": 10 * len(values)}]


def make_table(tags, unscored=()):
    table = []
    for index in range(tags):
        scored = index not in unscored
        row = {"label": f"tag {index:03d}", "support": index if scored else 0, "prevalence": index / 1000}
        table.append(row | {"ap": (index * 37 % tags) / tags if scored else None, "roc_auc": None})
    return table


def bars(figure):
    return [patch.get_width() for axes in figure.axes for patch in axes.patches]


def tick_labels(figure):
    return [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_curves_show_losses_and_metric_over_epochs():
    losses, scores = curves_figure(make_log(), "ap_macro").axes
    assert lines(losses)["training"] == [[1, 1], [2, 0.5], [3, 1 / 3], [4, 0.25]]
    assert lines(losses)["validation"] == [[1, 2], [2, 1], [3, 2 / 3], [4, 0.5]]
    assert scores.lines[0].get_xydata().tolist() == [[1, 0.2], [2, 0.6], [3, 0.4], [4, 0.6]]
    assert "ap_macro" in scores.get_title(loc="left")


@pytest.mark.parametrize("name", ["ap_macro", "eval_ap_macro"])
def test_the_first_of_the_best_epochs_is_marked(name):
    losses, scores = curves_figure(make_log(), name).axes
    assert lines(scores)["best: 0.6000"] == [[2, 0.6]]
    assert "best epoch: 2" in lines(losses)


def test_the_lowest_loss_is_the_best():
    assert "best epoch: 4" in lines(curves_figure(make_log(), "loss").axes[1])


def test_an_evaluation_after_training_does_not_change_the_curve():
    again = {"eval_loss": 0.1, "eval_ap_macro": 0.99, "epoch": 4.0, "step": 40}
    scores = curves_figure([*make_log(), again], "ap_macro").axes[1]
    assert scores.lines[0].get_xydata().tolist()[-1] == [4, 0.6]


def test_undefined_values_are_gaps_in_the_curve():
    log = make_log((None, 0.5, float("nan"), 0.4))
    assert curves_figure(log, "ap_macro").axes[1].lines[0].get_xydata().tolist() == [[2, 0.5], [4, 0.4]]


@pytest.mark.parametrize("log", [[], make_log()[:1]])
def test_a_run_without_validation_says_so(log):
    scores = curves_figure(log, "ap_macro").axes[1]
    assert [text.get_text() for text in scores.texts] == ["no validation during training"]


def test_confusion_matrix_shows_shares_as_colours_and_clips_as_numbers():
    figure = confusion_matrix_figure([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], ["rock", "jazz", "polka"])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array().filled(np.nan)[:2], [[0.75, 0.25, 0], [0, 1, 0]])
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "3", (1, 0): "1", (1, 1): "2"}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["rock", "jazz", "polka"]
    assert tick_labels(figure)[:3] == ["rock  (4)", "jazz  (2)", "polka  (0)"]
    assert "6 clips · accuracy 0.833" in axes.get_title(loc="left")


def test_a_class_without_clips_has_no_shares():
    shares = confusion_matrix_figure([0, 0], [0, 1], ["rock", "jazz"]).axes[0].images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(shares))[1].all()


@pytest.mark.parametrize("classes", [2, 12, 40])
def test_numbers_fit_into_the_cells_of_the_confusion_matrix(classes, tmp_path):
    references = np.repeat(np.arange(classes), 100)
    figure = confusion_matrix_figure(
        references, references, [f"a class of the name {index}" for index in range(classes)]
    )
    figure.savefig(tmp_path / "matrix.png")  # draws, so that sizes are known
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / classes
    assert max(text.get_window_extent().width for text in axes.texts) < cell
    labels = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(upper.y0 > lower.y1 for upper, lower in itertools.pairwise(labels))


def test_confusion_matrix_refuses_indices_without_a_name():
    with pytest.raises(ValueError, match="references: -100 in row 1 is no class index from 0 to 1"):
        confusion_matrix_figure([0, -100], [0, 0], ["rock", "jazz"])
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(1,\)"):
        confusion_matrix_figure([0, 1], [0], ["rock", "jazz"])


@pytest.mark.parametrize("tags", [1, 8, 50, 188])
def test_every_scored_tag_has_a_bar_and_the_best_is_first(tags):
    table = make_table(tags)
    figure = per_tag_ap_figure(table)
    assert bars(figure) == sorted((row["ap"] for row in table), reverse=True)
    assert sorted(tick_labels(figure)) == sorted(f"{row['label']}  ({row['support']})" for row in table)
    assert max(len(axes.patches) for axes in figure.axes) <= 50


def test_prevalence_stands_at_its_bar():
    figure = per_tag_ap_figure(make_table(8))
    axes = figure.axes[0]
    prevalences = dict(zip(tick_labels(figure), axes.lines[0].get_xdata(), strict=True))
    assert prevalences == {f"tag {index:03d}  ({index})": index / 1000 for index in range(8)}


def test_tags_that_could_not_be_scored_are_named_or_counted():
    few = per_tag_ap_figure(make_table(10, unscored={1, 3}))
    assert len(bars(few)) == 8
    assert few.get_supxlabel().endswith("tag 001, tag 003")
    assert per_tag_ap_figure(make_table(30, unscored=range(20))).get_supxlabel().startswith("20 labels could not")
    nothing = per_tag_ap_figure(make_table(2, unscored={0, 1}))
    assert [text.get_text() for text in nothing.axes[0].texts] == ["no label could be scored"]


def matplotlib_settings():
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}  # reading it sets it


LABELS = ["rock $&_^ $", "x" * 60, "音楽 #|"]
PICTURES = {
    "curves": lambda path: plot_curves(make_log(), "ap_macro", path),
    "confusion": lambda path: plot_confusion_matrix([0, 1, 2, 2], [0, 1, 2, 0], LABELS, path),
    "tags": lambda path: plot_per_tag_ap(
        [{"label": name, "support": 1, "prevalence": 0.2, "ap": 0.5} for name in LABELS], path
    ),
}


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_written_the_same_twice_and_leave_no_trace_in_matplotlib(name, tmp_path):
    settings = matplotlib_settings()
    first, second = tmp_path / "new" / "first.png", tmp_path / "second.png"
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        PICTURES[name](first)
    PICTURES[name](second)
    assert first.read_bytes() == second.read_bytes()
    assert matplotlib_settings() == settings
    with Image.open(first) as image:
        assert image.format == "PNG"
        assert 400 < image.width < 3000
        assert 250 < image.height < 3000
        assert len(image.convert("L").getcolors()) > 2
