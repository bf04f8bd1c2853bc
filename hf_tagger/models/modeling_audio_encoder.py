"""A tagger on any audio encoder of transformers, for heads that the encoder's own class does not have. Shapes::

waveform       [B, samples]
features       what the encoder's feature extractor computes, batched on the device where it is a usual one
encoder        (layers + 1) × [B, frames, hidden]
layer, pooling, head (see heads.py)
logits         [B, labels]
"""

import copy

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, SequenceFeatureExtractor

from .configuration_audio_encoder import AudioEncoderConfig
from .encoder_classification import WindowedEncoderClassification
from .heads import WEIGHTED
from .input_features import input_features
from .stock_weights import load_stock_weights


class AudioEncoderForAudioClassification(WindowedEncoderClassification):
    """Any audio encoder of transformers with this package's windows and heads.

    Single-label (cross-entropy) or multi-label (binary cross-entropy) by ``config.problem_type``.
    """

    config_class = AudioEncoderConfig
    base_model_prefix = "audio_encoder"  # "encoder" is a name within many encoders: loading would mix the two up
    _supports_flash_attn = True

    def __init__(self, config: AudioEncoderConfig):
        super().__init__(config)
        self.audio_encoder = _audio_part(AutoModel.from_config(encoder_config(config)))
        self._features = input_features(make_feature_extractor(config))
        self.build_head()
        self.post_init()

    def load_encoder(self, encoder: nn.Module) -> None:
        """Puts a pretrained encoder in the place of the one made anew; its configuration becomes ours.

        Args:
            encoder: An encoder of ``config.encoder``'s type, with as many layers as are kept.
        """
        self.audio_encoder = _audio_part(encoder)

    @classmethod
    def from_base(cls, base: str, config: AudioEncoderConfig, **kwargs) -> "AudioEncoderForAudioClassification":
        """The tagger with a stock checkpoint's encoder, or with that of a tagger of this class."""
        if AutoConfig.from_pretrained(base, trust_remote_code=False).model_type == config.model_type:
            return super().from_base(base, config, **kwargs)
        model = cls(config)
        model.load_encoder(load_stock_weights(AutoModel, base, encoder_config(config), **kwargs))
        return model

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Saves weights under the names that they have here.

        By default transformers gives the encoder's weights the names of its first release, which its older versions do
        not undo for an encoder that is a part of another model (seen with AST in 5.10).
        """
        super().save_pretrained(save_directory, **{"save_original_format": False, **kwargs})

    def hidden_states(self, input_values: torch.Tensor, every_layer: bool) -> tuple[torch.Tensor, ...]:
        """``[N, samples]`` → one or all hidden states ``[N, frames, hidden]``."""
        features = {
            name: value.to(self.dtype) if value.is_floating_point() else value
            for name, value in self._features(input_values.float()).items()
        }
        output = self.audio_encoder(**features, output_hidden_states=every_layer, return_dict=True)
        if not every_layer:
            return (output.last_hidden_state,)
        return (*output.hidden_states[:-1], output.last_hidden_state)


def encoder_config(config: AudioEncoderConfig) -> PreTrainedConfig:
    """The encoder's configuration with the layers that are kept."""
    encoder = copy.deepcopy(config.encoder)
    if type(config.layer) is int:
        encoder.num_hidden_layers = config.layer
    if config.layer == WEIGHTED:
        for name in ("layerdrop", "encoder_layerdrop"):
            if hasattr(encoder, name):
                setattr(encoder, name, 0.0)  # a layer that is left out would leave a gap in the sum
    return encoder


def make_feature_extractor(config: AudioEncoderConfig) -> SequenceFeatureExtractor:
    """The encoder's own feature extractor."""
    values = dict(config.feature_extractor)
    return getattr(transformers, values.pop("feature_extractor_type"))(**values)


def _audio_part(model: nn.Module) -> nn.Module:
    """Of an encoder and decoder (Whisper) the encoder."""
    return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
