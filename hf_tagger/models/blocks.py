"""Convolutional blocks that several models share."""

import torch
from torch import nn


class ConvolutionBlock(nn.Module):
    """3×3 convolution, batch norm, ReLU, 2×2 max pooling: ``[B, C_in, F, T]`` → ``[B, C_out, F // 2, T // 2]``."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, C_in, F, T]`` → ``[B, C_out, F // 2, T // 2]``."""
        # ReLU is monotonic, so pooling first gives the same values with a quarter of the work.
        return torch.relu(self.pool(self.norm(self.convolution(hidden))))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut, the first with stride 2.

    ``[B, C_in, F, T]`` → ``[B, C_out, ⌈F/2⌉, ⌈T/2⌉]``. The shortcut is a strided 3×3 convolution with batch norm, as in
    the residual model of Won et al. 2020.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)
        self.first_norm = nn.BatchNorm2d(out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.second_norm = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)
        self.shortcut_norm = nn.BatchNorm2d(out_channels)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, C_in, F, T]`` → ``[B, C_out, ⌈F/2⌉, ⌈T/2⌉]``."""
        shortcut = self.shortcut_norm(self.shortcut(hidden))
        hidden = torch.relu(self.first_norm(self.first(hidden)))
        return torch.relu(self.second_norm(self.second(hidden)) + shortcut)
