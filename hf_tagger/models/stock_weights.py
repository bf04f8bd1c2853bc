"""Weights of transformers' own audio models, read for a tagger that hears windows of another length."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from transformers import ASTConfig, AutoConfig, PreTrainedConfig, PreTrainedModel


def load_stock_weights(model_class: type, name: str, config: PreTrainedConfig, **kwargs) -> PreTrainedModel:
    """A checkpoint's model, of an AST for the window that the configuration states; its head may be made anew.

    Args:
        model_class: Class with ``from_pretrained``: the tagger, or the encoder alone.
        name: Folder or Hub repository.
        config: The model's configuration.
        **kwargs: For ``from_pretrained``.
    """

    def load(of_weights: PreTrainedConfig) -> PreTrainedModel:
        return model_class.from_pretrained(name, config=of_weights, **{**kwargs, "ignore_mismatched_sizes": True})

    return load_and_resize(load, config, lambda: AutoConfig.from_pretrained(name, trust_remote_code=False))


def load_and_resize(
    load: Callable[[PreTrainedConfig], PreTrainedModel],
    config: PreTrainedConfig,
    saved_config: Callable[[], PreTrainedConfig],
) -> PreTrainedModel:
    """Reads weights; those of an AST as long as they were saved, so that its position embeddings are resized, not new.

    Args:
        load: Reads the weights for a configuration.
        config: The configuration that the model is to have.
        saved_config: Reads the configuration that the weights were saved with.
    """
    if not isinstance(config, ASTConfig):
        return load(config)
    as_saved = copy.deepcopy(config)
    as_saved.max_length = saved_config().max_length
    model = load(as_saved)
    resize_position_embeddings(model, config.max_length)
    return model


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
        start = before // 2 - after // 2
        grid = grid[..., start : start + after]
    else:
        grid = nn.functional.interpolate(grid, size=(bins, after), mode="bilinear")
    embeddings.position_embeddings = nn.Parameter(torch.cat([special, grid.flatten(2).transpose(1, 2)], dim=1))
