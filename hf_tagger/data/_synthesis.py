"""Instruments made in code: each a small physical or spectral model, vectorised, in mono at 16 kHz.

Every function takes its randomness from the generator that it is given and returns float64 ``[samples]``.
"""

from __future__ import annotations

import numpy as np

RATE = 16_000  # Hz

# Partials of Risset's bell (An Introductory Catalogue of Computer Synthesized Sounds, 1969, no. 430): ratio to the
# note, beating in Hz, amplitude, relative duration.
_BELL = np.array(
    [
        (0.56, 0.0, 1.00, 1.000),
        (0.56, 1.0, 0.67, 0.900),
        (0.92, 0.0, 1.00, 0.650),
        (0.92, 1.7, 1.80, 0.550),
        (1.19, 0.0, 2.67, 0.325),
        (1.70, 0.0, 1.67, 0.350),
        (2.00, 0.0, 1.46, 0.250),
        (2.74, 0.0, 1.33, 0.200),
        (3.00, 0.0, 1.33, 0.150),
        (3.76, 0.0, 1.00, 0.100),
        (4.07, 0.0, 1.33, 0.075),
    ]
).T
_DECAY_60_DB = np.log(1000.0)


def plucked_string(frequency: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A string after Karplus and Strong (Digital Synthesis of Plucked-String and Drum Timbres, CMJ 7(2), 1983).

    A noise burst of one period runs round a loop that averages two neighbouring samples and loses a little. Instead of
    going round sample by sample, all rounds are computed at once: the average is a multiplication of the burst's
    spectrum by cos(ω/2), so round k is the burst's spectrum times its k-th power.
    """
    period = max(4, round(RATE / frequency))
    rounds = np.arange(-(-samples // period))[:, None]
    burst = rng.uniform(-1.0, 1.0, period)
    spectrum = np.fft.rfft(burst - burst.mean())
    loss = np.exp(-_DECAY_60_DB * period / RATE / 2.5)  # -60 dB after 2.5 s at the lowest partial
    gain = loss * np.cos(np.pi * np.arange(len(spectrum)) / period).clip(min=0.0)
    return np.fft.irfft(spectrum * gain**rounds, n=period, axis=1).ravel()[:samples]


def bell(frequency: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Inharmonic partials that die away, the high ones first."""
    ratio, beating, amplitude, duration = _BELL
    partials = ratio * frequency + beating
    audible = partials < 0.45 * RATE
    decay = _DECAY_60_DB / (duration * rng.uniform(1.5, 2.5))
    return damped_sines(partials[audible], decay[audible], amplitude[audible], samples, rng)


def bass(frequency: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A low sawtooth through a filter that closes: harmonic h has amplitude 1/h and fades h times as fast."""
    harmonics = np.arange(1, 13)
    note = damped_sines(harmonics * frequency, 1.5 * harmonics, 1.0 / harmonics, samples, rng)
    return note * _envelope(samples, attack=0.008, release=0.04)


def flute(frequency: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Few harmonics with vibrato, under the breath's noise."""
    time = np.arange(samples) / RATE
    vibrato = 0.006 * np.sin(2 * np.pi * rng.uniform(4.5, 6.0) * time + rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * frequency * np.cumsum(1.0 + vibrato) / RATE
    tone = np.sin(phase) + 0.35 * np.sin(2 * phase) + 0.12 * np.sin(3 * phase)
    breath = rng.standard_normal(samples)
    breath = breath - np.concatenate([[0.0], breath[:-1]])  # first difference: air has little bass
    attack = min(0.08, 0.3 * samples / RATE)
    return (tone + 0.06 * breath) * _envelope(samples, attack=attack, release=0.05)


def pad(frequencies: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A chord of many detuned voices that swells slowly, after PADsynth (Nasca Octavian Paul, 2006).

    Every harmonic is a bell-shaped bump in a spectrum of random phases, which is what an ensemble sounds like.
    """
    size = 1 << int(np.ceil(np.log2(samples)))  # quick lengths for the Fourier transform
    bins = np.arange(size // 2 + 1) * (RATE / size)
    magnitude = np.zeros_like(bins)
    for frequency in frequencies:
        for harmonic in range(1, 11):
            centre = harmonic * frequency
            width = 0.012 * centre  # detuning by some 20 cents
            near = slice(*np.searchsorted(bins, (centre - 4 * width, centre + 4 * width)))
            magnitude[near] += np.exp(-0.5 * ((bins[near] - centre) / width) ** 2) / harmonic**1.3 / width
    spectrum = magnitude * np.exp(2j * np.pi * rng.uniform(size=len(bins)))
    swell = _envelope(samples, attack=rng.uniform(0.5, 1.0), release=0.5)
    return np.fft.irfft(spectrum, n=size)[:samples] * swell


def kick(rng: np.random.Generator) -> np.ndarray:
    """A drum skin: its pitch falls while the blow fades."""
    time = np.arange(int(0.25 * RATE)) / RATE
    low = rng.uniform(42.0, 55.0)
    phase = 2 * np.pi * np.cumsum(low + 120.0 * np.exp(-time / 0.03)) / RATE
    return 1.2 * np.sin(phase) * np.exp(-time / 0.08)


def snare(rng: np.random.Generator) -> np.ndarray:
    """A skin at about 190 Hz and the rattle of the wires."""
    time = np.arange(int(0.2 * RATE)) / RATE
    skin = np.sin(2 * np.pi * rng.uniform(170.0, 210.0) * time) * np.exp(-time / 0.04)
    return 0.6 * skin + 0.4 * rng.standard_normal(len(time)) * np.exp(-time / 0.06)


def hi_hat(rng: np.random.Generator) -> np.ndarray:
    """Metal: the high part of noise, very short."""
    time = np.arange(int(0.08 * RATE)) / RATE
    return 0.3 * np.diff(rng.standard_normal(len(time) + 2), n=2) * np.exp(-time / 0.018)


def damped_sines(
    frequencies: np.ndarray, decays: np.ndarray, amplitudes: np.ndarray, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Σ amplitude · exp(-decay · t) · cos(2π · frequency · t + random phase).

    With t = block + offset every term is a product of two exponentials, so the sum over all samples is one product of
    two small matrices, ``[blocks, partials] @ [partials, offsets]``.
    """
    side = int(np.ceil(np.sqrt(samples)))
    exponent = (2j * np.pi * frequencies - decays) / RATE  # [partials]
    start = amplitudes * np.exp(2j * np.pi * rng.uniform(size=len(frequencies)))
    blocks = start * np.exp(np.arange(0, side * side, side)[:, None] * exponent)  # [blocks, partials]
    offsets = np.exp(exponent[:, None] * np.arange(side))  # [partials, offsets]
    # Not `@`: the threads of a BLAS cost ten times more than they give on matrices this small, and round differently.
    return np.einsum("bp,po->bo", blocks, offsets).real.ravel()[:samples]


def _envelope(samples: int, attack: float, release: float) -> np.ndarray:
    """Straight rise and fall, in seconds, so that nothing clicks."""
    position = np.arange(samples)
    return np.minimum(1.0, np.minimum((position + 1) / (attack * RATE), (samples - position) / (release * RATE)))
