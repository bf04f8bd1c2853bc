"""Audio classification models of transformers itself (AST, wav2vec 2.0, HuBERT, WavLM, Whisper, …).

They are finetuned as they are and saved as they are: what comes out needs no code of ours. So only what their own
classes can express may be chosen: a number of layers, and a learned sum of layers where the class has one. Their
windows are written into the saved feature extractor (``window_samples``, ``hop_samples``), which the stock classes
ignore and our evaluation and prediction read.
"""

from __future__ import annotations

import math

from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    ASTConfig,
    ASTFeatureExtractor,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
    Wav2Vec2BertConfig,
    WhisperConfig,
)

from ..arguments import ModelArguments
from ..errors import RecipeError
from ..models import MODELS, list_models
from ..models.filterbank import frames_of, samples_of
from ..models.stock_weights import load_and_resize
from .checkpoints import UNREADABLE, expanded, load_weights, reason_of, saved_config

CITATIONS = {
    "audio-spectrogram-transformer": """@inproceedings{gong2021ast,
  title = {AST: Audio Spectrogram Transformer},
  author = {Gong, Yuan and Chung, Yu-An and Glass, James},
  booktitle = {Proceedings of Interspeech},
  year = {2021}
}"""
}
"""BibTeX of stock architectures, for the model card."""

_SOURCE = "the model arguments"
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
    stock, is_ast = f"a stock {config.model_type} model", isinstance(config, ASTConfig)
    has_sum = hasattr(config, "use_weighted_layer_sum")
    is_number = type(arguments.layer) is int
    if (is_number and not 1 <= arguments.layer <= most) or (arguments.layer == "weighted" and not has_sum):
        possible = f"last, {'weighted, ' if has_sum else ''}and a number from 1 to {most}"
        problems.append(f"layer: {arguments.layer} is not possible with {stock}; possible are {possible}")
    elif arguments.layer is not None:
        if is_number:
            changes["num_hidden_layers"] = arguments.layer
        if has_sum:
            changes["use_weighted_layer_sum"] = arguments.layer == "weighted"
    if changes.get("use_weighted_layer_sum"):  # a layer that is dropped leaves a gap in the sum
        changes |= {name: 0.0 for name in ("layerdrop", "encoder_layerdrop") if getattr(config, name, 0)}
    if arguments.pooling == "attention" or (arguments.pooling is not None and is_ast):
        pools = "classifies its two special tokens" if is_ast else "pools by the mean"
        problems.append(f"pooling: {arguments.pooling} is not possible with {stock}, which {pools}; leave it out")
    if arguments.changes_feature_statistics and not is_ast:
        problems.append(f"feature_statistics: a {config.model_type} does not normalise with stored statistics")
    if is_ast and "max_length" in (arguments.model_config or {}):
        problems.append("model_config.max_length: follows from the window; set window_seconds instead")
    problems += [
        f"{name}: is not possible with {stock}, which has a head of its own; leave it out"
        for name in ("head_hidden_size", "head_dropout")
        if getattr(arguments, name) is not None
    ]
    return changes, problems


def stock_feature_extractor(config: PreTrainedConfig, arguments: ModelArguments) -> SequenceFeatureExtractor:
    """The checkpoint's feature extractor with the recipe's window, and ``config`` adapted to it (AST's length).

    Raises:
        RecipeError: If there is no feature extractor, or if it or the window does not suit the model.
    """
    name = arguments.model_name_or_path
    try:
        extractor = AutoFeatureExtractor.from_pretrained(expanded(name), trust_remote_code=False)
    except UNREADABLE as error:
        raise RecipeError(
            [
                f"model_name_or_path: {name!r} has no feature extractor (preprocessor_config.json) that can be read: "
                f"{reason_of(error)}"
            ],
            _SOURCE,
        ) from error
    problems = [f"the preprocessor_config.json of {name!r}: {fault}" for fault in _extractor_faults(config, extractor)]
    if problems:
        raise RecipeError(problems, _SOURCE)
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
    problems = window_problems(window, hop, _shortest_window(config, extractor), rate)
    if longest is not None and window > longest:
        problems.append(
            f"window_seconds: {window / rate:g} is too long for this model, which hears at most {longest / rate:g}"
        )
    if problems:
        raise RecipeError(problems, _SOURCE)
    if is_ast:
        extractor.max_length = config.max_length = frames_of(window, rate)
    extractor.window_samples, extractor.hop_samples = window, hop
    return extractor


