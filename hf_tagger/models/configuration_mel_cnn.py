"""Configuration of the mel CNN."""

from .spectrogram_config import SpectrogramConfig


class MelCnnConfig(SpectrogramConfig):
    """Mel CNN: the small baseline of an artist20 course homework (mel spectrogram, a small CNN, two fully connected
    layers of 128). Its widths are this package's choice where the homework leaves them open.

    Args:
        num_channels: Channels of the first block; every block doubles them.
        num_blocks: Blocks; each halves frequency and time, as long as there is something to halve.
        dense_size: Features of the two fully connected layers.
        **kwargs: Windows and front end, see :class:`SpectrogramConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "mel_cnn"

    num_channels: int = 32
    num_blocks: int = 4
    dense_size: int = 128

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return (*super().counts(), "num_channels", "num_blocks", "dense_size")

    def published_pools(self) -> list[tuple[int, int]]:
        """2×2 in every block."""
        return [(2, 2)] * self.num_blocks
