"""From the model arguments to a model and its feature extractor, whatever its family."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import UnionType
from typing import Union, get_args, get_origin

from torch import nn
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    FeatureExtractionMixin,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)

from ..arguments import ModelArguments
from ..errors import HfTaggerError, RecipeError
from ..models import MODELS, WaveformFeatureExtractor, WindowedEncoderClassification, list_models
from .checkpoints import HEAD_MODULES, expanded, load_weights, saved_config
from .stock_models import is_stock, load_stock_model, stock_changes, stock_feature_extractor, supported_types

# They come from the dataset (contract: never from the recipe).
_FROM_DATASET = ("num_labels", "id2label", "label2id", "problem_type")
_HEAD_FIELDS = ("layer", "pooling", "head_hidden_size", "head_dropout")


@dataclass
class ModelPlan:
    """A model before the dataset is known.

    Attributes:
        arguments: The model arguments.
        config: The configuration, without labels.
        feature_extractor: States ``sampling_rate`` (Hz), ``window_samples`` and ``hop_samples``.
    """

    arguments: ModelArguments
    config: PreTrainedConfig
    feature_extractor: SequenceFeatureExtractor


def plan_model(arguments: ModelArguments) -> ModelPlan:
    """Reads the configuration and the feature extractor, and applies what the recipe changes.

    Raises:
        RecipeError: For an unknown ``model_type``, unknown or impossible values, or a saved model that cannot be found
            or is of a family that cannot be finetuned.
    """
    if arguments.model_name_or_path is not None:
        config = saved_config(arguments.model_name_or_path)
    elif arguments.model_type not in MODELS:
        raise RecipeError([_unknown("model_type", arguments.model_type, list_models())], "the model arguments")
    else:
        config = MODELS[arguments.model_type].config_class()
    stock = is_stock(config)
    if not stock and config.model_type not in MODELS:
        raise RecipeError(
            [
                f"model_name_or_path: {arguments.model_name_or_path!r} holds a model of type {config.model_type!r}, "
                f"which cannot be finetuned for audio classification; possible are {supported_types()}"
            ],
            "the model arguments",
        )
    changes = dict(arguments.model_config or {})
    problems = _config_problems(config, changes)
    more, impossible = stock_changes(config, arguments) if stock else _own_changes(config, arguments)
    if problems + impossible:
        raise RecipeError(problems + impossible, "the model arguments")
    try:
        config = type(config)(**{**config.to_dict(), **changes, **more})
    except (ValueError, TypeError) as error:
        raise RecipeError([f"the model's configuration: {error}"], "the model arguments") from error
    if stock:
        return ModelPlan(arguments, config, stock_feature_extractor(config, arguments))
    extractor = WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)
    return ModelPlan(arguments, config, extractor)


def build_model(plan: ModelPlan, label_names: list[str], problem_type: str) -> PreTrainedModel:
    """The model with one output a label. A saved head is kept if its labels are the dataset's, else made anew.

    Args:
        plan: What :func:`plan_model` returned.
        label_names: The dataset's labels, in the order of the outputs.
        problem_type: The dataset's problem type.

    Raises:
        HfTaggerError: If saved weights cannot be read or do not fit.
    """
    config, name = plan.config, plan.arguments.model_name_or_path
    config.id2label = dict(enumerate(label_names))
    config.label2id = {label: index for index, label in enumerate(label_names)}
    config.problem_type = problem_type
    if name is None:
        return MODELS[config.model_type](config)
    if is_stock(config):
        model, _ = load_stock_model(plan.arguments, config)
    else:
        model, _ = load_weights(MODELS[config.model_type], name, config, new_head=True)
    if saved_config(name).id2label != config.id2label:
        _reset_head(model)
    return model


def load_saved_model(name_or_path: str) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """A finetuned model and its feature extractor, by this package's and transformers' own classes: no code of the
    folder is run.

    Raises:
        HfTaggerError: If there is no such model, if its weights cannot be read, or if it has no trained head.
    """
    config = saved_config(name_or_path)
    if is_stock(config):
        arguments = ModelArguments(model_name_or_path=name_or_path)
        extractor = stock_feature_extractor(config, arguments)
    elif config.model_type in MODELS:
        try:
            extractor = AutoFeatureExtractor.from_pretrained(expanded(name_or_path))
        except (OSError, ValueError) as error:
            raise HfTaggerError(f"The feature extractor in {name_or_path} cannot be read: {error}") from error
        if not isinstance(extractor, WaveformFeatureExtractor):  # published by others, as MERT is
            extractor = WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)
    else:
        raise HfTaggerError(
            f"{name_or_path} holds a model of type {config.model_type!r}, which is none for audio classification; "
            f"possible are {supported_types()}."
        )
    model, _ = load_weights(AutoModelForAudioClassification, name_or_path, config, new_head=False)
    return model, extractor


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


def _own_changes(config: PreTrainedConfig, arguments: ModelArguments) -> tuple[dict, list[str]]:
    """The changes of one of our configurations that the recipe's fields ask for, and what it does not know."""
    given = {name: getattr(arguments, name) for name in _HEAD_FIELDS if getattr(arguments, name) is not None}
    problems = [
        f"{name}: a {config.model_type} has no pretrained encoder to choose from"
        for name in given
        if not hasattr(config, name)
    ]
    if arguments.freeze != "none" and not issubclass(MODELS[config.model_type], WindowedEncoderClassification):
        problems.append(f"freeze: a {config.model_type} has no pretrained encoder; it must be none")
    if arguments.feature_statistics == "dataset":
        problems.append(f"feature_statistics: a {config.model_type} does not normalise with stored statistics")
    rate = config.sampling_rate
    if arguments.window_seconds is not None:
        given["window_samples"] = given["hop_samples"] = round(arguments.window_seconds * rate)
    if arguments.hop_seconds is not None:
        given["hop_samples"] = round(arguments.hop_seconds * rate)
    if arguments.model_name_or_path and hasattr(config, "normalize_waveform"):
        given |= _published_normalization(arguments.model_name_or_path)
    return given, problems


