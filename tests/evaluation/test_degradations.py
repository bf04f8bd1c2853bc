"""Spoiled recordings: each change does what its name says, as much as its strength says."""

import numpy as np
import pytest
from scipy.signal import welch

from hf_tagger.evaluation.degradations import DEGRADATIONS, Degradation

RATE = 16_000
ALL = [(kind, strength) for kind, own in DEGRADATIONS.items() for strength in own.strengths]


def tone(hertz, seconds=2.0, level=0.2):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def music(seed=0, seconds=2.0):
    """Noise with a rhythm: something at every frequency."""
    time = np.arange(int(RATE * seconds)) / RATE
    beat = 0.1 + 0.9 * (time % 0.5 < 0.1)
    return (np.random.default_rng(seed).normal(0, 0.05, len(time)) * beat).astype(np.float32)


def pitch_of(waveform):
    return np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))).argmax() * RATE / len(waveform)


def decibels(waveform):
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)))


@pytest.mark.parametrize(("kind", "strength"), ALL)
def test_every_change_is_finite_has_the_promised_length_and_is_the_same_every_time(kind, strength):
    change, waveform = Degradation(kind, strength), music()
    changed = change.apply(waveform, RATE)
    assert changed.dtype == np.float32
    assert len(changed) == change.length(len(waveform))
    assert np.isfinite(changed).all()
    np.testing.assert_array_equal(changed, change.apply(waveform, RATE))
    if len(changed) == len(waveform):
        assert np.abs(changed - waveform).max() > 1e-4


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_silence_and_the_shortest_clip_pass(kind):
    change = Degradation(kind, DEGRADATIONS[kind].strengths[0])
    silent = change.apply(np.zeros(RATE, dtype=np.float32), RATE)
    np.testing.assert_allclose(silent, 0, atol=1e-4)
    assert np.isfinite(change.apply(np.full(50, 0.1, dtype=np.float32), RATE)).all()


@pytest.mark.parametrize("ratio", [40, 10, 0])
def test_noise_has_the_promised_distance_to_the_music(ratio):
    waveform = music()
    noise = Degradation("noise", ratio).apply(waveform, RATE) - waveform
    assert decibels(waveform) - decibels(noise) == pytest.approx(ratio, abs=0.1)
    other = Degradation("noise", ratio).apply(music(seed=1), RATE) - music(seed=1)
    assert abs(np.corrcoef(noise, other)[0, 1]) < 0.03  # each clip has noise of its own


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_another_tempo_changes_the_length_but_not_the_pitch(factor):
    changed = Degradation("time_stretch", factor).apply(tone(440), RATE)
    assert len(changed) == round(2 * RATE / factor)
    assert pitch_of(changed) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("semitones", [-4, 1])
def test_another_pitch_changes_the_frequency_but_not_the_length(semitones):
    changed = Degradation("pitch_shift", semitones).apply(tone(440), RATE)
    assert len(changed) == 2 * RATE
    assert pitch_of(changed) == pytest.approx(440 * 2 ** (semitones / 12), abs=3)


@pytest.mark.parametrize("ratio", [2, 10])
def test_compression_brings_loud_and_quiet_together_by_its_ratio(ratio):
    """20 dB between two halves, both above the threshold, become 20 / ratio dB; the mean power stays."""
    waveform = tone(500)
    waveform[RATE:] *= 0.1
    changed = Degradation("compression", ratio).apply(waveform, RATE)
    loud, quiet = changed[RATE // 2 : RATE - 800], changed[RATE + 4_000 :]
    assert decibels(loud) - decibels(quiet) == pytest.approx(20 / ratio, abs=2.0)
    assert decibels(changed) == pytest.approx(decibels(waveform), abs=1e-3)


def test_a_low_pass_filter_takes_what_is_above_its_frequency():
    hertz, before = welch(music(), RATE)
    _, after = welch(Degradation("low_pass", 1_000).apply(music(), RATE), RATE)
    gain = 10 * np.log10(after / before)
    assert np.abs(gain[(hertz > 50) & (hertz < 500)]).max() < 1.5
    assert gain[np.argmin(np.abs(hertz - 1_000))] == pytest.approx(-3, abs=1)
    assert gain[hertz > 2_000].max() < -20
    beyond = Degradation("low_pass", RATE).apply(music(), RATE)
    np.testing.assert_array_equal(beyond, music())


@pytest.mark.parametrize("kilobits", [64, 16])
def test_mp3_keeps_the_music_in_its_place(kilobits):
    """LAME's delay of 1,105 samples is gone at all bitrates; the tone is there, a little quieter."""
    waveform = tone(440) * np.repeat([1.0, 0.2, 1.0, 0.2], RATE // 2)
    changed = Degradation("mp3", kilobits).apply(waveform.astype(np.float32), RATE)
    assert np.corrcoef(waveform, changed)[0, 1] > 0.99


def test_mp3_at_low_bitrates_loses_high_frequencies():
    hertz, before = welch(music(), RATE)
    _, after = welch(Degradation("mp3", 8).apply(music(), RATE), RATE)
    assert 10 * np.log10(after[hertz > 4_000].sum() / before[hertz > 4_000].sum()) < -20
