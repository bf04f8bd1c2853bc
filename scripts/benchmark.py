"""Measure what stands between the data and the model; every comparison within one run.

python scripts/benchmark.py input        training windows from files and from the store, with and without workers
python scripts/benchmark.py features     spectrograms: batched on the device, and clip by clip by the usual libraries
python scripts/benchmark.py train        training steps: ours, the stock Trainer, and a bare loop on data in place
python scripts/benchmark.py inference    a whole song and many clips: ours, and the stock pipeline window by window
python scripts/benchmark.py scale        preparing and reading 100 to 100,000 clips, and by several processes
python scripts/benchmark.py startup      imports and --help

Each has its own options (--help), prints a table, and writes it with machine, date and command as JSON (--output).
docs/benchmarks.md holds what was measured.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

from hf_tagger.benchmarks import benchmark_names, read_command_line
from hf_tagger.command_line import output_file, run_script
from hf_tagger.errors import HfTaggerError


def main(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        return
    if argv[0] not in benchmark_names():
        raise HfTaggerError(f"There is no benchmark {argv[0]!r}; there are {', '.join(benchmark_names())}.")
    measure, options = read_command_line(argv)
    path = output_file(options.output or f"runs/benchmarks/{argv[0]}.json")
    results = measure(options)
    print(f"\n{results.table()}")
    results.write(path, ["python", "scripts/benchmark.py", *argv])
    print(f"\nWritten to {path}")


if __name__ == "__main__":
    run_script(main)
