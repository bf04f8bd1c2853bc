"""Small taggers whose windows differ, saved as a run leaves them, and recordings for them."""

import numpy as np
import torch
from small_models import SMALL

from hf_tagger.evaluation.assessment import Fit
from hf_tagger.evaluation.stored_fit import store_fit
from hf_tagger.models import MODELS, WaveformFeatureExtractor

RATE = 16_000
LABELS = ["drums", "bass", "strings"]
MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def song(seconds, rate=RATE, seed=0):
    """A tone that rises and fades in over noise: no two windows sound alike. Values that 16 bits hold exactly."""
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.05, len(times))
    waveform = np.linspace(0.05, 0.6, len(times)) * np.sin(2 * np.pi * (110 + 40 * times) * times) + noise
    return (np.rint(waveform.clip(-0.99, 0.99) * 32_768) / 32_768).astype(np.float32)


def build(name="short_cnn", number=0, problem_type=MULTI, **changes):
    """A model whose batch norms have seen data, and its feature extractor."""
    torch.manual_seed(0)
    model_class = MODELS[name]
    settings = {**SMALL.get(name, [{}])[number], "id2label": dict(enumerate(LABELS)), **changes}
    config = model_class.config_class(**settings, problem_type=problem_type)
    model = model_class(config).train()
    windows = torch.from_numpy(song(4 * config.window_samples / config.sampling_rate, config.sampling_rate))
    with torch.no_grad():
        for _ in range(4):
            model(windows[: 4 * config.window_samples].view(4, -1))
    return model.eval(), WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)


def save(folder, *args, fit=None, **kwargs):
    """Writes :func:`build`'s model with what was fitted; returns the folder."""
    for part in build(*args, **kwargs):
        part.save_pretrained(folder)
    if fit is not None:
        store_fit(folder, fit, LABELS)
    return folder


FITTED = Fit(temperature=1.0, thresholds=[0.2, 0.9, 0.0], clips=20, sharpness=[0.0, 3.0, 40.0])
