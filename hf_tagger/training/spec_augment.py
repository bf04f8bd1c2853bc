"""SpecAugment: stretches of time and bands of frequency are masked in what the network reads.

Park et al. 2019, "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", section 2,
https://arxiv.org/abs/1904.08779.
"""

from __future__ import annotations

import torch

from ..augmentation_arguments import SpecAugmentArguments


def draw_masks(clips: int, masks: int, width: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Which positions are masked, boolean ``[clips, length]``.

    As the paper: each mask is 0 to ``width`` positions wide, every width equally likely, and lies anywhere; masks may
    overlap. (``torchaudio.functional.mask_along_axis_iid`` draws from the global generator only, and never reaches the
    full width.)

    Args:
        clips: Number of clips; each draws its own masks.
        masks: Masks of one clip.
        width: Most positions of one mask; longer than ``length`` counts as ``length``.
        length: Bins or frames.
        generator: Draws widths and places; its device is that of the result.
    """
    width = min(width, length)
    drawn, places = torch.rand(2, clips, masks, 1, generator=generator, device=generator.device)
    widths = (drawn * (width + 1)).long().clamp(max=width)  # [clips, masks, 1]
    starts = (places * (length - widths + 1)).long().minimum(length - widths)
    positions = torch.arange(length, device=generator.device)
    return ((positions >= starts) & (positions < starts + widths)).any(dim=1)


def spec_augment(
    spectrogram: torch.Tensor, arguments: SpecAugmentArguments, generator: torch.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Masks spectrograms, each with masks of its own; what is masked becomes the spectrogram's mean.

    The paper masks with 0 in spectrograms whose mean is 0; ours are normalised over a dataset. Channels of one clip
    (the harmonics of ``harmonic_cnn``) share their masks and have a mean each.

    Args:
        spectrogram: ``[B, bins, frames]`` or ``[B, channels, bins, frames]``, or ``[bins, frames]`` of one clip.
        arguments: Number and width of the masks.
        generator: Draws the masks, on the device of the spectrogram.

    Returns:
        The masked spectrograms, and what was drawn: ``chosen`` ``[B]``, ``frames`` ``[B, frames]`` and ``bins``
        ``[B, bins]``, boolean.
    """
    clips = spectrogram.shape[0] if spectrogram.ndim > 2 else 1
    bins, frames = spectrogram.shape[-2:]
    chosen = torch.rand(clips, generator=generator, device=generator.device) < arguments.probability
    widest = min(arguments.time_width, int(arguments.time_share * frames))
    time = draw_masks(clips, arguments.time_masks, widest, frames, generator)
    frequency = draw_masks(clips, arguments.frequency_masks, arguments.frequency_width, bins, generator)
    masked = (time.unsqueeze(1) | frequency.unsqueeze(2)) & chosen[:, None, None]  # [B, bins, frames]
    shape = (*spectrogram.shape[:1], *(1 for _ in spectrogram.shape[1:-2]), bins, frames)
    mean = spectrogram.detach().mean(dim=(-2, -1), keepdim=True, dtype=torch.float32).to(spectrogram.dtype)
    drawn = {"chosen": chosen, "frames": time, "bins": frequency}
    return torch.where(masked.view(shape if spectrogram.ndim > 2 else (bins, frames)), mean, spectrogram), drawn
