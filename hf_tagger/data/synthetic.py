"""The embedded default: clips made in code, so that everything can be tried with no download at all.

Each clip of 4 to 6 seconds has one to three of six instruments (pluck, bell, pad, bass, drums, flute), in a random key
and at random levels, and where something in it keeps time its tempo: ``fast`` (150 to 190 beats a minute), ``slow``
(48 to 66) or in between (88 to 112), which has no tag. Licence: CC0. Nothing to download; ``dataset_root`` stays empty.

Protocol:
    seeded: 75 / 10 / 15 % of ``synthetic_clips`` (640: 480 / 64 / 96), made from ``split_seed``. The same seed gives
        the same clips in every process, and more clips of one seed begin with the same ones.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from datasets.utils import tqdm

from . import _synthesis as synthesis
from .base import MULTI_LABEL, Clip, DatasetFacts, Protocol, TaggingDatasetDict, refuse_dataset_root
from .rows import from_clips

if TYPE_CHECKING:
    from ..arguments import DataArguments

INSTRUMENTS = ("pluck", "bell", "pad", "bass", "drums", "flute")
TEMPI = {"fast": (150.0, 190.0), "slow": (48.0, 66.0), None: (88.0, 112.0)}  # beats a minute
TAGS = (*INSTRUMENTS, "fast", "slow")

_CLIPS = 640
_TRAIN_SHARE, _TEST_SHARE = 0.75, 0.15
_SECONDS = (4.0, 6.0)
_LEVELS = (-12.0, 0.0)  # dB of an instrument in the mix
_PEAKS = (-18.0, -1.0)  # dB of a whole clip
_NOISE = -50.0  # dB of the noise floor, below the clip's peak
_SCALES = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10))  # major and minor pentatonic: any notes go together
# Lowest key as a MIDI number, and octaves.
_RANGES = {"pluck": (40, 2), "bell": (60, 2), "pad": (48, 2), "bass": (28, 1), "flute": (60, 2)}
_RING = {"pluck": 1.2, "bell": 1.5}  # seconds that a note sounds on after it is struck

FACTS = DatasetFacts(
    name="synthetic",
    title="synthetic clips",
    citation="""@article{karplus1983digital,
  author  = {Karplus, Kevin and Strong, Alex},
  title   = {Digital Synthesis of Plucked-String and Drum Timbres},
  journal = {Computer Music Journal},
  volume  = {7},
  number  = {2},
  pages   = {43--55},
  year    = {1983}
}""",
    license="CC0 1.0: made in code by this package.",
    homepage="https://github.com/hf-tagger/hf_tagger",
    how_to_get="Nothing to get: the clips are made when they are loaded, in seconds. Leave dataset_root out.",
    problem_type=MULTI_LABEL,
    protocols=(
        Protocol(
            name="seeded",
            source="hf_tagger: made from split_seed; the first 75 % train, the last 15 % test",
            generated=True,
        ),
    ),
    options=("synthetic_clips",),
    notes=(
        "Made to try the package and to test it: scores on these clips say whether training works, and nothing about "
        "music."
    ),
    needs_root=False,
    labels=TAGS,
)


def load(arguments: DataArguments, sampling_rate: int | None) -> TaggingDatasetDict:
    """Makes the synthetic clips; see :func:`hf_tagger.data.load_tagging_dataset`."""
    refuse_dataset_root(arguments, FACTS, "Leave it out, or set dataset_name to the dataset that lies there.")
    count = arguments.synthetic_clips or _CLIPS
    numbers = tqdm(range(count), desc="Making synthetic clips", unit="clip")
    clips = [make_clip(arguments.split_seed, number) for number in numbers]
    train, test = int(_TRAIN_SHARE * count), count - round(_TEST_SHARE * count)
    splits = {"train": clips[:train], "validation": clips[train:test], "test": clips[test:]}
    return from_clips(FACTS, FACTS.protocol(arguments.protocol), splits, TAGS, arguments, sampling_rate)


def make_clip(seed: int, number: int) -> Clip:
    """One clip; depends on nothing but these two numbers."""
    rng = np.random.default_rng((seed, number))
    instruments = [str(name) for name in rng.choice(INSTRUMENTS, size=rng.integers(1, 4), replace=False)]
    # A pad alone has no beat, so nobody could hear its tempo.
    tempo = [None, "fast", "slow"][rng.integers(3)] if instruments != ["pad"] else None
    samples = _mix(instruments, rng.uniform(*TEMPI[tempo]), rng)
    wav = io.BytesIO()
    soundfile.write(wav, samples, synthesis.RATE, format="WAV", subtype="PCM_16")
    name = f"seed{seed}-{number:05d}"
    labels = tuple(instruments) if tempo is None else (*instruments, tempo)
    return Clip(id=name, path=None, labels=labels, group=name, content=wav.getvalue())


def _mix(instruments: list[str], beats_a_minute: float, rng: np.random.Generator) -> np.ndarray:
    """All instruments play in one key on one grid of eighth notes."""
    seconds = rng.uniform(*_SECONDS)
    eighth = 30.0 / beats_a_minute
    starts = np.arange(rng.uniform(0.0, eighth), seconds - 0.1, eighth)  # a clip begins anywhere in the bar
    scale = np.asarray(_SCALES[rng.integers(len(_SCALES))]) + rng.integers(12)
    mix = np.zeros(int(seconds * synthesis.RATE))
    for name in instruments:
        part = _drums(starts, len(mix), rng) if name == "drums" else _part(name, starts, eighth, scale, len(mix), rng)
        loudness = np.sqrt(np.mean(part**2)) + 1e-9
        mix += part / loudness * 10 ** (rng.uniform(*_LEVELS) / 20)
    mix += np.abs(mix).max() * 10 ** (_NOISE / 20) * rng.standard_normal(len(mix))
    return mix / np.abs(mix).max() * 10 ** (rng.uniform(*_PEAKS) / 20)


def _part(
    name: str, starts: np.ndarray, eighth: float, scale: np.ndarray, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """One melodic instrument: a chord that is held (pad), or a walk up and down the scale with some rests."""
    lowest, octaves = _RANGES[name]
    keys = lowest + np.concatenate([scale + 12 * octave for octave in range(octaves)])
    if name == "pad":
        chord = keys[np.asarray([0, 2, 4]) + rng.integers(5)]
        return synthesis.pad(_frequency(chord), samples, rng)
    play = {
        "pluck": synthesis.plucked_string,
        "bell": synthesis.bell,
        "bass": synthesis.bass,
        "flute": synthesis.flute,
    }[name]
    length = int(_RING.get(name, 0.95 * eighth) * synthesis.RATE)
    part = np.zeros(samples)
    step = rng.integers(len(keys))
    for start in starts[_not_resting(starts, rng)]:
        step = int(np.clip(step + rng.integers(-2, 3), 0, len(keys) - 1))
        note = play(_frequency(keys[step]), length, rng)
        _add(part, note * rng.uniform(0.6, 1.0), start)
    return part


def _drums(starts: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Hi-hat on every eighth, kick on one and three, snare on two and four, with some left out."""
    part = np.zeros(samples)
    offset = rng.integers(8)
    for eighth, (start, sounds) in enumerate(zip(starts, _not_resting(starts, rng), strict=True), start=offset):
        if sounds:
            _add(part, synthesis.hi_hat(rng), start)
        if eighth % 4 == 0:
            _add(part, synthesis.kick(rng), start)
        elif eighth % 4 == 2:
            _add(part, synthesis.snare(rng), start)
    return part


def _not_resting(starts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sounds = rng.uniform(size=len(starts)) < 0.85
    sounds[0] = True  # a part that is listed is heard
    return sounds


def _add(part: np.ndarray, note: np.ndarray, start: float) -> None:
    position = int(start * synthesis.RATE)
    length = min(len(note), len(part) - position)
    part[position : position + length] += note[:length]


def _frequency(key: int | np.ndarray) -> float | np.ndarray:
    """Equal temperament, A4 = MIDI 69 = 440 Hz."""
    return 440.0 * 2.0 ** ((key - 69) / 12)
