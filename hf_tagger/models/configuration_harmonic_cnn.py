"""Configuration of the harmonic CNN."""

from .harmonic import harmonic_bins, harmonic_problems
from .spectrogram_config import FramesConfig


class HarmonicCnnConfig(FramesConfig):
    """Harmonic CNN (Won et al. 2020, https://doi.org/10.1109/ICASSP40776.2020.9053669).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751), with windows of 5 s.

    Args:
        num_harmonics: Multiples of a pitch that are filtered, the first included.
        bins_per_semitone: Pitches a semitone, from C1 to the highest whose last harmonic can be heard.
        num_channels: Channels of the first four blocks; the others have twice as many.
        **kwargs: Frames, windows and dropout, see :class:`FramesConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "harmonic_cnn"

    window_samples: int = 80_000
    hop_samples: int = 80_000
    windows_per_group: int = 16
    num_harmonics: int = 6
    bins_per_semitone: int = 2
    num_channels: int = 128

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return (*super().counts(), "num_harmonics", "bins_per_semitone", "num_channels")

    def size_problems(self) -> list[str]:
        """What is wrong with values that are right one by one."""
        wrong = harmonic_problems(self.sampling_rate, self.num_harmonics, self.bins_per_semitone)
        return wrong or super().size_problems()

    @property
    def num_bins(self) -> int:
        """Pitches."""
        return harmonic_bins(self.sampling_rate, self.num_harmonics, self.bins_per_semitone)

    def published_pools(self) -> list[tuple[int, int]]:
        """Seven blocks, which make one value of 128 pitches and 288 frames."""
        return [(2, 2)] * 5 + [(2, 3)] * 2
