"""Convolutional blocks that several models share. Batch norm follows every convolution.

ReLU and max pooling can change places without changing a value, as both are monotonic; pooling comes first here, which
is less work.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class ConvolutionBlock(nn.Module):
    """3×3 convolution, ReLU, max pooling: ``[B, C_in, F, T]`` → ``[B, C_out, F // p, T // q]``.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        pool: Bins p and frames q that become one.
    """

    def __init__(self, in_channels: int, out_channels: int, pool: tuple[int, int] = (2, 2)):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, C_in, F, T]`` → ``[B, C_out, F // p, T // q]``."""
        return torch.relu(self.pool(self.norm(self.convolution(hidden))))


def convolution_blocks(channels: Sequence[int], pools: Sequence[tuple[int, int]]) -> nn.Sequential:
    """Convolution blocks one after the other.

    Args:
        channels: What goes into the first block, and what comes out of each.
        pools: Bins and frames that become one, of each block.
    """
    return nn.Sequential(*(ConvolutionBlock(*pair, pool) for pair, pool in zip(pairwise(channels), pools, strict=True)))


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


class ResidualPoolingBlock(nn.Module):
    """Two 3×3 convolutions beside the identity, ReLU, max pooling: ``[B, C, F, T]`` → ``[B, C, F // p, T // q]``.

    Args:
        channels: C.
        pool: Bins p and frames q that become one.
    """

    def __init__(self, channels: int, pool: tuple[int, int]):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.second_norm = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, C, F, T]`` → ``[B, C, F // p, T // q]``."""
        residual = torch.relu(self.first_norm(self.first(hidden)))
        return torch.relu(self.pool(hidden + self.second_norm(self.second(residual))))


class TimeBlock(nn.Module):
    """Convolution over time, ReLU, max pooling: ``[B, C_in, T]`` → ``[B, C_out, ⌈T / stride⌉ // pool]``.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: Steps that a filter sees; odd.
        stride: Steps from one value to the next.
        pool: Values that become one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, pool: int = 1):
        super().__init__()
        self.convolution = nn.Conv1d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.BatchNorm1d(out_channels)
        self.pool = nn.MaxPool1d(pool)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, C_in, T]`` → ``[B, C_out, ⌈T / stride⌉ // pool]``."""
        return torch.relu(self.pool(self.norm(self.convolution(hidden))))


class DenseBlock(nn.Module):
    """Linear layer, batch norm, ReLU: ``[B, in_features]`` → ``[B, out_features]``."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = nn.BatchNorm1d(out_features)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[B, in_features]`` → ``[B, out_features]``."""
        return torch.relu(self.norm(self.linear(hidden)))


def fitted_pools(pools: Sequence[int], length: int) -> list[int]:
    """Pool sizes that leave at least one of ``length`` values: the first ones as they are, later ones made smaller.

    Args:
        pools: Pool sizes of successive layers, as published for one size of input.
        length: Values (bins, frames or samples) that go in.
    """
    fitted = []
    for pool in pools:
        fitted.append(min(pool, length))
        length //= fitted[-1]
    return fitted


def initialize_for_relu(module: nn.Module) -> bool:
    """He initialisation (https://arxiv.org/abs/1502.01852) of convolutions and linear layers, biases 0.

    The default of transformers, a deviation of 0.02, is meant for transformers and lets the signal of a deep ReLU
    network vanish.

    Returns:
        Whether it was such a layer.
    """
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        return False
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return True
