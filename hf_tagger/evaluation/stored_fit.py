"""Thresholds, temperature and sharpness in a model's ``config.json``, where they travel with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedConfig

from .assessment import Fit

# transformers keeps entries that it does not know.
_THRESHOLDS, _TEMPERATURE, _FITTED_CLIPS = "label_thresholds", "calibration_temperature", "calibration_clips"
_SHARPNESS = "aggregation_sharpness"
_ALL = (_THRESHOLDS, _TEMPERATURE, _FITTED_CLIPS, _SHARPNESS)


def store_fit(folder: str | Path, fit: Fit, label_names: Sequence[str]) -> None:
    """Writes what was fitted into a saved model's ``config.json``, where taggers find it.

    All of an earlier fit is replaced: it may be one of other weights.
    """
    entries = {}
    if fit.temperature is not None:
        entries = {_TEMPERATURE: fit.temperature, _FITTED_CLIPS: fit.clips}
    for name, values in ((_THRESHOLDS, fit.thresholds), (_SHARPNESS, fit.sharpness)):
        if values is not None:
            entries[name] = dict(zip(label_names, values, strict=True))
    _write(folder, dict.fromkeys(_ALL) | entries)


def store_sharpness(folder: str | Path, sharpness: Sequence[float], label_names: Sequence[str]) -> None:
    """Writes the sharpness of every label into a saved model's ``config.json``; what else was fitted stays."""
    _write(folder, {_SHARPNESS: dict(zip(label_names, sharpness, strict=True))})


def stored_fit(config: PreTrainedConfig) -> Fit | None:
    """What :func:`store_fit` and :func:`store_sharpness` wrote; None for a model without either."""
    temperature, sharpness = getattr(config, _TEMPERATURE, None), _in_order(config, _SHARPNESS)
    if temperature is None:
        return None if sharpness is None else Fit(None, None, 0, sharpness)
    return Fit(temperature, _in_order(config, _THRESHOLDS), getattr(config, _FITTED_CLIPS, 0), sharpness)


def forget_fit(config: PreTrainedConfig) -> None:
    """Removes all that was fitted from the configuration of a model that will be trained on."""
    for name in _ALL:
        if hasattr(config, name):
            delattr(config, name)


def _in_order(config: PreTrainedConfig, name: str) -> list[float] | None:
    """The values of the model's labels; None if there are none, or those of other labels."""
    values = getattr(config, name, None) or {}
    names = [config.id2label[index] for index in range(config.num_labels)]
    return [values[label] for label in names] if set(values) == set(names) else None


def _write(folder: str | Path, entries: dict) -> None:
    """Changes ``config.json``; entries that are None are removed."""
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | entries
    config = {name: value for name, value in config.items() if name not in entries or value is not None}
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)  # never half a configuration
