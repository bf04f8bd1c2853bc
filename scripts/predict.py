"""Tag audio files and folders of any length.

python scripts/predict.py runs/short_cnn_gtzan song.mp3 album/ --top_k 3
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
from hf_tagger.command_line import check_device, run_script
from hf_tagger.errors import AudioDecodingError, HfTaggerError
from hf_tagger.tagging import Tagger


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a run, or a repository on the Hub")
    parser.add_argument("files", nargs="+", help="audio files, and folders that are searched for them")
    parser.add_argument("--top_k", type=int, default=5, help="labels shown for each file (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of lines")
    parser.add_argument("--device", default=None, help="for example cuda:0; default: the first accelerator or the CPU")
    options = parser.parse_args(argv)
    check_device(options.device)
    if options.top_k < 1:
        raise HfTaggerError(f"--top_k must be at least 1, received {options.top_k}.")

    tagger = Tagger.from_pretrained(options.model, options.device)
    results, failed = [], 0
    for path in tqdm(find_audio(options.files), desc="Tagging", unit="file", file=sys.stderr):
        try:
            tags = tagger(load_mono(path, tagger.sampling_rate), top_k=options.top_k)
            results.append({"file": str(path), "tags": tags})
        except AudioDecodingError as error:
            failed += 1
            results.append({"file": str(path), "error": str(error)})
    print(json.dumps(results, indent=2) if options.json else "\n".join(as_line(result) for result in results))
    if failed:
        raise HfTaggerError(f"{failed} of {len(results)} files could not be read; their lines say why.")


def as_line(result: dict) -> str:
    """``file: tag 0.93, tag 0.41`` or ``file: not tagged, reason``."""
    if "error" in result:
        return f"{result['file']}: not tagged, {result['error']}"
    return f"{result['file']}: " + ", ".join(f"{tag['label']} {tag['score']:.3f}" for tag in result["tags"])


if __name__ == "__main__":
    run_script(main)
