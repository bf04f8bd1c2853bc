"""Thresholds and temperature in a model's ``config.json``, where they travel with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedConfig

from .assessment import Fit

# transformers keeps entries that it does not know.
_THRESHOLDS, _TEMPERATURE, _FITTED_CLIPS = "label_thresholds", "calibration_temperature", "calibration_clips"


def store_fit(folder: str | Path, fit: Fit, label_names: Sequence[str]) -> None:
    """Writes temperature and thresholds into a saved model's ``config.json``, where taggers find them.

    Those of an earlier fit are replaced.
    """
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop(_THRESHOLDS, None)
    config |= {_TEMPERATURE: fit.temperature, _FITTED_CLIPS: fit.clips}
    if fit.thresholds is not None:
        config[_THRESHOLDS] = dict(zip(label_names, fit.thresholds, strict=True))
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)  # never half a configuration


def stored_fit(config: PreTrainedConfig) -> Fit | None:
    """What :func:`store_fit` wrote; None for a model without."""
    temperature = getattr(config, _TEMPERATURE, None)
    if temperature is None:
        return None
    thresholds = getattr(config, _THRESHOLDS, None) or {}
    names = [config.id2label[index] for index in range(config.num_labels)]
    in_order = [thresholds[name] for name in names] if set(thresholds) == set(names) else None
    return Fit(temperature, in_order, getattr(config, _FITTED_CLIPS, 0))


def forget_fit(config: PreTrainedConfig) -> None:
    """Removes thresholds and temperature from the configuration of a model that will be trained on."""
    for name in (_THRESHOLDS, _TEMPERATURE, _FITTED_CLIPS):
        if hasattr(config, name):
            delattr(config, name)
