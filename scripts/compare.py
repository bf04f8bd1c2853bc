"""Put the numbers of many runs into one table and one picture, the best run first.

python scripts/compare.py runs/* --output_dir comparison

Reads each run's metrics.json. Runs of different clips, labels or datasets are refused: their numbers do not compare.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse

from hf_tagger.command_line import run_script


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", help="folders of runs; one that is given twice counts once")
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        default="comparison",
        metavar="FOLDER",
        help="where comparison.md, comparison.csv and comparison.png are written (default: comparison)",
    )
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument(
        "--sort_by",
        "--sort-by",
        metavar="METRIC",
        help="default: ap_macro where a clip has several labels, accuracy where it has one",
    )
    options = parser.parse_args(argv)

    # After the options: --help does not wait for it.
    from hf_tagger.evaluation.run_table import METRICS_FILE, read_runs, sort_runs, write_comparison

    rows, unfinished = read_runs(options.runs, options.split)
    print(write_comparison(sort_runs(rows, options.sort_by), options.output_dir))
    print(f"Written to {options.output_dir}: comparison.md, comparison.csv, comparison.png.")
    if unfinished:
        print(f"Not in the table, without {METRICS_FILE}: {', '.join(map(str, unfinished))}")


if __name__ == "__main__":
    run_script(main)
