"""Picture of a recipe's augmentation: the spectrogram of one window before and after each of its parts.

In the manner of ``plots.py``: one function builds the ``Figure``, the other writes it as PNG.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..augmentation_arguments import AugmentationArguments
from ..models.frontends import MelDecibels
from ..training.augment import Augmentation
from .plots import PathLike, house_style, label_grid, save_figure

# The spectrogram of Won et al. 2020 (https://arxiv.org/abs/2006.00751), which most of our models read.
_N_FFT, _HOP_LENGTH, _MEL_BINS = 512, 256, 128
_SHOWN_DECIBELS = 80.0  # below the loudest bin of the window before
_COLUMNS = 3
_HERTZ_TICKS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
# How a value of Augmentation.last_draws is written.
_TEXTS = {
    "factors": "× {:.3f}",
    "seconds": "{:+.2f} s",
    "hertz": "{:,.0f} Hz",
    "decibels": "{:+.1f} dB",
    "snr_decibels": "SNR {:.1f} dB",
    "share": "{:.0%} of this window",
}


@dataclass(frozen=True)
class Panel:
    """One spectrogram of the picture.

    Attributes:
        title: What was done.
        decibels: float32 ``[mel bins, frames]``.
    """

    title: str
    decibels: np.ndarray


def plot_augmentation(panels: Sequence[Panel], sampling_rate: int, path: PathLike, title: str = "") -> None:
    """Writes :func:`augmentation_figure` as PNG."""
    save_figure(augmentation_figure(panels, sampling_rate, title), path)


def augmentation_panels(
    arguments: AugmentationArguments, window: torch.Tensor, other: torch.Tensor, sampling_rate: int, seed: int = 0
) -> list[Panel]:
    """The window as it is, after each augmentation alone, and after all of them (each with probability 1).

    An augmentation draws the same values alone and together with the others.

    Args:
        arguments: The recipe's ``augmentation``.
        window: Waveform ``[samples]``.
        other: The waveform ``[samples]`` that mixup and cutmix mix it with.
        sampling_rate: Rate in Hz.
        seed: Seed of the values.
    """
    active = {name: dataclasses.replace(value, probability=1.0) for name, value in arguments.active().items()}
    spectrogram = MelDecibels(sampling_rate, _N_FFT, _HOP_LENGTH, _MEL_BINS, 0.0, sampling_rate / 2)
    batch, labels = torch.stack([window, other]), torch.tensor([0, 1])

    def after(parts: dict[str, object]) -> tuple[np.ndarray, Augmentation]:
        augmentation = Augmentation(
            AugmentationArguments(**parts), sampling_rate, "single_label_classification", num_labels=2, seed=seed
        )
        waveforms, _ = augmentation.waveforms(batch, labels)
        masked = augmentation.spectrogram(spectrogram(waveforms))  # [2, 1, bins, frames]
        return masked[0, 0].numpy(), augmentation

    panels = [Panel("before", after({})[0])]
    for name, value in active.items():
        decibels, augmentation = after({name: value})
        panels.append(Panel(f"{name}: {_drawn(augmentation.last_draws[name])}", decibels))
    if len(active) > 1:
        panels.append(Panel("all together", after(active)[0]))
    return panels


@house_style
def augmentation_figure(panels: Sequence[Panel], sampling_rate: int, title: str = "") -> Figure:
    """Spectrograms side by side, all in the colours of the first.

    Args:
        panels: The spectrograms, that of the window as it was first.
        sampling_rate: Rate of the waveforms in Hz.
        title: Written above all.

    Returns:
        A figure with one axes a panel, and one for the colours.
    """
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.6 * columns + 1.0, 2.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    loudest = float(panels[0].decibels.max())
    for axes, panel in zip(grid.flat, panels, strict=False):
        image = _draw(axes, panel, loudest, sampling_rate)
    label_grid(grid, len(panels), "Seconds", "Hz (mel scale)")
    bar = figure.colorbar(image, ax=grid.ravel().tolist()[: len(panels)], aspect=40, pad=0.01)
    bar.set_label("dB relative to the loudest bin before")
    bar.outline.set_visible(False)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _draw(axes: Axes, panel: Panel, loudest: float, sampling_rate: int):
    bins, frames = panel.decibels.shape
    seconds = frames * _HOP_LENGTH / sampling_rate
    image = axes.imshow(
        panel.decibels - loudest,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=-_SHOWN_DECIBELS,
        vmax=0.0,
        extent=(0.0, seconds, -0.5, bins - 0.5),
    )
    ticks = [hertz for hertz in _HERTZ_TICKS if hertz <= sampling_rate / 2]
    axes.set_yticks([_bin_of(hertz, bins, sampling_rate) for hertz in ticks], [f"{hertz:,}" for hertz in ticks])
    axes.set_ylim(-0.5, bins - 0.5)
    axes.set_title(panel.title)
    return image


def _bin_of(hertz: float, bins: int, sampling_rate: int) -> float:
    """Position of a frequency among mel bins whose centres lie evenly between 0 Hz and half the rate (HTK scale)."""
    share = math.log10(1 + hertz / 700) / math.log10(1 + sampling_rate / 2 / 700)
    return share * (bins + 1) - 1


def _drawn(values: dict[str, torch.Tensor]) -> str:
    """The first clip's draw in words."""
    texts = [text.format(float(values[name][0])) for name, text in _TEXTS.items() if name in values]
    if "bins" in values:
        frames, bins = (int(values[name][0].sum()) for name in ("frames", "bins"))
        texts.append(f"{frames} frames, {bins} bins")
    return ", ".join(texts) or "inverted"
