"""A thousand small files with random bytes flipped: nothing crashes, and nothing is lost without a word."""

import io
import os
import tempfile
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile

from hf_tagger.audio import load_mono
from hf_tagger.errors import AudioDecodingError

RATE = 16_000
SECONDS = 1.0
FILES = 250  # of each of four formats


def a_second_of_music():
    seconds = np.arange(round(RATE * SECONDS)) / RATE
    chord = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (220.0, 277.2, 329.6))
    return (0.1 * chord + np.random.default_rng(0).normal(0, 0.02, len(seconds))).astype(np.float32)


@contextmanager
def silent_stderr():
    """mpg123 complains to file descriptor 2 about every damaged frame."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@pytest.mark.parametrize("name", ["WAV", "FLAC", "OGG", "MP3"])
def test_flipped_bytes_give_finite_samples_of_the_right_length_or_a_reason(name):
    buffer = io.BytesIO()
    soundfile.write(buffer, a_second_of_music(), RATE, format=name)
    whole = buffer.getvalue()
    generator = np.random.default_rng(7)
    reasons, decoded = [], 0
    with silent_stderr():
        for _ in range(FILES):
            content = np.frombuffer(whole, dtype=np.uint8).copy()
            positions = generator.integers(len(content), size=generator.integers(1, 12))
            content[positions] = generator.integers(256, size=len(positions))
            try:
                samples = load_mono(content.tobytes(), RATE)
            except AudioDecodingError as error:
                reasons.append(str(error))
                continue
            decoded += 1
            assert samples.dtype == np.float32
            assert np.isfinite(samples).all()
            assert len(samples) >= 1
    assert decoded + len(reasons) == FILES
    assert all(len(reason) > 10 for reason in reasons)


def test_wav_and_flac_that_lost_samples_never_pass_as_whole():
    """These two formats state their length, so any shorter result has to be a reason."""
    generator = np.random.default_rng(8)
    for name in ("WAV", "FLAC"):
        buffer = io.BytesIO()
        soundfile.write(buffer, a_second_of_music(), RATE, format=name)
        whole = buffer.getvalue()
        for _ in range(100):
            cut = whole[: generator.integers(200, int(0.85 * len(whole)))]
            with pytest.raises(AudioDecodingError, match=r"cut off|damaged|no samples"):
                load_mono(cut, RATE)
