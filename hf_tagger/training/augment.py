"""Augmentation of training batches, on their device: waveforms and labels, and the spectrogram within the model.

::

    augmentation = Augmentation(arguments, sampling_rate, problem_type, num_labels, seed, process)
    augmentation.attach(model)                       # masks what the model's network reads, in training only
    for step, batch in enumerate(batches):
        augmentation.begin_step(step)
        windows, labels = augmentation.waveforms(batch["input_values"], batch["labels"])
        logits = model(windows).logits               # labels are [B, C] shares where clips are mixed

A stock AST reads a spectrogram ``[B, frames, bins]`` that is computed before the model; its axes are exchanged there
and back: ``augmentation.spectrogram(features.mT).mT``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..augmentation_arguments import AugmentationArguments
from ..errors import RecipeError
from ..models.frontends import FrontEnd
from .augment_waveform import WaveformChange, waveform_changes
from .mixing import cutmix, draw_cuts, draw_partners, draw_symmetric_beta, mix_labels, mixup, soft_labels
from .spec_augment import spec_augment

_MIXING = ("mixup", "cutmix")


class Augmentation:
    """Applies a recipe's ``augmentation`` to batches.

    What is drawn depends on seed, process, step, the number of the call within the step, and the augmentation's name,
    and on nothing else: a resumed run and another training loop draw the same (on the same kind of device), and
    switching one augmentation on leaves the draws of the others as they were.

    Args:
        arguments: What is done, how often and how strongly.
        sampling_rate: Rate of the waveforms in Hz.
        problem_type: transformers' ``problem_type``.
        num_labels: C.
        seed: Seed of everything that is drawn.
        process: Number of this process; each draws its own.

    Raises:
        RecipeError: If a filter's frequency is above half the sampling rate.

    Attributes:
        last_draws: What the last calls drew, by augmentation: ``chosen``, which clips were changed, boolean ``[B]``,
            and their values ``[B]`` under the recipe's names (``decibels``, ``hertz``, …); ``share`` and ``partner`` of
            mixed clips; ``frames`` and ``bins`` that were masked. On the batch's device.
    """

    def __init__(
        self,
        arguments: AugmentationArguments,
        sampling_rate: int,
        problem_type: str,
        num_labels: int,
        seed: int = 0,
        process: int = 0,
    ):
        problems = arguments.problems_at(sampling_rate)
        if problems:
            raise RecipeError([f"augmentation.{problem}" for problem in problems], "the augmentation arguments")
        self.arguments, self.problem_type, self.num_labels = arguments, problem_type, num_labels
        self.seed, self.process = seed, process
        self.last_draws: dict[str, dict[str, torch.Tensor]] = {}
        self._changes: dict[str, WaveformChange] = waveform_changes(arguments, sampling_rate)
        self._mixing = {name: value for name, value in arguments.active().items() if name in _MIXING}
        self.begin_step(0)

    @property
    def mixes_labels(self) -> bool:
        """Whether :meth:`waveforms` returns labels as shares ``[B, C]``."""
        return bool(self._mixing)

    def begin_step(self, step: int) -> None:
        """Tells the number of the optimizer step that begins; the batches of gradient accumulation are calls within it.

        Args:
            step: Optimizer steps before it, since the run's first beginning.
        """
        self._step = step
        self._calls = {"waveforms": 0, "spectrogram": 0}

    def waveforms(self, input_values: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Changes a batch, every clip on its own, in the order of :class:`AugmentationArguments`; then mixes its clips.

        Args:
            input_values: Waveforms ``[B, samples]``.
            labels: Class indices ``[B]`` (single-label) or 0/1 ``[B, C]``, NaN where unknown (multi-label).

        Returns:
            Waveforms float32 ``[B, samples]``, and the labels: as they were, or float32 ``[B, C]`` if the recipe mixes
            clips, whether or not a clip was mixed.

        Raises:
            ValueError: If the waveforms are not ``[B, samples]``.
        """
        if input_values.ndim != 2:
            raise ValueError(f"input_values must be [batch, samples]; received the shape {tuple(input_values.shape)}.")
        call = self._next_call("waveforms")
        waveforms = input_values.float()
        for name, change in self._changes.items():
            waveforms = self._changed(name, change, waveforms, call)
        if self.mixes_labels:
            labels = soft_labels(labels, self.problem_type, self.num_labels)
        for name in self._mixing:
            waveforms, labels = self._mixed(name, waveforms, labels, call)
        return waveforms, labels

    @torch.compiler.disable  # numbers of steps in a compiled graph would compile it anew at every step
    def spectrogram(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """SpecAugment (:func:`~hf_tagger.training.spec_augment.spec_augment`), if the recipe has it.

        Args:
            spectrogram: Normalised, ``[B, bins, frames]`` or ``[B, channels, bins, frames]``. Of one whose frames come
                before the bins pass ``.mT``, and take ``.mT`` of the result.

        Returns:
            The same shape and type.
        """
        if self.arguments.spec_augment is None:
            return spectrogram
        generator = self._generator("spec_augment", self._next_call("spectrogram"), spectrogram.device)
        masked, self.last_draws["spec_augment"] = spec_augment(spectrogram, self.arguments.spec_augment, generator)
        return masked

    def attach(self, model: nn.Module) -> Attachment:
        """Makes a model mask what its network reads, as long as it is in training mode.

        That is the normalised spectrogram of our own models, and what an encoder with our own head reads if it is a
        spectrogram (AST). Models that read waveforms, and stock models, stay as they are.

        Args:
            model: The tagger, before or after it is wrapped.
        """
        return Attachment(self, model)

    def _next_call(self, kind: str) -> int:
        self._calls[kind] += 1
        return self._calls[kind] - 1

    def _generator(self, name: str, call: int, device: torch.device) -> torch.Generator:
        entropy = (self.seed, self.process, self._step, call, int.from_bytes(name.encode(), "big"))
        seed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
        return torch.Generator(device=device).manual_seed(int(seed))

    def _changed(self, name: str, change: WaveformChange, waveforms: torch.Tensor, call: int) -> torch.Tensor:
        generator = self._generator(name, call, waveforms.device)
        drawn, place = torch.rand(2, len(waveforms), generator=generator, device=waveforms.device)
        chosen = drawn < change.probability
        lowest, highest = change.interval
        values = lowest + (highest - lowest) * place
        if change.step:
            steps = round((highest - lowest) / change.step)
            values = lowest + (place * (steps + 1)).floor().clamp(max=steps) * change.step
        self.last_draws[name] = {"chosen": chosen, **({change.unit: values} if change.unit else {})}
        return torch.where(chosen.unsqueeze(1), change.apply(waveforms, values, generator), waveforms)

    def _mixed(
        self, name: str, waveforms: torch.Tensor, labels: torch.Tensor, call: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        arguments, (clips, samples) = self._mixing[name], waveforms.shape
        generator = self._generator(name, call, waveforms.device)
        chosen = torch.rand(clips, generator=generator, device=waveforms.device) < arguments.probability
        partners = draw_partners(clips, generator)
        shares = draw_symmetric_beta(clips, arguments.alpha, generator)
        if name == "mixup":
            mixed = mixup(waveforms, shares, partners)
        else:
            starts, lengths = draw_cuts(shares, samples, generator)
            shares = 1 - lengths / samples  # after rounding to whole samples
            mixed = cutmix(waveforms, starts, lengths, partners)
        self.last_draws[name] = {"chosen": chosen, "share": shares, "partner": partners}
        chosen = chosen.unsqueeze(1)
        return torch.where(chosen, mixed, waveforms), torch.where(chosen, mix_labels(labels, shares, partners), labels)


class Attachment:
    """What :meth:`Augmentation.attach` returns.

    Args:
        augmentation: Masks the spectrograms.
        model: The tagger, which may be wrapped.
    """

    def __init__(self, augmentation: Augmentation, model: nn.Module):
        self._augmentation, self._model, self._handle = augmentation, model, None
        if augmentation.arguments.spec_augment is None:
            return
        for module in model.modules():
            if isinstance(getattr(module, "spectrogram", None), FrontEnd):
                # Behind the norm, whose statistics are to be those of music. Where there is none the front end is
                # followed by constants, and the mean of what is scaled is the scaled mean.
                norm = getattr(module, "spectrogram_norm", module.spectrogram)
                self._handle = norm.register_forward_hook(self._after)
                return
            encoder = getattr(module, "audio_encoder", None)
            if isinstance(encoder, nn.Module) and _reads_a_spectrogram(encoder):
                self._handle = encoder.register_forward_pre_hook(self._before, with_kwargs=True)
                return

    @property
    def attached(self) -> bool:
        """Whether spectrograms of this model are masked in training."""
        return self._handle is not None

    def remove(self) -> None:
        """Leaves the model as it was."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    # The tagger's mode counts, not the module's: a frozen encoder is in eval mode while its head is trained.
    def _after(self, module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return self._augmentation.spectrogram(output) if self._model.training else output

    def _before(self, module: nn.Module, inputs: tuple, features: dict) -> tuple[tuple, dict]:
        if self._model.training:
            masked = self._augmentation.spectrogram(features["input_values"].mT).mT  # [B, frames, bins]
            features = {**features, "input_values": masked}
        return inputs, features


def _reads_a_spectrogram(encoder: nn.Module) -> bool:
    """Whether an encoder of transformers reads ``input_values [B, frames, bins]``, as AST does."""
    return encoder.main_input_name == "input_values" and hasattr(encoder.config, "num_mel_bins")
