"""Integrated gradients: complete, and where the reasons are."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from known_tagger import RATE, TONE_HERTZ, TONE_SECONDS, known_tagger, song

from hf_tagger.explain.clip import ExplainedClip
from hf_tagger.explain.model_input import ModelInput
from hf_tagger.explain.saliency import explain_by_gradients, integrated_gradients, log_odds

WHISTLE = 1


def gradients(tagger, waveform, labels=(WHISTLE,), steps=20, fill="noise"):
    clip = ExplainedClip(tagger, waveform, 0.25, fill, seed=0)
    return explain_by_gradients(clip, list(labels), steps), clip


def test_a_product_is_shared_by_its_factors_and_a_constant_gets_nothing():
    values, baseline = torch.tensor([[2.0, 3.0, 5.0]]), torch.zeros(1, 3)
    relevance = integrated_gradients(
        lambda x: torch.stack([x[:, 0] * x[:, 1] + 7, x[:, 2]], dim=1), values, baseline, steps=10
    )
    torch.testing.assert_close(relevance, torch.tensor([[3.0, 3.0, 0.0], [0.0, 0.0, 5.0]]))


@pytest.mark.parametrize("steps", [1, 7, 64])
def test_the_sum_is_the_difference_of_the_scores_up_to_the_error_of_the_integral(steps):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    values, baseline = torch.randn(1, 6), torch.randn(1, 6)
    relevance = integrated_gradients(network, values, baseline, steps)
    difference = (network(values) - network(baseline)).detach()[0]
    error = (relevance.sum(dim=1) - difference).abs().max().item()
    assert error < 2.0 / steps**2  # the midpoint rule


def test_log_odds_are_those_of_the_probabilities():
    logits = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    single, multi = log_odds(logits, [3, 1], False), log_odds(logits, [3, 1], True)
    p = logits.softmax(dim=-1)[:, [3, 1]]
    torch.testing.assert_close(single, (p / (1 - p)).log())
    torch.testing.assert_close(multi, logits[:, [3, 1]])


@pytest.mark.parametrize("fill", ["noise", "silence"])
@pytest.mark.parametrize("problem_type", ["multi_label_classification", "single_label_classification"])
def test_a_whistle_is_found_in_time_and_frequency(fill, problem_type):
    tagger = known_tagger(problem_type=problem_type)
    saliency, clip = gradients(tagger, song(), steps=64, fill=fill)
    (relevance,), (of_bins,) = saliency.segments, saliency.maps.sum(axis=2)
    edges = clip.segment_edges
    inside = (edges[:-1] >= TONE_SECONDS[0]) & (edges[1:] <= TONE_SECONDS[1])
    assert inside.sum() == 4
    assert relevance[inside].sum() > 0.9 * relevance.sum()
    assert relevance[inside].min() > 10 * relevance[~inside].max()
    assert int(of_bins.argmax()) == tagger.model.bin == saliency.ticks[int(TONE_HERTZ)]
    assert of_bins[tagger.model.bin] == pytest.approx(of_bins.sum(), rel=1e-6)  # nothing else is heard
    assert saliency.completeness_error(0) < 0.03


def test_segments_hold_the_relevance_of_all_windows():
    saliency, _ = gradients(known_tagger(window_seconds=1.25), song())  # four windows side by side
    assert saliency.sums.shape == (1, 4)
    assert saliency.segments.sum() == pytest.approx(saliency.sums.sum(), rel=1e-6)


def test_where_windows_overlap_relevance_is_their_mean():
    tagger = known_tagger(window_seconds=2.0)  # windows at 0, 2 and 3 s: the tone lies in the second alone
    alone, _ = gradients(tagger, song())
    tagger.feature_extractor.hop_samples = RATE // 2  # the second from 2 to 3 s lies in three of seven windows
    overlapping, _ = gradients(tagger, song())
    assert overlapping.sums.shape == (1, 7)
    np.testing.assert_allclose(overlapping.segments[0], alone.segments[0], atol=0.35, rtol=0.25)
    assert overlapping.segments.sum() == pytest.approx(alone.segments.sum(), rel=0.1)
    assert overlapping.sums.sum() > 2.5 * alone.sums.sum()


def test_a_clip_that_is_repeated_to_fill_a_window_gets_the_relevance_of_all_its_repetitions():
    waveform = song()[2 * RATE : 3 * RATE]
    saliency, clip = gradients(known_tagger(window_seconds=2.5), waveform)
    assert (len(clip.starts), clip.segments) == (1, 10)
    assert saliency.segments.sum() == pytest.approx(saliency.sums.sum(), rel=1e-6)
    first_half, second_half = saliency.segments[0, :5].sum(), saliency.segments[0, 5:].sum()
    assert first_half == pytest.approx(1.5 * second_half, rel=0.05)  # heard three times, and twice


def test_a_model_whose_input_is_replaced_by_what_it_reads_says_the_same_and_is_left_as_it_was():
    tagger = known_tagger()
    clip = ExplainedClip(tagger, song(), 0.25, "noise", seed=0)
    reader, window = ModelInput(tagger.model, clip.run), clip.window(0)[None]
    values = reader.read(window)
    torch.testing.assert_close(reader.logits(window, values), clip.run(window))
    assert not torch.allclose(reader.logits(window, values + 1), clip.run(window))
    assert not tagger.model.spectrogram._forward_hooks
