"""Configuration of the harmonic CNN."""

import math

from transformers import PreTrainedConfig

from .blocks import fitted_pools
from .config_checks import count_problems, dropout_problems
from .harmonic import harmonic_bins
from .windowing import WINDOW_FIELDS, window_problems

_COUNTS = (*WINDOW_FIELDS, "n_fft", "hop_length", "num_harmonics", "bins_per_semitone", "num_channels")


class HarmonicCnnConfig(PreTrainedConfig):
    """Harmonic CNN (Won et al. 2020, https://doi.org/10.1109/ICASSP40776.2020.9053669).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751), with windows of 5 s.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        windows_per_group: Windows of long audio that are computed at once.
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two frames in samples.
        num_harmonics: Multiples of a pitch that are filtered, the first included.
        bins_per_semitone: Pitches a semitone, from C1 to the highest whose last harmonic can be heard.
        num_channels: Channels of the first four blocks; the others have twice as many.
        classifier_dropout: Dropout before the last layer.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "harmonic_cnn"

    sampling_rate: int = 16_000
    window_samples: int = 80_000
    hop_samples: int = 80_000
    windows_per_group: int = 16
    n_fft: int = 512
    hop_length: int = 256
    num_harmonics: int = 6
    bins_per_semitone: int = 2
    num_channels: int = 128
    classifier_dropout: float = 0.5

    def __post_init__(self, **kwargs):
        """Checks the values."""
        super().__post_init__(**kwargs)
        problems = count_problems(self, _COUNTS)
        problems += dropout_problems(self, ["classifier_dropout"])
        if not problems:
            if self.num_bins < 1:
                problems.append(
                    f"num_harmonics {self.num_harmonics} leave no pitch above C1 whose last harmonic is below half the "
                    f"sampling rate {self.sampling_rate:,}"
                )
            else:
                problems += window_problems(self)
        if problems:
            raise ValueError("; ".join(problems) + ".")

    @property
    def num_bins(self) -> int:
        """Pitches."""
        return harmonic_bins(self.sampling_rate, self.num_harmonics, self.bins_per_semitone)

    @property
    def pools(self) -> list[tuple[int, int]]:
        """Bins and frames that each of seven blocks makes one of."""
        bins = fitted_pools([2] * 7, self.num_bins)
        frames = fitted_pools([2] * 5 + [3] * 2, self.window_samples // self.hop_length + 1)
        return list(zip(bins, frames, strict=True))

    @property
    def least_window_samples(self) -> int:
        """The least ``window_samples`` possible: more than the spectrogram mirrors at its edges."""
        return self.n_fft // 2 + 1

    @property
    def shortest_window(self) -> int:
        """Samples of the shortest input with the pooling of these windows: that which leaves one frame."""
        return max(self.least_window_samples, (math.prod(pool for _, pool in self.pools) - 1) * self.hop_length)
