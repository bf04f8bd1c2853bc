"""What codecarbon leaves beside a run."""

import logging

import pytest

from hf_tagger.energy import read_energy

# What codecarbon 3.3 wrote, without most of its columns; the run was cut off once.
EMISSIONS = """timestamp,duration,emissions,energy_consumed,country_name,codecarbon_version,longitude
2026-11-22T07:24:45,3.7,0.0005,0.02,France,3.3.2,2.35
2026-11-22T08:24:45,3.7,0.0015,0.04,France,3.3.2,2.35
"""


def test_the_parts_of_a_training_are_added_up(tmp_path):
    (tmp_path / "emissions.csv").write_text(EMISSIONS)
    energy = read_energy(tmp_path)
    assert energy.kilowatt_hours == pytest.approx(0.06)
    assert energy.co2_grams == pytest.approx(2.0)
    assert (energy.source, energy.place) == ("codecarbon 3.3.2", "France")


def test_nothing_is_told_where_nothing_was_estimated(tmp_path):
    assert read_energy(tmp_path) is None
    (tmp_path / "emissions.csv").write_text(EMISSIONS.splitlines()[0] + "\n")
    assert read_energy(tmp_path) is None


@pytest.mark.parametrize("content", ["a,b\n1,2\n", EMISSIONS.replace("0.02", "much"), "energy_consumed\n"])
def test_other_files_of_that_name_are_no_estimate(tmp_path, content, caplog):
    (tmp_path / "emissions.csv").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert read_energy(tmp_path) is None
    assert ("is not what codecarbon writes" in caplog.text) == (len(content.splitlines()) > 1)
