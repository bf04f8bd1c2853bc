"""What librosa's features say of sounds that are known, and what the vector of a clip holds."""

import librosa
import numpy as np
import pytest
from scipy import stats

from hf_tagger.baselines import features as module
from hf_tagger.baselines.features import ROWS, STATISTICS, clip_features, value_names

RATE = 22_050
MEANS = ["mean"]


def tone(frequency, seconds=2.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds=2.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def named(samples, features, statistics=("mean",)):
    names = value_names(features, statistics)
    return dict(zip(names, clip_features(samples, RATE, features, statistics).tolist(), strict=True))


def test_a_tone_has_its_centroid_its_crossings_and_its_pitch_class():
    values = named(tone(880.0), ["spectral_centroid", "zero_crossing_rate", "chroma"])
    assert values["spectral_centroid_00_mean"] == pytest.approx(880, rel=0.05)
    assert values["zero_crossing_rate_00_mean"] == pytest.approx(2 * 880 / RATE, rel=0.05)
    chroma = [values[f"chroma_{row:02d}_mean"] for row in range(12)]
    assert int(np.argmax(chroma)) == 9  # A, counted from C


def test_clicks_twice_a_second_have_120_beats_a_minute():
    clicks = np.zeros(10 * RATE, dtype=np.float32)
    clicks[:: RATE // 2] = 1.0
    assert named(clicks, ["tempo"]) == {"tempo": pytest.approx(120, rel=0.03)}


def test_coefficients_and_deltas_are_those_that_librosa_computes_from_the_waveform():
    samples = noise()
    expected = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=20)
    np.testing.assert_allclose(clip_features(samples, RATE, ["mfcc"], MEANS), expected.mean(axis=1), atol=1e-3)
    spread = librosa.feature.delta(expected, order=2).std(axis=1)
    np.testing.assert_allclose(clip_features(samples, RATE, ["mfcc_delta2"], ["std"]), spread, rtol=1e-3)
    contrast = librosa.feature.spectral_contrast(y=samples, sr=RATE).max(axis=1)
    np.testing.assert_allclose(clip_features(samples, RATE, ["spectral_contrast"], ["max"]), contrast, rtol=1e-4)


def test_statistics_are_scipys_and_a_constant_has_no_shape():
    frames = np.random.default_rng(0).gamma(2.0, size=(3, 500))
    np.testing.assert_allclose(STATISTICS["skewness"](frames), stats.skew(frames, axis=1))
    np.testing.assert_allclose(STATISTICS["kurtosis"](frames), stats.kurtosis(frames, axis=1))
    np.testing.assert_array_equal(STATISTICS["kurtosis"](np.ones((2, 5))), [0, 0])
    np.testing.assert_array_equal(STATISTICS["skewness"](np.ones((2, 5))), [0, 0])


@pytest.mark.parametrize(
    "samples",
    [np.zeros(RATE, np.float32), np.ones(1, np.float32), noise(0.01), noise(1.0), 3 * tone(50.0, 0.3)],
    ids=["silence", "one sample", "10 ms", "noise", "too loud"],
)
def test_every_feature_of_any_sound_is_a_finite_number(samples):
    values = clip_features(samples, RATE, list(ROWS), list(STATISTICS))
    assert values.shape == (len(value_names(list(ROWS), list(STATISTICS))),)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


def test_the_vector_holds_seven_statistics_of_every_row_and_one_tempo():
    names = value_names(list(ROWS), list(STATISTICS))
    assert len(names) == len(set(names)) == 7 * (sum(ROWS.values()) - 1) + 1
    assert len(value_names(["mfcc", "spectral_contrast", "spectral_centroid"], list(STATISTICS))) == 196
    assert value_names(["tempo", "spectral_rolloff"], ["min", "max"]) == [
        "tempo",
        "spectral_rolloff_00_min",
        "spectral_rolloff_00_max",
    ]


def test_the_segments_of_a_long_clip_have_its_frames_but_for_their_borders(monkeypatch):
    samples = noise(4.0)  # 173 frames
    whole = module._frames(samples, RATE, ["spectral_centroid"])["spectral_centroid"][0]
    monkeypatch.setattr(module, "_SEGMENT_SAMPLES", 512 * 60)
    parts = module._frames(samples, RATE, ["spectral_centroid"])["spectral_centroid"][0]
    # A segment of 60 hops has 61 frames, the outer two on either side hear the silence around it.
    np.testing.assert_allclose(parts[:59], whole[:59], rtol=1e-5)
    np.testing.assert_allclose(parts[61 + 2 : 61 + 59], whole[60 + 2 : 60 + 59], rtol=1e-5)
    assert len(parts) == len(whole) + 2
    assert parts[61] != pytest.approx(whole[60], rel=1e-3)


def test_a_short_clip_is_repeated():
    short = noise(0.1)
    np.testing.assert_array_equal(
        clip_features(short, RATE, ["mfcc"], MEANS), clip_features(np.resize(short, 512 * 16), RATE, ["mfcc"], MEANS)
    )
