"""An hour of audio takes less than 2 GB beyond the model."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
from script_runner import environment
from small_taggers import save, song

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc"),
]
RATE = 44_100
_MEASURE = textwrap.dedent("""
    import json, sys
    from transformers import pipeline
    import hf_tagger

    def memory(name):  # in GiB
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20

    tagger = pipeline("music-tagging", model=sys.argv[1], device="cpu")
    tagger(sys.argv[2])  # what is imported and kept with the first call belongs to no recording
    before = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew, see proc(5)
    found = tagger(sys.argv[3], aggregate="max", timeline=True)
    print(json.dumps([memory("VmHWM") - before, len(found["timeline"])]))
""")


def test_an_hour_of_stereo_with_its_timeline_stays_below_two_gigabytes(tmp_path):
    """With full-size windows and front end; what a large model adds is a batch, whose size bounds it."""
    save(tmp_path / "model")
    minute = song(60, RATE)
    stereo = np.stack([minute, -0.5 * minute], axis=1)
    soundfile.write(tmp_path / "short.flac", stereo[: 5 * RATE], RATE)
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", RATE, 2) as file:
        for _ in range(60):
            file.write(stereo)
    arguments = [str(tmp_path / name) for name in ("model", "short.flac", "hour.flac")]
    finished = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments], env=environment(), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    gibibytes, seconds = json.loads(finished.stdout.splitlines()[-1])
    print(f"{gibibytes:.2f} GiB beyond the model")
    assert seconds == 3_600
    assert 0.2 < gibibytes < 2e9 / 2**30  # its samples at 16 kHz alone are 0.21
