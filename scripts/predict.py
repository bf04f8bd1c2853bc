"""Tag audio files and folders of any length.

Without --top_k: the labels that reach their thresholds, or the five best of a model without thresholds.

python scripts/predict.py runs/short_cnn_gtzan song.mp3 album/ --top_k 3
python scripts/predict.py runs/mel_cnn_artist20 ~/data/artist20/test --format artist20 --output predictions.json
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import json

from tqdm import tqdm

from hf_tagger.audio import load_mono
from hf_tagger.audio_files import find_audio
from hf_tagger.command_line import check_device, output_file, run_script
from hf_tagger.errors import AudioDecodingError, HfTaggerError
from hf_tagger.evaluation.artist20_score import TOP, song_keys
from hf_tagger.tagging import Tagger


def main(argv: list[str]) -> None:
    options = parse(argv)
    output = output_file(options.output)
    paths = find_audio(options.files)
    keys = song_keys(paths) if options.format == "artist20" else []

    tagger = Tagger.from_pretrained(options.model, options.device)
    labels = tagger.model.config.num_labels
    if options.format == "artist20" and labels < TOP:
        raise HfTaggerError(
            f"--format artist20 needs a model that knows {TOP} artists or more; this one knows {labels}."
        )
    results = []
    for path in tqdm(paths, desc="Tagging", unit="file", file=sys.stderr):
        try:
            tags = tagger(load_mono(path, tagger.sampling_rate), top_k=options.top_k)
            results.append({"file": str(path), "tags": tags if options.top_k else chosen(tags)})
        except AudioDecodingError as error:
            results.append({"file": str(path), "error": str(error)})

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


def chosen(tags: list[dict]) -> list[dict]:
    """The labels that reach their thresholds; the five best if there are no thresholds."""
    return [tag for tag in tags if tag["given"]] if "given" in tags[0] else tags[:5]


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, with defaults that depend on each other filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", help="folder of a run, or a repository on the Hub")
    add("files", nargs="+", help="audio files, and folders that are searched for them")
    add("--top_k", type=int, help=f"labels shown for each file, however probable (artist20: always {TOP})")
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


def as_text(results: list[dict], keys: list[str], form: str) -> str:
    """All results in one of the formats; ``keys`` are the songs of ``artist20``, one a result."""
    if form == "json":
        return json.dumps(results, indent=2)
    if form == "lines":
        return "\n".join(as_line(result) for result in results)
    tagged = [(key, result["tags"]) for key, result in zip(keys, results, strict=True) if "tags" in result]
    return json.dumps({key: [tag["label"] for tag in tags] for key, tags in tagged}, indent=2)


def as_line(result: dict) -> str:
    """``file: tag 0.93, tag 0.41`` or ``file: not tagged, reason``."""
    if "error" in result:
        return f"{result['file']}: not tagged, {result['error']}"
    tags = ", ".join(f"{tag['label']} {tag['score']:.3f}" for tag in result["tags"])
    return f"{result['file']}: {tags or 'no label reaches its threshold'}"


if __name__ == "__main__":
    run_script(main)
