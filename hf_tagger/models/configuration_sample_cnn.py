"""Configuration of the sample-level CNN."""

import math

from transformers import PreTrainedConfig

from .blocks import fitted_pools
from .config_checks import count_problems, dropout_problems, flag_problems
from .windowing import WINDOW_FIELDS, window_problems


class SampleCnnConfig(PreTrainedConfig):
    """Sample-level CNN over the raw waveform (Lee et al. 2017, https://arxiv.org/abs/1703.01789), also with residual
    squeeze-and-excitation blocks (Kim et al. 2018, https://arxiv.org/abs/1710.10451).

    The defaults are those of Won et al. 2020 (https://arxiv.org/abs/2006.00751): 59,049 = 3^10 samples.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        window_samples: Length of a window in samples; ten blocks make one value of 3^10. In shorter windows the last
            poolings are smaller.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        windows_per_group: Windows of long audio that are computed at once.
        num_channels: Channels of the first three blocks; the next six have twice, the last two four times as many.
        squeeze_excitation: Residual blocks with squeeze-and-excitation, and a dense layer before the last.
        classifier_dropout: Dropout before the last layer.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "sample_cnn"

    sampling_rate: int = 16_000
    window_samples: int = 59_049
    hop_samples: int = 59_049
    windows_per_group: int = 32
    num_channels: int = 128
    squeeze_excitation: bool = False
    classifier_dropout: float = 0.5

    def __post_init__(self, **kwargs):
        """Checks the values."""
        super().__post_init__(**kwargs)
        problems = count_problems(self, ["num_channels"]) + dropout_problems(self, ["classifier_dropout"])
        problems += count_problems(self, WINDOW_FIELDS) or window_problems(self)
        problems += flag_problems(self, ["squeeze_excitation"])
        if problems:
            raise ValueError("; ".join(problems) + ".")

    @property
    def pools(self) -> list[int]:
        """Values that each of ten blocks makes one of."""
        return fitted_pools([3] * 10, self.window_samples)

    @property
    def least_window_samples(self) -> int:
        """The least ``window_samples`` possible."""
        return 1

    @property
    def shortest_window(self) -> int:
        """Samples of the shortest input with the pooling of these windows: that which leaves one value."""
        return math.prod(self.pools)
