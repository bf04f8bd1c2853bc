"""Configuration of musicnn."""

from .spectrogram_config import SpectrogramConfig


class MusicnnConfig(SpectrogramConfig):
    """musicnn (Pons et al. 2018, https://arxiv.org/abs/1711.02520).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751) for MagnaTagATune; for the Million
    Song Dataset they take 512 back-end channels and 500 dense features.

    Args:
        vertical_channels: Filters of each of the two vertical shapes, 70 % and 40 % of the bins high and 7 frames wide.
        horizontal_channels: Filters of each of the three horizontal shapes, 129, 65 and 33 frames wide.
        backend_channels: Channels of the three convolutions over time.
        dense_size: Features of the dense layer.
        **kwargs: Windows and front end, see :class:`SpectrogramConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "musicnn"

    window_samples: int = 48_000
    hop_samples: int = 48_000
    num_mel_bins: int = 96
    vertical_channels: int = 204
    horizontal_channels: int = 51
    backend_channels: int = 64
    dense_size: int = 200

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        own = ("vertical_channels", "horizontal_channels", "backend_channels", "dense_size")
        return (*super().counts(), *own)

    def size_problems(self) -> list[str]:
        """What is wrong with values that are right one by one."""
        problems = super().size_problems()
        if self.num_bins < 3:
            problems.append(f"{self.num_bins} bins are too few for filters of 40 % of their height; 3 are the fewest")
        return problems
