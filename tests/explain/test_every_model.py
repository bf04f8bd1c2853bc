"""Every registered model, and stock ones, can be explained: the same sentences for all."""

import numpy as np
import pytest
import torch
from small_models import SMALL
from tiny_encoders import build_tagger, save_encoder

from hf_tagger.explain.clip import ExplainedClip
from hf_tagger.explain.deletion import deletion_tests
from hf_tagger.explain.model_input import ModelInput
from hf_tagger.explain.occlusion import band_edges, occlude_frequency, occlude_time
from hf_tagger.explain.saliency import explain_by_gradients
from hf_tagger.models import MODELS, WaveformFeatureExtractor
from hf_tagger.tagging import Tagger

CASES = [(name, number) for name in MODELS for number in range(len(SMALL.get(name, [{}])))]
OVER_WAVEFORM = ("sample_cnn", "mert_model")
FAMILIES = {"ast": "spectrogram", "whisper": "spectrogram", "hubert": "waveform"}


def music(samples, rate, seed=0):
    """Notes of a quarter of a second over noise."""
    generator = np.random.default_rng(seed)
    times = np.arange(samples) / rate
    pitches = generator.uniform(100, 1_500, samples * 4 // rate + 1)[(times * 4).astype(int)]
    waveform = 0.3 * np.sin(2 * np.pi * pitches * times) + 0.02 * generator.standard_normal(samples)
    return waveform.astype(np.float32)


def tagger_of(name, number):
    torch.manual_seed(0)
    model_class = MODELS[name]
    config = model_class.config_class(
        **SMALL.get(name, [{}])[number],
        id2label={0: "drums", 1: "bass", 2: "strings"},
        problem_type="multi_label_classification",
    )
    model = model_class(config).train()
    windows = torch.from_numpy(music(2 * config.window_samples, config.sampling_rate)).view(2, -1)
    with torch.no_grad():
        for _ in range(4):  # batch norms that have seen data
            model(windows)
    extractor = WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)
    return Tagger(model, extractor, "cpu")


def assert_explained(tagger, over_waveform):
    waveform = music(tagger.feature_extractor.window_samples, tagger.sampling_rate, seed=1)
    clip = ExplainedClip(tagger, waveform, 0.5, "noise", seed=0)
    saliency, again = (explain_by_gradients(clip, [0, 2], 2) for _ in range(2))
    in_time, edges = occlude_time(clip, [0, 2]), band_edges(2, tagger.sampling_rate)
    assert ModelInput(tagger.model, clip.run).reads_waveform == over_waveform
    assert saliency.segments.shape == in_time.shape == (2, clip.segments)
    assert saliency.maps.shape[::2] == (2, saliency.spectrogram.shape[1])
    assert saliency.maps.shape[1] == (1 if over_waveform else saliency.spectrogram.shape[0])
    assert np.isfinite(saliency.maps).all()
    assert np.isfinite(saliency.spectrogram).all()
    for relevance in (*saliency.segments, *in_time, *occlude_frequency(clip, [0, 2], edges)):
        assert np.isfinite(relevance).all()
        assert np.ptp(relevance) > 0
    np.testing.assert_array_equal(saliency.maps, again.maps)
    (test, _) = deletion_tests(clip, [0, 2], {"gradients": saliency.segments}, 2, 1, seed=0)
    assert test.curves["gradients"][0] == pytest.approx(tagger.probabilities(waveform)[0].item(), abs=1e-5)
    # All removed is the same, whatever the order.
    np.testing.assert_allclose(test.random[:, -1], test.curves["gradients"][-1], atol=1e-6)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_every_model_of_the_package_can_be_explained(name, number):
    is_wav2vec2 = name == "audio_encoder" and SMALL[name][number]["encoder"]["model_type"] == "wav2vec2"
    assert_explained(tagger_of(name, number), over_waveform=name in OVER_WAVEFORM or is_wav2vec2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stock_model_can_be_explained(family, tmp_path):
    window = {} if family == "whisper" else {"window_seconds": 0.6}
    model, extractor = build_tagger(save_encoder(family, tmp_path), **{"window_seconds": None, **window})
    assert_explained(Tagger(model, extractor, "cpu"), over_waveform=FAMILIES[family] == "waveform")
