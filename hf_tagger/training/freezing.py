"""Freezing: parts of a model that are not trained run in eval mode and without gradient."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from ..errors import RecipeError
from .checkpoints import HEAD_MODULES

# Where transformers' audio models keep what turns the input into frames, most specific first.
_FEATURE_ENCODERS = (
    "feature_extractor",  # wav2vec 2.0, HuBERT, WavLM, SEW, data2vec, UniSpeech
    "embeddings.patch_embeddings",  # AST
    "encoder.conv1",  # Whisper (its second convolution is frozen with it)
    "conv1",  # Whisper's encoder alone
    "feature_projection",  # wav2vec2-BERT, whose frames come from the feature extractor
)
_TOGETHER = {"encoder.conv1": ("encoder.conv1", "encoder.conv2"), "conv1": ("conv1", "conv2")}
_SOURCE = "the model arguments"


def freeze(model: PreTrainedModel, part: str) -> list[nn.Module]:
    """Takes a part of a model out of training.

    Args:
        model: The model.
        part: ``none``, ``feature_encoder`` (what turns the waveform into frames) or ``encoder`` (all but the head).

    Returns:
        The frozen modules. Keep them in eval mode: ``model.train()`` switches all modules to training, also these.

    Raises:
        RecipeError: If the part is not known, or if the model has no such part.
    """
    modules = {"none": list, "feature_encoder": lambda: _feature_encoder(model), "encoder": lambda: _encoder(model)}
    if part not in modules:
        raise RecipeError([f"freeze: {part!r} is not known; it must be one of {', '.join(modules)}"], _SOURCE)
    frozen = modules[part]()
    for module in frozen:
        module.requires_grad_(False)
        module.eval()
    return frozen


def has_encoder(model: PreTrainedModel) -> bool:
    """Whether a model is an encoder with a head, and not one network that is trained as a whole."""
    return any(isinstance(child, PreTrainedModel) for child in model.children())


def _encoder(model: PreTrainedModel) -> list[nn.Module]:
    if not has_encoder(model):
        raise RecipeError(
            [f"freeze: encoder: {type(model).__name__} is trained as a whole and has no pretrained encoder; use none"],
            _SOURCE,
        )
    return [module for name, module in model.named_children() if name not in HEAD_MODULES]


def _feature_encoder(model: PreTrainedModel) -> list[nn.Module]:
    own = getattr(model, "feature_encoder_name", "")
    encoders = [(child, _FEATURE_ENCODERS) for child in model.children() if isinstance(child, PreTrainedModel)]
    for root, names in ((model, (own,) if own else ()), *encoders, (model, _FEATURE_ENCODERS)):
        for name in names:
            if _has(root, name):
                return [root.get_submodule(part) for part in _TOGETHER.get(name, (name,))]
    raise RecipeError(
        [
            f"freeze: feature_encoder: {type(model).__name__} has none; possible are none"
            + (" and encoder" if has_encoder(model) else "")
        ],
        _SOURCE,
    )


def _has(root: nn.Module, name: str) -> bool:
    try:
        root.get_submodule(name)
    except AttributeError:
        return False
    return True


def freeze_unused(model: nn.Module) -> None:
    """Takes the vector that stands for masked frames out of training where no frame is masked.

    It would wait for a gradient that never comes, which stops DistributedDataParallel with gradient checkpointing.
    """
    for module in model.modules():
        config, vector = getattr(module, "config", None), getattr(module, "masked_spec_embed", None)
        masks = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0) > 0
        if isinstance(vector, nn.Parameter) and not masks:
            vector.requires_grad_(False)
