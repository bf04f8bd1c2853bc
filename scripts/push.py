"""Push a finished run to the Hugging Face Hub, in one commit.

python scripts/push.py runs/short_cnn_gtzan someone/short-cnn-gtzan --private

Model, code, feature extractor, card, pictures, numbers, predictions and recipe; no checkpoints, no logs. Log in before
by `hf auth login`, or set HF_TOKEN.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse

from hf_tagger.command_line import run_script


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("repo", help="the repository: NAME below your own account, or NAMESPACE/NAME; made if needed")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--branch", help="the branch to push to, made if needed; default: the main one")
    parser.add_argument("--merged", action="store_true", help="of a LoRA adapter, push the whole model it makes")
    options = parser.parse_args(argv)

    # After the options: --help does not wait for it.
    from hf_tagger.hub.push import Target, push_run

    print(push_run(options.run, Target(options.repo, options.private or None, options.branch, options.merged)))


if __name__ == "__main__":
    run_script(main)
