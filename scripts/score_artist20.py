"""Score predictions as the artist20 homework does: top-1 and top-3 accuracy, and their sum.

python scripts/predict.py runs/mel_cnn_artist20 ~/data/artist20/test --format artist20 --output predictions.json
python scripts/score_artist20.py test_ans.json predictions.json

Answers are a list of artists in the order of the songs, an object {"001": artist, ...}, or a list of objects
{"id": ..., "artist": ...}. Leading zeros of ids do not count. A song without a prediction counts as wrong.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
from pathlib import Path

from hf_tagger.command_line import run_script
from hf_tagger.evaluation.artist20_score import (
    parse_json,
    read_answers,
    read_predictions,
    score_artists,
    score_report,
)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("answers", help="JSON file with the true artists")
    parser.add_argument("predictions", help="JSON file: {song: [most probable artist, second, third], ...}")
    parser.add_argument(
        "--top3_weight",
        "--top3-weight",
        type=float,
        default=1.0,
        help="weight of top-3 accuracy in the sum top-1 + weight × top-3 (default: 1; the homework's own weight is not "
        "documented)",
    )
    options = parser.parse_args(argv)

    answers, predictions = (
        parse_json(Path(name).expanduser().read_bytes(), name) for name in (options.answers, options.predictions)
    )
    score = score_artists(read_answers(answers, options.answers), read_predictions(predictions, options.predictions))
    print(score_report(score, options.top3_weight))


if __name__ == "__main__":
    run_script(main)
