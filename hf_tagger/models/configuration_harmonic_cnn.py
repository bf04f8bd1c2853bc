"""Configuration of the harmonic CNN."""

import math

from .blocks import fitted_pools
from .harmonic import harmonic_bins, harmonic_problems
from .scratch_config import ScratchConfig


class HarmonicCnnConfig(ScratchConfig):
    """Harmonic CNN (Won et al. 2020, https://doi.org/10.1109/ICASSP40776.2020.9053669).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751), with windows of 5 s.

    Args:
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two frames in samples.
        num_harmonics: Multiples of a pitch that are filtered, the first included.
        bins_per_semitone: Pitches a semitone, from C1 to the highest whose last harmonic can be heard.
        num_channels: Channels of the first four blocks; the others have twice as many.
        **kwargs: Windows and dropout, see :class:`ScratchConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "harmonic_cnn"

    window_samples: int = 80_000
    hop_samples: int = 80_000
    windows_per_group: int = 16
    n_fft: int = 512
    hop_length: int = 256
    num_harmonics: int = 6
    bins_per_semitone: int = 2
    num_channels: int = 128

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return ("n_fft", "hop_length", "num_harmonics", "bins_per_semitone", "num_channels")

    def size_problems(self) -> list[str]:
        """What is wrong with values that are right one by one."""
        wrong = harmonic_problems(self.sampling_rate, self.num_harmonics, self.bins_per_semitone)
        return wrong or super().size_problems()

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
