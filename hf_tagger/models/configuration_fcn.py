"""Configuration of the fully convolutional network."""

from .spectrogram_config import SpectrogramConfig


class FcnConfig(SpectrogramConfig):
    """Fully convolutional network (Choi et al. 2016, https://arxiv.org/abs/1606.00298).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751), which hears 29 s at once; other
    windows make the last poolings smaller.

    Args:
        num_channels: Channels of the first and the last block; those between have twice as many.
        **kwargs: Windows and front end, see :class:`SpectrogramConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "fcn"

    window_samples: int = 464_000
    hop_samples: int = 464_000
    windows_per_group: int = 8
    num_mel_bins: int = 96
    num_channels: int = 64

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return (*super().counts(), "num_channels")

    def published_pools(self) -> list[tuple[int, int]]:
        """Five blocks, which make one value of 96 bins and 1,280 frames."""
        return [(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)]
