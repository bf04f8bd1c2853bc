"""Convolutional recurrent network: a CNN over the mel spectrogram, a GRU over time (Choi et al. 2017).

Paper: "Convolutional Recurrent Neural Networks for Music Classification", https://arxiv.org/abs/1609.04243; sizes of
Won et al. 2020, https://arxiv.org/abs/2006.00751. Shapes for the defaults (29 s, 96 mel bins, 64 channels)::

    waveform      [B, 464000]
    mel_db        [B, 1, 96, 1813]
    4 blocks      [B, 128, 1, 18]     pool (bins × frames) 2×2, 3×3, 4×4, 4×4; 64, 128, 128, 128 channels
    2-layer GRU   [B, 18, 32]
    head          [B, labels]         the last step, dropout, linear
"""

import torch
from torch import nn

from .blocks import convolution_blocks
from .configuration_crnn import CrnnConfig
from .spectrogram_classification import SpectrogramClassification


class CrnnForAudioClassification(SpectrogramClassification):
    """Convolutional recurrent network with a classification head; see the module's docstring for paper and shapes."""

    config_class = CrnnConfig
    base_model_prefix = "crnn"
    citation = """@inproceedings{choi2017convolutional,
  title = {Convolutional Recurrent Neural Networks for Music Classification},
  author = {Choi, Keunwoo and Fazekas, Gy{\\"o}rgy and Sandler, Mark and Cho, Kyunghyun},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2017}
}"""

    def __init__(self, config: CrnnConfig):
        super().__init__(config)
        base = config.num_channels
        channels = [1, base, 2 * base, 2 * base, 2 * base]
        self.blocks = convolution_blocks(channels, config.pools)
        self.recurrent = nn.GRU(channels[-1], config.hidden_size, config.num_hidden_layers, batch_first=True)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.GRU):
            module.reset_parameters()  # torch's own
        else:
            super()._init_weights(module)

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, 1, bins, frames]`` → ``[N, labels]``."""
        hidden = self.blocks(spectrogram).amax(dim=2)  # [N, 2c, steps]; one bin is left of 96
        steps, _ = self.recurrent(hidden.transpose(1, 2))  # [N, steps, hidden]
        return self.classifier(self.dropout(steps[:, -1]))
