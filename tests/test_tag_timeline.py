"""Which windows hear which second."""

import numpy as np

from hf_tagger.tag_timeline import TimelineWindows


def test_a_second_is_heard_by_the_window_around_it_and_at_the_ends_by_the_first_or_last():
    found = TimelineWindows.of(75, tag_starts=[0, 40, 35], window=40, step=10)
    assert found.cell_edges == [0, 10, 20, 30, 40, 50, 60, 70, 75]
    # Middles 5, 15, …, 65 and 72.5, half a window before them, within 0 to 35.
    assert found.cell_starts == [[0], [0], [5], [15], [25], [35], [35], [35]]
    assert found.starts == [0, 5, 15, 25, 35, 40]


def test_cells_longer_than_a_window_are_covered_by_several_and_get_their_mean():
    found = TimelineWindows.of(25, tag_starts=[0, 4, 8, 12, 16, 20, 21], window=4, step=10)
    assert found.cell_starts == [[0, 4, 6], [10, 14, 16], [20, 21]]
    windows = np.arange(len(found.starts) * 2, dtype=float).reshape(-1, 2)
    assert found.starts == [0, 4, 6, 8, 10, 12, 14, 16, 20, 21]
    np.testing.assert_allclose(found.of_cells(windows)[:, 0], [(0 + 2 + 4) / 3, (8 + 12 + 14) / 3, (16 + 18) / 2])
    np.testing.assert_array_equal(found.of_tags(windows)[:, 0], [0, 2, 6, 10, 14, 16, 18])


def test_a_recording_shorter_than_a_window_has_one():
    found = TimelineWindows.of(25, tag_starts=[0], window=40, step=10)
    assert found.cell_starts == [[0], [0], [0]]
    assert found.cell_edges == [0, 10, 20, 25]
