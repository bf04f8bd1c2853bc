import numpy as np
import pytest
import torch
from datasets import Dataset, Value

from hf_tagger.data.base import MULTI_LABEL, SINGLE_LABEL
from hf_tagger.data.clip_views import CroppedClips
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


def batches(dataset, numbers, size=3, **options):
    """What a loader makes of windows with these numbers."""
    collator = WindowCollator(MULTI_LABEL, 4)
    return list(torch.utils.data.DataLoader(dataset, size, sampler=numbers, collate_fn=collator, **options))


def scaled_clips():
    labels, unknown = [[0, 3], [], [1], [2]], [[], [1, 2], [], [0]]
    return ramp_clips([100, 25, 7, 60], labels, scale=1 / 3, unknown_labels=unknown)


def one_after_the_other(windows, numbers):
    """The windows of a training, cut by hand."""
    clips, cut = windows.clips, []
    for number in numbers:
        index = int(windows.indices[number % len(windows)])
        spare = int(clips.num_samples[index]) - windows.window_samples
        draws = np.random.default_rng((windows.seed, int(windows._epoch), number))
        start = int(draws.integers(spare + 1)) if spare > 0 else 0
        cut.append(np.resize(clips.read(index)[start : start + windows.window_samples], windows.window_samples))
    return np.stack(cut)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_a_batch_holds_the_very_windows_that_are_cut_one_by_one(workers, kept):
    windows = TrainingWindows(scaled_clips(), window_samples=20, crops_per_clip=2, seed=5)
    numbers = [3, 0, 5, 2, 7, 4, 8 + 5, 16 + 5, 1]  # numbers beyond the length are repetitions of balanced sampling
    for epoch in (0, 3):
        windows.set_epoch(epoch)
        made = batches(windows, numbers, num_workers=workers, persistent_workers=kept and workers > 0)
        together = torch.cat([batch["input_values"] for batch in made])
        assert together.dtype == torch.float32
        assert together.numpy().tobytes() == one_after_the_other(windows, numbers).tobytes()
        single = [windows[number] for number in numbers]
        assert together.equal(torch.stack([item["input_values"] for item in single]))
        labels = torch.cat([batch["labels"] for batch in made])
        assert labels.nan_to_num(9).equal(WindowCollator(MULTI_LABEL, 4)(single)["labels"].nan_to_num(9))
        assert labels.isnan().any()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_of_evaluation_windows_holds_the_very_windows_that_are_cut_one_by_one(workers):
    windows = EvaluationWindows(scaled_clips(), window_samples=20, hop_samples=15)
    made = batches(windows, range(len(windows)), size=4, num_workers=workers)
    single = [windows[item] for item in range(len(windows))]
    assert torch.cat([batch["input_values"] for batch in made]).equal(
        torch.stack([item["input_values"] for item in single])
    )
    assert torch.cat([batch["clip_index"] for batch in made]).tolist() == [item["clip_index"] for item in single]
    assert windows.clip_indices.tolist() == [item["clip_index"] for item in single]


def test_a_batch_is_one_tensor_that_is_not_stacked_again(monkeypatch):
    windows = TrainingWindows(scaled_clips(), window_samples=20)
    batch = windows.__getitems__([2, 0, 1])
    assert batch.input_values.shape == (3, 20)
    rows = [item["input_values"].data_ptr() for item in batch]
    assert rows == [batch.input_values[row].data_ptr() for row in range(3)]
    assert WindowCollator(MULTI_LABEL, 4)(batch)["input_values"] is batch.input_values
    # Any other list of items is as good, such as a part of a batch, or what a loader of one's own collates.
    assert WindowCollator(MULTI_LABEL, 4)(batch[1:])["input_values"].equal(batch.input_values[1:])
    assert torch.utils.data.default_collate([{"input_values": item["input_values"]} for item in batch])[
        "input_values"
    ].equal(batch.input_values)


def test_a_batch_from_a_worker_lies_in_shared_memory():
    windows = TrainingWindows(scaled_clips(), window_samples=20)
    (batch,) = batches(windows, [0, 1, 2], num_workers=1)
    assert batch["input_values"].is_shared()
    assert not windows.__getitems__([0, 1]).input_values.is_shared()


def test_spawned_workers_cut_the_same_windows():
    windows = TrainingWindows(scaled_clips(), window_samples=20, seed=5)
    windows.set_epoch(2)
    (own,) = batches(windows, [3, 1, 2])
    (spawned,) = batches(windows, [3, 1, 2], num_workers=1, multiprocessing_context="spawn")
    assert spawned["input_values"].equal(own["input_values"])


def test_a_batch_of_a_view_of_clips_is_cut_of_what_the_view_reads():
    clips = scaled_clips()
    view = CroppedClips(clips, 2.5, 0.5)  # 25 samples
    windows = EvaluationWindows(view, window_samples=20, hop_samples=20)
    batch = windows.__getitems__(range(len(windows)))
    read = np.stack([np.resize(view.read(2), 20), view.read(3, 0, 20), view.read(3, 5, 25)])
    assert np.array_equal(batch.input_values[-3:].numpy(), read)


def test_a_clip_without_samples_cannot_be_repeated():
    view = CroppedClips(ramp_clips([30]), 2.0, 0.0)
    view.read = lambda index, start=0, stop=None: np.empty(0, dtype=np.float32)
    with pytest.raises(ValueError, match="holds no samples"):
        EvaluationWindows(view, 20, 20).__getitems__([0])
