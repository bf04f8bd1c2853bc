"""Tags for audio of any length by any saved model, ours or a stock one, which alone would hear one window only.

The one way from a waveform to probabilities outside of training and evaluation::

    waveforms     |==========================|   |=====|   |==============|
    windows       |-----|-----|-----|-----|      |-----|   |-----|-----|        cut when they are computed
                                       |-----|                      |-----|
    batches       [a  b  c  d]  [e  f  g  h]  [i]                               across recordings
    recordings    [windows, labels] each, in their order                        → mean, max or attention → tags
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, SequenceFeatureExtractor

from .errors import HfTaggerError
from .evaluation.aggregation import aggregate
from .evaluation.metric_inputs import SINGLE_LABEL
from .evaluation.stored_fit import stored_fit
from .models.input_features import input_features
from .models.windowed_classification import MULTI_LABEL
from .models.windowing import repeat_to_length, window_starts
from .saved_tagger import load_tagger
from .training.late_copies import copied_ahead, copied_late
from .training.memory_format import match_memory_format

# Of audio computed at once, by models whose configuration does not say it: a HuBERT base takes 0.8 GB for 40 seconds.
_SECONDS_PER_BATCH = 40
_LONG_SECONDS = 600  # beyond, a recording shows its progress


class Tagger:
    """A model that tags waveforms.

    Args:
        model: A finetuned model.
        feature_extractor: Its feature extractor, with ``sampling_rate``, ``window_samples`` and ``hop_samples``.
        device: Where to run; default: the first accelerator, or the CPU.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        device: str | torch.device | None = None,
    ):
        self.device = chosen_device(device)
        self.model, self.feature_extractor = model.to(self.device).eval(), feature_extractor
        match_memory_format(self.model, self.device)
        self.sampling_rate: int = feature_extractor.sampling_rate
        self.problem_type = MULTI_LABEL if model.config.problem_type == MULTI_LABEL else SINGLE_LABEL
        self.label_names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        most = int(_SECONDS_PER_BATCH * self.sampling_rate / feature_extractor.window_samples)
        self.batch_size: int = getattr(model.config, "windows_per_group", max(most, 1))
        self._features = input_features(feature_extractor)
        self._copies_late = self.device.type != "cpu"  # a CPU computes a batch while it is asked for
        fit = stored_fit(model.config)
        self.thresholds = fit and fit.thresholds
        """From which probability on audio gets each label, ``[C]``; None for models that have no thresholds."""
        self.sharpness = fit and fit.sharpness
        """How sharply ``attention`` looks at each label's highest windows, ``[C]``; None where it was not fitted."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        device: str | torch.device | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> Tagger:
        """The tagger in a run's folder or a Hub repository.

        Args:
            name_or_path: The folder or the repository.
            device: Where to run; default: the first accelerator, or the CPU.
            revision: Branch, tag or commit of the repository.
            token: See ``huggingface_hub``; default: that of ``hf auth login``.

        Raises:
            HfTaggerError: If it cannot be read, or has no trained head.
        """
        return cls(*load_tagger(name_or_path, revision, token), device=device)

    def window_starts(self, num_samples: int) -> list[int]:
        """First samples of the windows by which a recording of ``num_samples`` is tagged, ascending."""
        return window_starts(num_samples, self.feature_extractor.window_samples, self.feature_extractor.hop_samples)

    def window_probabilities(
        self,
        waveforms: Iterable[np.ndarray],
        batch_size: int | None = None,
        starts: Callable[[int], Sequence[int]] | None = None,
        progress: bool | None = False,
    ) -> Iterator[np.ndarray]:
        """Probabilities of every window of every recording.

        Windows are cut when their batch is computed, so that long audio takes little memory beyond its samples.
        Batches are filled across recordings: a recording's probabilities come when its last window is computed, which
        may be after the next waveforms were taken, but never of more than fill a batch; on an accelerator, which begins
        with the next batch before the last one's results are fetched, two.

        Args:
            waveforms: float32 ``[samples]`` each, at ``sampling_rate``; those shorter than a window are repeated.
            batch_size: Windows computed at once; default: what the model's configuration says, or 40 seconds of them.
            starts: From a recording's samples to the first samples of its windows; default: :meth:`window_starts`.
            progress: Whether every recording shows a bar; None: those longer than ten minutes, on a terminal.

        Yields:
            float64 ``[windows, C]`` of each recording, in their order.
        """
        size, starts = batch_size or self.batch_size, starts or self.window_starts
        unfinished: deque[_Recording] = deque()
        computed = self._logits(self._batches(waveforms, size, starts, progress, unfinished))
        try:
            for batch, logits in copied_late(computed) if self._copies_late else computed:
                logits = logits.cpu().double()  # [N, C]
                found = logits.sigmoid() if self.problem_type == MULTI_LABEL else logits.softmax(dim=-1)
                for (recording, _), probabilities in zip(batch, found.numpy(), strict=True):
                    recording.add(probabilities)
                while unfinished and unfinished[0].is_finished:
                    yield unfinished.popleft().probabilities()
        finally:
            for recording in unfinished:
                recording.bar.close()

    def scores(self, windows: np.ndarray, rule: str = "mean") -> np.ndarray:
        """Probabilities of one recording.

        ``attention`` takes the sharpness that was fitted for every label; where none was, it is 1 for all labels, which
        is softmax pooling (a special case of auto-pool, see :mod:`~hf_tagger.evaluation.aggregation`).

        Args:
            windows: Probabilities ``[windows, C]`` of its windows.
            rule: A name of :data:`~hf_tagger.evaluation.aggregation.AGGREGATIONS`.

        Returns:
            float64 ``[C]``.

        Raises:
            HfTaggerError: If an output of the model is NaN or infinite.
        """
        if not np.isfinite(windows).all():
            raise HfTaggerError("The model's outputs are NaN or infinite: its training has diverged; train it anew.")
        sharpness = np.ones(windows.shape[1]) if self.sharpness is None else self.sharpness
        return aggregate(rule, windows, self.problem_type, sharpness)

    def tags(
        self, scores: np.ndarray, top_k: int | None = None, threshold: float | Sequence[float] | None = None
    ) -> list[dict]:
        """Labels with their scores, best first.

        Args:
            scores: Probabilities ``[C]``.
            top_k: Number of labels at most; None for no limit.
            threshold: Lowest score, or that of each label; None for all labels.

        Returns:
            ``{"label", "score"}`` each; with ``"given"``, whether the score reaches the label's fitted threshold, if
            the model has thresholds.
        """
        lowest = np.broadcast_to(0.0 if threshold is None else threshold, scores.shape)
        tags = []
        for index in np.argsort(-scores, kind="stable"):
            if scores[index] >= lowest[index]:
                tag = {"label": self.label_names[index], "score": float(scores[index])}
                given = {} if self.thresholds is None else {"given": tag["score"] >= self.thresholds[index]}
                tags.append(tag | given)
        return tags[:top_k]

    def probabilities(self, waveform: np.ndarray) -> torch.Tensor:
        """Mean probabilities over the windows of one waveform: float32 ``[samples]`` at ``sampling_rate`` → ``[C]``."""
        (windows,) = self.window_probabilities([waveform])
        return torch.from_numpy(windows.mean(axis=0)).float()

    def __call__(self, waveform: np.ndarray, top_k: int | None = None) -> list[dict]:
        """:meth:`tags` of one waveform, float32 ``[samples]`` at ``sampling_rate``, by the mean over its windows."""
        (windows,) = self.window_probabilities([waveform])
        return self.tags(self.scores(windows), top_k)

    def _batches(
        self,
        waveforms: Iterable[np.ndarray],
        size: int,
        starts: Callable[[int], Sequence[int]],
        progress: bool | None,
        unfinished: deque[_Recording],
    ) -> Iterator[list[tuple[_Recording, torch.Tensor]]]:
        """Windows with the recordings they are of, ``size`` at once; recordings are noted when they begin."""
        batch, length = [], self.feature_extractor.window_samples
        for waveform in waveforms:
            own_starts = starts(len(waveform))
            unfinished.append(_Recording(len(own_starts), self._bar(len(waveform), len(own_starts), progress)))
            samples = repeat_to_length(torch.from_numpy(waveform), length)
            for start in own_starts:
                batch.append((unfinished[-1], samples[start : start + length]))
                if len(batch) == size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _logits(
        self, batches: Iterable[list[tuple[_Recording, torch.Tensor]]]
    ) -> Iterator[tuple[list[tuple[_Recording, torch.Tensor]], torch.Tensor]]:
        """Each batch with its logits float32 ``[N, C]``, on the device."""
        for batch in batches:
            windows = torch.stack([window for _, window in batch])  # [N, window_samples]
            with torch.no_grad():
                inputs = self._features(copied_ahead(windows, self.device))
                logits = self.model(**inputs).logits.float()
            yield batch, logits

    def _bar(self, samples: int, windows: int, progress: bool | None) -> tqdm:
        """tqdm shows a bar that is disabled by None on terminals only."""
        is_long = samples > _LONG_SECONDS * self.sampling_rate
        disable = (None if is_long else True) if progress is None else not progress
        return tqdm(total=windows, desc="Tagging", unit="window", leave=False, disable=disable, file=sys.stderr)


class _Recording:
    """A recording of which some windows are not computed yet."""

    def __init__(self, windows: int, bar: tqdm):
        self.bar = bar
        self._missing, self._rows = windows, []

    @property
    def is_finished(self) -> bool:
        return not self._missing

    def add(self, probabilities: np.ndarray) -> None:
        self._missing -= 1
        self._rows.append(probabilities)
        self.bar.update()

    def probabilities(self) -> np.ndarray:
        self.bar.close()
        return np.stack(self._rows)


def chosen_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; without one the first accelerator, or the CPU."""
    if name is None:
        name = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return torch.device(name)
