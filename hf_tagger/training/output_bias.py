"""Where a new head starts: at how frequent its labels are, instead of at one half.

With hundreds of rare tags the first hundreds of steps would go into pushing all outputs down, and what is bounded in
front of them (a recurrent layer's state, say) would saturate in doing so and never recover. Lin et al. 2017, "Focal
Loss for Dense Object Detection", section 3.3 (https://arxiv.org/abs/1708.02002), start the last bias at the logit of a
prior probability for the same reason; here it is each label's share of the training clips.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ..arguments import TaggingArguments
from ..data.base import MULTI_LABEL
from ..data.pcm import PreparedClips
from .checkpoints import HEAD_MODULES
from .losses import known_counts, label_counts

_PSEUDO_COUNT = 0.5  # of every outcome (Jeffreys' prior), so that no label is impossible or certain


def label_shares(clips: PreparedClips, num_labels: int, problem_type: str) -> np.ndarray:
    """Each label's share of the clips of which it is known whether they carry it, smoothed into (0, 1).

    Args:
        clips: The training split.
        num_labels: C.
        problem_type: The dataset's.

    Returns:
        float64 ``[C]``; of single labels the sum is 1.
    """
    counts = label_counts(clips, num_labels, problem_type) + _PSEUDO_COUNT
    if problem_type != MULTI_LABEL:
        return counts / counts.sum()
    return counts / (known_counts(clips, num_labels, problem_type) + 2 * _PSEUDO_COUNT)


def starting_shares(
    clips: PreparedClips, num_labels: int, problem_type: str, arguments: TaggingArguments
) -> np.ndarray | None:
    """The shares at which a new head starts; None, at one half or 1 / C, where training makes labels equally heavy.

    Args:
        clips: The training split.
        num_labels: C.
        problem_type: The dataset's.
        arguments: ``loss`` and ``sampling`` are read.
    """
    weighted = arguments.loss is not None and arguments.loss.class_weights == "balanced"
    if weighted or (arguments.sampling == "balanced" and problem_type != MULTI_LABEL):
        return None
    return label_shares(clips, num_labels, problem_type)


def set_output_bias(model: PreTrainedModel, shares: np.ndarray) -> None:
    """Gives the last layer of a new head the bias with which, its input being 0, it predicts the shares.

    Args:
        model: A model with a head; one whose last layer has no bias stays as it is.
        shares: What :func:`label_shares` returned.
    """
    head = getattr(model, HEAD_MODULES[0], None)
    layers = [] if head is None else [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].bias is None or len(layers[-1].bias) != len(shares):
        return
    logits = np.log(shares)
    if model.config.problem_type == MULTI_LABEL:
        logits = logits - np.log1p(-shares)
    with torch.no_grad():
        layers[-1].bias.copy_(torch.from_numpy(logits))
