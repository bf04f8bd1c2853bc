"""Window arithmetic: how audio of any length becomes windows of one length. Used in training, evaluation and pipeline.

A clip longer than a window (hop = window here)::

    clip      |=====================================|
    windows   |-----------|-----------|
                                      ...
                                 |-----------|          the last window ends where the clip ends: nothing is
                                                        padded and nothing is left out

A clip shorter than a window is **repeated** until it fills the window. Zero padding would show the model silence that
is not in the music; repetition shows nothing that is not there.
"""

import torch

from .config_checks import count_problems

WINDOW_FIELDS = ("sampling_rate", "window_samples", "hop_samples", "windows_per_group")
"""Fields of every configuration, positive whole numbers."""


def window_starts(num_samples: int, window_samples: int, hop_samples: int) -> list[int]:
    """First sample of every evaluation window.

    Args:
        num_samples: Length of the clip in samples.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples.

    Returns:
        Ascending starts; windows at these starts cover the whole clip. One start for a clip shorter than a window.
    """
    if num_samples <= window_samples:
        return [0]
    last = num_samples - window_samples
    return [*range(0, last, hop_samples), last]


def repeat_to_length(samples: torch.Tensor, length: int) -> torch.Tensor:
    """Repeats ``[samples]`` until it has ``length`` samples; longer input is returned as it is.

    Raises:
        ValueError: If there is no sample to repeat.
    """
    if samples.shape[0] == 0:
        raise ValueError("The audio holds no samples; at least one is expected.")
    if samples.shape[0] >= length:
        return samples
    return samples.repeat(-(-length // samples.shape[0]))[:length]


def cut_windows(samples: torch.Tensor, window_samples: int, hop_samples: int) -> torch.Tensor:
    """Cuts one clip into windows.

    Args:
        samples: Waveform ``[samples]``.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples.

    Returns:
        ``[windows, window_samples]``.
    """
    samples = repeat_to_length(samples, window_samples)
    starts = window_starts(samples.shape[0], window_samples, hop_samples)
    return torch.stack([samples[start : start + window_samples] for start in starts])


def window_problems(config) -> list[str]:
    """What is wrong with ``sampling_rate``, ``window_samples``, ``hop_samples`` and ``windows_per_group``.

    Args:
        config: A model's configuration; its ``shortest_window`` is the least number of samples the model can compute.
    """
    problems = count_problems(config, WINDOW_FIELDS)
    if problems:
        return problems
    if config.hop_samples > config.window_samples:
        problems.append(f"hop_samples {config.hop_samples} leaves gaps between windows of {config.window_samples}")
    if config.window_samples < config.shortest_window:
        problems.append(
            f"window_samples {config.window_samples} is too short for this model, which needs {config.shortest_window}"
        )
    return problems
