"""Configuration of the sample-level CNN."""

import math

from .blocks import fitted_pools
from .scratch_config import ScratchConfig


class SampleCnnConfig(ScratchConfig):
    """Sample-level CNN over the raw waveform (Lee et al. 2017, https://arxiv.org/abs/1703.01789), also with residual
    squeeze-and-excitation blocks (Kim et al. 2018, https://arxiv.org/abs/1710.10451).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751). Ten blocks make one value of the
    59,049 = 3^10 samples of a window; in shorter windows the last poolings are smaller.

    Args:
        num_channels: Channels of the first three blocks; the next six have twice, the last two four times as many.
        squeeze_excitation: Residual blocks with squeeze-and-excitation, and a dense layer before the last.
        **kwargs: Windows and dropout, see :class:`ScratchConfig`.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "sample_cnn"

    num_channels: int = 128
    squeeze_excitation: bool = False

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return ("num_channels",)

    def flags(self) -> tuple[str, ...]:
        """Fields that must be true or false."""
        return ("squeeze_excitation",)

    @property
    def pools(self) -> list[int]:
        """Values that each of ten blocks makes one of."""
        return fitted_pools([3] * 10, self.window_samples)

    @property
    def shortest_window(self) -> int:
        """Samples of the shortest input with the pooling of these windows: that which leaves one value."""
        return math.prod(self.pools)
