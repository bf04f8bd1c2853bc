"""Mel CNN: a small network as a baseline, the one of an artist20 course homework.

Shapes for the defaults (59,049 samples, 128 mel bins, 32 channels)::

    waveform      [B, 59049]
    mel_db        [B, 1, 128, 231]
    4 blocks      [B, 256, 8, 14]       3×3 convolution, batch norm, ReLU, 2×2 pooling; 32, 64, 128, 256 channels
    pooled        [B, 256]              mean over bins and frames
    dense         [B, 128], twice       linear, ReLU, dropout
    head          [B, labels]           linear
"""

import torch
from torch import nn

from .blocks import convolution_blocks
from .configuration_mel_cnn import MelCnnConfig
from .spectrogram_classification import SpectrogramClassification


class MelCnnForAudioClassification(SpectrogramClassification):
    """Mel CNN with a classification head; see the module's docstring for shapes."""

    config_class = MelCnnConfig
    base_model_prefix = "mel_cnn"

    def __init__(self, config: MelCnnConfig):
        super().__init__(config)
        channels = [1] + [config.num_channels * 2**block for block in range(config.num_blocks)]
        self.blocks = convolution_blocks(channels, config.pools)
        self.dense = nn.ModuleList(
            nn.Linear(features, config.dense_size) for features in (channels[-1], config.dense_size)
        )
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.dense_size, config.num_labels)
        self.post_init()

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, 1, bins, frames]`` → ``[N, labels]``."""
        hidden = self.blocks(spectrogram).mean(dim=(2, 3))  # [N, 8c]
        for dense in self.dense:
            hidden = self.dropout(torch.relu(dense(hidden)))  # [N, 128]
        return self.classifier(hidden)
