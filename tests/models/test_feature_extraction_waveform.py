import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from hf_tagger.models import WaveformFeatureExtractor


@pytest.fixture
def extractor():
    return WaveformFeatureExtractor(sampling_rate=10, window_samples=4, hop_samples=4)


def test_one_waveform_becomes_one_row_of_windows(extractor):
    features = extractor(np.arange(10.0), sampling_rate=10, return_tensors="pt")
    assert features["input_values"].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]]
    assert features["window_mask"].tolist() == [[1, 1, 1]]


def test_a_shorter_clip_of_a_batch_has_its_missing_windows_masked(extractor):
    features = extractor([np.arange(8.0), np.arange(2.0)], sampling_rate=10, return_tensors="np")
    assert features["input_values"].shape == (2, 2, 4)
    assert features["input_values"][1].tolist() == [[0, 1, 0, 1], [0, 0, 0, 0]]
    assert features["window_mask"].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda values: np.array(values, dtype=np.float64)])
def test_lists_arrays_and_tensors_of_any_precision_are_taken(extractor, kind):
    features = extractor(kind([0.5, 0.25, 0.0, 1.0]), sampling_rate=10, return_tensors="pt")
    assert features["input_values"].tolist() == [[[0.5, 0.25, 0.0, 1.0]]]
    assert features["input_values"].dtype == torch.float32


def test_samples_that_cannot_be_written_to_are_taken_without_a_warning(extractor, recwarn):
    samples = np.frombuffer(np.array([0.5, 0.25, 0.0, 1.0], dtype=np.float32).tobytes(), dtype=np.float32)
    torch.set_warn_always(True)  # PyTorch would have this said once a process only
    try:
        features = extractor(samples, return_tensors="pt")
    finally:
        torch.set_warn_always(False)
    assert features["input_values"].tolist() == [[[0.5, 0.25, 0.0, 1.0]]]
    assert [str(warning.message) for warning in recwarn] == []


def test_a_reversed_waveform_is_taken(extractor):
    assert extractor(np.arange(4.0)[::-1], return_tensors="pt")["input_values"].tolist() == [[[3, 2, 1, 0]]]


def test_saving_and_loading_keeps_the_windows(extractor, tmp_path):
    extractor.save_pretrained(tmp_path)
    again = WaveformFeatureExtractor.from_pretrained(tmp_path)
    assert (again.sampling_rate, again.window_samples, again.hop_samples) == (10, 4, 4)
    assert (tmp_path / "windowing.py").exists()
    assert AutoFeatureExtractor.from_pretrained(tmp_path, trust_remote_code=True).window_samples == 4


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(10), 44_100, "44100 Hz, the model expects 10 Hz"),
        (np.zeros((2, 10)), 10, r"One channel is expected.*\(2, 10\).*several clips as a list"),
        (np.zeros(10, dtype=np.int16), 10, "received int16. Divide"),
        ([], 10, "no samples"),
        (np.array([0.0, np.nan, 0.0]), 10, "NaN or infinite"),
        (np.zeros(0), 10, "no samples"),
    ],
)
def test_audio_that_cannot_be_tagged_is_refused_with_the_reason(extractor, waveform, rate, message):
    with pytest.raises(ValueError, match=message):
        extractor(waveform, sampling_rate=rate)


def test_windows_with_gaps_between_them_are_refused():
    with pytest.raises(ValueError, match="no gap"):
        WaveformFeatureExtractor(window_samples=10, hop_samples=11)
