"""The fields of a recipe's ``augmentation``: what is done to training windows at random, how often and how strongly.

Every augmentation is off unless it is named; an empty mapping takes its defaults::

    augmentation:
      gain: {probability: 0.5, decibels: [-6, 6]}
      low_pass: {}
      mixup: {alpha: 0.2}

Where no source is named a default is this package's own choice: mild enough that a listener would still give the clip
the same labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from .argument_checks import range_problems
from .errors import RecipeError

_SOURCE = "the augmentation arguments"
_LARGEST_HERTZ = 192_000.0  # half the highest usual sampling rate; the real limit is half the model's rate


def _probability(default: float) -> dict:
    return {"default": default, "metadata": {"help": "Share of the windows that are changed, 0 to 1."}}


def _interval(lowest: float, highest: float, meaning: str) -> dict:
    return {
        "default_factory": lambda: [lowest, highest],
        "metadata": {"help": f"{meaning}: lowest and highest, between which every window draws its own, uniformly."},
    }


@dataclass
class SpeedArguments:
    """Play faster or slower: pitch **and** tempo change together, as on a turntable, by the same factor.

    Ko et al. 2015, "Audio Augmentation for Speech Recognition"
    (https://www.isca-archive.org/interspeech_2015/ko15_interspeech.html), whose factors are 0.9 and 1.1: 1.8 semitones
    down, 1.7 up. Where labels are about tempo or key, choose less. Factors are whole hundredths.
    """

    probability: float = field(**_probability(0.5))
    factors: list[float] = field(**_interval(0.9, 1.1, "Factor of the speed"))

    def __post_init__(self) -> None:
        _check(self, intervals={"factors": (0.5, 2.0)})
        if self.hundredths[0] > self.hundredths[1]:
            raise RecipeError([f"factors: {self.factors!r} holds no whole hundredth; widen the interval"], _SOURCE)

    @property
    def hundredths(self) -> tuple[int, int]:
        """Lowest and highest factor that is drawn, in hundredths."""
        return math.ceil(round(self.factors[0] * 100, 6)), math.floor(round(self.factors[1] * 100, 6))


@dataclass
class TimeShiftArguments:
    """Shift in time, circularly: what leaves the window at its end comes in at its beginning."""

    probability: float = field(**_probability(0.5))
    seconds: list[float] = field(**_interval(-0.5, 0.5, "Seconds by which the window is delayed"))

    def __post_init__(self) -> None:
        _check(self, intervals={"seconds": (-3600.0, 3600.0)})


@dataclass
class PolarityArguments:
    """Turn the waveform upside down, which nobody hears and models of spectrograms do not see.

    One of the augmentations of CLMR (Spijkervet and Burgoyne 2021, https://arxiv.org/abs/2103.09410).
    """

    probability: float = field(**_probability(0.5))

    def __post_init__(self) -> None:
        _check(self)


@dataclass
class LowPassArguments:
    """Take away what lies above a frequency, by 12 dB an octave (Butterworth filter of order 2).

    Random frequency filters are one of the three augmentations that helped Schlüter and Grill 2015 ("Exploring Data
    Augmentation for Improved Singing Voice Detection with Neural Networks",
    https://ismir2015.uma.es/articles/264_Paper.pdf); CLMR has low and high passes too.
    """

    probability: float = field(**_probability(0.2))
    hertz: list[float] = field(**_interval(2000.0, 7500.0, "Frequency in Hz that is weakened by 3 dB"))

    def __post_init__(self) -> None:
        _check(self, intervals={"hertz": (20.0, _LARGEST_HERTZ)})


@dataclass
class HighPassArguments:
    """Take away what lies below a frequency, by 12 dB an octave; see :class:`LowPassArguments`."""

    probability: float = field(**_probability(0.2))
    hertz: list[float] = field(**_interval(40.0, 400.0, "Frequency in Hz that is weakened by 3 dB"))

    def __post_init__(self) -> None:
        _check(self, intervals={"hertz": (20.0, _LARGEST_HERTZ)})


@dataclass
class GainArguments:
    """Make louder or softer; samples beyond ±1 are kept, as nothing behind clips them."""

    probability: float = field(**_probability(0.5))
    decibels: list[float] = field(**_interval(-6.0, 6.0, "Gain in dB"))

    def __post_init__(self) -> None:
        _check(self, intervals={"decibels": (-80.0, 80.0)})


@dataclass
class NoiseArguments:
    """Add white Gaussian noise."""

    probability: float = field(**_probability(0.3))
    snr_decibels: list[float] = field(**_interval(10.0, 40.0, "Energy of the window over that of the noise, in dB"))

    def __post_init__(self) -> None:
        _check(self, intervals={"snr_decibels": (-40.0, 120.0)})


@dataclass
class MixupArguments:
    """Add up two windows of the batch and their labels: λ·this + (1 − λ)·other, with λ from Beta(alpha, alpha).

    Zhang et al. 2018 (https://arxiv.org/abs/1710.09412). On ImageNet they found alpha between 0.1 and 0.4 best
    (section 3.1). Loudness is not brought to one level before: the louder window has the larger say.
    """

    probability: float = field(**_probability(0.5))
    alpha: float = field(default=0.2, metadata={"help": "Both parameters of the Beta distribution of λ."})

    def __post_init__(self) -> None:
        _check(self, {"alpha": (0, 100, False)})


@dataclass
class CutmixArguments:
    """Replace a stretch of time by that of another window of the batch; labels are mixed in proportion to the lengths.

    Yun et al. 2019 (https://arxiv.org/abs/1905.04899), in one dimension; alpha 1 is the paper's (section 3.1).
    """

    probability: float = field(**_probability(0.5))
    alpha: float = field(
        default=1.0, metadata={"help": "Both parameters of the Beta distribution of the share that is kept."}
    )

    def __post_init__(self) -> None:
        _check(self, {"alpha": (0, 100, False)})


@dataclass
class SpecAugmentArguments:
    """Mask stretches of time and bands of frequency in the spectrogram that the network reads.

    Park et al. 2019 (https://arxiv.org/abs/1904.08779), section 2, without the time warping, which they found to be
    no major factor. Two masks each and the bound of 0.2 are those of their policies for Switchboard; the widths
    (theirs: 70 frames, 15 or 27 bins) are smaller, as windows of music are shorter than sentences.
    """

    probability: float = field(**_probability(1.0))
    time_masks: int = field(default=2, metadata={"help": "Masks over time."})
    time_width: int = field(default=40, metadata={"help": "Most frames of one mask; each draws 0 to this."})
    time_share: float = field(
        default=0.2, metadata={"help": "Share of a window's frames that bounds time_width as well."}
    )
    frequency_masks: int = field(default=2, metadata={"help": "Masks over frequency."})
    frequency_width: int = field(default=16, metadata={"help": "Most bins of one mask; each draws 0 to this."})

    def __post_init__(self) -> None:
        infinity = math.inf
        _check(
            self,
            {
                "time_masks": (0, 100, True),
                "time_width": (1, infinity, True),
                "time_share": (0, 1, False),
                "frequency_masks": (0, 100, True),
                "frequency_width": (1, infinity, True),
            },
        )


@dataclass
class AugmentationArguments:
    """How training windows are changed at random. What is None is off; the rest is applied in this order.

    Noise comes after the filters, as a recording's noise does; two windows are mixed when each has been changed.
    """

    speed: SpeedArguments | None = None
    time_shift: TimeShiftArguments | None = None
    polarity: PolarityArguments | None = None
    low_pass: LowPassArguments | None = None
    high_pass: HighPassArguments | None = None
    gain: GainArguments | None = None
    noise: NoiseArguments | None = None
    mixup: MixupArguments | None = None
    cutmix: CutmixArguments | None = None
    spec_augment: SpecAugmentArguments | None = None

    def active(self) -> dict[str, object]:
        """The arguments of the augmentations that are on, by name, in the order of application."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def problems_at(self, sampling_rate: int) -> list[str]:
        """Sentences for the values that are impossible at a sampling rate.

        Args:
            sampling_rate: Rate of the model in Hz.
        """
        filters = {"low_pass": self.low_pass, "high_pass": self.high_pass}
        return [
            f"{name}.hertz: {arguments.hertz[1]:g} Hz is too high; it must be below half the model's sampling rate, "
            f"{sampling_rate / 2:g} Hz"
            for name, arguments in filters.items()
            if arguments is not None and arguments.hertz[1] >= sampling_rate / 2
        ]


def _check(
    arguments: object,
    bounds: dict[str, tuple[float, float, bool]] | None = None,
    intervals: dict[str, tuple[float, float]] | None = None,
) -> None:
    """Raises RecipeError for values out of ``bounds`` (see :func:`range_problems`), a probability out of 0 to 1, and
    for ``intervals`` that are not two ascending numbers within ``(lowest, highest)``."""
    problems = range_problems(arguments, {"probability": (0, 1, True), **(bounds or {})})
    for name, (lowest, highest) in (intervals or {}).items():
        interval = list(getattr(arguments, name))
        if len(interval) != 2 or not lowest <= interval[0] <= interval[1] <= highest:
            problems.append(
                f"{name}: {interval!r} is no interval; [lowest, highest] is expected, both from {lowest:g} to "
                f"{highest:g}"
            )
    if problems:
        raise RecipeError(problems, _SOURCE)
