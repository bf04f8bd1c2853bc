"""Export a tagger for programs without PyTorch: a graph from samples to labels, checked against the model.

python scripts/export.py runs/short_cnn_mtat exported --format onnx
python scripts/export.py runs/short_cnn_mtat exported --format onnx --quantize --recipe runs/short_cnn_mtat/recipe.yaml

The folder holds the graph, labels and thresholds, and a README.md with a program that tags by numpy and onnxruntime
alone. The graph is compared with the model before the folder gets its name; above --tolerance nothing is written.
--quantize adds a graph with 8-bit weights, and --recipe scores all of them on a split; flags after it override its
fields. Needs pip install 'hf_tagger[export]'.
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse

from hf_tagger.command_line import run_script
from hf_tagger.errors import HfTaggerError
from hf_tagger.export.onnx_folder import Export, export_onnx
from hf_tagger.export.parity import TOLERANCE

_FORMATS = {"onnx": export_onnx}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("model", help="folder of a run, or a repository on the Hub; of a LoRA adapter the whole model is exported")
    add("output", help="folder to write, new or empty")
    add("--format", default="onnx", choices=_FORMATS, help="onnx (default)")
    add("--quantize", action="store_true", help="also write a graph with 8-bit weights (dynamic quantisation)")
    add("--recipe", help="recipe of clips to score on; flags after it override its fields")
    add("--split", default="test", choices=("train", "validation", "test"), help="split of these clips (default: test)")
    add("--tolerance", type=float, default=TOLERANCE, help="largest difference of a logit between graph and model, as "
        f"a share of the largest logit (default: {TOLERANCE:g})")  # fmt: skip
    options, fields = parser.parse_known_args(argv)
    if fields and options.recipe is None:
        raise HfTaggerError(f"{' '.join(fields)}: not known here. Fields of a recipe need --recipe RECIPE.")
    if not options.tolerance > 0:
        raise HfTaggerError(f"--tolerance must be greater than 0, received {options.tolerance:g}.")

    recipe = [] if options.recipe is None else [options.recipe, *fields]
    export = Export(options.model, options.output, options.quantize, options.tolerance, recipe, options.split)
    print(_FORMATS[options.format](export))
    print(f"Exported: {options.output}")


if __name__ == "__main__":
    run_script(main)
