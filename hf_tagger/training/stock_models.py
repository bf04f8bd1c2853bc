"""Audio classification models of transformers itself (AST, wav2vec 2.0, HuBERT, WavLM, Whisper, …).

They are finetuned as they are and saved as they are: what comes out needs no code of ours. So only what their own
classes can express may be chosen: a number of layers, and a learned sum of layers where the class has one. Their
windows are written into the saved feature extractor (``window_samples``, ``hop_samples``), which the stock classes
ignore and our evaluation and prediction read.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    ASTConfig,
    ASTFeatureExtractor,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)

from ..arguments import ModelArguments
from ..data.pcm import PreparedClips
from ..data.statistics import estimate_statistics
from ..errors import RecipeError
from ..models import MODELS, list_models
from ..models.filterbank import frames_of, samples_of
from .checkpoints import expanded, load_weights
from .input_features import filterbank_of

CITATIONS = {
    "audio-spectrogram-transformer": """@inproceedings{gong2021ast,
  title = {AST: Audio Spectrogram Transformer},
  author = {Gong, Yuan and Chung, Yu-An and Glass, James},
  booktitle = {Proceedings of Interspeech},
  year = {2021}
}"""
}
"""BibTeX of stock architectures, for the model card."""

_WINDOW_SECONDS = 10.0  # of models that state none: about what AST hears (Gong et al. 2021, 10.24 s)


def is_stock(config: PreTrainedConfig) -> bool:
    """Whether transformers itself has an audio classification class for a configuration."""
    return config.model_type not in MODELS and type(config) in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING


def supported_types() -> str:
    """All model types that can be finetuned, as a text."""
    stock = {config_class.model_type for config_class in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING}
    return ", ".join([*list_models(), *sorted(stock - set(list_models()))])


def stock_changes(config: PreTrainedConfig, arguments: ModelArguments) -> tuple[dict, list[str]]:
    """The changes of a stock configuration that the recipe's fields ask for, and what it cannot express."""
    changes, problems, most = {}, [], config.num_hidden_layers
    if type(arguments.layer) is int and not 1 <= arguments.layer <= most:
        problems.append(f"layer: {arguments.layer} does not exist; possible are last and 1 to {most}")
    elif type(arguments.layer) is int:
        changes["num_hidden_layers"] = arguments.layer
    elif arguments.layer == "weighted" and not hasattr(config, "use_weighted_layer_sum"):
        problems.append(
            f"layer: weighted is not possible with a stock {config.model_type} model; possible are last and a number "
            f"from 1 to {most}"
        )
    elif arguments.layer == "weighted":
        changes["use_weighted_layer_sum"] = True
        if getattr(config, "layerdrop", 0):  # a layer that is dropped leaves a gap in the sum
            changes["layerdrop"] = 0.0
    if arguments.pooling not in (None, "mean"):
        problems.append(f"pooling: {arguments.pooling} is not possible with a stock {config.model_type} model")
    if arguments.feature_statistics == "dataset" and not isinstance(config, ASTConfig):
        problems.append(f"feature_statistics: a {config.model_type} does not normalise with stored statistics")
    problems += [
        f"{name}: is not possible with a stock {config.model_type} model, which has a head of its own"
        for name in ("head_hidden_size", "head_dropout")
        if getattr(arguments, name) is not None
    ]
    return changes, problems


