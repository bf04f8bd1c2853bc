import pytest
import torch

from hf_tagger.models.windowing import cut_windows, repeat_to_length, window_starts


@pytest.mark.parametrize(
    ("samples", "hop", "starts"),
    [
        (5, 10, [0]),
        (10, 10, [0]),
        (11, 10, [0, 1]),
        (20, 10, [0, 10]),
        (25, 10, [0, 10, 15]),
        (25, 5, [0, 5, 10, 15]),
        (26, 4, [0, 4, 8, 12, 16]),
    ],
)
def test_windows_of_10_start_at_every_hop_and_the_last_one_ends_with_the_clip(samples, hop, starts):
    assert window_starts(samples, 10, hop) == starts


def test_windows_are_pieces_of_the_clip():
    windows = cut_windows(torch.arange(25.0), 10, 10)
    assert windows.tolist() == [[*range(10)], [*range(10, 20)], [*range(15, 25)]]


def test_one_sample_fills_a_whole_window():
    assert cut_windows(torch.tensor([0.5]), 4, 4).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_no_sample_at_all_is_an_error():
    with pytest.raises(ValueError, match="no samples"):
        repeat_to_length(torch.empty(0), 4)
