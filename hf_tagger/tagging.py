"""Tags for audio of any length by any saved model, ours or a stock one, which alone would hear one window only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor

from .evaluation.stored_fit import stored_fit
from .models.input_features import input_features
from .models.windowed_classification import MULTI_LABEL, average_windows
from .models.windowing import cut_windows
from .training.build import load_saved_model
from .training.memory_format import match_memory_format

_WINDOWS_PER_BATCH = 16  # bounds the memory of long audio, for models whose configuration does not say it


class Tagger:
    """A model that tags waveforms.

    Args:
        model: A finetuned model.
        feature_extractor: Its feature extractor, with ``sampling_rate``, ``window_samples`` and ``hop_samples``.
        device: Where to run; default: the first accelerator, or the CPU.
    """

    def __init__(self, model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor, device: str | None = None):
        self.device = chosen_device(device)
        self.model, self.feature_extractor = model.to(self.device).eval(), feature_extractor
        match_memory_format(self.model, self.device)
        self.sampling_rate: int = feature_extractor.sampling_rate
        self._features = input_features(feature_extractor)
        fit = stored_fit(model.config)
        self.thresholds = fit and fit.thresholds
        """From which probability on audio gets each label, ``[C]``; None for models that have no thresholds."""

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str | None = None) -> Tagger:
        """The tagger in a run's folder or a Hub repository.

        Raises:
            HfTaggerError: If it cannot be read, or has no trained head.
        """
        return cls(*load_saved_model(str(name_or_path)), device=device)

    @torch.no_grad()
    def probabilities(self, waveform: np.ndarray) -> torch.Tensor:
        """Mean probabilities over the windows of one waveform: float32 ``[samples]`` at ``sampling_rate`` → ``[C]``."""
        extractor, config = self.feature_extractor, self.model.config
        windows = cut_windows(torch.from_numpy(waveform), extractor.window_samples, extractor.hop_samples)
        size = getattr(config, "windows_per_group", _WINDOWS_PER_BATCH)
        logits = [self.model(**self._features(group.to(self.device))).logits for group in windows.split(size)]
        logits = torch.cat(logits).float().cpu()[None]  # [1, windows, C]
        exists = torch.ones(logits.shape[:2], dtype=torch.bool)
        averaged = average_windows(logits, exists, config.problem_type)[0]
        return averaged.sigmoid() if config.problem_type == MULTI_LABEL else averaged.softmax(dim=-1)

    def __call__(self, waveform: np.ndarray, top_k: int | None = None) -> list[dict]:
        """Labels of one waveform, float32 ``[samples]`` at ``sampling_rate``.

        Args:
            waveform: The audio.
            top_k: Number of labels; None for all.

        Returns:
            The best labels as ``{"label", "score"}``, best first; with ``"given"``, whether the score reaches the
            label's threshold, if the model has thresholds.
        """
        scores = self.probabilities(waveform)
        tags = []
        for index in scores.argsort(descending=True)[:top_k].tolist():
            tag = {"label": self.model.config.id2label[index], "score": scores[index].item()}
            tags.append(tag if self.thresholds is None else tag | {"given": tag["score"] >= self.thresholds[index]})
        return tags


def chosen_device(name: str | None) -> torch.device:
    """The device of that name; without one the first accelerator, or the CPU."""
    if name is None:
        name = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return torch.device(name)
