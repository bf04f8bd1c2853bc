"""Configuration of MusicFM."""

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from .config_checks import count_problems, dropout_problems, is_number
from .heads import LAST, head_problems
from .windowing import window_problems

_POSITIVE = [
    "n_fft",
    "hop_length",
    "num_mel_bins",
    "conv_channels",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "conv_depthwise_kernel_size",
]
_ABOVE_ZERO = ["mel_std", "rotary_embedding_base", "layer_norm_eps", "initializer_range"]
_DROPOUTS = ["hidden_dropout", "attention_dropout", "activation_dropout", "conformer_conv_dropout"]


class MusicFMConfig(PreTrainedConfig):
    """MusicFM (Won, Hung and Le 2023, https://arxiv.org/abs/2311.03318), the version with 25 frames a second.

    The defaults are those of the published weights (https://github.com/minzwon/musicfm, ``model/musicfm_25hz.py``),
    whose conformer has the settings of ``facebook/wav2vec2-conformer-rope-large-960h-ft`` with 12 layers. LayerDrop,
    which would leave out layers at random, is not done: in finetuning it costs more than it gives.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two spectrogram frames in samples; four of them become one frame of the encoder.
        num_mel_bins: Bands of the mel filterbank, from 0 Hz to half the sampling rate.
        mel_mean: Mean of the spectrogram in decibels over the pretraining data (published ``msd_stats.json``).
        mel_std: Standard deviation of the spectrogram in decibels, from the same file.
        conv_channels: Channels of the two convolution modules.
        hidden_size: Features of a frame in the encoder.
        num_hidden_layers: Conformer layers.
        num_attention_heads: Attention heads of a layer.
        intermediate_size: Width of the feed-forward networks.
        hidden_act: Activation in the layers, a name of transformers' ``ACT2FN``.
        conv_depthwise_kernel_size: Frames that the convolution of a layer covers; odd.
        rotary_embedding_base: Base of the rotary positions' wavelengths.
        layer_norm_eps: Added to the variance in the final layer norm.
        initializer_range: Standard deviation of fresh linear weights.
        hidden_dropout: Dropout on the encoder's input and after the feed-forward networks.
        attention_dropout: Dropout on attention weights and after attention.
        activation_dropout: Dropout within the feed-forward networks.
        conformer_conv_dropout: Dropout after the convolution of a layer.
        window_samples: Length of a window in samples. Pretraining saw 30 s (720,000 samples), which train with about
            3.5 GB a window in float32 (measured for the default sizes); the default of 10 s needs 1.1 GB. Rotary
            positions let any length through.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        windows_per_group: Windows of long audio that are computed at once.
        layer: Which hidden state is classified: ``last``, a number (the encoder is cut there), or ``weighted``.
        pooling: ``mean`` or ``attention`` over the frames.
        head_hidden_size: Width of the head's hidden layer; None for a linear head.
        head_dropout: Dropout before the last layer.

    Raises:
        ValueError: If values are out of range; the message names all of them.
    """

    model_type = "musicfm"

    sampling_rate: int = 24_000
    n_fft: int = 2048
    hop_length: int = 240
    num_mel_bins: int = 128
    mel_mean: float | int = 6.768444971712967
    mel_std: float | int = 18.417922652295623
    conv_channels: int = 512
    hidden_size: int = 1024
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    hidden_act: str = "swish"
    conv_depthwise_kernel_size: int = 31
    rotary_embedding_base: float | int = 10_000
    layer_norm_eps: float | int = 1e-5
    initializer_range: float | int = 0.02
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    activation_dropout: float | int = 0.1
    conformer_conv_dropout: float | int = 0.1
    window_samples: int = 240_000
    hop_samples: int = 240_000
    windows_per_group: int = 4
    layer: int | str = LAST
    pooling: str = "mean"
    head_hidden_size: int | None = None
    head_dropout: float | int = 0.1

    def __post_init__(self, **kwargs):
        """Checks the values."""
        super().__post_init__(**kwargs)
        problems = count_problems(self, _POSITIVE)
        sizes_are_right = not problems
        problems += [
            f"{name} must be greater than 0, received {getattr(self, name)!r}"
            for name in _ABOVE_ZERO
            if not is_number(getattr(self, name)) or getattr(self, name) <= 0
        ]
        problems += dropout_problems(self, _DROPOUTS)
        if not is_number(self.mel_mean):
            problems.append(f"mel_mean must be a number, received {self.mel_mean!r}")
        if self.hidden_act not in ACT2FN:
            problems.append(f"hidden_act {self.hidden_act!r} is not known; it must be one of {', '.join(ACT2FN)}")
        if sizes_are_right:  # they are needed for what follows
            if self.hidden_size % (2 * self.num_attention_heads):
                problems.append(
                    f"hidden_size {self.hidden_size} must be a multiple of 2 · num_attention_heads "
                    f"{self.num_attention_heads}: rotary positions turn pairs of features of a head"
                )
            if self.conv_depthwise_kernel_size % 2 == 0:
                problems.append(f"conv_depthwise_kernel_size {self.conv_depthwise_kernel_size} must be odd")
            problems += window_problems(self)
            problems += head_problems(self)
        if problems:
            raise ValueError("; ".join(problems) + ".")

    @property
    def shortest_window(self) -> int:
        """Samples that one frame needs: a spectrogram frame, and more than the Fourier transform mirrors at an edge."""
        return max(self.hop_length, self.n_fft // 2 + 1)

    @property
    def position_embeddings_type(self) -> str:
        """Read by transformers' conformer layers; MusicFM knows no other."""
        return "rotary"
