import numpy as np
import pytest
import torch
from datasets import Dataset, Value

from hf_tagger.data.pcm import PreparedClips
from hf_tagger.data.statistics import estimate_statistics
from hf_tagger.data.windows import EvaluationWindows
from hf_tagger.errors import DatasetError
from hf_tagger.models.filterbank import KaldiFilterbank

RATE = 16_000


def prepared(waveforms, scale=1.0, usable=None):
    """Clips of whole numbers, times the scale; all of them are usable by default."""
    count = len(waveforms)
    store = Dataset.from_dict(
        {
            "id": [str(index) for index in range(count)],
            "pcm": [np.asarray(waveform, dtype="<i2").tobytes() for waveform in waveforms],
            "scale": np.full(count, scale, dtype=np.float32),
            "num_samples": [len(waveform) for waveform in waveforms],
            "reason": [None] * count,
        }
    ).cast_column("pcm", Value("large_binary"))
    rows = Dataset.from_dict(
        {"id": store["id"][:], "audio": [None] * count, "labels": [0] * count, "group": ["g"] * count}
    )
    return PreparedClips(rows, store, range(count) if usable is None else usable, sampling_rate=RATE)


def noise_clips(lengths):
    rng = np.random.default_rng(0)
    return prepared([rng.normal(0, 3_000, length).round() for length in lengths], scale=1 / 32_768)


def numbered_clips(count):
    """Clips of one window of four samples, all of them the clip's number."""
    return prepared([np.full(4, number) for number in range(count)])


class Recorder:
    """Features that are the samples themselves, and a record of what was asked for."""

    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch.clone())
        return batch

    @property
    def numbers(self):
        return torch.cat(self.batches)[:, 0].int().tolist()


def test_the_statistics_are_those_of_all_windows_together():
    clips = prepared([[1, 2, 3, 4, 5, 6], [10, 20]])
    # Windows of 4 every 3: [1 2 3 4], [3 4 5 6], and the short clip repeated, [10 20 10 20].
    values = [1, 2, 3, 4, 3, 4, 5, 6, 10, 20, 10, 20]
    for batch_size in (1, 2, 16):
        mean, deviation = estimate_statistics(clips, lambda batch: batch, 4, 3, batch_size=batch_size)
        assert mean == pytest.approx(88 / 12, rel=1e-12)
        assert deviation == pytest.approx(np.std(values), rel=1e-12)


def test_a_large_mean_does_not_swallow_a_small_deviation():
    """The sum of squares minus the squared sum would lose it, in float64 as well."""
    clips = numbered_clips(100)
    mean, deviation = estimate_statistics(clips, lambda batch: 1e6 + 0.1 * batch.double(), 4, 4, batch_size=7)
    assert mean == pytest.approx(1e6 + 4.95, rel=1e-12)
    assert deviation == pytest.approx(0.1 * np.std(np.arange(100)), rel=1e-9)


def test_values_are_accumulated_beyond_the_resolution_of_float32():
    ones = 2**24 + 1  # float32 counts no further than 2^24
    clips = prepared([[0, 1]])
    values = torch.ones(ones)
    values[0] = 0
    mean, _ = estimate_statistics(clips, lambda batch: values, 2, 2)
    assert mean == pytest.approx(2**24 / ones, rel=1e-10)


def test_more_windows_than_allowed_are_drawn_without_replacement_by_the_seed():
    def drawn(**arguments):
        recorder = Recorder()
        result = estimate_statistics(numbered_clips(50), recorder, 4, 4, batch_size=8, **arguments)
        return recorder.numbers, result

    numbers, (mean, deviation) = drawn(max_windows=20, seed=3)
    assert len(numbers) == len(set(numbers)) == 20
    assert mean == pytest.approx(np.mean(numbers))
    assert deviation == pytest.approx(np.std(numbers))
    assert drawn(max_windows=20, seed=3) == (numbers, (mean, deviation))
    assert drawn(max_windows=20, seed=4)[0] != numbers
    assert drawn(max_windows=50)[0] == list(range(50))


def test_windows_are_computed_in_batches_without_gradients():
    recorder = Recorder()
    estimate_statistics(numbered_clips(20), recorder, 4, 4, batch_size=8)
    assert [tuple(batch.shape) for batch in recorder.batches] == [(8, 4), (8, 4), (4, 4)]
    weight = torch.ones((), requires_grad=True)
    tracked = []
    estimate_statistics(numbered_clips(2), lambda batch: tracked.append(batch * weight) or batch, 4, 4)
    assert not tracked[0].requires_grad


def test_a_filterbank_with_the_statistics_has_mean_0_and_deviation_one_half():
    clips = noise_clips([40_000, 16_000, 5_000])
    window, hop = 16_000, 8_000
    mean, deviation = estimate_statistics(clips, KaldiFilterbank(RATE, 64, 98, 0.0, 1.0).frames, window, hop)
    filterbank = KaldiFilterbank(RATE, 64, 98, mean, deviation)  # a window has 98 frames: nothing is filled up
    windows = EvaluationWindows(clips, window, hop)
    features = filterbank(torch.stack([windows[item]["input_values"] for item in range(len(windows))]))
    assert float(features.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(features.std(correction=0)) == pytest.approx(0.5, abs=1e-5)


def test_a_split_without_clips_says_so():
    with pytest.raises(DatasetError, match="the split has no clips"):
        estimate_statistics(prepared([[0, 1]], usable=[]), lambda batch: batch, 4, 4)


@pytest.mark.parametrize("level", [0, 1_000])
def test_silent_clips_say_so(level):
    """Digital silence and a constant: the filterbank removes it."""
    clips = prepared([np.full(20_000, level)] * 3, scale=1 / 32_768)
    with pytest.raises(DatasetError, match=r"3 windows have mean -15\.9424 and standard deviation .* silent"):
        estimate_statistics(clips, KaldiFilterbank(RATE, 64, 98, 0.0, 1.0).frames, 20_000, 20_000)


def test_quiet_values_are_not_taken_for_silence():
    clips = numbered_clips(10)
    _, deviation = estimate_statistics(clips, lambda batch: 1e-12 * batch.double(), 4, 4)
    assert deviation == pytest.approx(1e-12 * np.std(np.arange(10)))


def test_features_that_are_not_numbers_are_an_error():
    with pytest.raises(DatasetError, match="mean nan"):
        estimate_statistics(numbered_clips(3), lambda batch: batch * torch.nan, 4, 4)


def test_the_progress_goes_to_the_standard_error(capsys):
    estimate_statistics(numbered_clips(3), lambda batch: batch, 4, 4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Estimating mean and deviation" in captured.err
    assert "3/3" in captured.err