def window_problems(window: int, hop: int, shortest: int, rate: int) -> list[str]:
    """What is wrong with a window and a hop, in the words of a recipe.

    Args:
        window: Samples of a window.
        hop: Samples between the starts of two windows.
        shortest: Samples of the shortest window that the model can be trained on.
        rate: Samples a second.
    """
    problems = []
    if window < shortest:
        least = math.ceil(1_000 * shortest / rate) / 1_000
        problems.append(
            f"window_seconds: {window / rate:g} is too short for this model, which needs at least {least:g}"
        )
    if not 0 < hop <= window:
        problems.append(f"hop_seconds: {hop / rate:g} must be more than 0 and at most the window's {window / rate:g}")
    return problems


def _extractor_faults(config: PreTrainedConfig, extractor: SequenceFeatureExtractor) -> list[str]:
    """Why a feature extractor does not compute what a model reads."""
    model_class = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)]
    for_ast = isinstance(extractor, ASTFeatureExtractor) == isinstance(config, ASTConfig)
    if not for_ast or extractor.model_input_names[0] != model_class.main_input_name:
        return [f"a {type(extractor).__name__} does not compute what a {model_class.__name__} reads"]
    numbers = {
        name: getattr(extractor, name)
        for name in ("sampling_rate", "window_samples", "hop_samples")
        if hasattr(extractor, name)
    }
    faults = [
        f"{name} {value!r} must be a positive whole number"
        for name, value in numbers.items()
        if type(value) is not int or value <= 0
    ]
    sizes = {}  # (made by the extractor, read by the model)
    if isinstance(config, ASTConfig):
        sizes = {"num_mel_bins": (extractor.num_mel_bins, config.num_mel_bins)}
    elif isinstance(config, WhisperConfig):
        sizes["feature_size"] = (extractor.feature_size, config.num_mel_bins)
        sizes["nb_max_frames"] = (extractor.nb_max_frames, 2 * config.max_source_positions)
    elif isinstance(config, Wav2Vec2BertConfig):
        sizes["feature_size"] = (extractor.feature_size, config.feature_projection_input_dim // extractor.stride)
    wrong = {name: size for name, size in sizes.items() if size[0] != size[1]}
    return faults + [f"{name} {made} must be the model's {read}" for name, (made, read) in wrong.items()]


def _shortest_window(config: PreTrainedConfig, extractor: SequenceFeatureExtractor) -> int:
    """Samples of the shortest window that a model can be trained on; in training some mask ten frames at once."""
    frames = getattr(config, "squeeze_factor", 1)
    if getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0) > 0:
        frames = max(frames, config.mask_time_length)
    if isinstance(config, ASTConfig):
        return samples_of(config.patch_size, extractor.sampling_rate)
    if isinstance(config, Wav2Vec2BertConfig):
        return samples_of(frames * extractor.stride, extractor.sampling_rate)
    if isinstance(config, WhisperConfig):  # its extractor fills every window up to 30 s
        return 1
    samples = frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def load_stock_model(
    name: str, config: PreTrainedConfig, model_class: type = AutoModelForAudioClassification
) -> PreTrainedModel:
    """The checkpoint's model, of an AST for the window that the configuration states.

    Args:
        name: Folder or Hub repository.
        config: The model's configuration with the dataset's labels.
        model_class: Class with ``from_pretrained``: the tagger, or the encoder alone.
    """
    return load_and_resize(
        lambda of_weights: load_weights(model_class, name, of_weights, new_head=True),
        config,
        lambda: saved_config(name),
    )
