"""From which probability on a clip gets a tag: one threshold a tag, fitted on validation clips.

A tag that few clips carry is rarely given a probability of 0.5, however sure the order of clips is. So each tag gets
the threshold that makes its F1 highest on validation clips (Lipton et al. 2014, https://arxiv.org/abs/1402.1892). For
tags with very few clips that choice would follow chance (Yang 2001, A Study of Thresholding Strategies for Text
Categorization, https://doi.org/10.1145/383952.383975): they share one threshold, which makes the F1 over all decisions
highest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from .metric_inputs import MULTI_LABEL, UNKNOWN, checked_inputs

FEWEST_CLIPS = 5
"""Validation clips that a tag needs for a threshold of its own: with fewer, one clip moves its recall by over 20 %."""


def fit_thresholds(probabilities: Any, references: Any, fewest_clips: int = FEWEST_CLIPS) -> list[float] | None:
    """Thresholds of all tags.

    Args:
        probabilities: Float ``[N, C]`` of clips that the model was not trained on.
        references: 0/1 ``[N, C]``, NaN where unknown.
        fewest_clips: A tag that fewer clips carry, or that all carry, gets the shared threshold.

    Returns:
        C thresholds, each halfway between two probabilities; a clip gets a tag from the
        threshold on. None if no clip carries any tag.

    Raises:
        ValueError: For input that is not as described.
    """
    probabilities, references = checked_inputs(probabilities, references, MULTI_LABEL)
    known, carried = references != UNKNOWN, references == 1
    if not carried.any():
        return None
    shared = _best_threshold(carried[known], probabilities[known])
    thresholds = []
    for tag in range(probabilities.shape[1]):
        own, scores = carried[known[:, tag], tag], probabilities[known[:, tag], tag]
        fits = max(1, fewest_clips) <= own.sum() < len(own)
        thresholds.append(_best_threshold(own, scores) if fits else shared)
    return thresholds


def _best_threshold(carried: np.ndarray, scores: np.ndarray) -> float:
    precision, recall, candidates = precision_recall_curve(carried, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))  # of equally good ones the highest: fewest tags
    below = candidates[best - 1] if best else 0.0
    return float((candidates[best] + below) / 2)
