"""The same recording is found again, whatever codec, loudness or cut lies between; other recordings are not."""

import numpy as np
import pytest

from hf_tagger.audio import load_mono
from hf_tagger.data import fingerprints
from hf_tagger.data.fingerprints import BIT_ERROR_RATE, HOP_SECONDS, find_copies, fingerprint
from hf_tagger.evaluation.degradations import Degradation

RATE = 16_000


@pytest.fixture(scope="module")
def recordings(shared):
    """Real orchestral clips of ten seconds."""
    paths = sorted((shared / "data" / "orchestra").rglob("*.mp3"))
    return [load_mono(path, RATE) for path in paths[:400:20] if path.stat().st_size]


def prints(waveforms):
    return [fingerprint(waveform, RATE) for waveform in waveforms]


def test_a_frame_has_one_number_and_silence_has_zeros():
    assert fingerprint(np.zeros(RATE, dtype=np.float32), RATE).tolist() == [0] * 19
    assert fingerprint(np.zeros(RATE // 4, dtype=np.float32), RATE).tolist() == []
    tone = np.sin(np.arange(RATE) / 3).astype(np.float32)
    np.testing.assert_array_equal(fingerprint(tone, RATE), fingerprint(0.25 * tone, RATE))


def test_different_recordings_are_no_copies(recordings):
    assert len(recordings) > 15
    assert find_copies(prints(recordings)) == []


@pytest.mark.parametrize(
    ("kind", "strength"),
    [("mp3", 32), ("noise", 20), ("low_pass", 4_000), ("compression", 4)],
    ids=lambda own: str(own),
)
def test_a_spoiled_copy_is_found_among_others(recordings, kind, strength):
    copy = Degradation(kind, strength).apply(recordings[3], RATE)
    (found,) = find_copies(prints([*recordings, 0.3 * copy]))
    assert (found.first, found.second) == (3, len(recordings))
    assert found.bit_error_rate < BIT_ERROR_RATE
    assert found.offset == 0


@pytest.mark.parametrize("seconds", [2.5, 1.237])
def test_a_piece_is_found_and_where_it_begins(recordings, seconds):
    piece = recordings[5][round(seconds * RATE) :][: 5 * RATE]
    (found,) = find_copies(prints([*recordings, piece]))
    assert (found.first, found.second) == (5, len(recordings))
    assert found.offset == pytest.approx(seconds, abs=HOP_SECONDS)
    assert found.overlap == pytest.approx(5, abs=0.5)
    (found,) = find_copies(prints([piece, recordings[5]]))
    assert found.offset == pytest.approx(-seconds, abs=HOP_SECONDS)


def test_short_clips_are_found_if_most_of_them_is_the_same(recordings):
    short = [recording[4 * RATE : 7 * RATE] for recording in recordings]
    quieter = 0.3 * Degradation("noise", 30).apply(short[3], RATE)
    (found,) = find_copies(prints([*short, quieter]))
    assert (found.first, found.second) == (3, len(short))


def test_too_little_in_common_is_no_copy(recordings):
    """Two seconds of six."""
    assert find_copies(prints([recordings[5][: 6 * RATE], recordings[5][4 * RATE :]])) == []


def test_only_clips_of_different_parts_are_compared(recordings):
    own = prints([recordings[0], recordings[0], recordings[1], recordings[1]])
    assert [(found.first, found.second) for found in find_copies(own)] == [(0, 1), (2, 3)]
    assert [(found.first, found.second) for found in find_copies(own, parts=[0, 0, 0, 1])] == [(2, 3)]


def test_nothing_is_found_in_nothing():
    assert find_copies([]) == []
    assert find_copies(prints([np.zeros(100, dtype=np.float32)])) == []
    silence = np.zeros(10 * RATE, dtype=np.float32)
    assert find_copies(prints([silence, silence])) == []


def test_copies_are_the_same_however_many_pairs_are_counted_at_once(monkeypatch):
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 2**32, 2_000, dtype=np.uint32)
    clips = [generator.choice(frames, 300) for _ in range(20)]  # many frames are equal by chance
    clips[13][50:250] = clips[4][80:280]
    clips[17] = clips[2].copy()
    at_once = find_copies(clips)
    assert [(own.first, own.second) for own in at_once] == [(2, 17), (4, 13)]
    assert at_once[1].offset == pytest.approx(30 * HOP_SECONDS)
    monkeypatch.setattr(fingerprints, "_PAIRS_AT_ONCE", 500)
    assert find_copies(clips) == at_once
