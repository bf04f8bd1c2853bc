"""The measurement of an evaluation's memory, with few clips in this process."""

import mmap
import sys
import time

import pytest

from hf_tagger import evaluation_memory
from hf_tagger.errors import HfTaggerError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


class Sender:
    def send(self, value):
        self.value = value

    def close(self):
        pass


def test_an_evaluation_with_its_report_is_measured(monkeypatch):
    written = {}
    monkeypatch.setattr(evaluation_memory, "write_evaluation", lambda *values: written.update(metrics=values[3]))
    sender = Sender()
    evaluation_memory._evaluate(sender, 40, 3, 20)
    used = sender.value
    assert 0 < used.model_gib <= used.peak_gib < 64
    assert used.peak_gib - used.model_gib <= used.beyond_gib < 64
    assert written["metrics"]["test"]["tags_scored"] + written["metrics"]["test"]["tags_left_out"] == 20
    assert written["metrics"]["protocol"]["used"] == {"test": 40}


def test_memory_that_is_held_is_seen():
    with evaluation_memory._Watch() as watch:
        before = evaluation_memory._memory()["VmRSS"]
        held = mmap.mmap(-1, 2**28)  # pages of its own: the allocator may have freed memory at hand
        for start in range(0, len(held), mmap.PAGESIZE):
            held[start] = 1
        time.sleep(5 * evaluation_memory._SECONDS_BETWEEN_LOOKS)
    assert watch.peak - before == pytest.approx(len(held) / 2**30, abs=0.05)
    assert watch.private <= watch.peak


def test_other_systems_are_told_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation_memory, "_STATUS", tmp_path / "absent")
    with pytest.raises(HfTaggerError, match="only Linux has"):
        evaluation_memory.measure_evaluation_memory(1, 1, 1)


def test_numbers_below_one_are_refused():
    with pytest.raises(HfTaggerError, match="At least 1 clip, window and label are needed; received 5, 0, 2"):
        evaluation_memory.measure_evaluation_memory(5, 0, 2)
