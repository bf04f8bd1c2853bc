"""Whether a probability means what it says: of all clips given 0.8, do 80 % carry the label?

Terms and formulas of Guo et al. 2017, On Calibration of Modern Neural Networks (https://arxiv.org/abs/1706.04599).
Multi-label: every decision (clip and tag) has the probability of the tag, and is right if the clip carries it.
Single-label: every clip has the probability of its most probable class, and is right if that is its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, logit, softmax

from .metric_inputs import MULTI_LABEL, SINGLE_LABEL, UNKNOWN, checked_inputs

BINS = 15
"""Bins of equal width, as in the tables of Guo et al. 2017."""
_SMALLEST = {MULTI_LABEL: 1e-12, SINGLE_LABEL: 1e-30}  # keeps logits finite; near 1 float64 knows no finer steps
_TEMPERATURES = (0.05, 20.0)  # searched; outside, the model is broken rather than badly calibrated


@dataclass(frozen=True)
class Reliability:
    """Decisions by their probability.

    Attributes:
        counts: Decisions in each bin, int ``[bins]``; bin b holds probabilities above b / bins, up to (b + 1) / bins.
        confidence: Mean probability in each bin, float ``[bins]``, NaN where it is empty.
        accuracy: Share of right decisions in each bin, float ``[bins]``, NaN where it is empty.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (equation 5): ``Σ_b n_b / n · |accuracy_b - confidence_b|``, 0 to 1."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(np.average(gaps, weights=self.counts[filled]))


def reliability(probabilities: Any, references: Any, problem_type: str, bins: int = BINS) -> Reliability:
    """Decisions by their probability, in bins of equal width.

    Args:
        probabilities: Float ``[N, C]``.
        references: 0/1 ``[N, C]``, NaN where unknown (multi-label), or class indices ``[N]`` (single-label).
        problem_type: ``multi_label_classification`` or ``single_label_classification``.
        bins: Number of bins.

    Raises:
        ValueError: For input that is not as described.
    """
    probabilities, references = checked_inputs(probabilities, references, problem_type)
    if problem_type == MULTI_LABEL:
        known = references != UNKNOWN
        confidence, right = probabilities[known], references[known] == 1
    else:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == references
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0: an empty bin
        means = [np.bincount(number, weights=values, minlength=bins) / counts for values in (confidence, right)]
    return Reliability(counts, *means)


def negative_log_likelihood(probabilities: Any, references: Any, problem_type: str, temperature: float = 1.0) -> float:
    """Mean cross-entropy of the decisions (multi-label) or clips (single-label) at a temperature, in nats.

    Args:
        probabilities: As for :func:`reliability`.
        references: As for :func:`reliability`.
        problem_type: As for :func:`reliability`.
        temperature: What the logits are divided by.
    """
    probabilities, references = checked_inputs(probabilities, references, problem_type)
    return _likelihood(_logits(probabilities, problem_type), references, problem_type)(temperature)


def fit_temperature(probabilities: Any, references: Any, problem_type: str) -> float:
    """The temperature that makes probabilities of held-out clips most likely (section 4.2).

    Above 1 the model was too sure, below 1 not sure enough. It changes no order of a clip's labels.

    Args:
        probabilities: As for :func:`reliability`, of clips that the model was not trained on, and that its test numbers
            are not computed from.
        references: As for :func:`reliability`.
        problem_type: As for :func:`reliability`.

    Returns:
        A temperature from 0.05 to 20.
    """
    probabilities, references = checked_inputs(probabilities, references, problem_type)
    loss = _likelihood(_logits(probabilities, problem_type), references, problem_type)
    bounds = tuple(np.log(_TEMPERATURES))
    found = minimize_scalar(lambda exponent: loss(np.exp(exponent)), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, problem_type: str, temperature: float) -> np.ndarray:
    """Probabilities ``[N, C]`` of the logits divided by the temperature (equation 9)."""
    logits = _logits(np.asarray(probabilities, dtype=np.float64), problem_type) / temperature
    return expit(logits) if problem_type == MULTI_LABEL else softmax(logits, axis=1)


def _logits(probabilities: np.ndarray, problem_type: str) -> np.ndarray:
    """Logits of a clip's probabilities, which may be a mean over windows; softmax needs them up to a constant only."""
    inside = np.clip(probabilities, _SMALLEST[problem_type], 1 - _SMALLEST[problem_type])
    return logit(inside) if problem_type == MULTI_LABEL else np.log(inside)


def _likelihood(logits: np.ndarray, references: np.ndarray, problem_type: str):
    if problem_type == MULTI_LABEL:
        known = references != UNKNOWN
        signed = np.where(references == 1, logits, -logits)[known]
        return lambda temperature: float(-log_expit(signed / temperature).mean())
    clips = np.arange(len(logits))
    return lambda temperature: float(-log_softmax(logits / temperature, axis=1)[clips, references].mean())
