"""From the hidden states of a pretrained encoder to logits: which layer, how time is pooled, which head. Shapes::

hidden states   (layers + 1) × [N, frames, hidden]     0 is the input of the first layer
one layer       [N, frames, hidden]                    ``layer``: the last, a number, or a learned sum of all
pooled          [N, hidden]                            ``pooling``: mean or attention over the frames
logits          [N, labels]                            linear, or one hidden layer (``head_hidden_size``)
"""

import torch
from torch import nn

from .config_checks import dropout_problems

LAST, WEIGHTED = "last", "weighted"
MEAN, ATTENTION = "mean", "attention"


def head_problems(config) -> list[str]:
    """What is wrong with a configuration's ``layer``, ``pooling``, ``head_hidden_size`` and ``head_dropout``."""
    problems, most = [], config.num_hidden_layers
    layer, hidden = config.layer, config.head_hidden_size
    is_number = type(layer) is int
    if (is_number and not 0 <= layer <= most) or (not is_number and layer not in (LAST, WEIGHTED)):
        problems.append(
            f"layer {layer!r} does not exist; possible are {LAST}, {WEIGHTED} (a learned sum of all), or a number from "
            f"0 (the encoder's input) to {most}"
        )
    if config.pooling not in (MEAN, ATTENTION):
        problems.append(f"pooling {config.pooling!r} is not known; it must be {MEAN} or {ATTENTION}")
    if hidden is not None and (type(hidden) is not int or hidden < 1):
        problems.append(f"head_hidden_size {hidden!r} must be a positive whole number, or null for a linear head")
    return problems + dropout_problems(config, ["head_dropout"])


def layers_kept(config) -> int:
    """How many of the encoder's layers are computed: the layers above a chosen one are cut off."""
    return config.layer if type(config.layer) is int else config.num_hidden_layers


class LayerSum(nn.Module):
    """Learned sum of all layers with softmax weights that start equal (Peters et al. 2018, eq. 1 without its scale γ,
    https://arxiv.org/abs/1802.05365; SUPERB, https://arxiv.org/abs/2105.01051).

    Args:
        num_states: Hidden states to sum, the encoder's input included.
    """

    def __init__(self, num_states: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_states))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """``[N, states, …]`` → ``[N, …]``."""
        weights = self.weights.softmax(dim=0).to(states.dtype)
        return (states.movedim(1, -1) * weights).sum(dim=-1)


class MeanPooling(nn.Module):
    """Mean over the frames that exist."""

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """``[N, frames, hidden]``, mask boolean ``[N, frames]`` or None (all exist) → ``[N, hidden]``."""
        if mask is None:
            return hidden.mean(dim=1)
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


class AttentionPooling(nn.Module):
    """Sum over the frames, weighted by how much each frame matters: softmax over time of one learned score a frame
    (self-attention pooling, Safari et al. 2020, https://arxiv.org/abs/2008.01077). Starts as the mean.

    Args:
        hidden_size: Features of a frame.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.score = nn.Linear(hidden_size, 1, bias=False)  # a bias would not change the softmax

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """``[N, frames, hidden]``, mask boolean ``[N, frames]`` or None (all exist) → ``[N, hidden]``."""
        scores = self.score(hidden).float()  # [N, frames, 1]; float32: a softmax over hundreds of frames
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        return (hidden * scores.softmax(dim=1).to(hidden.dtype)).sum(dim=1)


class ClassificationHead(nn.Module):
    """Dropout and a linear layer, with a hidden layer (ReLU, dropout) before it if ``head_hidden_size`` is given.

    Args:
        hidden_size: Features that come in.
        num_labels: Logits that go out.
        head_hidden_size: Width of the hidden layer, or None.
        dropout: Dropout before each linear layer but the first of two (as in the probes of MARBLE, Yuan et al. 2023,
            https://arxiv.org/abs/2306.10548).
    """

    def __init__(self, hidden_size: int, num_labels: int, head_hidden_size: int | None, dropout: float):
        super().__init__()
        self.dense = None if head_hidden_size is None else nn.Linear(hidden_size, head_hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(head_hidden_size or hidden_size, num_labels)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """``[N, hidden]`` → ``[N, labels]``."""
        if self.dense is not None:
            pooled = torch.relu(self.dense(pooled))
        return self.output(self.dropout(pooled))
