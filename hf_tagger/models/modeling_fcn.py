"""Fully convolutional network over the mel spectrogram of a whole clip (Choi et al. 2016).

Paper: "Automatic Tagging Using Deep Convolutional Neural Networks", https://arxiv.org/abs/1606.00298; sizes of Won et
al. 2020, https://arxiv.org/abs/2006.00751. Shapes for the defaults (29 s, 96 mel bins, 64 channels)::

    waveform      [B, 464000]
    mel_db        [B, 1, 96, 1813]
    5 blocks      [B, 64, 1, 1]       pool (bins × frames) 2×4, 2×4, 2×4, 3×5, 4×4; 64, 128, 128, 128, 64 channels
    head          [B, labels]         maximum over what is left of longer windows, dropout, linear
"""

import torch
from torch import nn

from .blocks import convolution_blocks
from .configuration_fcn import FcnConfig
from .spectrogram_classification import SpectrogramClassification


class FcnForAudioClassification(SpectrogramClassification):
    """Fully convolutional network with a classification head; see the module's docstring for paper and shapes."""

    config_class = FcnConfig
    base_model_prefix = "fcn"
    citation = """@inproceedings{choi2016automatic,
  title = {Automatic Tagging Using Deep Convolutional Neural Networks},
  author = {Choi, Keunwoo and Fazekas, Gy{\\"o}rgy and Sandler, Mark},
  booktitle = {Proceedings of the 17th International Society for Music Information Retrieval Conference (ISMIR)},
  year = {2016}
}"""

    def __init__(self, config: FcnConfig):
        super().__init__(config)
        base = config.num_channels
        channels = [1, base, 2 * base, 2 * base, 2 * base, base]
        self.blocks = convolution_blocks(channels, config.pools)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(base, config.num_labels)
        self.post_init()

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, 1, bins, frames]`` → ``[N, labels]``."""
        hidden = self.blocks(spectrogram).amax(dim=(2, 3))  # [N, c]
        return self.classifier(self.dropout(hidden))
