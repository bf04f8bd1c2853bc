"""Configuration of a tagger on any audio encoder of transformers."""

from transformers import AutoConfig, PreTrainedConfig

from .filterbank import frames_of
from .heads import LAST, head_problems
from .windowing import window_problems


class AudioEncoderConfig(PreTrainedConfig):
    """An audio encoder of transformers (AST, wav2vec 2.0, HuBERT, WavLM, Whisper, …) with this package's head.

    For heads that the encoder's own classification class does not have: a learned sum of layers, attention over time,
    a hidden layer. Without such a wish the stock class is finetuned and saved instead.

    Args:
        encoder: Configuration of the encoder, or its values with ``model_type``.
        feature_extractor: Values of the encoder's feature extractor, as in its ``preprocessor_config.json``; the model
            computes the features itself.
        window_samples: Length of a window in samples; 160,000 are 10 s at 16 kHz.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        windows_per_group: Windows of long audio that are computed at once.
        layer: Which hidden state is classified: ``last``, a number (the encoder is cut there, its final norm stays),
            or ``weighted``.
        pooling: ``mean`` or ``attention`` over the frames (AST: patches and its two special tokens).
        head_hidden_size: Width of the head's hidden layer; None for a linear head.
        head_dropout: Dropout before the last layer.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "audio_encoder"
    sub_configs = {"encoder": AutoConfig}  # noqa: RUF012 (transformers' own form)

    encoder: dict | PreTrainedConfig | None = None
    feature_extractor: dict | None = None
    window_samples: int = 160_000
    hop_samples: int = 160_000
    windows_per_group: int = 8
    layer: int | str = LAST
    pooling: str = "mean"
    head_hidden_size: int | None = None
    head_dropout: float | int = 0.1

    def __post_init__(self, **kwargs):
        """Makes the encoder's configuration and checks the values."""
        if self.encoder is None:
            self.encoder = {"model_type": "wav2vec2"}
        if isinstance(self.encoder, dict):
            values = dict(self.encoder)
            self.encoder = AutoConfig.for_model(values.pop("model_type"), **values)
        if self.feature_extractor is None:
            self.feature_extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
        super().__post_init__(**kwargs)
        problems = window_problems(self) + head_problems(self)
        if self.encoder.model_type == "audio-spectrogram-transformer":
            heard = (frames_of(self.window_samples, self.sampling_rate), self.feature_extractor.get("max_length", 1024))
            if set(heard) != {self.encoder.max_length}:
                problems.append(
                    f"a window of {self.window_samples} samples makes {heard[0]} frames and the feature extractor "
                    f"{heard[1]}; this AST hears "
                    f"{self.encoder.max_length}. Start from the stock checkpoint to resize it"
                )
        if problems:
            raise ValueError("; ".join(problems) + ".")

    @property
    def sampling_rate(self) -> int:
        """Rate of the waveform in Hz."""
        return self.feature_extractor.get("sampling_rate", 16_000)  # the default of transformers' extractors

    @property
    def hidden_size(self) -> int:
        """Features of a frame of the encoder."""
        return self.encoder.hidden_size

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the whole encoder."""
        return self.encoder.num_hidden_layers

    @property
    def shortest_window(self) -> int:
        """Samples of the shortest window that any of these encoders hears: 25 ms, a frame of wav2vec 2.0 and of AST."""
        return round(0.025 * self.sampling_rate)
