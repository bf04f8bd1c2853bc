"""What the pictures of probabilities show, read from their Figure objects."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import auc, roc_auc_score

from hf_tagger.evaluation.assessment import Fit, Predictions, assess
from hf_tagger.evaluation.curve_plots import (
    plot_precision_recall_curves,
    plot_reliability,
    plot_roc_curves,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)

MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def tags(labels=3, clips=200, seed=0):
    generator = np.random.default_rng(seed)
    references = (generator.random((clips, labels)) < 0.3).astype(float)
    probabilities = references * 0.2 + generator.random((clips, labels)) * 0.8
    names = [f"tag {index}" for index in range(labels)]
    return Predictions([str(clip) for clip in range(clips)], [None] * clips, probabilities, references, names, MULTI)


def lines(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}


def test_a_roc_curve_encloses_the_roc_auc_and_the_mean_curve_their_mean():
    predictions = tags()
    drawn = lines(roc_figure(predictions))
    areas = [
        roc_auc_score(references, scores)
        for references, scores in zip(predictions.references.T, predictions.probabilities.T, strict=True)
    ]
    for name, area in zip(predictions.label_names, areas, strict=True):
        assert auc(*drawn[name].T) == pytest.approx(area)
    assert auc(*drawn["mean of 3 labels"].T) == pytest.approx(np.mean(areas), abs=0.005)


def test_precision_falls_from_the_best_clip_to_the_prevalence():
    predictions = tags(labels=1)
    recall, precision = lines(precision_recall_figure(predictions))["tag 0"].T
    assert (recall[0], recall[-1]) == (0, 1)
    assert precision[0] == 1
    assert precision[-1] == pytest.approx(predictions.references.mean(), abs=0.02)
    assert (np.diff(recall) >= 0).all()


def test_many_labels_are_grey_and_only_their_mean_is_named():
    legend = roc_figure(tags(labels=30)).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "mean of 30 labels"]


def test_labels_without_both_outcomes_and_unknown_entries_are_left_out():
    predictions = tags()
    predictions.references[:, 0] = 1
    predictions.references[:100, 1] = np.nan
    drawn = lines(roc_figure(predictions))
    assert "tag 0" not in drawn
    expected = roc_auc_score(predictions.references[100:, 1], predictions.probabilities[100:, 1])
    assert auc(*drawn["tag 1"].T) == pytest.approx(expected)
    predictions.references[:] = 1
    assert "no label could be scored" in [text.get_text() for text in roc_figure(predictions).axes[0].texts]


def test_single_label_curves_are_of_one_class_against_the_rest():
    generator = np.random.default_rng(0)
    references = generator.integers(0, 3, 90)
    probabilities = generator.dirichlet(np.ones(3), 90)
    predictions = Predictions(
        [str(clip) for clip in range(90)], [None] * 90, probabilities, references, ["rock", "jazz", "folk"], SINGLE
    )
    area = roc_auc_score(references == 1, probabilities[:, 1])
    assert auc(*lines(roc_figure(predictions))["jazz"].T) == pytest.approx(area)


def test_the_reliability_diagram_shows_the_share_that_is_right_and_how_many_decisions_there_are():
    found = assess(tags(), Fit.on(tags(seed=1)), resamples=10)["calibration"]
    diagram, numbers = reliability_figure(found).axes
    bins = found["bins"]
    filled = [value for value in bins["accuracy"] if value is not None]
    assert [bar.get_height() for bar in diagram.patches] == pytest.approx(filled)
    assert [bar.get_height() for bar in numbers.patches] == bins["counts"]
    assert f"{found['expected_calibration_error']:.4f}" in diagram.get_title(loc="left")


def test_pictures_are_written_as_png(tmp_path):
    predictions = tags()
    plot_roc_curves(predictions, tmp_path / "roc.png")
    plot_precision_recall_curves(predictions, tmp_path / "precision_recall.png")
    plot_reliability(assess(predictions, resamples=10)["calibration"], tmp_path / "reliability.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width > 400
