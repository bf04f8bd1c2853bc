"""Show how a tagger decides: which moments and frequencies of a recording speak for a label, and whether that is true.

python scripts/explain.py runs/short_cnn_gtzan song.mp3 --top_k 2
python scripts/explain.py runs/mert_mtat song.mp3 --label flute --output_dir explanation
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
from pathlib import Path

from hf_tagger.command_line import check_device, run_script
from hf_tagger.errors import AudioDecodingError, HfTaggerError
from hf_tagger.explain.clip import FILLS
from hf_tagger.explain.explanation import GRADIENTS, OCCLUSION, ExplanationSettings, explain_file
from hf_tagger.tagging import Tagger


def main(argv: list[str]) -> None:
    options = parse(argv)
    settings = ExplanationSettings(
        **{name: getattr(options, name) for name in ExplanationSettings.__dataclass_fields__}
    )
    folder = Path(options.output_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise HfTaggerError(f"--output_dir {options.output_dir} is a file; name a folder.")

    tagger = Tagger.from_pretrained(options.model, options.device)
    try:
        result = explain_file(tagger, options.file, options.label, options.top_k, settings, folder)
    except AudioDecodingError as error:
        raise HfTaggerError(f"{options.file} cannot be explained: {error}.") from error
    for label in result["labels"]:
        print("\n".join(as_lines(label)))
    print(f"Pictures, audio and numbers: {folder}")


def as_lines(label: dict) -> list[str]:
    """What stands out of one label's explanation."""
    stretch, test = label["most_relevant"], label["deletion"]
    random = test["random_areas"]
    lines = [
        f"{label['label']} {label['probability']:.3f} ({test['probability_of_nothing']:.3f} with everything removed): "
        f"most relevant from {stretch['start']:.1f} to {stretch['end']:.1f} s, by {stretch['by']}"
    ]
    for name in (GRADIENTS, OCCLUSION):
        lines.append(
            f"  deletion by {name}: area {test[name]['area']:.3f}, random {sum(random) / len(random):.3f}, better than "
            f"{test[name]['random_orders_beaten']} of {len(random)} random orders"
        )
    return lines


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add, default = parser.add_argument, ExplanationSettings()
    add("model", help="folder of a run, or a repository on the Hub")
    add("file", help="audio file of any length")
    add("--label", action="append", help="label to explain, several by several flags (default: the likeliest ones)")
    add("--top_k", type=int, default=3, help="likeliest labels to explain if none is named (default: 3)")
    add("--output_dir", default="explanation", help="folder to write (default: explanation)")
    for name, text in (
        ("seconds", "length of the most relevant stretch that is written as audio"),
        ("segment_seconds", "length of the parts of time that are removed"),
        ("bands", "frequency bands that are removed"),
        ("gradient_steps", "points of the integrated gradients"),
        ("deletion_steps", "points of the deletion curves"),
        ("random_orders", "random orders that the explanation has to beat"),
        ("seed", "seed of noise and random orders"),
    ):
        value = getattr(default, name)
        add(f"--{name}", type=type(value), default=value, help=f"{text} (default: {value})")
    add("--fill", choices=FILLS, default=default.fill, help="what replaces removed sound (default: quiet pink noise)")
    add("--device", help="for example cuda:0; default: the first accelerator or the CPU")
    options = parser.parse_args(argv)
    if options.top_k < 1:
        raise HfTaggerError(f"--top_k must be at least 1, received {options.top_k}.")
    check_device(options.device)
    return options


if __name__ == "__main__":
    run_script(main)
