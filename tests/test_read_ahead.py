"""Recordings are read while the model hears others: in order, in bounded number, and errors stay where they belong."""

import threading

import numpy as np
import pytest

from hf_tagger.read_ahead import read_ahead


def test_results_come_in_the_order_of_the_recordings():
    first_may_finish = threading.Event()

    def read(number):
        if number == 0:
            assert first_may_finish.wait(10)  # the second one is read before it
        elif number == 1:
            first_may_finish.set()
        return np.full(1, number)

    found = [int(future.result()[0]) for future in read_ahead(read, range(12), readers=2)]
    assert found == list(range(12))


def test_an_error_is_raised_for_its_recording_alone():
    def read(number):
        if number == 1:
            raise ValueError("damaged")
        return np.zeros(number)

    futures = list(read_ahead(read, range(3), readers=2))
    assert [len(futures[0].result()), len(futures[2].result())] == [0, 2]
    with pytest.raises(ValueError, match="damaged"):
        futures[1].result()


def taken_ahead(length, readers, monkeypatch, most=150):
    """How many recordings of a length are taken when the first, second, … one is asked for and all before are read."""
    monkeypatch.setattr("hf_tagger.read_ahead._MOST_SAMPLES", most)
    taken, counts = [], []
    recordings = (taken.append(number) or number for number in range(20))
    ahead = read_ahead(lambda number: np.zeros(length), recordings, readers)
    for given in range(20):
        for future in ahead.gi_frame.f_locals["waiting"] if given else ():
            future.result()
        next(ahead)
        counts.append(len(taken) - given)
    assert taken == list(range(20))
    return counts


def test_two_recordings_a_reader_are_taken_ahead_once_their_length_is_known(monkeypatch):
    assert taken_ahead(1, 3, monkeypatch)[:10] == [2, *[6] * 9]
    assert taken_ahead(1, 1, monkeypatch)[:10] == [2] * 10


def test_of_long_recordings_fewer_are_taken_ahead_but_always_the_next_one(monkeypatch):
    assert taken_ahead(50, 4, monkeypatch)[:10] == [2, *[3] * 9]
    assert taken_ahead(1_000, 4, monkeypatch)[:10] == [2, *[1] * 9]


def test_who_stops_early_leaves_no_reader_behind():
    ahead = read_ahead(lambda number: np.zeros(1), range(100), readers=3)
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read_ahead")]


def test_readers_work_while_the_caller_does_something_else():
    started = threading.Event()

    def read(number):
        if number == 1:
            started.set()
        return np.zeros(1)

    ahead = read_ahead(read, range(3), readers=1)
    next(ahead).result()
    assert started.wait(10)  # the second one is read although nobody has asked for it
    ahead.close()
