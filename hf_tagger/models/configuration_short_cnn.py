"""Configuration of the short-chunk CNN."""

from .spectrogram_config import SpectrogramConfig


class ShortCnnConfig(SpectrogramConfig):
    """Short-chunk CNN and its residual form (Won et al. 2020, https://arxiv.org/abs/2006.00751).

    All defaults are the paper's: 59,049 = 3^10 samples are 3.69 s at 16 kHz.

    Args:
        num_channels: Channels of the first blocks; the middle ones have twice, the last one four times as many.
        num_blocks: Blocks; each halves frequency and time, as long as there is something to halve.
        residual: Residual blocks instead of convolution and pooling.
        **kwargs: Windows and front end, see :class:`SpectrogramConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "short_cnn"

    num_channels: int = 128
    num_blocks: int = 7
    residual: bool = False

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return (*super().counts(), "num_channels", "num_blocks")

    def flags(self) -> tuple[str, ...]:
        """Fields that must be true or false."""
        return ("residual",)

    def published_pools(self) -> list[tuple[int, int]]:
        """2×2 in every block; strides, which leave something of everything, in the residual form."""
        return [] if self.residual else [(2, 2)] * self.num_blocks
