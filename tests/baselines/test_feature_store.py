"""Features are computed once, whatever interrupts it, and belong to the clips and to what is measured."""

from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from datasets import Dataset, Value

from hf_tagger.baselines import feature_store
from hf_tagger.baselines.feature_store import FeatureSettings, features_of
from hf_tagger.data.pcm import PreparedClips
from hf_tagger.errors import HfTaggerError

RATE = 22_050
SETTINGS = FeatureSettings(("spectral_centroid", "zero_crossing_rate"), ("mean", "std"))


def clips_of(seed=0, usable=(0, 1, 2, 3, 4)):
    """Five clips of noise, shorter and shorter."""
    generator = np.random.default_rng(seed)
    samples = [generator.integers(-9_000, 9_000, 9_000 - 500 * number).astype("<i2") for number in range(5)]
    names = [str(number) for number in range(5)]
    store = Dataset.from_dict(
        {
            "pcm": [clip.tobytes() for clip in samples],
            "scale": np.full(5, 1 / 32_768, dtype=np.float32),
            "num_samples": [len(clip) for clip in samples],
        }
    ).cast_column("pcm", Value("large_binary"))
    rows = Dataset.from_dict({"id": names, "audio": names, "labels": [0] * 5, "group": names})
    return PreparedClips(rows, store, usable, RATE)


@pytest.fixture
def computed(monkeypatch):
    """The lengths of the clips whose features were computed."""
    lengths, compute = [], feature_store.clip_features

    def noted(samples, *arguments):
        lengths.append(len(samples))
        return compute(samples, *arguments)

    monkeypatch.setattr(feature_store, "clip_features", noted)
    return lengths


def test_the_second_time_nothing_is_computed(tmp_path, computed):
    clips = clips_of()
    first = features_of(clips, SETTINGS, tmp_path, "train", 1)
    assert first.shape == (5, 4)
    assert len(computed) == 5
    np.testing.assert_array_equal(features_of(clips, SETTINGS, tmp_path, "train", 1), first)
    assert len(computed) == 5
    expected = feature_store.clip_features(clips.read(3), RATE, SETTINGS.features, SETTINGS.statistics)
    np.testing.assert_array_equal(first[3], expected)


def test_an_interrupted_computation_goes_on_with_the_clips_that_are_missing(tmp_path, monkeypatch, computed):
    clips, compute = clips_of(), feature_store.clip_features
    monkeypatch.setattr(feature_store, "_TASK_CLIPS", 2)

    def interrupted(samples, *arguments):
        if len(samples) == 8_000:  # the third clip
            raise KeyboardInterrupt
        return compute(samples, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(feature_store, "clip_features", interrupted)
        with pytest.raises(KeyboardInterrupt):
            features_of(clips, SETTINGS, tmp_path, "train", 1)
    assert computed == [9_000, 8_500]
    features = features_of(clips, SETTINGS, tmp_path, "train", 1)
    assert computed == [9_000, 8_500, 8_000, 7_500, 7_000]
    np.testing.assert_array_equal(features, features_of(clips, SETTINGS, tmp_path / "other", "train", 1))


def test_a_row_that_was_cut_off_is_computed_again(tmp_path, computed):
    clips = clips_of()
    whole = features_of(clips, SETTINGS, tmp_path, "train", 1)
    path = next(tmp_path.glob("features-*.npy"))
    broken = whole.copy()
    broken[1, 2:] = np.nan
    np.save(path, broken)
    np.testing.assert_array_equal(features_of(clips, SETTINGS, tmp_path, "train", 1), whole)
    assert computed[5:] == [8_500]


def test_other_clips_and_other_settings_have_files_of_their_own(tmp_path, computed):
    features_of(clips_of(), SETTINGS, tmp_path, "train", 1)
    features_of(clips_of(seed=1), SETTINGS, tmp_path, "train", 1)
    features_of(clips_of(usable=(0, 2)), SETTINGS, tmp_path, "train", 1)
    features_of(clips_of(), FeatureSettings(SETTINGS.features, ("mean",)), tmp_path, "train", 1)
    assert len(computed) == 5 + 5 + 2 + 5
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HfTaggerError, match=r"could not be written to .*file.*cache_dir"):
        features_of(clips_of(), SETTINGS, tmp_path / "file", "train", 1)


def test_a_process_that_was_killed_is_explained(tmp_path, monkeypatch):
    def killed(*arguments):
        raise BrokenProcessPool("exit code -9")

    monkeypatch.setattr(feature_store, "clip_features", killed)
    with pytest.raises(HfTaggerError, match=r"train clips was killed.*is kept.*fewer processes than 7"):
        features_of(clips_of(), SETTINGS, tmp_path, "train", 7)


def test_a_split_without_clips_has_no_rows(tmp_path):
    assert features_of(clips_of(usable=()), SETTINGS, tmp_path, "test", 1).shape == (0, 4)
