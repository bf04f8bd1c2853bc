"""A tagger whose reasons are known: it reacts to the level near 1 kHz, and to nothing else."""

import types

import numpy as np
import torch
from torch import nn

from hf_tagger.models import WaveformFeatureExtractor
from hf_tagger.models.frontends import LogMel
from hf_tagger.tagging import Tagger

RATE = 8_000
LABELS = {0: "hum", 1: "whistle"}
TONE_SECONDS, TONE_HERTZ = (2.0, 3.0), 1_000.0
BINS = 40
_THRESHOLD = 4.5


class Whistle(nn.Module):
    """Label 1 by the mean of one mel bin over time, label 0 never."""

    def __init__(self, window_seconds, problem_type):
        super().__init__()
        self.config = types.SimpleNamespace(
            id2label=LABELS, problem_type=problem_type, hop_length=64, windows_per_group=4, num_labels=2
        )
        self.spectrogram = LogMel(RATE, 256, 64, BINS, 0.0, RATE / 2)
        edges = np.linspace(0, np.log10(1 + RATE / 2 / 700), BINS + 2)
        centres = 700 * (10 ** edges[1:-1] - 1)
        self.bin = int(np.abs(centres - TONE_HERTZ).argmin())
        self.window_samples = round(window_seconds * RATE)

    def forward(self, input_values):
        level = self.spectrogram(input_values)[:, 0, self.bin]  # [N, frames]; 2.6 in the noise, 6.6 in the tone
        heard = (level - _THRESHOLD).relu().mean(dim=-1)  # [N]
        logits = torch.stack([torch.full_like(heard, -3.0), 12 * heard - 3], dim=1)
        return types.SimpleNamespace(logits=logits)


def known_tagger(window_seconds=2.5, problem_type="multi_label_classification"):
    model = Whistle(window_seconds, problem_type)
    extractor = WaveformFeatureExtractor(RATE, model.window_samples, model.window_samples)
    return Tagger(model, extractor, "cpu")


def song(seconds=5.0, seed=0):
    """Noise and a low tone all the time, and a tone of 1 kHz between seconds 2 and 3."""
    times = np.arange(round(seconds * RATE)) / RATE
    waveform = 0.02 * np.random.default_rng(seed).standard_normal(len(times)) + 0.3 * np.sin(2 * np.pi * 150 * times)
    heard = (times >= TONE_SECONDS[0]) & (times < TONE_SECONDS[1])
    return (waveform + 0.3 * heard * np.sin(2 * np.pi * TONE_HERTZ * times)).astype(np.float32)
