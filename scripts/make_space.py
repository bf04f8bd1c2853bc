"""Make a Gradio Space of a tagger: a page where anyone drops or records audio and sees tags, timeline and spectrogram.

python scripts/make_space.py someone/short-cnn-mtat space
python scripts/make_space.py runs/short_cnn_mtat space --title "What is playing?"

A model of the Hub is named in the Space, that of a folder is copied into it.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import shlex

from hf_tagger.command_line import run_script


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a run, or a repository on the Hub")
    parser.add_argument("output", help="folder for the Space, new or empty")
    parser.add_argument("--title", help="title of the page (default: one with the model's name)")
    options = parser.parse_args(argv)

    # After the options: --help does not wait for it.
    from hf_tagger.hub.space import APP, write_space

    space = write_space(options.model, options.output, options.title)
    model = "with a copy of the model" if space.has_model else f"for {options.model}"
    folder = shlex.quote(str(space.folder))
    print(f"{space.title}: a Space {model}, {space.labels} tags, in {space.folder}")
    print(f"Try it here (needs: pip install 'hf_tagger[space]'):\n  python {shlex.quote(str(space.folder / APP))}")
    print(f"Share it:\n  hf auth login\n  hf upload YOUR_NAME/YOUR_SPACE {folder} . --repo-type space")


if __name__ == "__main__":
    run_script(main)
