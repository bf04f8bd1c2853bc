"""The models. A module ``modeling_x.py`` with a class ``…ForAudioClassification`` is a model; there is no other list.

Importing this package registers every model with transformers' Auto classes, and marks it so that ``save_pretrained``
writes its code beside the weights: a saved model loads where this package is not installed.
"""

import importlib
import pkgutil

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from .encoder_classification import WindowedEncoderClassification
from .feature_extraction_waveform import WaveformFeatureExtractor
from .windowed_classification import WindowedAudioClassification

__all__ = [
    "MODELS",
    "WaveformFeatureExtractor",
    "WindowedAudioClassification",
    "WindowedEncoderClassification",
    "list_models",
]


def _find_models() -> dict[str, type[WindowedAudioClassification]]:
    found = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("modeling_"):
            module = importlib.import_module(f"{__name__}.{info.name}")
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and value.__module__ == module.__name__
                    and value.__name__.endswith("ForAudioClassification")
                ):
                    found[value.config_class.model_type] = value
    return found


def _register(model_class: type[WindowedAudioClassification]) -> None:
    config_class = model_class.config_class
    AutoConfig.register(config_class.model_type, config_class)
    AutoModelForAudioClassification.register(config_class, model_class)
    AutoFeatureExtractor.register(config_class, WaveformFeatureExtractor)
    encoder_class = getattr(model_class, "base_model_class", None)
    if encoder_class is not None:
        AutoModel.register(config_class, encoder_class)
        encoder_class.register_for_auto_class("AutoModel")
    config_class.register_for_auto_class()
    model_class.register_for_auto_class("AutoModelForAudioClassification")


MODELS = _find_models()
"""Model classes by ``model_type``."""

WaveformFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
for _model_class in MODELS.values():
    _register(_model_class)
    for _class in (_model_class.config_class, getattr(_model_class, "base_model_class", None), _model_class):
        if _class is not None:  # from hf_tagger.models import MertConfig, MertModel, MertForAudioClassification
            globals()[_class.__name__] = _class
            __all__ += [_class.__name__]


def list_models() -> list[str]:
    """Names that ``model_type`` may have."""
    return sorted(MODELS)
