"""Configuration of the convolutional recurrent network."""

from .spectrogram_config import SpectrogramConfig


class CrnnConfig(SpectrogramConfig):
    """Convolutional recurrent network (Choi et al. 2017, https://arxiv.org/abs/1609.04243).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751), which hears 29 s at once.

    Args:
        num_channels: Channels of the first block; the others have twice as many.
        hidden_size: Features of the recurrent layers.
        num_hidden_layers: Recurrent layers (GRU).
        **kwargs: Windows and front end, see :class:`SpectrogramConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "crnn"

    window_samples: int = 464_000
    hop_samples: int = 464_000
    windows_per_group: int = 8
    num_mel_bins: int = 96
    num_channels: int = 64
    hidden_size: int = 32
    num_hidden_layers: int = 2

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return (*super().counts(), "num_channels", "hidden_size", "num_hidden_layers")

    def published_pools(self) -> list[tuple[int, int]]:
        """Four blocks, which make one of 96 bins, and one step of 96 frames."""
        return [(2, 2), (3, 3), (4, 4), (4, 4)]