def stock_feature_extractor(config: PreTrainedConfig, arguments: ModelArguments) -> SequenceFeatureExtractor:
    """The checkpoint's feature extractor with the recipe's window, and ``config`` adapted to it (AST's length).

    Raises:
        RecipeError: If there is no feature extractor, or if the window does not suit the model.
    """
    try:
        extractor = AutoFeatureExtractor.from_pretrained(expanded(arguments.model_name_or_path))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecipeError(
            [
                f"model_name_or_path: {arguments.model_name_or_path!r} has no feature extractor "
                f"(preprocessor_config.json) that can be read: {' '.join(str(error).split())}"
            ],
            "the model arguments",
        ) from error
    rate, is_ast = extractor.sampling_rate, isinstance(config, ASTConfig)
    longest = getattr(extractor, "n_samples", None)  # Whisper's 30 s
    window = getattr(extractor, "window_samples", None)
    if arguments.window_seconds is not None:
        window = round(arguments.window_seconds * rate)
    elif window is None and is_ast:
        window = samples_of(extractor.max_length, rate)
    elif window is None:
        window = longest or round(_WINDOW_SECONDS * rate)
    hop = window if arguments.hop_seconds is None else round(arguments.hop_seconds * rate)
    if arguments.window_seconds is None and arguments.hop_seconds is None:
        hop = getattr(extractor, "hop_samples", window)
    problems = []
    if longest is not None and window > longest:
        problems.append(f"window_seconds: {window / rate:g} is longer than the {longest / rate:g} s this model hears")
    if not 0 < hop <= window:
        problems.append(f"hop_seconds: {hop / rate:g} must be more than 0 and at most the window's {window / rate:g}")
    if is_ast:
        extractor.max_length = config.max_length = frames_of(window, rate)
        if config.max_length < config.patch_size:
            problems.append(
                f"window_seconds: {window / rate:g} makes {config.max_length} frames; this model needs at least "
                f"{config.patch_size} ({samples_of(config.patch_size, rate) / rate:.3f} s)"
            )
    if problems:
        raise RecipeError(problems, "the model arguments")
    extractor.window_samples, extractor.hop_samples = window, hop
    return extractor


def fit_feature_statistics(extractor: ASTFeatureExtractor, clips: PreparedClips) -> None:
    """Replaces an AST extractor's mean and deviation, which are AudioSet's, by those of the training clips."""
    features = filterbank_of(extractor).frames
    extractor.mean, extractor.std = estimate_statistics(
        clips, features, extractor.window_samples, extractor.hop_samples
    )


def load_stock_model(arguments: ModelArguments, config: PreTrainedConfig) -> tuple[PreTrainedModel, list[str]]:
    """The checkpoint's model with the dataset's labels, and the names of the weights made anew."""
    name = arguments.model_name_or_path
    if not isinstance(config, ASTConfig):
        return load_weights(AutoModelForAudioClassification, name, config, new_head=True)
    length = config.max_length
    saved = type(config).from_pretrained(expanded(name))
    config.max_length = saved.max_length  # as it was, so that its position embeddings are read …
    model, new = load_weights(AutoModelForAudioClassification, name, config, new_head=True)
    resize_position_embeddings(model, length)  # … and then resized instead of made anew
    return model, new


def resize_position_embeddings(model: PreTrainedModel, max_length: int) -> None:
    """Gives an AST position embeddings for another number of spectrogram frames.

    As the authors do (Gong et al. 2021, section 2.2, https://arxiv.org/abs/2104.01778, and ``ASTModel`` of
    https://github.com/YuanGongND/ast): a shorter input takes the middle part of the time axis, a longer one is
    interpolated bilinearly. The two special tokens keep their embeddings.

    Args:
        model: An ``ASTForAudioClassification``, changed in place, its configuration too.
        max_length: Spectrogram frames of the new input.
    """
    config, embeddings = model.config, model.base_model.embeddings
    bins, before = embeddings.get_shape(config)
    config.max_length = max_length
    _, after = embeddings.get_shape(config)
    if after == before:
        return
    old = embeddings.position_embeddings.data  # [1, 2 + bins * time, hidden]
    special, grid = old[:, :2], old[:, 2:].transpose(1, 2).unflatten(2, (bins, before))  # [1, hidden, bins, time]
    if after < before:
        start = (before - after) // 2
        grid = grid[..., start : start + after]
    else:
        grid = nn.functional.interpolate(grid, size=(bins, after), mode="bilinear")
    embeddings.position_embeddings = nn.Parameter(torch.cat([special, grid.flatten(2).transpose(1, 2)], dim=1))
