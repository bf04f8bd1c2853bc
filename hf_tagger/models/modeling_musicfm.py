"""MusicFM: a conformer pretrained on music by masked token prediction, with a tagging head (Won, Hung and Le 2023).

Paper: "A Foundation Model for Music Informatics", https://arxiv.org/abs/2311.03318; code:
https://github.com/minzwon/musicfm (the version with 25 frames a second). Shapes for the defaults and 10 s at 24 kHz::

    waveform       [B, 240000]
    log-mel        [B, 1, 128, 1000]      decibels, minus mean, over deviation; the last frame is left out
    2 conv modules [B, 512, 32, 250]      each halves frequency and time
    linear         [B, 250, 1024]         25 frames a second
    12 layers      [B, 250, 1024]         conformer with rotary positions
    pooled, head   [B, labels]

The layers are transformers' ``Wav2Vec2ConformerEncoderLayer``; what is around them is written here. The published
model's class token and convolutional positions are part of no computation and do not exist here.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoderLayer

from .blocks import ResidualBlock
from .configuration_musicfm import MusicFMConfig
from .encoder_classification import WindowedEncoderClassification
from .frontends import MelDecibels
from .heads import layers_kept


class ConvolutionalSubsampling(nn.Module):
    """Two residual convolution modules and a linear layer: ``[B, 1, F, T]`` → ``[B, ⌈T/4⌉, hidden]``."""

    def __init__(self, config: MusicFMConfig):
        super().__init__()
        channels = config.conv_channels
        self.blocks = nn.Sequential(ResidualBlock(1, channels), ResidualBlock(channels, channels))
        self.linear = nn.Linear(channels * _quarter(config.num_mel_bins), config.hidden_size)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[B, 1, F, T]`` → ``[B, ⌈T/4⌉, hidden]``."""
        hidden = self.blocks(spectrogram.to(self.blocks[0].first.weight.dtype))  # [B, C, ⌈F/4⌉, ⌈T/4⌉]
        return self.linear(hidden.flatten(1, 2).transpose(1, 2))  # features of a frame: channel by channel


class RotaryPositions(nn.Module):
    """Cosines and sines of rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864).

    They are computed anew each time. transformers' module keeps its last result for the next call of the same length:
    rounded to float16 after a pass in mixed precision, and unusable in training after one in inference mode.

    Args:
        head_size: Features of an attention head; even.
        base: Base of the wavelengths.
    """

    def __init__(self, head_size: int, base: float):
        super().__init__()
        exponents = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
        self.register_buffer("inv_freq", base**-exponents)  # [head / 2], in the published weights under this name

    def _apply(self, fn, recurse=True):
        """Moves the frequencies between devices, but keeps them in float32 when a model is cast."""
        exact = self.inv_freq
        super()._apply(fn, recurse)
        if not exact.is_meta:
            self.inv_freq = exact.to(self.inv_freq.device)
        return self

    def forward(self, frames: int) -> torch.Tensor:
        """Float32 ``[2, frames, 1, 1, head]``: cosines, then sines."""
        times = torch.arange(frames, dtype=torch.float32, device=self.inv_freq.device)
        angles = torch.outer(times, self.inv_freq).repeat(1, 2)  # [frames, head]
        return torch.stack([angles.cos(), angles.sin()])[:, :, None, None]


class Conformer(nn.Module):
    """The layers, as many as are kept; the final layer norm belongs to the last of all and is cut off with it."""

    def __init__(self, config: MusicFMConfig):
        super().__init__()
        kept, size = layers_kept(config), config.hidden_size
        self.embed_positions = RotaryPositions(size // config.num_attention_heads, config.rotary_embedding_base)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(Wav2Vec2ConformerEncoderLayer(config) for _ in range(kept))
        is_whole = kept == config.num_hidden_layers
        self.layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps) if is_whole else nn.Identity()

    def forward(self, hidden: torch.Tensor, exists: torch.Tensor | None, every_layer: bool) -> list[torch.Tensor]:
        """Computes the layers.

        Args:
            hidden: ``[B, frames, hidden]``.
            exists: Which frames are no padding, boolean ``[B, frames]``; all if None.
            every_layer: Return all hidden states; otherwise only the last one.

        Returns:
            The input of the first layer and the output of each, the last one after the final layer norm.
        """
        mask = None
        if exists is not None:
            hidden = hidden.masked_fill(~exists.unsqueeze(-1), 0.0)
            mask = hidden.new_zeros(exists.shape).masked_fill(~exists, torch.finfo(hidden.dtype).min)
            mask = mask[:, None, None]  # [B, 1, 1, frames], added to the scores
        hidden = self.dropout(hidden)
        positions = self.embed_positions(hidden.shape[1])
        if not torch.is_autocast_enabled(hidden.device.type):  # under autocast float32 is exact and does no harm
            positions = positions.to(hidden.dtype)
        states = [hidden]
        for layer in self.layers:
            output = layer(hidden, attention_mask=mask, relative_position_embeddings=positions)
            hidden = output[0] if isinstance(output, tuple) else output  # a tuple before transformers 5.23
            states = [*states, hidden] if every_layer else [hidden]
        states[-1] = self.layer_norm(states[-1])
        return states


