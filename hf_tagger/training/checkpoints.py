"""Reading saved models by this package's or transformers' own classes, never by code or pickles beside the weights."""

from __future__ import annotations

import logging
from pathlib import Path
from pickle import UnpicklingError

import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ..errors import HfTaggerError, RecipeError

logger = logging.getLogger(__name__)

HEAD_MODULES = ("classifier", "projector", "layer_weights", "layer_sum", "pooling")
"""Modules that turn an encoder's output into logits, by the names that transformers and this package use."""

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, StrictDataclassError)
"""What transformers raises for configuration files that are missing or damaged, or that no class understands."""

_UNREADABLE_WEIGHTS = (OSError, ValueError, RuntimeError, SafetensorError)
_NO_NAMED_TENSORS = (UnpicklingError, EOFError, KeyError, TypeError, AttributeError)  # of a .bin file, a pickle
_WHAT_IS_READ = "Weights are read from safetensors, or from a .bin file that holds tensors and nothing else."

# Only read in training, by models that mask frames; some published checkpoints come without it.
_MAY_BE_MISSING = ("masked_spec_embed",)
# Parameters of no module: transformers leaves them as the memory was if they are not saved (seen with 5.10 and 5.23;
# 1e28 as a layer's weight). These are the values that its classes give them.
_LONE_PARAMETERS = {
    "layer_weights": lambda weights: weights.fill_(1 / len(weights)),
    "masked_spec_embed": lambda frame: frame.uniform_(),
}


def expanded(name_or_path: str | Path) -> str:
    """A path with its ``~`` resolved; names of the Hub stay as they are."""
    name = str(name_or_path)
    return str(Path(name).expanduser()) if name.startswith("~") else name


def reason_of(error: Exception) -> str:
    """An error of another library in one line."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:  # transformers advises to run it
        return "it needs code that lies beside it, which is never run here"
    return f"{type(error).__name__}: {text}" if isinstance(error, (KeyError, TypeError, AttributeError)) else text


def saved_config(name_or_path: str) -> PreTrainedConfig:
    """The configuration of a saved model.

    Raises:
        RecipeError: If there is none, or if it states options that the model does not support.
    """
    try:
        return AutoConfig.from_pretrained(expanded(name_or_path), trust_remote_code=False)
    except UNREADABLE as error:
        reason = reason_of(error)
        if isinstance(error.__cause__, HFValidationError):  # of a path, in terms of the Hub
            reason = "it is neither a folder nor a name that the Hub allows"
        raise RecipeError(
            [f"model_name_or_path: {name_or_path!r} holds no model that can be read: {reason}"], "the model arguments"
        ) from error


def load_weights(model_class: type, name_or_path: str, config: PreTrainedConfig, new_head: bool) -> PreTrainedModel:
    """A model with saved weights, in float32 also where they were published in half precision.

    Args:
        model_class: Class with ``from_pretrained``.
        name_or_path: Folder or Hub repository.
        config: The model's configuration, which may differ from the saved one in its head.
        new_head: Whether a head that is not saved, or of another size, is made anew; otherwise it is an error.

    Raises:
        HfTaggerError: If the weights cannot be read, or are not those of this model; the first wrong names are given.
    """
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its report says of heads what is checked and said here
    try:
        model, info = model_class.from_pretrained(
            expanded(name_or_path),
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except _NO_NAMED_TENSORS as error:  # torch advises to switch its check off, or says very little
        raise HfTaggerError(
            f"The model in {name_or_path} cannot be read: its weights file is damaged, or holds something else than "
            f"named tensors, which could run code. {_WHAT_IS_READ}"
        ) from error
    except _UNREADABLE_WEIGHTS as error:
        reason = reason_of(error).rstrip(".")
        raise HfTaggerError(f"The model in {name_or_path} cannot be read: {reason}. {_WHAT_IS_READ}") from error
    finally:
        transformers_logging.set_verbosity(level)
    missing = sorted(info["missing_keys"])
    mismatched = sorted(entry[0] for entry in info["mismatched_keys"])
    wrong = [
        name
        for name in [*missing, *mismatched]
        if not (new_head and is_head(name)) and name.split(".")[-1] not in _MAY_BE_MISSING
    ]
    if wrong:
        raise HfTaggerError(_explain(name_or_path, model, wrong, missing, sorted(info["unexpected_keys"])))
    for name in [*missing, *mismatched]:
        if name.split(".")[-1] in _LONE_PARAMETERS:
            _LONE_PARAMETERS[name.split(".")[-1]](model.get_parameter(name).data)
    left_out = [name for name in info["unexpected_keys"] if not is_head(name)]
    if left_out:
        logger.info("Not used of %s: %s", name_or_path, ", ".join(sorted(left_out)))
    return model


def is_head(name: str) -> bool:
    """Whether a weight belongs to the head."""
    return name.split(".")[0] in HEAD_MODULES


def _explain(
    name_or_path: str, model: PreTrainedModel, wrong: list[str], missing: list[str], unexpected: list[str]
) -> str:
    total = len(model.state_dict())
    head = all(is_head(name) for name in wrong)
    message = (
        f"{len(wrong)} of the {total} weights of a {type(model).__name__} are not in {name_or_path} or have another "
        f"shape there: {_some(wrong)}."
    )
    if head and set(wrong) <= set(missing):
        return message + " It has no trained head: finetune it first (model_name_or_path in a recipe)."
    if unexpected:
        message += f" It holds instead: {_some(unexpected)}."
    return message + (
        " Either its weights belong to another model than its config.json says, or model_config and the fields beside "
        "it change what they fit; leave those out to use the weights as they are."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
