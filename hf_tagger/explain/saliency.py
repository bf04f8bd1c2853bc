"""Which parts of its input raise a label's score: integrated gradients, window by window over a whole recording.

Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", https://arxiv.org/abs/1703.01365, equation 1: the
gradients of the score F along the straight way from a baseline x' to the input x, times the way,

    relevance = (x − x') ∫₀¹ ∇F(x' + α (x − x')) dα,      whose sum is F(x) − F(x')  (completeness).

F is a label's log odds in one window, and x' what the model reads of the fill that replaces removed parts (see
``clip.py``), so that gradients and occlusion ask about the same absence. For a model that normalises a waveform this
baseline is a noise as loud as the music; silence would not do, for such a model hears the same at every point of a way
from silence. Deviation from the paper: the integral is summed at the middles of equal steps, which errs less than their
ends do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..models.frontends import MelDecibels
from .clip import ExplainedClip
from .model_input import ModelInput

_POINTS_AT_ONCE = 8  # of the way; gradients need the memory of a training step
_COLUMNS = 1_200  # of a picture: more than a screen shows
_DRAWN_N_FFT, _DRAWN_BINS = 1_024, 96


@dataclass(frozen=True)
class Saliency:
    """Integrated gradients of K labels over a recording.

    Attributes:
        segments: Relevance of every segment in log odds, float64 ``[K, S]``; where windows overlap their mean.
        maps: The same in time and frequency, float64 ``[K, bins, columns]``; one bin for models over the waveform. To
            be drawn: a column that no frame falls into repeats the one before it.
        spectrogram: What the relevance lies on, float64 ``[bins, columns]``: what the model reads, or, for models over
            the waveform, a mel spectrogram in decibels.
        ticks: Rows of ``spectrogram`` by frequency in Hz; empty where they are no frequencies.
        sums: Sum of the relevance in every window, float64 ``[K, windows]``.
        differences: F(x) − F(x') of every window, which the sums would be with endless steps, ``[K, windows]``.
    """

    segments: np.ndarray
    maps: np.ndarray
    spectrogram: np.ndarray
    ticks: dict[int, int]
    sums: np.ndarray
    differences: np.ndarray

    def completeness_error(self, label: int) -> float:
        """Largest distance of a window's sum from its difference, as a share of the largest difference."""
        scale = np.abs(self.differences[label]).max()
        return float(np.abs(self.sums[label] - self.differences[label]).max() / scale) if scale else 0.0


def explain_by_gradients(clip: ExplainedClip, labels: list[int], steps: int) -> Saliency:
    """Integrated gradients of some labels over all windows of a recording.

    Args:
        clip: The recording.
        labels: Numbers of K labels.
        steps: Points on the way from the baseline; each costs a pass forward and one backward a label.
    """
    reader = ModelInput(clip.tagger.model, clip.run)
    # cuDNN's recurrent layers (crnn) have no backward pass outside of training.
    recurs = any(isinstance(module, nn.RNNBase) for module in clip.tagger.model.modules())
    drawn = None
    if reader.reads_waveform:
        rate, hop = clip.sampling_rate, _DRAWN_N_FFT // 4
        drawn = MelDecibels(rate, _DRAWN_N_FFT, hop, _DRAWN_BINS, 0.0, rate / 2)
    columns = min(_COLUMNS, clip.samples)
    counts = _window_counts(clip, columns)
    of_segments, of_columns, of_picture = _Sum(clip.segments), _Sum(columns), _Sum(columns)
    frames_of_picture = _Sum(columns)
    sums, differences = [], []
    for number in tqdm(range(len(clip.starts)), desc="Gradients", unit="window", leave=False):
        window = clip.window(number)
        values, baseline = reader.read(torch.stack([window, clip.fill_window(number)])).split(1)

        def score(points: torch.Tensor, window: torch.Tensor = window) -> torch.Tensor:
            with torch.backends.cudnn.flags(enabled=not recurs):
                logits = reader.logits(window.expand(len(points), -1), points)
            return log_odds(logits.float(), labels, clip.is_multi_label)

        relevance = integrated_gradients(score, values, baseline, steps)  # [K, ...]
        with torch.no_grad():
            ends = torch.cat([score(values), score(baseline)]).double().cpu()  # [2, K]
        sums.append(relevance.double().flatten(1).sum(dim=1).cpu().numpy())
        differences.append((ends[0] - ends[1]).numpy())

        positions = clip.positions(number)
        of_window = reader.as_map(relevance).double().cpu()  # [K, bins, frames]
        frames = reader.frame_positions(of_window.shape[2], clip.window_samples, clip.sampling_rate)
        is_real = frames < clip.window_samples
        at = positions[frames[is_real]]  # samples of the recording
        column = at * columns // clip.samples
        of_window = of_window[..., is_real]
        of_columns.add(of_window / counts[column], column)
        of_segments.add(of_window.sum(dim=1) / counts[column], clip.segment_of(at))

        picture = reader.as_map(values)[0].double().cpu()[:, is_real] if drawn is None else drawn(window[None])[0, 0]
        if drawn is not None:
            at = positions[(torch.arange(picture.shape[1]) * hop).clamp(max=clip.window_samples - 1)]
            column = at * columns // clip.samples
        of_picture.add(picture.double(), column)
        frames_of_picture.add(torch.ones(len(column), dtype=torch.float64), column)
    with torch.no_grad():
        ticks = reader.frequency_ticks(clip.window_samples, clip.sampling_rate)
        if drawn is not None:
            ticks = _mel_ticks(clip.sampling_rate)
    filled = frames_of_picture.total > 0
    return Saliency(
        segments=of_segments.total.numpy(),
        maps=_grown(of_columns.total, filled).numpy(),
        spectrogram=_grown(of_picture.total / frames_of_picture.total.clamp(min=1), filled).numpy(),
        ticks=ticks,
        sums=np.stack(sums, axis=1),
        differences=np.stack(differences, axis=1),
    )


def integrated_gradients(
    score: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor, baseline: torch.Tensor, steps: int
) -> torch.Tensor:
    """Relevance of every value for K scores, which sums up to ``score(values) − score(baseline)``.

    Args:
        score: Inputs ``[N, ...]`` → scores ``[N, K]``, each of its own input alone.
        values: One input ``[1, ...]``.
        baseline: The input that counts as nothing, ``[1, ...]``.
        steps: Points on the way.

    Returns:
        float32 ``[K, ...]``.
    """
    way = (values - baseline).float()
    gradients = 0
    for shares in ((torch.arange(steps, device=way.device) + 0.5) / steps).split(_POINTS_AT_ONCE):
        shares = shares.view(-1, *[1] * (way.ndim - 1))
        points = (baseline + shares * way).requires_grad_()
        with torch.enable_grad():
            of_labels = score(points).sum(dim=0).unbind()  # K sums: an input's gradient is that of its own score
            parts = [torch.autograd.grad(value, points, retain_graph=True)[0].sum(dim=0) for value in of_labels]
        gradients = gradients + torch.stack(parts)
    return way * gradients / steps


def log_odds(logits: torch.Tensor, labels: list[int], is_multi_label: bool) -> torch.Tensor:
    """log p / (1 − p) of some labels' probabilities: logits ``[N, C]`` → ``[N, K]``.

    Of labels that exclude each other it is the logit above the log-sum-exp of all others: a label does not gain by what
    raises all logits alike.
    """
    chosen = logits[:, labels]
    if is_multi_label or logits.shape[1] == 1:
        return chosen
    others = nn.functional.one_hot(torch.tensor(labels, device=logits.device), logits.shape[1]).bool()  # [K, C]
    return chosen - logits[:, None].masked_fill(others, -torch.inf).logsumexp(dim=-1)


class _Sum:
    """Sums of what falls into each of some places, over the last dimension."""

    def __init__(self, places: int):
        self.places, self.total = places, torch.zeros(())

    def add(self, values: torch.Tensor, places: torch.Tensor) -> None:
        summed = values.new_zeros(*values.shape[:-1], self.places).index_add(-1, places, values)
        self.total = self.total + summed


def _window_counts(clip: ExplainedClip, columns: int) -> torch.Tensor:
    """How many windows hold the middle of every column: ``[columns]``."""
    middles = (2 * torch.arange(columns) + 1) * clip.samples // (2 * columns)
    if clip.samples <= clip.window_samples:
        return torch.ones(columns, dtype=torch.float64)
    starts = torch.tensor(clip.starts)[:, None]
    return ((middles >= starts) & (middles < starts + clip.window_samples)).sum(dim=0).clamp(min=1).double()


def _grown(values: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
    """``[..., columns]`` where every column that no frame fell into shows the one before it."""
    numbers = torch.arange(len(filled)).masked_fill(~filled, -1).cummax(dim=0).values
    return values[..., numbers.clamp(min=0)]


def _mel_ticks(sampling_rate: int) -> dict[int, int]:
    """Bins of the drawn mel spectrogram, whose centres lie evenly on the HTK mel scale."""
    edge = np.log10(1 + sampling_rate / 2 / 700)
    hertz = [value for value in (125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000) if value < sampling_rate / 2]
    return {value: round(np.log10(1 + value / 700) / edge * (_DRAWN_BINS + 1)) - 1 for value in hertz}
