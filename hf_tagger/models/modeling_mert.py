"""MERT: HuBERT trained on music, with a tagging head (Li et al. 2023).

Paper: "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training",
https://arxiv.org/abs/2306.00107; weights: https://huggingface.co/m-a-p/MERT-v1-95M and MERT-v1-330M. Shapes for the
95M model and 5 s at 24 kHz::

    waveform       [B, 120000]        mean 0, variance 1
    convolutions   [B, 374, 512]      75 frames a second
    12 layers      [B, 374, 768]
    pooled, head   [B, labels]

The blocks are transformers' own (``HubertModel``); what differs is written here.
"""

import torch
from torch import nn
from transformers import HubertModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_mert import MertConfig
from .encoder_classification import WindowedEncoderClassification, normalize_windows
from .heads import layers_kept


class MertModel(HubertModel):
    """The encoder: ``input_values [B, samples]`` → ``last_hidden_state [B, frames, hidden]``.

    ``hidden_states`` are those of the authors' implementation: the last one is the model's output, for
    ``do_stable_layer_norm`` after the final layer norm. With ``config.layer`` a number, the layers above it are not
    built, nor is that final layer norm, which belongs to the last layer.

    With group norm in the feature encoder (both published sizes) zero padding changes the frames of the music itself,
    because the norm runs over time. An ``attention_mask`` cannot undo that: it only keeps attention off the padding.
    :class:`MertForAudioClassification` therefore never encodes padding.
    """

    config_class = MertConfig
    config: MertConfig
    base_model_prefix = "mert"

    def __init__(self, config: MertConfig):
        super().__init__(config)
        kept, published = layers_kept(config), config.num_hidden_layers
        if kept < published:
            self.encoder.layers = self.encoder.layers[:kept]
            cut = [rf"encoder\.layers\.({'|'.join(map(str, range(kept, published)))})\."]
            if config.do_stable_layer_norm:
                self.encoder.layer_norm = nn.Identity()
                cut.append(r"encoder\.layer_norm\.")
            self._keys_to_ignore_on_load_unexpected = {*(self._keys_to_ignore_on_load_unexpected or ()), *cut}

    def _mask_hidden_states(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        if hidden_states.shape[1] < self.config.mask_time_length:  # too short to be masked, which HuBERT refuses
            return hidden_states
        return super()._mask_hidden_states(hidden_states, **kwargs)

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BaseModelOutput | tuple:
        """The arguments and outputs of transformers' ``HubertModel``.

        Args:
            input_values: Waveforms at ``config.sample_rate`` Hz, ``[B, samples]``.
            attention_mask: 1 for samples, 0 for padding ``[B, samples]``.
            mask_time_indices: Frames to mask in pretraining, ``[B, frames]``.
            output_attentions: Return attention weights (needs ``attn_implementation="eager"``).
            output_hidden_states: Return the encoder's input and every layer's output.
            return_dict: False returns a tuple.
            **kwargs: Passed on.
        """
        output = super().forward(
            input_values,
            attention_mask=attention_mask,
            mask_time_indices=mask_time_indices,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **kwargs,
        )
        if output.hidden_states is not None:  # newer transformers leave out the final layer norm
            output.hidden_states = (*output.hidden_states[:-1], output.last_hidden_state)
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()


class MertForAudioClassification(WindowedEncoderClassification):
    """MERT with a tagging head; see the module's docstring for paper and shapes.

    Single-label (cross-entropy) or multi-label (binary cross-entropy) by ``config.problem_type``.
    """

    config_class = MertConfig
    base_model_prefix = "mert"
    base_model_class = MertModel
    feature_encoder_name = "mert.feature_extractor"
    citation = """@inproceedings{li2024mert,
  title = {MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training},
  author = {Li, Yizhi and Yuan, Ruibin and Zhang, Ge and Ma, Yinghao and Chen, Xingran and Yin, Hanzhi and others},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2024}
}"""

    def __init__(self, config: MertConfig):
        super().__init__(config)
        self.mert = MertModel(config)
        self.build_head()
        self.post_init()

    def hidden_states(self, input_values: torch.Tensor, every_layer: bool) -> tuple[torch.Tensor, ...]:
        """``[N, samples]`` → one or all hidden states ``[N, frames, hidden]``."""
        if self.config.normalize_waveform:
            input_values = normalize_windows(input_values)
        output = self.mert(input_values.to(self.dtype), output_hidden_states=every_layer, return_dict=True)
        return output.hidden_states if every_layer else (output.last_hidden_state,)
