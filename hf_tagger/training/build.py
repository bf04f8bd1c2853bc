"""From the model arguments to a model and its feature extractor."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedConfig

from ..arguments import ModelArguments
from ..errors import HfTaggerError, RecipeError
from ..models import MODELS, WaveformFeatureExtractor, WindowedAudioClassification, list_models

# They come from the dataset (contract: never from the recipe).
_FROM_DATASET = ("num_labels", "id2label", "label2id", "problem_type")


def build_config(arguments: ModelArguments) -> PreTrainedConfig:
    """The model's configuration, before the dataset is known; it states the sampling rate.

    Raises:
        RecipeError: For an unknown ``model_type``, unknown or impossible values in ``model_config``, or a saved model
            that cannot be found or is of a family that this package does not train yet.
    """
    changes = dict(arguments.model_config or {})
    if arguments.model_name_or_path is not None:
        config = _saved_config(arguments.model_name_or_path)
    elif arguments.model_type not in MODELS:
        raise RecipeError([_unknown("model_type", arguments.model_type, list_models())], "the model arguments")
    else:
        config = MODELS[arguments.model_type].config_class()
    known = [name for name in type(config).__annotations__ if not name.startswith("_")]
    problems = [
        f"model_config.{name}: comes from the dataset, not from the recipe"
        if name in _FROM_DATASET
        else _unknown(f"model_config.{name}", name, known)
        for name in changes
        if name not in known
    ]
    hints = type(config).__annotations__
    problems += [
        f"model_config.{name}: {value!r} is not of type {_type_name(hints[name])}"
        for name, value in changes.items()
        if name in known and not _fits(value, hints[name])
    ]
    if problems:
        raise RecipeError(problems, "the model arguments")
    try:
        return type(config)(**{**config.to_dict(), **changes})
    except (ValueError, TypeError) as error:
        raise RecipeError([f"model_config: {error}"], "the model arguments") from error


def build_model(
    arguments: ModelArguments, config: PreTrainedConfig, label_names: list[str], problem_type: str
) -> tuple[WindowedAudioClassification, WaveformFeatureExtractor]:
    """The model with one output a label, and its feature extractor.

    Args:
        arguments: The model arguments.
        config: What :func:`build_config` returned.
        label_names: The dataset's labels, in the order of the outputs.
        problem_type: The dataset's problem type.
    """
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}
    config.problem_type = problem_type
    if arguments.model_name_or_path is None:
        model = MODELS[config.model_type](config)
    else:
        model = _continued_model(arguments.model_name_or_path, config)
    return model, WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)


def load_saved_model(name_or_path: str) -> tuple[WindowedAudioClassification, WaveformFeatureExtractor]:
    """A saved model and its feature extractor, by this package's own classes: no code of the folder is run.

    Raises:
        HfTaggerError: If there is no such model, or if its weights cannot be read.
    """
    config = _saved_config(name_or_path)
    try:
        model = AutoModelForAudioClassification.from_pretrained(_expanded(name_or_path), config=config)
        return model, WaveformFeatureExtractor.from_pretrained(_expanded(name_or_path))
    except (OSError, ValueError, SafetensorError) as error:
        raise HfTaggerError(f"The model in {name_or_path} cannot be read: {error}") from error


def check_labels(config: PreTrainedConfig, label_names: list[str], problem_type: str) -> None:
    """Raises HfTaggerError if a saved model's labels are not those of the dataset, in the same order."""
    of_model = [config.id2label[index] for index in range(config.num_labels)]
    if of_model != list(label_names) or config.problem_type != problem_type:
        missing = sorted(set(of_model) ^ set(label_names))
        raise HfTaggerError(
            f"The model's {len(of_model)} labels ({config.problem_type}) are not the dataset's {len(label_names)} "
            f"({problem_type}); labels of only one of them: {', '.join(missing) or 'none, the order differs'}. "
            f"Evaluate with the recipe that the model was trained with."
        )


def _continued_model(name_or_path: str, config: PreTrainedConfig) -> WindowedAudioClassification:
    """A saved model with the dataset's labels: its head is made anew unless the labels are the same."""
    saved = _saved_config(name_or_path)
    try:
        model, info = AutoModelForAudioClassification.from_pretrained(
            _expanded(name_or_path), config=config, ignore_mismatched_sizes=True, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise HfTaggerError(f"The model in {name_or_path} cannot be read: {error}") from error
    changed = [entry[0] for entry in info["mismatched_keys"] if not entry[0].startswith("classifier.")]
    changed += sorted(info["missing_keys"])
    if changed:
        raise RecipeError(
            [
                f"model_config: its values do not fit the weights of {name_or_path}, of which {len(changed)} could not "
                f"be used ({changed[0]}, …); leave model_config out to continue from a saved model"
            ],
            "the model arguments",
        )
    if saved.id2label != config.id2label:
        model.classifier.reset_parameters()
    return model


def _expanded(name_or_path: str) -> str:
    return str(Path(name_or_path).expanduser()) if name_or_path.startswith("~") else name_or_path


def _fits(value: object, annotation: object) -> bool:
    """Whether a YAML value is of a field's type; whole numbers are numbers, but true is no number."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(annotation))
    if isinstance(value, bool) or annotation is bool:
        return isinstance(value, bool) and annotation is bool
    plain = get_origin(annotation) or annotation
    return not isinstance(plain, type) or isinstance(value, (int, float) if plain is float else plain)


def _type_name(annotation: object) -> str:
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(annotation, str(annotation))


def _saved_config(name_or_path: str) -> PreTrainedConfig:
    try:
        config = AutoConfig.from_pretrained(_expanded(name_or_path))
    except (OSError, ValueError) as error:
        raise RecipeError(
            [f"model_name_or_path: {name_or_path!r} holds no model that can be read: {error}"], "the model arguments"
        ) from error
    if config.model_type not in MODELS:
        raise RecipeError(
            [f"model_name_or_path: a model of type {config.model_type!r}; supported are: {', '.join(list_models())}"],
            "the model arguments",
        )
    return config


def _unknown(field: str, value: str, known: list[str]) -> str:
    close = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{field}: {value!r} is not known; {hint}Known are: {', '.join(known)}"
