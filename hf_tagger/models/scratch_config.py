"""What the configuration of every model that is trained from scratch has: windows, dropout, and how it is checked."""

from transformers import PreTrainedConfig

from .config_checks import count_problems, dropout_problems, flag_problems
from .windowing import WINDOW_FIELDS, window_problems


class ScratchConfig(PreTrainedConfig):
    """Base of the configurations of models that are trained from scratch. The defaults are those of Won et al. 2020
    (https://arxiv.org/abs/2006.00751): 59,049 = 3^10 samples are 3.69 s at 16 kHz.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        window_samples: Length of a window in samples. Pooling is fitted to it.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        windows_per_group: Windows of long audio that are computed at once.
        classifier_dropout: Dropout before the last layer.

    Raises:
        ValueError: With every value that is out of range.
    """

    # What may be changed of a model that is trained already: the weights stand for everything else.
    adjustable_fields = ("window_samples", "hop_samples", "windows_per_group", "classifier_dropout")

    sampling_rate: int = 16_000
    window_samples: int = 59_049
    hop_samples: int = 59_049
    windows_per_group: int = 32
    classifier_dropout: float = 0.5

    def __post_init__(self, **kwargs):
        """Checks the values."""
        super().__post_init__(**kwargs)
        problems = self.value_problems()
        problems += count_problems(self, WINDOW_FIELDS) or ([] if problems else self.size_problems())
        if problems:
            raise ValueError("; ".join(problems) + ".")

    def counts(self) -> tuple[str, ...]:
        """Fields of its own that must be positive whole numbers."""
        return ()

    def flags(self) -> tuple[str, ...]:
        """Fields of its own that must be true or false."""
        return ()

    def value_problems(self) -> list[str]:
        """What is wrong with single values; a model adds its own."""
        problems = count_problems(self, self.counts()) + flag_problems(self, self.flags())
        return problems + dropout_problems(self, ["classifier_dropout"])

    def size_problems(self) -> list[str]:
        """What is wrong with values that are right one by one; a model adds its own."""
        return window_problems(self)

    @property
    def least_window_samples(self) -> int:
        """The least ``window_samples`` possible."""
        return 1

    @property
    def shortest_window(self) -> int:
        """Samples of the shortest input with the pooling of these windows: that which leaves one value."""
        return self.least_window_samples
