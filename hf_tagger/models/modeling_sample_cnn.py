"""Sample-level CNN: filters of three samples over the raw waveform (Lee et al. 2017, Kim et al. 2018).

Papers: "Sample-level Deep Convolutional Neural Networks for Music Auto-tagging Using Raw Waveforms",
https://arxiv.org/abs/1703.01789, and "Sample-level CNN Architectures for Music Auto-tagging Using Raw Waveforms",
https://arxiv.org/abs/1710.10451; sizes of Won et al. 2020, https://arxiv.org/abs/2006.00751. Shapes for the defaults::

    waveform      [B, 1, 59049]
    first block   [B, 128, 19683]     stride 3
    9 blocks      [B, 512, 1]         each makes one value of three; 128, 128, 256 × 6, 512 channels
    last block    [B, 512, 1]         kernel 1
    head          [B, labels]         mean over what is left of longer windows, dropout, linear

With ``squeeze_excitation`` a block is two convolutions beside a shortcut, weighted channel by channel (Hu et al. 2018,
https://arxiv.org/abs/1709.01507), and the head has a dense layer.
"""

from itertools import pairwise

import torch
from torch import nn

from .blocks import DenseBlock, TimeBlock
from .configuration_sample_cnn import SampleCnnConfig
from .scratch_classification import ScratchClassification


class SqueezeExcitationBlock(nn.Module):
    """Residual block over time: ``[B, C_in, T]`` → ``[B, C_out, ⌈T / stride⌉ // pool]``.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: Steps that a filter sees; odd.
        stride: Steps from one value of the first convolution to the next.
        pool: Values that become one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, pool: int = 1):
        super().__init__()
        padding = kernel_size // 2
        self.first = nn.Conv1d(in_channels, out_channels, kernel_size, stride, padding)
        self.first_norm = nn.BatchNorm1d(out_channels)
        self.second = nn.Conv1d(out_channels, out_channels, kernel_size, padding=padding)
        self.second_norm = nn.BatchNorm1d(out_channels)
        self.squeeze = nn.Linear(out_channels, out_channels)
        self.excite = nn.Linear(out_channels, out_channels)
        self.shortcut = self.shortcut_norm = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv1d(in_channels, out_channels, kernel_size, stride, padding)
            self.shortcut_norm = nn.BatchNorm1d(out_channels)
        self.pool = nn.MaxPool1d(pool)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, C_in, T]`` → ``[B, C_out, ⌈T / stride⌉ // pool]``."""
        residual = torch.relu(self.first_norm(self.first(hidden)))
        residual = self.second_norm(self.second(residual))
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(residual.mean(dim=2)))))  # [B, C_out]
        shortcut = self.shortcut_norm(self.shortcut(hidden))
        return torch.relu(self.pool(shortcut + residual * weights.unsqueeze(2)))


class SampleCnnForAudioClassification(ScratchClassification):
    """Sample-level CNN with a classification head; see the module's docstring for papers and shapes."""

    config_class = SampleCnnConfig
    base_model_prefix = "sample_cnn"
    citation = """@inproceedings{lee2017sample,
  title = {Sample-level Deep Convolutional Neural Networks for Music Auto-tagging Using Raw Waveforms},
  author = {Lee, Jongpil and Park, Jiyoung and Kim, Keunhyoung Luke and Nam, Juhan},
  booktitle = {Proceedings of the 14th Sound and Music Computing Conference},
  year = {2017}
}

@inproceedings{kim2018sample,
  title = {Sample-level {CNN} Architectures for Music Auto-tagging Using Raw Waveforms},
  author = {Kim, Taejun and Lee, Jongpil and Nam, Juhan},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2018}
}"""

    def __init__(self, config: SampleCnnConfig):
        super().__init__(config)
        base = config.num_channels
        channels = [1] + [base] * 3 + [2 * base] * 6 + [4 * base] * 2
        block = SqueezeExcitationBlock if config.squeeze_excitation else TimeBlock
        first, *pools = config.pools
        blocks = [block(1, base, kernel_size=3, stride=first)]
        blocks += [
            block(*pair, kernel_size=3, pool=pool) for pair, pool in zip(pairwise(channels[1:-1]), pools, strict=True)
        ]
        blocks += [block(4 * base, 4 * base, kernel_size=1)]
        self.blocks = nn.Sequential(*blocks)
        self.dense = DenseBlock(4 * base, 4 * base) if config.squeeze_excitation else None
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(4 * base, config.num_labels)
        self.post_init()

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        waveform = input_values.unsqueeze(1).to(self.network_dtype)  # [N, 1, samples]
        hidden = self.blocks(waveform).mean(dim=2)  # [N, 4c]
        if self.dense is not None:
            hidden = self.dense(hidden)
        return self.classifier(self.dropout(hidden))
