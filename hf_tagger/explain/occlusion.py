"""What a tagger's answer loses when a part of the recording is taken away: a stretch of time, or a band of frequencies.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2,
https://arxiv.org/abs/1311.2901: a mask slides over the input, and the drop of the label's probability is the relevance
of what it hides. Here it hides sound (see ``clip.py``), so that every model can be asked, whatever it reads.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from tqdm import tqdm

from .clip import ExplainedClip

_EDGE_SHARE = 0.1  # of a band's width: how softly it ends


def occlude_time(clip: ExplainedClip, labels: list[int]) -> np.ndarray:
    """Drop of the recording's probability when one segment is replaced by the fill.

    Args:
        clip: The recording.
        labels: Numbers of K labels.

    Returns:
        float64 ``[K, S]``; negative where the label is the likelier without the segment.
    """
    windows, segments = clip.holds.nonzero(as_tuple=True)  # each segment in each window that holds it
    nothing_removed = torch.ones(clip.segments, dtype=torch.bool)

    def without(window: int, segment: int) -> torch.Tensor:
        kept = nothing_removed.clone()
        kept[segment] = False
        return clip.masked_window(window, kept)

    pairs = tqdm(list(zip(windows.tolist(), segments.tolist(), strict=True)), desc="Time", unit="window", leave=False)
    scores = clip.scores_of(itertools.starmap(without, pairs))[:, labels]  # [pairs, K]
    drops = (clip.probabilities[windows][:, labels] - scores) / len(clip.starts)
    return torch.zeros(clip.segments, len(labels), dtype=torch.float64).index_add(0, segments, drops).T.numpy()


def occlude_frequency(clip: ExplainedClip, labels: list[int], edges: np.ndarray) -> np.ndarray:
    """Drop of the recording's probability when one band of frequencies is replaced by that of the fill.

    Args:
        clip: The recording.
        labels: Numbers of K labels.
        edges: Borders of B bands in Hz, ascending, ``[B + 1]``.

    Returns:
        float64 ``[K, B]``.
    """
    gains = band_gains(edges, clip.window_samples, clip.sampling_rate)  # [B, frequencies]

    def without(band: int, window: int) -> torch.Tensor:
        removed = torch.fft.rfft(clip.fill_window(window) - clip.window(window)) * gains[band]
        return clip.window(window) + torch.fft.irfft(removed, clip.window_samples)

    windows = range(len(clip.starts))
    pairs = list(itertools.product(range(len(gains)), windows))
    scores = clip.scores_of(
        without(*pair) for pair in tqdm(pairs, desc="Frequency", unit="window", leave=False)
    )  # [B · windows, C]
    left = scores[:, labels].unflatten(0, (len(gains), -1)).mean(dim=1)  # [B, K]
    return (clip.probabilities[:, labels].mean(dim=0) - left).T.numpy()


def band_edges(bands: int, sampling_rate: int) -> np.ndarray:
    """Borders of bands of equal width on the mel scale (HTK), from 0 Hz to half the rate: ``[bands + 1]``."""
    mel = np.linspace(0, 2595 * math.log10(1 + sampling_rate / 2 / 700), bands + 1)
    return 700 * (10 ** (mel / 2595) - 1)


def band_gains(edges: np.ndarray, samples: int, sampling_rate: int) -> torch.Tensor:
    """Shares of every frequency of ``torch.fft.rfft`` that belong to each band, float32 ``[B, samples // 2 + 1]``.

    Neighbours overlap in straight lines a tenth of the narrower one wide, and sum up to 1 everywhere.
    """
    hertz = torch.fft.rfftfreq(samples, 1 / sampling_rate, dtype=torch.float64)
    widths = np.diff(edges)
    above = [torch.ones_like(hertz)]  # how much of a frequency lies above each border
    for border, width in zip(edges[1:-1], np.minimum(widths[:-1], widths[1:]), strict=True):
        above.append(((hertz - border) / (_EDGE_SHARE * width) + 0.5).clamp(0, 1))
    above.append(torch.zeros_like(hertz))
    return torch.stack([low - high for low, high in itertools.pairwise(above)]).float()
