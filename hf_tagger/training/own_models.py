"""This package's own models in a recipe: what its fields change in their configurations."""

from __future__ import annotations

from pathlib import Path

from transformers import ASTFeatureExtractor, FeatureExtractionMixin, PreTrainedConfig
from transformers.utils import FEATURE_EXTRACTOR_NAME

from ..arguments import ModelArguments
from ..models import MODELS, WaveformFeatureExtractor, WindowedEncoderClassification
from .checkpoints import UNREADABLE, expanded, reason_of
from .encoder_heads import HEAD_FIELDS
from .stock_models import window_problems


def own_changes(config: PreTrainedConfig, saved: PreTrainedConfig, arguments: ModelArguments) -> tuple[dict, list[str]]:
    """The changes of one of our configurations that the recipe's fields ask for, and what it does not know.

    Args:
        config: The configuration with the recipe's ``model_config``.
        saved: As it was before.
        arguments: The recipe's choices.
    """
    given = {name: getattr(arguments, name) for name in HEAD_FIELDS if getattr(arguments, name) is not None}
    problems = [
        f"{name}: a {config.model_type} has no pretrained encoder to choose from"
        for name in given
        if not hasattr(config, name)
    ]
    if arguments.freeze != "none" and not issubclass(MODELS[config.model_type], WindowedEncoderClassification):
        problems.append(f"freeze: a {config.model_type} has no pretrained encoder; it must be none")
    if arguments.changes_feature_statistics and not hears_asts_spectrogram(config):
        problems.append(f"feature_statistics: a {config.model_type} does not normalise with stored statistics")
    problems += _cut_problems(config, arguments) + _trained_problems(saved, arguments) + _window_conflicts(arguments)
    rate = config.sampling_rate
    given = {name: value for name, value in given.items() if hasattr(config, name)}
    window, hop = config.window_samples, config.hop_samples
    if arguments.window_seconds is not None:
        window = hop = round(arguments.window_seconds * rate)
    if arguments.hop_seconds is not None:
        hop = round(arguments.hop_seconds * rate)
    # Scratch models fit their pooling to the window; an encoder's convolutions are what they are.
    least = getattr(config, "least_window_samples", config.shortest_window)
    wrong = window_problems(window, hop, least, rate)
    if not wrong and (arguments.window_seconds is not None or arguments.hop_seconds is not None):
        given |= {"window_samples": window, "hop_samples": hop}
    problems += wrong
    stated_by_recipe = "normalize_waveform" in (arguments.model_config or {})
    if arguments.model_name_or_path and hasattr(config, "normalize_waveform") and not stated_by_recipe:
        try:
            given |= _published_normalization(arguments.model_name_or_path)
        except UNREADABLE as error:
            problems.append(f"model_name_or_path: the preprocessor_config.json cannot be read: {reason_of(error)}")
    return given, problems


def own_feature_extractor(config: PreTrainedConfig) -> WaveformFeatureExtractor:
    """The feature extractor with the windows of one of our configurations."""
    return WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)


def hears_asts_spectrogram(config: PreTrainedConfig) -> bool:
    """Whether one of our configurations has an AST's feature extractor inside."""
    inner = getattr(config, "feature_extractor", None) or {}
    return inner.get("feature_extractor_type") == ASTFeatureExtractor.__name__


def _window_conflicts(arguments: ModelArguments) -> list[str]:
    """Samples in ``model_config`` that the fields in seconds would overrule without a word."""
    given = arguments.model_config or {}
    overruled = {
        "window_samples": arguments.window_seconds is not None,
        "hop_samples": arguments.window_seconds is not None or arguments.hop_seconds is not None,
    }
    return [
        f"model_config.{name}: follows from window_seconds and hop_seconds, of which the recipe has one; set "
        f"{name.replace('samples', 'seconds')} instead"
        for name, is_overruled in overruled.items()
        if is_overruled and name in given
    ]


def _cut_problems(config: PreTrainedConfig, arguments: ModelArguments) -> list[str]:
    """Layers that a saved encoder no longer has."""
    kept = getattr(config, "layer", None)
    wanted = arguments.layer
    if arguments.model_name_or_path is None or type(kept) is not int or wanted is None:
        return []
    if type(wanted) is int and wanted <= kept:
        return []
    return [
        f"layer: {wanted} is not in {arguments.model_name_or_path}, whose encoder was cut at layer {kept}; "
        f"possible are 0 to {kept}"
    ]


def _trained_problems(saved: PreTrainedConfig, arguments: ModelArguments) -> list[str]:
    """Values that the weights of a saved scratch model stand for: another front end or width is another model."""
    adjustable = getattr(saved, "adjustable_fields", None)
    if arguments.model_name_or_path is None or adjustable is None:
        return []
    return [
        f"model_config.{name}: the weights in {arguments.model_name_or_path} were trained with "
        f"{getattr(saved, name)!r}, received {value!r}; leave it out, or train from scratch (model_type: "
        f"{saved.model_type}). What can be changed: {', '.join(adjustable)}"
        for name, value in (arguments.model_config or {}).items()
        if name not in adjustable and hasattr(saved, name) and getattr(saved, name) != value
    ]


def _published_normalization(name_or_path: str) -> dict:
    """What the feature extractor beside published weights says about normalising the waveform."""
    name = expanded(name_or_path)
    if "normalize_waveform" in PreTrainedConfig.get_config_dict(name)[0]:  # one of ours: its configuration says it
        return {}
    try:
        stated = FeatureExtractionMixin.get_feature_extractor_dict(name)[0]
    except OSError:
        if Path(name, FEATURE_EXTRACTOR_NAME).exists():
            raise
        return {}
    return {"normalize_waveform": stated["do_normalize"]} if isinstance(stated.get("do_normalize"), bool) else {}
