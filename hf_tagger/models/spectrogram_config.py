"""What every configuration of a model over a spectrogram has: the front end, and how much is pooled."""

import math

from .blocks import fitted_pools
from .config_checks import is_number
from .constant_q import constant_q_problems
from .scratch_config import ScratchConfig

FRONT_ENDS = ("mel_db", "log_mel", "mfcc", "cqt", "waveform")


class FramesConfig(ScratchConfig):
    """Base of the configurations of models over frames of a Fourier transform, which pool bins and frames.

    Args:
        n_fft: Length of the Fourier transform in samples.
        hop_length: Distance of two frames in samples.
        **kwargs: Windows and dropout, see :class:`ScratchConfig`.
    """

    n_fft: int = 512
    hop_length: int = 256

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers; a model adds its own."""
        return ("n_fft", "hop_length")

    def published_pools(self) -> list[tuple[int, int]]:
        """Bins and frames that each layer makes one of, before they are fitted to this input; a model states them."""
        return []

    @property
    def num_bins(self) -> int:
        """Bins of a frame; a model states them."""
        raise NotImplementedError(f"{type(self).__name__} must implement num_bins.")

    @property
    def pools(self) -> list[tuple[int, int]]:
        """Bins and frames that each layer makes one of; at least one of each is left of a window."""
        if not self.published_pools():
            return []
        bins, frames = zip(*self.published_pools(), strict=True)
        num_frames = self.window_samples // self.hop_length + 1
        return list(zip(fitted_pools(bins, self.num_bins), fitted_pools(frames, num_frames), strict=True))

    @property
    def least_window_samples(self) -> int:
        """The least ``window_samples`` possible: more than the spectrogram mirrors at its edges."""
        return self.n_fft // 2 + 1

    @property
    def shortest_window(self) -> int:
        """Samples of the shortest input with the pooling of these windows: that which leaves one frame."""
        frames = math.prod(pool for _, pool in self.pools)
        return max(self.least_window_samples, (frames - 1) * self.hop_length)


class SpectrogramConfig(FramesConfig):
    """Base of the configurations of models over a spectrogram. The defaults are those of Won et al. 2020
    (https://arxiv.org/abs/2006.00751).

    Args:
        front_end: What the network reads: ``mel_db``, ``log_mel``, ``mfcc``, ``cqt`` or ``waveform``; see
            ``frontends.py``. The network fits its pooling to the number of bins.
        n_fft: Length of the Fourier transform in samples; of a filter for ``waveform``; unused by ``cqt``.
        hop_length: Distance of two frames in samples; for ``cqt`` a multiple of 2^(octaves − 1).
        num_mel_bins: Bands of the mel filterbank; filters for ``waveform``.
        f_min: Lower edge of the lowest mel band in Hz.
        f_max: Upper edge of the highest mel band in Hz.
        num_mfcc: Coefficients of ``mfcc``.
        num_cqt_bins: Bins of ``cqt``; 84 are seven octaves, librosa's default.
        cqt_bins_per_octave: Bins of one octave of ``cqt``.
        cqt_f_min: Lowest bin of ``cqt`` in Hz; 32.7 is C1, librosa's default.
        **kwargs: Windows and dropout, see :class:`ScratchConfig`.

    Raises:
        ValueError: With every value that is out of range.
    """

    front_ends = FRONT_ENDS  # those that the model can read

    front_end: str = "mel_db"
    num_mel_bins: int = 128
    f_min: float = 0.0
    f_max: float = 8_000.0
    num_mfcc: int = 40
    num_cqt_bins: int = 84
    cqt_bins_per_octave: int = 12
    cqt_f_min: float = 32.703195662574829

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers; a model adds its own."""
        return (*super().counts(), "num_mel_bins", "num_mfcc", "num_cqt_bins", "cqt_bins_per_octave")

    def value_problems(self) -> list[str]:
        """What is wrong with single values."""
        problems = super().value_problems()
        if self.front_end not in self.front_ends:
            known = ", ".join(self.front_ends)
            problems.append(f"front_end {self.front_end!r} is not known here; it must be one of {known}")
        problems += [
            f"{name} must be a number, received {getattr(self, name)!r}"
            for name in ("f_min", "f_max")
            if not is_number(getattr(self, name))
        ]
        if not is_number(self.cqt_f_min) or self.cqt_f_min <= 0:
            problems.append(f"cqt_f_min must be a number greater than 0 (Hz), received {self.cqt_f_min!r}")
        return problems

    def size_problems(self) -> list[str]:
        """What is wrong with values that are right one by one."""
        problems = super().size_problems()
        if not 0 <= self.f_min < self.f_max <= self.sampling_rate / 2:
            problems.append(
                f"0 <= f_min < f_max <= sampling_rate / 2 = {self.sampling_rate / 2:g} Hz must hold, received f_min "
                f"{self.f_min} and f_max {self.f_max}; with another sampling_rate set f_max, too"
            )
        if self.front_end == "mfcc" and self.num_mfcc > self.num_mel_bins:
            problems.append(f"num_mfcc {self.num_mfcc} must be at most num_mel_bins {self.num_mel_bins}")
        if self.front_end == "cqt":
            problems += constant_q_problems(
                self.sampling_rate, self.hop_length, self.num_cqt_bins, self.cqt_bins_per_octave, self.cqt_f_min
            )
        return problems

    @property
    def num_bins(self) -> int:
        """Bins of the front end."""
        return {"mfcc": self.num_mfcc, "cqt": self.num_cqt_bins}.get(self.front_end, self.num_mel_bins)

    @property
    def least_window_samples(self) -> int:
        """The least ``window_samples`` possible: more than the spectrogram mirrors at its edges."""
        return 1 if self.front_end in ("cqt", "waveform") else super().least_window_samples
