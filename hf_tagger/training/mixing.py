"""Mixing the clips of a batch with each other, and their labels with them: mixup and cutmix."""

from __future__ import annotations

import math

import torch

from ..models.windowed_classification import MULTI_LABEL


def soft_labels(labels: torch.Tensor, problem_type: str, num_labels: int) -> torch.Tensor:
    """Labels that can be mixed: float32 ``[B, C]``.

    Args:
        labels: Class indices ``[B]`` (single-label) or 0/1 ``[B, C]`` (multi-label).
        problem_type: transformers' ``problem_type``.
        num_labels: C.
    """
    if problem_type == MULTI_LABEL:
        return labels.float()
    return (labels.unsqueeze(1) == torch.arange(num_labels, device=labels.device)).float()  # one_hot would wait


def draw_partners(clips: int, generator: torch.Generator) -> torch.Tensor:
    """For every clip another one of the batch, int64 ``[clips]``: neighbours in a random circle.

    Unlike a random permutation it never gives a clip to itself, unless the batch holds nothing else.
    """
    circle = torch.rand(clips, generator=generator, device=generator.device).argsort()
    return circle.roll(1)[circle.argsort()]


def draw_symmetric_beta(clips: int, alpha: float, generator: torch.Generator) -> torch.Tensor:
    """Draws from Beta(alpha, alpha), float32 ``[clips]``.

    In closed form from two uniform values U and V, which takes a generator and no loop: ½ ± ½ / √(1 + 1 / c) with
    c = (U^(-1/alpha) − 1) cos²(2πV), the sign that of the cosine (L. Devroye 1996, "Random Variate Generation in One
    Line of Code", Winter Simulation Conference; from R. W. Bailey 1994, https://doi.org/10.2307/2153537).
    """
    uniform, angle = torch.rand(2, clips, generator=generator, device=generator.device)
    cosine = torch.cos(2 * math.pi * angle)
    ratio = (uniform ** (-1 / alpha) - 1) * cosine.square()
    return 0.5 + 0.5 * cosine.sign() / (1 + 1 / ratio).sqrt()


def mixup(waveforms: torch.Tensor, shares: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """λ·clip + (1 − λ)·partner (Zhang et al. 2018, equation 2, https://arxiv.org/abs/1710.09412).

    Deviation: λ is drawn for every clip, where the authors' code draws one for a batch.

    Args:
        waveforms: ``[B, samples]``.
        shares: λ, 0 to 1, ``[B]``.
        partners: Positions in the batch, ``[B]``.
    """
    shares = shares.unsqueeze(1)
    return shares * waveforms + (1 - shares) * waveforms[partners]


def cutmix(
    waveforms: torch.Tensor, starts: torch.Tensor, lengths: torch.Tensor, partners: torch.Tensor
) -> torch.Tensor:
    """Replaces samples by those of the partner at the same place (Yun et al. 2019, https://arxiv.org/abs/1905.04899).

    Args:
        waveforms: ``[B, samples]``.
        starts: First replaced sample, ``[B]``.
        lengths: Replaced samples, ``[B]``.
        partners: Positions in the batch, ``[B]``.
    """
    positions = torch.arange(waveforms.shape[1], device=waveforms.device)
    is_cut = (positions >= starts.unsqueeze(1)) & (positions < (starts + lengths).unsqueeze(1))  # [B, samples]
    return torch.where(is_cut, waveforms[partners], waveforms)


def draw_cuts(shares: torch.Tensor, samples: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Where cutmix cuts: first samples and lengths, int64 ``[B]`` each.

    Deviation from Yun et al. 2019, section 3.1: the stretch lies wholly within the clip, where theirs is centred
    anywhere and cut off at the border; so the share of the clip that is kept is what was drawn.

    Args:
        shares: Share of the clip that is kept, 0 to 1, ``[B]``.
        samples: Length of the clips.
        generator: Draws the places.
    """
    lengths = ((1 - shares) * samples).round().long()
    places = torch.rand(shares.shape, generator=generator, device=shares.device)
    return (places * (samples - lengths + 1)).long().minimum(samples - lengths), lengths


def mix_labels(labels: torch.Tensor, shares: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """λ·labels + (1 − λ)·the partner's labels; NaN, a missing label, makes the mixed one NaN as well.

    Args:
        labels: float32 ``[B, C]``.
        shares: λ, 0 to 1, ``[B]``.
        partners: Positions in the batch, ``[B]``.
    """
    shares = shares.unsqueeze(1)
    return shares * labels + (1 - shares) * labels[partners]
