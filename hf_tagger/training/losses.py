"""Losses for labels that are unequally frequent or not known, chosen by a recipe's ``loss``.

All of them compute in float32, whatever the type of the logits, and take the mean over what is known of a batch: its
decisions (multi-label) or clips (single-label). The papers' own sums differ from that by a constant factor.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ..data.base import MULTI_LABEL, SINGLE_LABEL
from ..data.pcm import PreparedClips
from ..data.windows import labels_of
from ..errors import RecipeError
from ..loss_arguments import LossArguments
from ..models.windowed_classification import classification_loss
from .mixing import soft_labels

_SMALLEST = torch.finfo(torch.float32).tiny  # as the base of a power: at 0 the gradient of x^γ is infinite for γ < 1


def label_counts(clips: PreparedClips, num_labels: int, problem_type: str) -> np.ndarray:
    """How many of the labelled clips are known to carry each label.

    Args:
        clips: The training split.
        num_labels: C.
        problem_type: The dataset's.

    Returns:
        int64 ``[C]``.
    """
    labels = labels_of(clips, problem_type, num_labels)
    if problem_type == MULTI_LABEL:
        return np.count_nonzero(labels == 1, axis=0)  # NaN, an unknown label, is not 0 either
    return np.bincount(labels, minlength=num_labels)


def known_counts(clips: PreparedClips, num_labels: int, problem_type: str) -> np.ndarray:
    """Of how many clips it is known whether they carry each label; as :func:`label_counts`."""
    labels = labels_of(clips, problem_type, num_labels)
    if problem_type == MULTI_LABEL:
        return np.count_nonzero(~np.isnan(labels), axis=0)
    return np.full(num_labels, len(labels))


def balanced_weights(label_counts: np.ndarray, clips: int | np.ndarray, problem_type: str, bound: float) -> np.ndarray:
    """Weights with which rare labels count as much as frequent ones.

    Multi-label: (N − n) / n for a label's positives, so that they weigh together as much as its negatives; it is the
    ``pos_weight`` that https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html recommends.
    Single-label: N / (C·n), so that all classes weigh the same together and the mean weight of a clip is 1; it is
    scikit-learn's "balanced" (King and Zeng 2001, "Logistic Regression in Rare Events Data", and
    https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html).

    Args:
        label_counts: n, clips that carry each label, ``[C]``.
        clips: N, labelled clips, or those for which each label is known, ``[C]``.
        problem_type: The dataset's.
        bound: Weights outside [1 / bound, bound] are set to the nearer end.

    Returns:
        float64 ``[C]``; 1 for a label that no clip carries.
    """
    counts = np.asarray(label_counts, dtype=np.float64)
    share = clips - counts if problem_type == MULTI_LABEL else np.full_like(counts, clips / len(counts))
    weights = np.divide(share, counts, out=np.ones_like(counts), where=counts > 0)
    return weights.clip(1 / bound, bound)


def build_loss(
    arguments: LossArguments,
    problem_type: str,
    label_counts: np.ndarray,
    clips: int | np.ndarray,
    label_smoothing: float = 0.0,
) -> nn.Module:
    """The loss that a recipe asks for, called with logits ``[B, C]`` and labels; see :class:`LabelsLoss`.

    Args:
        arguments: The recipe's ``loss``.
        problem_type: The dataset's.
        label_counts: What :func:`label_counts` returned, ``[C]``; read for balanced weights only.
        clips: Number of labelled training clips, or what :func:`known_counts` returned, ``[C]``.
        label_smoothing: Share ε of the target that is spread evenly over the classes, or, multi-label, over 0 and 1.

    Raises:
        RecipeError: If the loss does not suit the problem type.
    """
    weights = np.ones(len(label_counts))
    if arguments.class_weights == "balanced":
        weights = balanced_weights(label_counts, clips, problem_type, arguments.class_weight_bound)
    elif arguments.name == "cross_entropy":
        return CrossEntropy(problem_type, label_smoothing)
    if problem_type == MULTI_LABEL:
        parameters = arguments.parameters
        if arguments.name == "focal":
            parameters = dict.fromkeys(("gamma_positive", "gamma_negative"), parameters["gamma"])
        return MultiLabelLoss(weights, label_smoothing, **parameters)
    if arguments.name == "asymmetric":
        raise RecipeError(
            [
                "loss.name: asymmetric is for clips with any number of labels; those of this dataset have exactly one. "
                "Use focal or cross_entropy"
            ],
            "the loss arguments",
        )
    return SingleLabelLoss(weights, label_smoothing, **arguments.parameters)


class CrossEntropy(nn.Module):
    """Plain cross-entropy, :func:`~hf_tagger.models.windowed_classification.classification_loss`.

    Args:
        problem_type: The dataset's.
        label_smoothing: See :func:`build_loss`.
    """

    def __init__(self, problem_type: str, label_smoothing: float = 0.0):
        super().__init__()
        self.problem_type, self.label_smoothing = problem_type, label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss; for the arguments see :class:`LabelsLoss`."""
        return classification_loss(logits, labels, self.problem_type, self.label_smoothing)