class MusicFMModel(PreTrainedModel):
    """The encoder: ``input_values [B, samples]`` → ``last_hidden_state [B, frames, hidden]``.

    With ``config.layer`` a number, the layers above it are not built, nor is the final layer norm, which belongs to the
    last layer.

    An ``attention_mask`` keeps attention off the padding, as in transformers' encoder. The frames still differ from
    those of the music alone, most near its end, because every layer's convolution reaches into the padding;
    :class:`MusicFMForAudioClassification` therefore never encodes padding.
    """

    config_class = MusicFMConfig
    base_model_prefix = "musicfm"
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Wav2Vec2ConformerEncoderLayer"]  # noqa: RUF012 (transformers' own form)
    _keep_in_fp32_modules_strict = {"spectrogram.mel", "embed_positions"}  # noqa: RUF012

    def __init__(self, config: MusicFMConfig):
        super().__init__(config)
        self.spectrogram = MelDecibels(
            config.sampling_rate, config.n_fft, config.hop_length, config.num_mel_bins, 0.0, config.sampling_rate / 2
        )
        self.conv = ConvolutionalSubsampling(config)
        self.conformer = Conformer(config)
        kept, published = layers_kept(config), config.num_hidden_layers
        if kept < published:
            above = "|".join(map(str, range(kept, published)))
            self._keys_to_ignore_on_load_unexpected = {rf"conformer\.layers\.({above})\.", r"conformer\.layer_norm\."}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # He initialisation (https://arxiv.org/abs/1502.01852), as transformers' own conformer has it: with the default
        # deviation of 0.02 the signal would vanish in the convolutions.
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple:
        """Encodes waveforms.

        Args:
            input_values: Waveforms at ``config.sampling_rate`` Hz, ``[B, samples]``, at least
                ``config.shortest_window`` samples.
            attention_mask: 1 for samples (or frames), 0 for the padding behind them: ``[B, samples]`` or
                ``[B, frames]``; there is none if None.
            output_hidden_states: Return the input of the first layer and every layer's output as well, the last one
                after the final layer norm.
            return_dict: False returns a tuple.

        Raises:
            ValueError: If ``input_values`` is not ``[B, samples]`` or too short, or if ``attention_mask`` fits neither
                samples nor frames or leaves a clip empty.
        """
        if input_values.ndim != 2 or input_values.shape[1] < self.config.shortest_window:
            raise ValueError(
                f"input_values must be [batch, samples] with at least {self.config.shortest_window} samples; received "
                f"the shape {tuple(input_values.shape)}. Shorter audio can be repeated."
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if return_dict is None:
            return_dict = self.config.return_dict
        decibels = self.spectrogram(input_values)[..., :-1]  # [B, 1, F, samples // hop_length], float32
        hidden = self.conv((decibels - self.config.mel_mean) / self.config.mel_std)  # [B, frames, hidden]
        exists = None if attention_mask is None else self._frames_that_exist(attention_mask, input_values, hidden)
        states = self.conformer(hidden, exists, output_hidden_states)
        output = BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None
        )
        return output if return_dict else output.to_tuple()

    def _frames_that_exist(
        self, attention_mask: torch.Tensor, input_values: torch.Tensor, hidden: torch.Tensor
    ) -> torch.Tensor:
        """Boolean ``[B, frames]``: as many frames a clip as it has without its padding, at least one."""
        if attention_mask.shape == input_values.shape:
            samples = attention_mask.long().sum(dim=1)
            lengths = _quarter(samples // self.config.hop_length).clamp(min=1).where(samples > 0, 0)
        elif attention_mask.shape == hidden.shape[:2]:
            lengths = attention_mask.long().sum(dim=1)
        else:
            raise ValueError(
                f"attention_mask must be [batch, samples] = {tuple(input_values.shape)} or [batch, frames] = "
                f"{tuple(hidden.shape[:2])}; received the shape {tuple(attention_mask.shape)}."
            )
        if not lengths.all():
            raise ValueError("attention_mask leaves a clip empty; every clip needs at least one sample.")
        return torch.arange(hidden.shape[1], device=lengths.device) < lengths.unsqueeze(1)


class MusicFMForAudioClassification(WindowedEncoderClassification):
    """MusicFM with a tagging head; see the module's docstring for paper and shapes.

    Single-label (cross-entropy) or multi-label (binary cross-entropy) by ``config.problem_type``.
    """

    config_class = MusicFMConfig
    base_model_prefix = "musicfm"
    base_model_class = MusicFMModel
    feature_encoder_name = "musicfm.conv"
    citation = """@article{won2023musicfm,
  title = {A Foundation Model for Music Informatics},
  author = {Won, Minz and Hung, Yun-Ning and Le, Duc},
  journal = {arXiv preprint arXiv:2311.03318},
  year = {2023}
}"""

    def __init__(self, config: MusicFMConfig):
        super().__init__(config)
        self.musicfm = MusicFMModel(config)
        self.build_head()
        self.post_init()

    @property
    def spectrogram(self) -> MelDecibels:
        """The encoder's spectrogram."""
        return self.musicfm.spectrogram

    def hidden_states(self, input_values: torch.Tensor, every_layer: bool) -> tuple[torch.Tensor, ...]:
        """``[N, samples]`` → one or all hidden states ``[N, frames, hidden]``."""
        output = self.musicfm(input_values, output_hidden_states=every_layer, return_dict=True)
        return output.hidden_states if every_layer else (output.last_hidden_state,)


def _quarter(length: int | torch.Tensor) -> int | torch.Tensor:
    """What two convolutions of stride 2 with padding leave of a length: ⌈length / 4⌉."""
    return -(-length // 4)
