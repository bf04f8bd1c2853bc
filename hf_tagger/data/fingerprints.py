"""Which clips are the same recording, whatever codec or loudness lies between them: fingerprints of audio.

Haitsma & Kalker 2002, A Highly Robust Audio Fingerprinting System (ISMIR 2002, pages 107 to 115): each frame gives 32
bits, the signs of differences of energy between neighbouring bands and frames. Copies of a recording have almost the
same bits at one distance in time; other recordings differ in half of them. Candidates are pairs of clips that share
whole frames; what decides is the share of bits that differ where the two overlap.

Numbers of the paper: frames of 0.37 s, 33 bands from 300 to 2,000 Hz, a bit error rate of at most 0.35 (section 4.1)
over 3 s. Ours: a frame every 32 ms instead of 11.6 ms, which is enough as frames overlap by eleven twelfths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

FRAME_SECONDS, HOP_SECONDS = 0.37, 0.032
_BANDS, _LOWEST_HERTZ, _HIGHEST_HERTZ = 33, 300.0, 2_000.0
BIT_ERROR_RATE = 0.35
OVERLAP_SECONDS = 3.0
_SHARE_OF_SHORT_CLIPS = 0.8
_FRAMES_AT_ONCE = 1_000  # bounds the memory of long recordings
_SHARED_FRAMES = 3  # of a candidate pair at one distance in time: fewer are chance
_PAIRS_AT_ONCE = 20_000_000  # of equal frames: bounds the memory to about a gigabyte
_MOST_FRAMES = 50  # that are equal: more are silence or a hum, and tell nothing


@dataclass(frozen=True)
class Copy:
    """Two clips with the same recording.

    Attributes:
        first: Position of one clip.
        second: Position of the other, the higher one.
        bit_error_rate: Share of bits that differ where they overlap, 0 to 0.35.
        offset: Seconds from the start of the first at which the second begins; negative if it begins earlier.
        overlap: Seconds that they have in common.
    """

    first: int
    second: int
    bit_error_rate: float
    offset: float
    overlap: float


def fingerprint(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """One number of 32 bits a frame: ``[samples]`` → uint32 ``[frames]``.

    Frames of silence give 0. A waveform of less than two frames has none.
    """
    size, hop = round(FRAME_SECONDS * sampling_rate), round(HOP_SECONDS * sampling_rate)
    if len(waveform) < size + hop:
        return np.zeros(0, dtype=np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop]
    edges = np.round(np.geomspace(_LOWEST_HERTZ, _HIGHEST_HERTZ, _BANDS + 1) * size / sampling_rate).astype(int)
    window = np.hanning(size).astype(np.float32)
    energy = []
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(frames[start : start + _FRAMES_AT_ONCE] * window, axis=1)
        energy.append(np.add.reduceat(np.square(np.abs(spectrum)), edges, axis=1)[:, :_BANDS])
    slope = np.diff(np.concatenate(energy), axis=1)  # [frames, 32]
    bits = np.diff(slope, axis=0) < 0  # the sign of E(n, m) - E(n, m+1) - (E(n-1, m) - E(n-1, m+1))
    return np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)


def find_copies(fingerprints: Iterable[np.ndarray], parts: Sequence[int] | None = None) -> list[Copy]:
    """Pairs of clips with the same recording.

    Args:
        fingerprints: What :func:`fingerprint` returned for every clip.
        parts: A number for every clip; only clips of different parts are compared. None: all are.

    Returns:
        Pairs, the most alike first.
    """
    fingerprints = list(fingerprints)
    best: dict[tuple[int, int], Copy] = {}
    for first, second, offset in _candidates(fingerprints, parts):
        one, other = fingerprints[first], fingerprints[second]
        start, stop = max(0, offset), min(len(one), len(other) + offset)
        # Of clips that are hardly longer than that, most of the shorter one has to be in both.
        needed = min(OVERLAP_SECONDS / HOP_SECONDS, _SHARE_OF_SHORT_CLIPS * min(len(one), len(other)))
        if stop - start < needed:
            continue
        differing = one[start:stop] ^ other[start - offset : stop - offset]
        rate = float(np.unpackbits(differing.view(np.uint8)).mean())
        before = best.get((first, second))
        if rate <= BIT_ERROR_RATE and (before is None or rate < before.bit_error_rate):
            best[first, second] = Copy(first, second, rate, offset * HOP_SECONDS, (stop - start) * HOP_SECONDS)
    return sorted(best.values(), key=lambda copy: (copy.bit_error_rate, copy.first, copy.second))


def _candidates(fingerprints: Sequence[np.ndarray], parts: Sequence[int] | None) -> list[tuple[int, int, int]]:
    """Pairs of clips, and distances in frames at which they share some frames."""
    lengths = [len(own) for own in fingerprints]
    if not sum(lengths):
        return []
    values = np.concatenate(fingerprints)
    clips = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    frames = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    order = np.argsort(values, kind="stable")  # within equal values by clip and frame
    values, clips, frames = values[order], clips[order], frames[order]
    starts = np.flatnonzero(np.diff(values, prepend=values[0] ^ 1))
    runs = np.diff(np.append(starts, len(values)))  # of equal values
    rare = np.repeat(runs <= _MOST_FRAMES, runs)
    values, clips, frames = values[rare], clips[rare], frames[rare]
    part = clips if parts is None else np.asarray(parts)[clips]
    # All pairs at once would take 100 GB for 100,000 clips: they are counted in shares, by their first clip.
    runs = runs[runs <= _MOST_FRAMES].astype(np.int64)
    shares = 1 + int((runs * (runs - 1) // 2).sum()) // _PAIRS_AT_ONCE
    longest = max(lengths)
    found = []
    for share in range(shares):
        chosen = clips % shares == share
        keys = []
        for distance in range(1, int(runs.max(initial=1))):
            same = (values[:-distance] == values[distance:]) & (part[:-distance] != part[distance:])
            pair = np.flatnonzero(same & chosen[:-distance])
            other = pair + distance
            numbers = clips[pair].astype(np.int64) * len(lengths) + clips[other]
            keys.append(numbers * (2 * longest) + (frames[pair] - frames[other] + longest))
        if keys:
            key, counts = np.unique(np.concatenate(keys), return_counts=True)
            found.append(key[counts >= _SHARED_FRAMES])
    keys = np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    numbers, offsets = np.divmod(keys, 2 * longest)
    first, second = np.divmod(numbers, len(lengths))
    return list(zip(first.tolist(), second.tolist(), (offsets - longest).tolist(), strict=True))
