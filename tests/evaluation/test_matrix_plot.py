"""What the picture of models on datasets shows, read from its Figure object."""

import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from hf_tagger.evaluation.matrix_plot import MatrixField, plot_transfer_matrix, transfer_matrix_figure

FIELDS = [
    [MatrixField(0.95, 0.93, 0.97, 10, is_own=True), MatrixField(0.6, 0.55, 0.65, 1, reference=0.875)],
    [None, MatrixField(None, None, None, 3)],
    [MatrixField(0.4, None, None, 2), MatrixField(0.75, 0.7, 0.8, 4)],
]
ROWS, COLUMNS = ["A\nrun", "B\nrun", "C\nrun"], ["A", "B"]


def figure():
    return transfer_matrix_figure(ROWS, COLUMNS, FIELDS, "ROC-AUC (macro)")


def texts(axes):
    """(row, column) → what stands in a field, from top to bottom."""
    found = {}
    for text in axes.texts:
        column, row = text.get_position()
        found.setdefault((round(row), round(column)), []).append(text.get_text())
    return {place: "\n".join(own).split("\n") for place, own in found.items()}


def fields(axes):
    """(row, column) → colour of a field."""
    filled = [patch for patch in axes.patches if patch.get_fill()]
    return {
        (round(patch.get_y() + 0.485), round(patch.get_x() + 0.49)): to_rgb(patch.get_facecolor()) for patch in filled
    }


def luminance(color):
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in color]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_field_says_score_interval_concepts_and_what_the_own_model_reaches():
    assert texts(figure().axes[0]) == {
        (0, 0): ["0.950", "0.930 to 0.970", "10 concepts"],
        (0, 1): ["0.600", "0.550 to 0.650", "1 concept", "own model 0.875"],
        (1, 0): ["–"],
        (1, 1): ["undefined", "3 concepts"],
        (2, 0): ["0.400", "2 concepts"],
        (2, 1): ["0.750", "0.700 to 0.800", "4 concepts"],
    }


def test_rows_are_what_was_trained_on_from_top_to_bottom_and_columns_what_was_tested_on():
    axes = figure().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ROWS
    assert [label.get_text() for label in axes.get_xticklabels()] == COLUMNS
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("Trained on", "Tested on")
    assert "chance is 0.5" in axes.get_title(loc="left")


def test_higher_scores_are_darker_from_chance_on_and_fields_without_a_score_are_grey():
    found = fields(figure().axes[0])
    assert luminance(found[0, 0]) < luminance(found[2, 1]) < luminance(found[0, 1]) < 1
    assert found[2, 0] == (1, 1, 1)  # below chance
    assert found[1, 0] == found[1, 1]
    red, green, blue = found[1, 0]
    assert red == green == blue < 1


def test_the_text_contrasts_with_its_field():
    axes = figure().axes[0]
    colors = fields(axes)
    for text in axes.texts:
        column, row = text.get_position()
        one, other = sorted([luminance(colors[round(row), round(column)]), luminance(to_rgb(text.get_color()))])
        assert (other + 0.05) / (one + 0.05) >= 4.5  # WCAG's level AA


def test_models_on_their_own_dataset_are_framed_and_the_footnote_says_what_is_there():
    drawn = figure()
    frames = [patch for patch in drawn.axes[0].patches if not patch.get_fill()]
    assert [(round(patch.get_x() + 0.475), round(patch.get_y() + 0.46)) for patch in frames] == [(0, 0)]
    assert len(drawn.get_supxlabel().split("\n")) == 3
    plain = transfer_matrix_figure(["A"], ["B"], [[MatrixField(0.75, 0.7, 0.8, 4)]], "ROC-AUC (macro)")
    assert plain.get_supxlabel() == ""


@pytest.mark.parametrize("size", [1, 5])
def test_the_picture_is_written_as_png_and_grows_with_the_matrix(tmp_path, size):
    field = MatrixField(0.75, 0.7, 0.8, 4)
    path = tmp_path / "transfer.png"
    plot_transfer_matrix(["A"] * size, ["B"] * size, [[field] * size] * size, "ROC-AUC (macro)", path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 285 * size
        assert image.height > 172 * size
