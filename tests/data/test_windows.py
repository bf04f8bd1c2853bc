import numpy as np
import pytest
import torch
from datasets import Dataset, Value

from hf_tagger.data.base import MULTI_LABEL, SINGLE_LABEL
from hf_tagger.data.pcm import PreparedClips
from hf_tagger.data.windows import EvaluationWindows, TrainingWindows, WindowCollator

LENGTHS = [100, 25, 7, 60]


def ramp_clips(lengths=LENGTHS, labels=None, scale=1.0, unknown_labels=None):
    """Clips whose sample number n has the value n (times scale), so that a window shows where it was cut."""
    store = Dataset.from_dict(
        {
            "id": [str(index) for index in range(len(lengths))],
            "pcm": [np.arange(length, dtype="<i2").tobytes() for length in lengths],
            "scale": np.full(len(lengths), scale, dtype=np.float32),
            "num_samples": lengths,
            "reason": [None] * len(lengths),
        }
    ).cast_column("pcm", Value("large_binary"))
    rows = Dataset.from_dict(
        {
            "id": store["id"][:],
            "audio": [None] * len(lengths),
            "labels": labels or [index % 2 for index in range(len(lengths))],
            "group": ["g"] * len(lengths),
        }
    )
    if unknown_labels is not None:
        rows = rows.add_column("unknown_labels", unknown_labels)
    return PreparedClips(rows, store, range(len(lengths)), sampling_rate=10)


def test_a_crop_is_a_piece_of_its_clip():
    windows = TrainingWindows(ramp_clips(), window_samples=20, crops_per_clip=3)
    assert len(windows) == 12
    for item in range(3):
        crop = windows[item]["input_values"]
        assert crop.dtype == torch.float32
        assert torch.equal(crop, torch.arange(20) + crop[0])
        assert 0 <= crop[0] <= 80
    assert [windows[item]["labels"] for item in range(12)] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_crops_reach_every_position_of_a_clip():
    windows = TrainingWindows(ramp_clips([25]), window_samples=20, crops_per_clip=200)
    assert {int(windows[item]["input_values"][0]) for item in range(200)} == set(range(6))


def test_crops_move_with_the_epoch_and_the_seed_and_with_nothing_else():
    def positions(windows):
        return [int(windows[item]["input_values"][0]) for item in range(len(windows))]

    windows = TrainingWindows(ramp_clips([1_000] * 8), 20, crops_per_clip=2, seed=1)
    first = positions(windows)
    assert positions(windows) == first
    assert positions(TrainingWindows(ramp_clips([1_000] * 8), 20, crops_per_clip=2, seed=2)) != first
    windows.set_epoch(1)
    assert positions(windows) != first
    windows.set_epoch(0)
    assert positions(windows) == first


def test_worker_processes_see_the_epoch_change():
    windows = TrainingWindows(ramp_clips([1_000] * 4), 20)
    loader = torch.utils.data.DataLoader(windows, batch_size=4, num_workers=1, persistent_workers=True)
    first = next(iter(loader))["input_values"]
    windows.set_epoch(5)
    later = next(iter(loader))["input_values"]
    assert not torch.equal(first, later)
    assert torch.equal(later, torch.stack([windows[item]["input_values"] for item in range(4)]))


def test_a_short_clip_is_repeated_until_it_fills_the_window():
    windows = TrainingWindows(ramp_clips([7]), window_samples=20)
    assert windows[0]["input_values"].tolist() == [n % 7 for n in range(20)]
    assert EvaluationWindows(ramp_clips([7]), 20, 10)[0]["input_values"].tolist() == [n % 7 for n in range(20)]


def test_clips_without_labels_are_not_trained_on():
    windows = TrainingWindows(ramp_clips([100, 100, 100], labels=[1, None, 0]), 20)
    assert [windows[item]["labels"] for item in range(len(windows))] == [1, 0]


def test_evaluation_windows_cover_every_sample_of_every_clip():
    clips = ramp_clips()
    windows = EvaluationWindows(clips, window_samples=20, hop_samples=15)
    heard = {index: set() for index in range(len(clips))}
    for item in range(len(windows)):
        window = windows[item]
        heard[window["clip_index"]] |= {int(value) for value in window["input_values"]}
    assert heard == {index: set(range(length)) for index, length in enumerate(LENGTHS)}
    assert windows.clip_indices.tolist() == [0] * 7 + [1] * 2 + [2] + [3] * 4


def test_two_processes_share_the_clips_without_overlap():
    clips = ramp_clips()
    parts = [EvaluationWindows(clips, 20, 15, share=(process, 2)) for process in range(2)]
    assert set(parts[0].clip_indices) == {0, 2}
    assert set(parts[1].clip_indices) == {1, 3}
    assert sum(map(len, parts)) == len(EvaluationWindows(clips, 20, 15))


def test_batches_hold_class_indices_or_0_1_vectors():
    items = [{"input_values": torch.zeros(4), "labels": 2}, {"input_values": torch.ones(4), "labels": 0}]
    batch = WindowCollator(SINGLE_LABEL, 3)(items)
    assert batch["input_values"].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [2, 0]
    items = [{"input_values": torch.zeros(4), "labels": [0, 2]}, {"input_values": torch.ones(4), "labels": []}]
    labels = WindowCollator(MULTI_LABEL, 3)(items)["labels"]
    assert labels.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert labels.dtype == torch.float32


@pytest.mark.parametrize("length", [1, 19, 20, 21, 35, 36, 1_000])
def test_training_and_pipeline_cut_a_clip_into_the_same_windows(length):
    from hf_tagger.models import WaveformFeatureExtractor

    ours = EvaluationWindows(ramp_clips([length]), 20, 15)
    extractor = WaveformFeatureExtractor(10, window_samples=20, hop_samples=15)
    theirs = extractor(np.arange(length, dtype=np.float32), sampling_rate=10, return_tensors="pt")["input_values"][0]
    assert torch.equal(torch.stack([ours[item]["input_values"] for item in range(len(ours))]), theirs)


def test_numbers_beyond_the_length_cut_other_windows_of_the_same_clips():
    windows = TrainingWindows(ramp_clips([50_000, 60_000], labels=[0, 1]), 1_000)
    for item in range(2):
        crops = [windows[item + repetition * len(windows)] for repetition in range(4)]
        assert {crop["labels"] for crop in crops} == {item}
        assert len({float(crop["input_values"][0]) for crop in crops}) == 4
