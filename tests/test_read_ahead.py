"""Recordings are read while the model hears others: in order, in bounded number, and errors stay where they belong."""

import threading

import numpy as np
import pytest

from hf_tagger.read_ahead import read_ahead


def test_results_come_in_the_order_of_the_recordings():
    first_may_finish = threading.Event()

    def read(number):
        if number == 0:
            assert first_may_finish.wait(10)  # all later ones of its round are finished before it
        elif number == 3:
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


def test_no_more_recordings_are_taken_than_two_a_reader():
    taken = []
    recordings = (taken.append(number) or number for number in range(100))
    ahead = read_ahead(lambda number: np.zeros(1), recordings, readers=3)
    next(ahead)
    assert taken == list(range(6))
    ahead.close()
    assert len(taken) == 6


def test_long_recordings_that_wait_stop_reading_ahead(monkeypatch):
    monkeypatch.setattr("hf_tagger.read_ahead._MOST_SAMPLES", 150)
    taken = []
    recordings = (taken.append(number) or number for number in range(20))
    ahead = read_ahead(lambda number: np.zeros(100), recordings, readers=4)
    for given in range(20):
        waiting = ahead.gi_frame.f_locals["waiting"] if given else ()
        for future in waiting:
            future.result()  # all that was taken is finished
        before, waited = len(taken), len(waiting)
        next(ahead)
        if waited >= 2:
            assert len(taken) == before  # 200 samples wait already
    assert taken == list(range(20))


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
