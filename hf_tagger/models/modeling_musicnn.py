"""musicnn: filters shaped after music, vertical for timbre and horizontal for tempo (Pons et al. 2018).

Paper: "End-to-end Learning for Music Audio Tagging at Scale", https://arxiv.org/abs/1711.02520; sizes of Won et al.
2020, https://arxiv.org/abs/2006.00751. Shapes for the defaults (3 s, 96 mel bins)::

    waveform      [B, 48000]
    mel_db        [B, 1, 96, 188]
    vertical      2 × [B, 204, 188]     67 or 38 bins × 7 frames, then the maximum over the bins
    horizontal    3 × [B, 51, 188]      the mean over the bins, then 129, 65 or 33 frames
    back end      [B, 753, 188]         both (561) and three convolutions of 64 over time, side by side
    pooled        [B, 1506]             maximum and mean over time
    head          [B, labels]           linear to 200, batch norm, ReLU, dropout, linear
"""

import torch
from torch import nn

from .blocks import DenseBlock, TimeBlock
from .configuration_musicnn import MusicnnConfig
from .spectrogram_classification import SpectrogramClassification

_VERTICAL_TENTHS = (7, 4)  # of the bins
_HORIZONTAL_FRAMES = (129, 65, 33)


class VerticalFilters(nn.Module):
    """Filters over most of the bins and 7 frames: ``[B, 1, bins, frames]`` → ``[B, channels, frames]``."""

    def __init__(self, channels: int, height: int):
        super().__init__()
        self.convolution = nn.Conv2d(1, channels, kernel_size=(height, 7), padding=(0, 3))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[B, 1, bins, frames]`` → ``[B, channels, frames]``."""
        hidden = self.norm(self.convolution(spectrogram))  # [B, channels, positions, frames]
        return torch.relu(nn.functional.max_pool2d(hidden, (hidden.shape[2], 1)).squeeze(2))


class MusicnnForAudioClassification(SpectrogramClassification):
    """musicnn with a classification head; see the module's docstring for paper and shapes."""

    config_class = MusicnnConfig
    base_model_prefix = "musicnn"
    # Large filters over one channel: 1.4 times faster on a CPU than channels last.
    memory_format = torch.contiguous_format
    citation = """@inproceedings{pons2018end,
  title = {End-to-end Learning for Music Audio Tagging at Scale},
  author = {Pons, Jordi and Nieto, Oriol and Prockup, Matthew and Schmidt, Erik M. and Ehmann, Andreas F. and Serra,
    Xavier},
  booktitle = {Proceedings of the 19th International Society for Music Information Retrieval Conference (ISMIR)},
  year = {2018}
}"""

    def __init__(self, config: MusicnnConfig):
        super().__init__(config)
        self.vertical = nn.ModuleList(
            VerticalFilters(config.vertical_channels, tenths * config.num_bins // 10) for tenths in _VERTICAL_TENTHS
        )
        self.horizontal = nn.ModuleList(
            TimeBlock(1, config.horizontal_channels, frames) for frames in _HORIZONTAL_FRAMES
        )
        front = 2 * config.vertical_channels + 3 * config.horizontal_channels
        back = config.backend_channels
        self.backend = nn.ModuleList(TimeBlock(channels, back, 7) for channels in (front, back, back))
        self.dense = DenseBlock(2 * (front + 3 * back), config.dense_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.dense_size, config.num_labels)
        self.post_init()

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, 1, bins, frames]`` → ``[N, labels]``."""
        energy = spectrogram.mean(dim=2)  # [N, 1, frames]
        timbre = [filters(spectrogram) for filters in self.vertical]
        front = torch.cat(timbre + [filters(energy) for filters in self.horizontal], dim=1)  # [N, 561, frames]
        layers = [front]
        for number, block in enumerate(self.backend):
            hidden = block(layers[-1])  # [N, 64, frames]
            layers.append(hidden + layers[-1] if number else hidden)
        hidden = torch.cat(layers, dim=1)  # [N, 753, frames]
        pooled = torch.cat([hidden.amax(dim=2), hidden.mean(dim=2)], dim=1)  # [N, 1506]
        return self.classifier(self.dropout(self.dense(pooled)))
