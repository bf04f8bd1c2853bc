"""Tag audio files and folders of any length.

Without --top_k: the labels that reach their thresholds, or the five best of a model without thresholds.

python scripts/predict.py runs/short_cnn_gtzan song.mp3 album/ --top_k 3
python scripts/predict.py runs/short_cnn_mtat concert.flac --aggregate max --timeline timelines
python scripts/predict.py runs/mel_cnn_artist20 ~/data/artist20/test --format artist20 --output predictions.json
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse

from hf_tagger.audio_files import find_audio
from hf_tagger.command_line import check_device, make_folder, output_file, run_script
from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.aggregation import AGGREGATIONS
from hf_tagger.evaluation.artist20_score import TOP, song_keys


def main(argv: list[str]) -> None:
    options = parse(argv)

    # After the options: --help does not wait for them.
    from hf_tagger import MusicTaggingPipeline
    from hf_tagger.prediction_files import as_line, as_text, tag_files

    output = output_file(options.output)
    paths = find_audio(options.files)
    keys = song_keys(paths) if options.format == "artist20" else []

    timelines = None if options.timeline is None else make_folder(options.timeline, "--timeline")
    tagger = MusicTaggingPipeline.from_pretrained(options.model, device=options.device)
    labels = tagger.model.config.num_labels
    if options.format == "artist20" and labels < TOP:
        raise HfTaggerError(
            f"--format artist20 needs a model that knows {TOP} artists or more; this one knows {labels}."
        )
    results = tag_files(tagger, paths, options.top_k, options.aggregate, timelines)

    failed = [as_line(result) for result in results if "error" in result]
    text = as_text(results, keys, options.format)
    if output:
        output.write_text(text + "\n", encoding="utf-8")
        print(f"{len(results) - len(failed)} of {len(results)} files tagged: {output}")
    else:
        print(text)
    if failed:
        where = ":\n" + "\n".join(failed) if options.format == "artist20" else "; their lines say why."
        raise HfTaggerError(f"{len(failed)} of {len(results)} files could not be read{where}")


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, with defaults that depend on each other filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", help="folder of a run, or a repository on the Hub")
    add("files", nargs="+", help="audio files, and folders that are searched for them")
    add("--top_k", type=int, help=f"labels shown for each file, however probable (artist20: always {TOP})")
    add("--aggregate", default="mean", choices=AGGREGATIONS, help="from windows to the file: how much of it sounds "
        "like a label (mean, the default), whether any window does (max), or in between (attention)")  # fmt: skip
    add("--timeline", metavar="FOLDER", help="folder for the scores of every second of each file: .jsonl and .png")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=("lines", "json", "artist20"), help="lines (default); json: a list with "
        "scores; artist20: what that homework asks for, {file name without suffix: [artist, second, third], ...}, in "
        "which files that cannot be read do not stand")  # fmt: skip
    form.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    add("--output", help="file to write instead of printing")
    add("--device", help="for example cuda:0; default: the first accelerator or the CPU")
    options = parser.parse_args(argv)
    options.format = options.format or "lines"
    if options.top_k is None and options.format == "artist20":
        options.top_k = TOP
    if options.top_k is not None and options.top_k < 1:
        raise HfTaggerError(f"--top_k must be at least 1, received {options.top_k}.")
    if options.format == "artist20" and options.top_k != TOP:
        raise HfTaggerError(f"--format artist20 always names {TOP} artists a song; received --top_k {options.top_k}.")
    check_device(options.device)
    return options


if __name__ == "__main__":
    run_script(main)
