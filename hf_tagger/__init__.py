"""hf_tagger: finetune audio models on music and share them on the Hugging Face Hub.

Importing the package registers its models with transformers' Auto classes, and the pipeline ``"music-tagging"``. Both,
and the names below, are imported when they are asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from .registration import register_when_asked_for

if TYPE_CHECKING:  # the names of _NAMES once more, for editors and type checkers
    from .arguments import DataArguments, ModelArguments, TaggingArguments
    from .data import dataset_facts, list_datasets, load_tagging_dataset
    from .data.pcm import PreparedClips, prepare_clips
    from .errors import AudioDecodingError, DatasetError, HfTaggerError, RecipeError, RunFolderError
    from .evaluation.metrics import TaggingMetrics
    from .models import WaveformFeatureExtractor, list_models
    from .pipeline import MusicTaggingPipeline
    from .recipe import parse_recipe
    from .training.trainer import TaggingTrainer

__all__ = [
    "AudioDecodingError",
    "DataArguments",
    "DatasetError",
    "HfTaggerError",
    "ModelArguments",
    "MusicTaggingPipeline",
    "PreparedClips",
    "RecipeError",
    "RunFolderError",
    "TaggingArguments",
    "TaggingMetrics",
    "TaggingTrainer",
    "WaveformFeatureExtractor",
    "dataset_facts",
    "list_datasets",
    "list_models",
    "load_tagging_dataset",
    "parse_recipe",
    "prepare_clips",
]
__version__ = "0.1.0.dev0"
_NAMES = {
    ".arguments": ("DataArguments", "ModelArguments", "TaggingArguments"),
    ".data": ("dataset_facts", "list_datasets", "load_tagging_dataset"),
    ".data.pcm": ("PreparedClips", "prepare_clips"),
    ".errors": ("AudioDecodingError", "DatasetError", "HfTaggerError", "RecipeError", "RunFolderError"),
    ".evaluation.metrics": ("TaggingMetrics",),
    ".models": ("WaveformFeatureExtractor", "list_models"),
    ".pipeline": ("MusicTaggingPipeline",),
    ".recipe": ("parse_recipe",),
    ".training.trainer": ("TaggingTrainer",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a public name, or a module of the package, when it is asked for (PEP 562)."""
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name], __name__), name)
    elif not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        value = importlib.import_module(f"{__name__}.{name}")
    else:  # name and obj: Python adds the name that was probably meant
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_asked_for()