class LabelsLoss(nn.Module):
    """Base of the losses that weigh labels.

    A label's weight multiplies the whole loss of a decision or clip and is not divided out again: dividing by the
    batch's sum of weights, as torch's ``cross_entropy`` does, would take the weights out of a batch of one clip.

    The loss is linear in the labels, so that a mixture of two clips has the mixture of their losses. What smoothing
    gives to the other outcome keeps the weight of its own: with ``pos_weight`` on smoothed targets, as in torch, the
    negatives of a label of weight w would be drawn to odds of about w·ε/2.

    Args:
        weights: Of every label, ``[C]``.
        label_smoothing: See :func:`build_loss`.
    """

    def __init__(self, weights: np.ndarray, label_smoothing: float = 0.0):
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of what is known; 0, still with a path for the gradient, if nothing is.

        Args:
            logits: ``[B, C]``.
            labels: Multi-label ``[B, C]`` in 0..1, NaN where a label is not known. Single-label class indices ``[B]``,
                or shares of the classes ``[B, C]``, where a clip with a NaN is not known.
        """
        losses, known = self.losses(logits.float(), labels)
        return losses.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses in float32, and which of them are known, of the same shape: ``[B, C]`` or ``[B]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement losses.")


class MultiLabelLoss(LabelsLoss):
    """Asymmetric loss, and with equal exponents and no margin focal loss, and with neither binary cross-entropy.

    With p = sigmoid(logit), w the label's weight and p_m = max(p − margin, 0): −w (1 − p)^γ₊ log p where the label is
    present, −p_m^γ₋ log(1 − p_m) where it is absent (Ridnik et al. 2021, equation 7, https://arxiv.org/abs/2009.14119).
    The gradient flows through the powers too, as in the paper; the authors' code cuts it there by default.

    Args:
        weights: Of every label's positives, ``[C]``.
        label_smoothing: See :func:`build_loss`.
        gamma_positive: γ₊.
        gamma_negative: γ₋.
        margin: Probability below which an absent label counts nothing.
    """

    def __init__(
        self,
        weights: np.ndarray,
        label_smoothing: float = 0.0,
        gamma_positive: float = 0.0,
        gamma_negative: float = 0.0,
        margin: float = 0.0,
    ):
        super().__init__(weights, label_smoothing)
        self.gamma_positive, self.gamma_negative, self.margin = gamma_positive, gamma_negative, margin

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, C]``, and which labels are known ``[B, C]``."""
        _check_shape(labels, logits.shape)
        known = ~labels.isnan()
        labels = labels.float().masked_fill(~known, 0)
        positive, negative = self.weights * labels, 1 - labels
        other = self.label_smoothing / 2  # of the target of a decision that goes to the other outcome
        of_positives = positive * (1 - other) + negative * other
        of_negatives = positive * other + negative * (1 - other)
        return of_positives * self._positive_losses(logits) + of_negatives * self._negative_losses(logits), known

    def _positive_losses(self, logits: torch.Tensor) -> torch.Tensor:
        # Powers of probabilities as exponentials of their logarithms, which stay finite for any logit.
        return -(self.gamma_positive * logsigmoid(-logits)).exp() * logsigmoid(logits)

    def _negative_losses(self, logits: torch.Tensor) -> torch.Tensor:
        if not self.margin:
            return -(self.gamma_negative * logsigmoid(logits)).exp() * logsigmoid(-logits)
        shifted = (logits.sigmoid() - self.margin).clamp(min=_SMALLEST)
        complement = ((-logits).sigmoid() + self.margin).clamp(max=1)  # 1 − p_m, exact where p is almost 1
        return -shifted.pow(self.gamma_negative) * complement.log()


class SingleLabelLoss(LabelsLoss):
    """Focal loss of softmax probabilities, −w (1 − p)^γ log p of the clip's class; with γ 0 cross-entropy.

    Equation 4 of Lin et al. 2017 (https://arxiv.org/abs/1708.02002) with p the softmax probability of the class.

    Args:
        weights: Of the clips of every class, ``[C]``.
        label_smoothing: See :func:`build_loss`.
        gamma: γ.
    """

    def __init__(self, weights: np.ndarray, label_smoothing: float = 0.0, gamma: float = 0.0):
        super().__init__(weights, label_smoothing)
        self.gamma = gamma

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B]``, and which clips are known ``[B]``."""
        if labels.ndim == 1:
            labels = soft_labels(labels, SINGLE_LABEL, logits.shape[1])
        _check_shape(labels, logits.shape)
        known = ~labels.isnan().any(dim=1)
        weighted = self.weights * labels.float().masked_fill(~known[:, None], 0)  # [B, C]
        log_p = logits.log_softmax(dim=1)
        of_classes = -(-log_p.expm1()).clamp(min=_SMALLEST).pow(self.gamma) * log_p  # [B, C]; −expm1(log p) is 1 − p
        smooth = of_classes.mean(dim=1) * weighted.sum(dim=1)
        own = (of_classes * weighted).sum(dim=1)
        return own * (1 - self.label_smoothing) + smooth * self.label_smoothing, known


def _check_shape(labels: torch.Tensor, expected: torch.Size) -> None:
    if labels.shape != expected:  # broadcasting would compute something else
        raise ValueError(f"labels: got shape {tuple(labels.shape)}; expected {tuple(expected)}, that of the logits.")
