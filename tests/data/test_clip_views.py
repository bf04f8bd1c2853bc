"""Clips that are heard otherwise than they are: what is read of them, window by window."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_windows import ramp_clips

from hf_tagger.data.clip_views import ChangedClips, CroppedClips
from hf_tagger.data.windows import EvaluationWindows, labels_of


@pytest.mark.parametrize(("position", "starts"), [(0.0, [0, 0, 0]), (0.5, [45, 7, 0]), (1.0, [90, 15, 0])])
def test_a_cut_clip_is_the_piece_at_its_position_and_a_short_one_is_whole(position, starts):
    clips = CroppedClips(ramp_clips([100, 25, 7]), seconds=1.0, position=position)  # 10 samples
    assert clips.num_samples.tolist() == [10, 10, 7]
    for index, start in enumerate(starts):
        expected = np.arange(start, start + clips.num_samples[index])
        np.testing.assert_array_equal(clips.read(index), expected)
        np.testing.assert_array_equal(clips.read(index, 2, 5), expected[2:5])
        np.testing.assert_array_equal(clips.read(index, 5, 1_000), expected[5:])


def test_windows_of_a_cut_clip_hear_nothing_of_the_rest():
    windows = EvaluationWindows(CroppedClips(ramp_clips([100]), 1.2, 0.5), window_samples=5, hop_samples=5)
    assert [item["input_values"].tolist() for item in windows] == [
        [44.0, 45.0, 46.0, 47.0, 48.0],
        [49.0, 50.0, 51.0, 52.0, 53.0],
        [51.0, 52.0, 53.0, 54.0, 55.0],
    ]


@pytest.mark.parametrize(("seconds", "position"), [(0.01, 0.5), (1.0, -0.1), (1.0, 1.5)])
def test_impossible_cuts_are_refused(seconds, position):
    with pytest.raises(ValueError, match="cannot keep"):
        CroppedClips(ramp_clips(), seconds, position)


class Backwards:
    """Every second sample, from the end; counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def length(self, samples):
        return -(-samples // 2)

    def apply(self, waveform, sampling_rate):
        assert sampling_rate == 10
        self.calls += 1
        return waveform[::-2]


def test_a_change_is_made_once_a_clip_and_windows_are_cut_out_of_it():
    change = Backwards()
    clips = ChangedClips(ramp_clips([100, 7]), change)
    assert clips.num_samples.tolist() == [50, 4]
    windows = [item["input_values"].tolist() for item in EvaluationWindows(clips, window_samples=20, hop_samples=20)]
    assert windows[0] == list(range(99, 59, -2))
    assert windows[2] == list(range(39, 0, -2))
    assert windows[3][:4] == [6, 4, 2, 0]
    assert change.calls == 2


def test_labels_ids_and_groups_are_those_of_the_clips():
    clips = ramp_clips([30, 30, 30], labels=[1, None, 0])
    for view in (CroppedClips(clips, 1.0), ChangedClips(clips, Backwards())):
        assert (view.ids, view.groups, view.labelled) == (clips.ids, clips.groups, [0, 2])
        assert labels_of(view, "single_label_classification", 2).tolist() == [1, 0]
        assert len(view) == 3
