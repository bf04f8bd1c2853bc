"""Loading a finetuned model with its windows, from a folder or from the Hub, for this package and for transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel, SequenceFeatureExtractor

from .errors import HfTaggerError, RecipeError
from .training.build import load_saved_model
from .training.checkpoints import UNREADABLE, expanded, reason_of

_FEATURE_EXTRACTOR = "tagger_feature_extractor"
# What transformers.pipeline hands to every loader, and what has no say here: no code of a repository is run.
_WITHOUT_EFFECT = {"_from_pipeline", "trust_remote_code", "code_revision", "config"}


def load_tagger(
    name_or_path: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """:func:`~hf_tagger.training.build.load_saved_model`, by way of a local copy for what lies on the Hub.

    A copy, because a LoRA adapter is read from a folder, and because a revision must hold for all files alike.

    Args:
        name_or_path: Folder of a run, or a repository.
        revision: Branch, tag or commit of the repository.
        token: See ``huggingface_hub``.
        local_files_only: Whether only what was downloaded before is looked at.

    Raises:
        HfTaggerError: If there is no such model, if its weights cannot be read, or if it has no trained head.
    """
    name = expanded(name_or_path)
    if Path(name).exists():
        return load_saved_model(name)
    options = {"token": token, "local_files_only": local_files_only, "ignore_patterns": ["*/*"]}
    try:
        folder = _downloaded(name, revision, options)
    except HFValidationError as error:
        raise HfTaggerError(
            f"{name_or_path} holds no model: it is neither a folder nor a name that the Hub allows."
        ) from error
    except UNREADABLE as error:
        raise HfTaggerError(f"{name_or_path} holds no model that can be read: {reason_of(error)}") from error
    return load_saved_model(folder)


def _downloaded(name: str, revision: str | None, options: dict) -> str:
    """The folder of a repository's model files; its metrics and pictures are left where they are."""
    # Of a repository that holds an adapter, transformers.pipeline (5.23) hands over the commit that the revision is in
    # the base's repository, and with it what was asked for.
    revision = getattr(revision, "initial", revision)
    folder = snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors"], **options)
    if not any(Path(folder).glob("*.safetensors")):
        snapshot_download(name, revision=revision, allow_patterns=["*.bin"], **options)
    return folder


class SavedTagger:
    """What :func:`transformers.pipeline` loads a model by, in place of an Auto class.

    So stock models have their windows, adapters their base, and a head that is not trained is an error.
    """

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        revision: str | None = None,
        token: str | bool | None = None,
        dtype: str | torch.dtype | None = None,
        local_files_only: bool = False,
        **kwargs,
    ) -> PreTrainedModel:
        """The model, which :func:`feature_extractor_of` knows its feature extractor of.

        Raises:
            HfTaggerError: See :func:`load_tagger`; and for settings that this package does not know.
        """
        unknown = sorted(set(kwargs) - _WITHOUT_EFFECT)
        if unknown:
            raise HfTaggerError(f"The music-tagging pipeline does not load models with {', '.join(unknown)}.")
        if dtype not in (None, "auto", "float32", torch.float32):
            raise HfTaggerError(
                f"dtype {dtype}: taggers are loaded in float32. To compute in another type, call the pipeline under "
                f"torch.autocast."
            )
        try:
            model, feature_extractor = load_tagger(name_or_path, revision, token, local_files_only)
        except RecipeError as error:  # a ValueError, after which transformers would try its own classes
            raise HfTaggerError(str(error)) from error
        setattr(model, _FEATURE_EXTRACTOR, feature_extractor)
        return model


def feature_extractor_of(model: PreTrainedModel) -> SequenceFeatureExtractor | None:
    """The feature extractor of a model that :class:`SavedTagger` loaded; None for others."""
    return getattr(model, _FEATURE_EXTRACTOR, None)
