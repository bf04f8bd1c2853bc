"""Short-chunk CNN: a VGG-like network over the mel spectrogram of a few seconds (Won et al. 2020).

Paper: "Evaluation of CNN-based Automatic Music Tagging Models", https://arxiv.org/abs/2006.00751. Shapes for the
defaults (59,049 samples, 128 mel bins, 128 channels)::

    waveform      [B, 59049]
    mel_db        [B, 1, 128, 231]       batch norm over all of it, in place of a dataset's mean and deviation
    7 blocks      [B, 512, 1, 1]         each halves frequency and time
    max over both [B, 512]
    head          [B, labels]            linear, batch norm, ReLU, dropout, linear
"""

from itertools import pairwise

import torch
from torch import nn

from .blocks import DenseBlock, ResidualBlock, convolution_blocks
from .configuration_short_cnn import ShortCnnConfig
from .spectrogram_classification import SpectrogramClassification


class ShortCnnForAudioClassification(SpectrogramClassification):
    """Short-chunk CNN with a classification head; see the module's docstring for paper and shapes.

    Single-label (cross-entropy) or multi-label (binary cross-entropy) by ``config.problem_type``.
    """

    config_class = ShortCnnConfig
    base_model_prefix = "short_cnn"
    citation = """@inproceedings{won2020evaluation,
  title = {Evaluation of CNN-based Automatic Music Tagging Models},
  author = {Won, Minz and Ferraro, Andres and Bogdanov, Dmitry and Serra, Xavier},
  booktitle = {Proceedings of the 17th Sound and Music Computing Conference},
  year = {2020}
}"""

    def __init__(self, config: ShortCnnConfig):
        super().__init__(config)
        base = config.num_channels
        # c, c, 2c, …, 2c, 4c: the paper's 128, 128, 256, 256, 256, 256, 512
        channels = [1] + [base if block < 2 else 2 * base for block in range(config.num_blocks - 1)] + [4 * base]
        if config.residual:
            self.blocks = nn.Sequential(*(ResidualBlock(*pair) for pair in pairwise(channels)))
        else:
            self.blocks = convolution_blocks(channels, config.pools)
        self.dense = DenseBlock(channels[-1], channels[-1])
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(channels[-1], config.num_labels)
        self.post_init()

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, 1, bins, frames]`` → ``[N, labels]``."""
        hidden = self.blocks(spectrogram)  # [N, 4c, F', T']
        hidden = self.dense(hidden.amax(dim=(2, 3)))  # [N, 4c]
        return self.classifier(self.dropout(hidden))
