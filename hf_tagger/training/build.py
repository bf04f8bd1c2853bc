"""From the model arguments to a model and its feature extractor, whatever its family."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.utils import FEATURE_EXTRACTOR_NAME

from ..argument_checks import fits, type_name, unknown_name
from ..arguments import ModelArguments
from ..errors import HfTaggerError, RecipeError
from ..evaluation.stored_fit import forget_fit
from ..models import MODELS, WaveformFeatureExtractor, list_models
from ..models.adapter_loading import adapter_base, merge_adapter
from .checkpoints import HEAD_MODULES, UNREADABLE, expanded, load_weights, reason_of, saved_config
from .encoder_heads import HEAD_FIELDS, load_with_own_head, own_head_config, wants_own_head
from .output_bias import set_output_bias
from .own_models import own_changes, own_feature_extractor
from .stock_models import (
    is_stock,
    load_stock_model,
    stock_changes,
    stock_feature_extractor,
    supported_types,
)

# They come from the dataset (contract: never from the recipe).
_FROM_DATASET = ("num_labels", "id2label", "label2id", "problem_type")
_SOURCE = "the model arguments"
# With another of them a saved head does not know what it hears, or what its outputs mean.
_OF_A_HEAD = ("id2label", "layer", "head_hidden_size")


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
        forget_fit(config)  # thresholds of what will be other weights
        if adapter_base(expanded(arguments.model_name_or_path)) is not None:
            raise RecipeError([_adapter_to_merge(arguments.model_name_or_path)], _SOURCE)
    elif arguments.model_type not in MODELS:
        raise RecipeError([unknown_name("model_type", arguments.model_type, list_models())], _SOURCE)
    else:
        config = MODELS[arguments.model_type].config_class()
    stock = is_stock(config)
    if not stock and config.model_type not in MODELS:
        raise RecipeError([f"model_name_or_path: {_no_tagger(arguments.model_name_or_path, config)}"], _SOURCE)
    changes, problems = _config_changes(config, arguments.model_config or {})
    saved, config = (
        config,
        _changed(config, changes, problems),
    )  # first: the fields below count in its sampling rate and its layers
    own_head = stock and wants_own_head(config, arguments)
    plain = dataclasses.replace(arguments, **dict.fromkeys(HEAD_FIELDS)) if own_head else arguments
    changes, impossible = stock_changes(config, plain) if stock else own_changes(config, saved, arguments)
    problems += impossible
    config = _changed(config, changes, problems)
    if getattr(config, "num_hidden_layers", 1) < 1:
        problems.append(f"the model's configuration: num_hidden_layers {config.num_hidden_layers} must be at least 1")
    else:
        problems += _building_problems(config)
    try:
        extractor = stock_feature_extractor(config, arguments) if stock else own_feature_extractor(config)
    except RecipeError as error:
        problems += error.problems
    if own_head and not problems:
        config, extractor = _with_own_head(config, extractor, arguments, problems)
    if problems:
        raise RecipeError(problems, _SOURCE)
    return ModelPlan(arguments, config, extractor)


def build_model(
    plan: ModelPlan, label_names: list[str], problem_type: str, shares: np.ndarray | None = None
) -> PreTrainedModel:
    """The model with one output a label. A saved head is kept if its labels are the dataset's, else made anew.

    Args:
        plan: What :func:`plan_model` returned.
        label_names: The dataset's labels, in the order of the outputs.
        problem_type: The dataset's problem type.
        shares: Each label's share of the training clips, ``[labels]``, at which a new head starts; None: at one half.

    Raises:
        HfTaggerError: If saved weights cannot be read or do not fit.
    """
    model, has_new_head = _model_and_whether_its_head_is_new(plan, label_names, problem_type)
    if has_new_head and shares is not None:
        set_output_bias(model, shares)
    return model


def _model_and_whether_its_head_is_new(
    plan: ModelPlan, label_names: list[str], problem_type: str
) -> tuple[PreTrainedModel, bool]:
    config, name = plan.config, plan.arguments.model_name_or_path
    config.id2label = dict(enumerate(label_names))
    config.label2id = {label: index for index, label in enumerate(label_names)}
    config.problem_type = problem_type
    if name is None:
        return MODELS[config.model_type](config), True
    saved = saved_config(name)
    if is_stock(saved) and not is_stock(config):
        return load_with_own_head(plan.arguments, config), True
    if is_stock(config):
        model = load_stock_model(name, config)
    else:
        model = load_weights(MODELS[config.model_type], name, config, new_head=True)
        model.begin_training()
    is_new = any(getattr(saved, field, None) != getattr(config, field, None) for field in _OF_A_HEAD)
    if is_new:
        _reset_head(model)
    return model, is_new


def load_saved_model(name_or_path: str) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """A finetuned model and its feature extractor, by this package's and transformers' own classes: no code of the
    folder is run. A LoRA adapter is added to the weights it was trained on.

    Raises:
        HfTaggerError: If there is no such model, if its weights cannot be read, or if it has no trained head.
    """
    config = saved_config(name_or_path)
    if is_stock(config):
        extractor = stock_feature_extractor(config, ModelArguments(model_name_or_path=name_or_path))
    elif config.model_type in MODELS:
        try:
            extractor = AutoFeatureExtractor.from_pretrained(expanded(name_or_path), trust_remote_code=False)
        except UNREADABLE as error:
            if not isinstance(error, OSError) or Path(expanded(name_or_path), FEATURE_EXTRACTOR_NAME).exists():
                message = f"The feature extractor in {name_or_path} cannot be read: {reason_of(error)}"
                raise HfTaggerError(message) from error
            extractor = None
        if not isinstance(extractor, WaveformFeatureExtractor):  # published by others, as MERT is
            extractor = own_feature_extractor(config)
    else:
        raise HfTaggerError(f"{_no_tagger(name_or_path, config)}.")
    base = adapter_base(expanded(name_or_path))
    if base is None:
        return load_weights(AutoModelForAudioClassification, name_or_path, config, new_head=False), extractor
    plan = ModelPlan(ModelArguments(model_name_or_path=base), config, extractor)
    labels = [config.id2label[index] for index in range(config.num_labels)]
    try:
        return merge_adapter(build_model(plan, labels, config.problem_type), expanded(name_or_path)), extractor
    except (*UNREADABLE, RuntimeError) as error:
        raise HfTaggerError(f"The adapter in {name_or_path} cannot be read: {reason_of(error)}") from error


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


def _changed(config: PreTrainedConfig, changes: dict, problems: list[str]) -> PreTrainedConfig:
    """The configuration with other values, or, if they are impossible, as it was and one problem more."""
    try:
        return type(config)(**{**config.to_dict(), **changes}) if changes else config
    except UNREADABLE as error:
        problems.append(f"the model's configuration: {reason_of(error)}")
        return config


def _building_problems(config: PreTrainedConfig) -> list[str]:
    """Why a model cannot be built of a configuration, if so; on the meta device, where no weight takes space."""
    model_class = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)]
    try:
        with torch.device("meta"):
            model_class(copy.deepcopy(config))
    except (*UNREADABLE, RuntimeError, ArithmeticError) as error:
        return [f"the model's configuration: no {model_class.__name__} can be built of it: {reason_of(error)}"]
    return []


def _config_changes(config: PreTrainedConfig, changes: dict) -> tuple[dict, list[str]]:
    """Those values of ``model_config`` that a configuration knows, and what is wrong with the others."""
    hints = {
        name: hint
        for owner in reversed(type(config).__mro__)
        if issubclass(owner, PreTrainedConfig) and owner is not PreTrainedConfig
        for name, hint in vars(owner).get("__annotations__", {}).items()
        if not name.startswith("_")
    }
    good, problems = {}, []
    for name, value in changes.items():
        if name in _FROM_DATASET:
            problems.append(f"model_config.{name}: comes from the dataset, not from the recipe")
        elif name not in hints:
            problems.append(unknown_name(f"model_config.{name}", name, list(hints)))
        elif not fits(value, hints[name]):
            problems.append(f"model_config.{name}: {value!r} is not of type {type_name(hints[name])}")
        else:
            good[name] = value
    return good, problems


def _with_own_head(
    config: PreTrainedConfig, extractor: SequenceFeatureExtractor, arguments: ModelArguments, problems: list[str]
) -> tuple[PreTrainedConfig, SequenceFeatureExtractor]:
    try:
        own = own_head_config(config, extractor, arguments)
        return own, own_feature_extractor(own)
    except ValueError as error:
        problems.append(f"the model's configuration: {reason_of(error)}")
        return config, extractor


def _no_tagger(name_or_path: str, config: PreTrainedConfig) -> str:
    return (
        f"{name_or_path!r} holds a model of type {config.model_type!r}, for which neither this package nor "
        f"transformers has an audio classification class; possible are {supported_types()}"
    )


def _adapter_to_merge(name_or_path: str) -> str:
    return (
        f"model_name_or_path: {name_or_path!r} holds a LoRA adapter, not a whole model; merge it first: "
        f"python scripts/convert.py merge-adapter {name_or_path} OUT"
    )


def _reset_head(model: PreTrainedModel) -> None:
    for name, child in model.named_children():
        if name == HEAD_MODULES[0]:  # the classifier; a projection or a choice of layers is worth keeping
            for module in child.modules():
                if isinstance(module, nn.Module) and hasattr(module, "reset_parameters"):
                    module.reset_parameters()
