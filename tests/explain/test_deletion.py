"""The deletion test: a true explanation beats every random order, a false one none."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from known_tagger import known_tagger, song

from hf_tagger.explain.clip import ExplainedClip
from hf_tagger.explain.deletion import Deletion, area_under, curve_of, deletion_tests
from hf_tagger.explain.explanation import GRADIENTS, OCCLUSION, ExplanationSettings, explain

HUM, WHISTLE = 0, 1


def test_a_true_explanation_beats_all_random_orders():
    recording, (whistle,) = explain(known_tagger(), song(), ["whistle"], ExplanationSettings(segment_seconds=0.25))
    test = whistle.deletion
    assert {name: test.beaten(name) for name in (GRADIENTS, OCCLUSION)} == {GRADIENTS: 20, OCCLUSION: 20}
    assert test.area(GRADIENTS) < 0.5 * test.random_areas.mean()
    start, end = (recording.segment_edges[segment] for segment in whistle.stretch)
    assert (start, end) == (pytest.approx(start), pytest.approx(start + 3))
    assert start <= 2
    assert end >= 3  # the whistle lies in the three seconds


def test_a_false_explanation_beats_none():
    clip = ExplainedClip(known_tagger(), song(), 0.25, "noise", seed=0)
    truth = np.zeros((1, 20))
    truth[0, 8:12] = 1
    (test,) = deletion_tests(clip, [WHISTLE], {"true": truth, "false": -truth}, 10, 20, seed=0)
    assert (test.beaten("true"), test.beaten("false")) == (20, 0)
    assert test.best == "true"


def test_a_label_that_hears_nothing_has_level_curves_and_beats_nobody():
    clip = ExplainedClip(known_tagger(), song(), 0.25, "noise", seed=0)
    (test,) = deletion_tests(clip, [HUM], {"any": np.arange(20.0)[None]}, 5, 3, seed=0)
    np.testing.assert_allclose(test.curves["any"], np.full(6, 1 / (1 + np.exp(3))))
    assert test.beaten("any") == 0


def test_every_point_of_a_curve_is_what_the_tagger_says_of_what_is_left():
    clip = ExplainedClip(known_tagger(window_seconds=1.0), song(), 0.25, "noise", seed=0)
    order = np.random.default_rng(0).permutation(20)
    curve = curve_of(clip, [WHISTLE], order, np.array([0, 4, 11, 20]))
    assert curve.shape == (4, 1)
    assert curve[0, 0] == pytest.approx(clip.tagger.probabilities(song())[WHISTLE].item(), abs=1e-6)
    for step, cut in ((1, 4), (2, 11), (3, 20)):
        kept = np.ones(20, dtype=bool)
        kept[order[:cut]] = False
        windows = [clip.masked_window(number, torch.from_numpy(kept)) for number in range(len(clip.starts))]
        assert curve[step, 0] == pytest.approx(clip.scores_of(windows)[:, WHISTLE].mean().item(), abs=1e-6)


def test_the_area_is_the_mean_height_of_the_curve():
    shares = np.array([0.0, 0.25, 1.0])
    assert area_under(shares, np.array([1.0, 0.5, 0.0])) == pytest.approx(0.25 * 0.75 + 0.75 * 0.25)
    flat = Deletion(shares, {"a": np.full(3, 0.3)}, np.stack([np.full(3, 0.2), np.full(3, 0.4), np.full(3, 0.3)]))
    assert flat.area("a") == pytest.approx(0.3)
    assert flat.beaten("a") == 1  # an order that is as good is not beaten
