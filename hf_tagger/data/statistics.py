"""Mean and standard deviation of a dataset's features, for the models that normalise their input with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from datasets.utils import tqdm

from ..errors import DatasetError
from .pcm import PreparedClips
from .windows import EvaluationWindows

# float32 resolves 1e-7 of a value; a deviation of less than ten times that is rounding and no sound.
_NO_DEVIATION = 1e-6


def estimate_statistics(
    clips: PreparedClips,
    features: Callable[[torch.Tensor], torch.Tensor],
    window_samples: int,
    hop_samples: int,
    max_windows: int = 2_000,
    batch_size: int = 16,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation of all feature values of a split's evaluation windows.

    The Audio Spectrogram Transformer (AST; Gong et al. 2021, https://arxiv.org/abs/2104.01778) normalises its input
    with the mean and the standard deviation of the dataset that it is trained on, to mean 0 and deviation 0.5; its
    authors ask for the numbers of one's own data (https://github.com/YuanGongND/ast, ``src/get_norm_stats.py``). They
    average the deviations of batches; this is the deviation of all values around the one mean.

    Args:
        clips: The training clips.
        features: What the model normalises, ``[N, window_samples]`` → a tensor of any shape. It must neither normalise
            nor pad: padding would be counted as sound. Of a ``KaldiFilterbank`` give ``frames``.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples.
        max_windows: If there are more windows, so many of them are drawn, without replacement.
        batch_size: Windows computed together.
        seed: Seed of the draw.

    Returns:
        Mean and standard deviation, accumulated in float64 by batches (Chan et al. 1979), so that neither the memory
        nor the error grows with the number of windows.

    Raises:
        DatasetError: If there are no clips, or if their features do not differ, as those of silence.
    """
    if not len(clips):
        raise DatasetError(
            "The features' mean and deviation cannot be estimated: the split has no clips. Choose a split with clips, "
            "or give the mean and the deviation yourself."
        )
    windows = EvaluationWindows(clips, window_samples, hop_samples)
    items = np.arange(len(windows))
    if len(windows) > max_windows:
        items = np.sort(np.random.default_rng(seed).choice(items, max_windows, replace=False))
    count, mean, squares = 0, 0.0, 0.0  # squares: sum of squared deviations from the mean
    with torch.inference_mode(), tqdm(total=len(items), desc="Estimating mean and deviation", unit="window") as bar:
        for start in range(0, len(items), batch_size):
            batch = [windows[int(item)]["input_values"] for item in items[start : start + batch_size]]
            values = features(torch.stack(batch)).double()
            variance, batch_mean = (number.item() for number in torch.var_mean(values, correction=0))
            added = values.numel()
            difference = batch_mean - mean
            squares += variance * added + difference**2 * count * added / (count + added)
            mean += difference * added / (count + added)
            count += added
            bar.update(len(batch))
    deviation = (squares / count) ** 0.5
    if not deviation > _NO_DEVIATION * abs(mean):  # false for NaN as well
        raise DatasetError(
            f"The features of {len(items)} windows have mean {mean:.6g} and standard deviation {deviation:.3g}; a "
            f"deviation above 0 is needed. Are the clips silent? Listen to some of them, or give the mean and the "
            f"deviation yourself."
        )
    return mean, deviation
