"""Stock encoders with this package's head, for wishes that the stock classification class cannot express.

The stock class stays the first choice: what it saves needs no code of ours. Only a learned sum of layers where the
class has none, attention over time, or another head makes an ``audio_encoder`` of a checkpoint.
"""

from __future__ import annotations

import logging

from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor

from ..arguments import ModelArguments
from ..models import MODELS
from ..models.configuration_audio_encoder import AudioEncoderConfig
from ..models.modeling_audio_encoder import encoder_config
from .stock_models import load_stock_model

logger = logging.getLogger(__name__)

HEAD_FIELDS = ("layer", "pooling", "head_hidden_size", "head_dropout")
"""The recipe's fields that describe a head, by their names in our configurations."""


def wants_own_head(config: PreTrainedConfig, arguments: ModelArguments) -> bool:
    """Whether a recipe asks for a head that a stock configuration's class does not have."""
    return (
        arguments.pooling == "attention"
        or arguments.head_hidden_size is not None
        or arguments.head_dropout is not None
        or (arguments.layer == "weighted" and not hasattr(config, "use_weighted_layer_sum"))
        # A lone parameter, which peft cannot save beside an adapter.
        or (arguments.layer == "weighted" and arguments.lora is not None)
    )


def own_head_config(
    config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor, arguments: ModelArguments
) -> AudioEncoderConfig:
    """The configuration of a stock encoder with our head.

    Args:
        config: The stock configuration, whole and with the length of its window.
        feature_extractor: The stock feature extractor with ``window_samples`` and ``hop_samples``.
        arguments: The recipe's choices.

    Raises:
        ValueError: If a value is out of range.
    """
    values = feature_extractor.to_dict()
    window, hop = values.pop("window_samples"), values.pop("hop_samples")
    chosen = {name: getattr(arguments, name) for name in HEAD_FIELDS if getattr(arguments, name) is not None}
    logger.warning(
        "A stock %s model has no such head: it is finetuned and saved as an audio_encoder, whose code lies beside the "
        "weights.",
        config.model_type,
    )
    return AudioEncoderConfig(
        encoder=config, feature_extractor=values, window_samples=window, hop_samples=hop, **chosen
    )


def load_with_own_head(arguments: ModelArguments, config: AudioEncoderConfig) -> PreTrainedModel:
    """The tagger with the checkpoint's encoder and a head made anew."""
    model = MODELS[config.model_type](config)
    model.load_encoder(load_stock_model(arguments.model_name_or_path, encoder_config(config), AutoModel))
    return model
