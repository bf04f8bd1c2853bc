"""Thresholds, temperature and sharpness in a configuration: they fit its labels, and belong to its weights."""

import json

import pytest

from hf_tagger.evaluation.assessment import Fit
from hf_tagger.evaluation.stored_fit import forget_fit, store_fit, store_sharpness, stored_fit
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig

NAMES = ["piano", "violin", "drums"]


@pytest.fixture
def folder(tmp_path):
    ShortCnnConfig(num_labels=3, id2label=dict(enumerate(NAMES))).save_pretrained(tmp_path)
    return tmp_path


def test_what_was_fitted_comes_back_in_the_order_of_the_labels(folder):
    fit = Fit(1.25, [0.1, 0.2, 0.3], 40)
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) is None
    store_fit(folder, fit, NAMES)
    assert json.loads((folder / "config.json").read_text())["label_thresholds"]["violin"] == 0.2
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) == fit
    assert not list(folder.glob("*.partial"))


def test_a_fit_without_thresholds_leaves_none_of_an_earlier_one(folder):
    store_fit(folder, Fit(1.25, [0.1, 0.2, 0.3], 40), NAMES)
    store_fit(folder, Fit(0.9, None, 30), NAMES)
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) == Fit(0.9, None, 30)


def test_thresholds_of_other_labels_are_not_used(folder):
    store_fit(folder, Fit(1.25, [0.1, 0.2], 40), ["rock", "jazz"])
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) == Fit(1.25, None, 40)


def test_a_sharpness_joins_what_is_stored_and_goes_with_it(folder):
    store_fit(folder, Fit(1.25, [0.1, 0.2, 0.3], 40), NAMES)
    store_sharpness(folder, [0.0, 2.5, 100.0], NAMES)
    assert json.loads((folder / "config.json").read_text())["aggregation_sharpness"]["violin"] == 2.5
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) == Fit(1.25, [0.1, 0.2, 0.3], 40, [0.0, 2.5, 100.0])
    store_fit(folder, Fit(1.0, None, 30), NAMES)  # of other weights
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) == Fit(1.0, None, 30)


def test_a_sharpness_alone_is_kept_for_a_model_without_temperature_and_thresholds(folder):
    store_sharpness(folder, [0.0, 2.5, 100.0], NAMES)
    alone = Fit(None, None, 0, [0.0, 2.5, 100.0])
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) == alone
    (folder / "again").mkdir()
    ShortCnnConfig(num_labels=3, id2label=dict(enumerate(NAMES))).save_pretrained(folder / "again")
    store_fit(folder / "again", alone, NAMES)
    assert stored_fit(ShortCnnConfig.from_pretrained(folder / "again")) == alone
    store_sharpness(folder, [1.0, 2.0], ["rock", "jazz"])
    assert stored_fit(ShortCnnConfig.from_pretrained(folder)) is None  # of other labels


def test_a_model_that_will_be_trained_on_forgets_them(folder):
    store_fit(folder, Fit(1.25, [0.1, 0.2, 0.3], 40, [1.0, 2.0, 3.0]), NAMES)
    config = ShortCnnConfig.from_pretrained(folder)
    forget_fit(config)
    assert stored_fit(config) is None
    assert not {"label_thresholds", "aggregation_sharpness"} & set(config.to_dict())
