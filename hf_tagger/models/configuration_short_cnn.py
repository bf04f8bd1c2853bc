"""Configuration of the short-chunk CNN."""

from transformers import PreTrainedConfig

_POSITIVE = [
    "sampling_rate",
    "window_samples",
    "hop_samples",
    "n_fft",
    "hop_length",
    "num_mel_bins",
    "num_blocks",
    "num_channels",
    "windows_per_group",
]


class ShortCnnConfig(PreTrainedConfig):
    """Short-chunk CNN and its residual form (Won et al. 2020, https://arxiv.org/abs/2006.00751).

    All defaults are the paper's.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        window_samples: Length of a window in samples; 59,049 = 3^10 are 3.69 s at 16 kHz.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two spectrogram frames in samples.
        num_mel_bins: Bands of the mel filterbank.
        f_min: Lower edge of the lowest mel band in Hz.
        f_max: Upper edge of the highest mel band in Hz.
        num_channels: Channels of the first blocks; the middle ones have twice, the last one four times as many.
        num_blocks: Blocks; each halves frequency and time.
        residual: Residual blocks instead of convolution and pooling.
        classifier_dropout: Dropout before the last layer.
        windows_per_group: Windows of long audio that are computed at once.

    Raises:
        ValueError: If a value is out of range, or if the blocks would shrink the spectrogram to nothing.
    """

    model_type = "short_cnn"

    sampling_rate: int = 16_000
    window_samples: int = 59_049
    hop_samples: int = 59_049
    n_fft: int = 512
    hop_length: int = 256
    num_mel_bins: int = 128
    f_min: float = 0.0
    f_max: float = 8_000.0
    num_channels: int = 128
    num_blocks: int = 7
    residual: bool = False
    classifier_dropout: float = 0.5
    windows_per_group: int = 32

    def __post_init__(self, **kwargs):
        """Checks the values."""
        super().__post_init__(**kwargs)
        problems = [
            f"{name} must be a positive whole number, received {getattr(self, name)!r}"
            for name in _POSITIVE
            if type(getattr(self, name)) is not int or getattr(self, name) <= 0
        ]
        if problems:
            raise ValueError("; ".join(problems) + ".")
        if not 0 <= self.f_min < self.f_max <= self.sampling_rate / 2:
            problems.append(
                f"0 <= f_min < f_max <= sampling_rate / 2 = {self.sampling_rate / 2:g} Hz must hold, received f_min "
                f"{self.f_min} and f_max {self.f_max}"
            )
        if not 0 <= self.classifier_dropout < 1:
            problems.append(f"classifier_dropout must be in [0, 1), received {self.classifier_dropout}")
        if self.hop_samples > self.window_samples:
            problems.append(f"hop_samples {self.hop_samples} leaves gaps between windows of {self.window_samples}")
        frames = self.window_samples // self.hop_length + 1
        smallest = min(self.num_mel_bins, frames)
        if smallest < 2**self.num_blocks:
            problems.append(
                f"{self.num_blocks} blocks halve {self.num_mel_bins} mel bins and {frames} frames to nothing; "
                f"num_blocks can be at most {smallest.bit_length() - 1}"
            )
        if problems:
            raise ValueError("; ".join(problems) + ".")
