"""Where a model can be asked for gradients: at the first thing it reads that can be looked at.

================================================== ==================================================================
model                                              what is attributed to
================================================== ==================================================================
with a front end of ours (CNNs, MusicFM)           its spectrogram, ``[channels, bins, frames]``
with a spectrogram from outside (AST, Whisper)     that spectrogram, ``[frames, bins]`` or ``[bins, frames]``
over the raw waveform (SampleCNN, MERT, HuBERT)    the waveform ``[samples]``, normalised where the encoder wants it
================================================== ==================================================================

The model is run whole, and what it reads is replaced on the way (hooks of ``torch.nn.Module``): no model has to know.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from ..models.encoder_classification import WindowedEncoderClassification
from ..models.frontends import FrontEnd

_FILTERBANK_HERTZ = 100  # frames a second of AST's and Whisper's spectrograms
_PROBED_HERTZ = (125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)


class ModelInput:
    """What a model reads of windows, and its logits if it reads something else.

    Args:
        model: Any tagger.
        run: Windows ``[N, samples]`` → logits ``[N, C]``, through ``model``.
    """

    def __init__(self, model: nn.Module, run: Callable[[torch.Tensor], torch.Tensor]):
        self.model, self.run = model, run
        front_end = getattr(model, "spectrogram", None)
        self.front_end = front_end if isinstance(front_end, FrontEnd) else None
        is_encoder = isinstance(model, WindowedEncoderClassification)
        self.reader = getattr(model, model.base_model_prefix) if is_encoder else model

    @torch.no_grad()
    def read(self, windows: torch.Tensor) -> torch.Tensor:
        """What the model reads of windows ``[N, samples]``: ``[N, ...]``."""
        seen = []
        self._run_with(windows, lambda values: seen.append(values) or values)
        return seen[0].detach()

    def logits(self, windows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Logits ``[N, C]`` if the model read ``values`` ``[N, ...]`` in place of what it reads of the windows."""
        return self._run_with(windows, lambda read: values.to(read.dtype))

    def as_map(self, values: torch.Tensor) -> torch.Tensor:
        """``[N, ...]`` as read → ``[N, bins, frames]``; channels are summed, and a waveform is one bin."""
        if values.ndim == 2:
            return values.unsqueeze(1)
        if values.ndim == 4:
            return values.sum(dim=1)
        frames_first = values.shape[1] != self._mel_bins or values.shape[2] == self._mel_bins
        return values.transpose(1, 2) if frames_first else values

    def frame_positions(self, frames: int, samples: int, sampling_rate: int) -> torch.Tensor:
        """Samples of a window of ``samples`` that the frames of a map lie at, ``[frames]``; later ones are padding."""
        numbers = torch.arange(frames)
        if self.front_end is not None:  # centred frames
            return (numbers * self.model.config.hop_length).clamp(max=samples - 1)
        hop = 1.0 if frames == samples else sampling_rate / _FILTERBANK_HERTZ if self._mel_bins else samples / frames
        return ((numbers + 0.5) * hop).long()

    @property
    def reads_waveform(self) -> bool:
        """Whether there is no spectrogram to look at."""
        return self.front_end is None and not self._mel_bins

    def frequency_ticks(self, samples: int, sampling_rate: int) -> dict[int, int]:
        """Bins that answer most to tones, by their frequency in Hz; empty where bins are no frequencies (MFCC).

        Asked of the model instead of computed, so that it holds for every filterbank, a learned one too.
        """
        if self.reads_waveform:
            return {}
        hertz = [value for value in _PROBED_HERTZ if value < sampling_rate / 2]
        phases = 2 * torch.pi * torch.arange(samples) / sampling_rate
        tones = torch.stack([0.1 * torch.sin(value * phases) for value in hertz])
        quiet = 1e-3 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
        values = self.read(torch.cat([tones + quiet, quiet[None]]))
        if values.ndim == 4:
            values = values[:, :1]  # of several harmonics the fundamental
        answers = self.as_map(values).mean(dim=2)  # [tones + 1, bins]
        bins = (answers[:-1] - answers[-1]).argmax(dim=1).tolist()
        is_ascending = all(low < high for low, high in itertools.pairwise(bins))
        return dict(zip(hertz, bins, strict=True)) if is_ascending else {}

    @property
    def _mel_bins(self) -> int | None:
        """Bands of the spectrogram that the model is given from outside."""
        config = getattr(self.model.config, "encoder", self.model.config)
        return getattr(config, "num_mel_bins", None) if self.front_end is None else None

    def _run_with(self, windows: torch.Tensor, replace: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Runs the model with what it reads replaced."""
        if self.front_end is not None:
            hook = self.front_end.register_forward_hook(lambda module, inputs, output: replace(output))
        else:
            hook = self.reader.register_forward_pre_hook(
                lambda module, args, kwargs: _with_first(args, kwargs, replace), with_kwargs=True
            )
        try:
            return self.run(windows)
        finally:
            hook.remove()


def _with_first(args: tuple, kwargs: dict, replace: Callable[[torch.Tensor], torch.Tensor]) -> tuple[tuple, dict]:
    """A module's arguments with the first of floating point replaced: every audio model has its sound there."""
    if args:
        return (replace(args[0]), *args[1:]), kwargs
    name = next(key for key, value in kwargs.items() if torch.is_tensor(value) and value.is_floating_point())
    return args, {**kwargs, name: replace(kwargs[name])}