def _published_normalization(name_or_path: str) -> dict:
    """What the feature extractor beside published weights says about normalising the waveform."""
    name = expanded(name_or_path)
    if "normalize_waveform" in PreTrainedConfig.get_config_dict(name)[0]:  # one of ours: its configuration says it
        return {}
    try:
        stated = FeatureExtractionMixin.get_feature_extractor_dict(name)[0]
    except OSError:
        return {}
    return {"normalize_waveform": stated["do_normalize"]} if isinstance(stated.get("do_normalize"), bool) else {}


def _config_problems(config: PreTrainedConfig, changes: dict) -> list[str]:
    hints = {
        name: hint
        for owner in reversed(type(config).__mro__)
        if issubclass(owner, PreTrainedConfig) and owner is not PreTrainedConfig
        for name, hint in vars(owner).get("__annotations__", {}).items()
        if not name.startswith("_")
    }
    problems = []
    for name, value in changes.items():
        if name in _FROM_DATASET:
            problems.append(f"model_config.{name}: comes from the dataset, not from the recipe")
        elif name not in hints:
            problems.append(_unknown(f"model_config.{name}", name, list(hints)))
        elif not _fits(value, hints[name]):
            problems.append(f"model_config.{name}: {value!r} is not of type {_type_name(hints[name])}")
    return problems


def _reset_head(model: PreTrainedModel) -> None:
    for name, child in model.named_children():
        if name == HEAD_MODULES[0]:  # the classifier; a projection or a choice of layers is worth keeping
            for module in child.modules():
                if isinstance(module, nn.Module) and hasattr(module, "reset_parameters"):
                    module.reset_parameters()


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


def _unknown(field: str, value: str, known: list[str]) -> str:
    close = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{field}: {value!r} is not known; {hint}Known are: {', '.join(known)}"
