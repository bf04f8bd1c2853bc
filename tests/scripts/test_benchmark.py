"""What scripts/benchmark.py prints; the numbers themselves are the machine's."""

import re

from script_runner import load_script


def test_the_filterbanks_are_compared_within_one_run(capsys):
    load_script("benchmark").main(["features", "--seconds", "0.01"])
    lines = capsys.readouterr().out.splitlines()
    stock, ours = (next(line for line in lines if name in line) for name in ("ASTFeatureExtractor", "batched"))
    milliseconds = [float(re.search(r"([\d.]+) ms", line)[1]) for line in (stock, ours)]
    assert re.search(r"1\.0 x", stock)
    ratio = float(re.search(r"([\d.]+) x", ours)[1])
    assert abs(ratio - milliseconds[0] / milliseconds[1]) < 0.1 * ratio
