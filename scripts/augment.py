"""Draw what a recipe's augmentation does: the spectrogram of one window of a file before and after each part.

python scripts/augment.py recipes/short_cnn_gtzan.yaml song.mp3 augmentation.png
python scripts/augment.py recipes/short_cnn_gtzan.yaml song.mp3 augmentation.png --seed 3 --augmentation.gain "{}"
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
from pathlib import Path

from hf_tagger.command_line import run_script
from hf_tagger.errors import HfTaggerError


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("recipe", help="recipe with a field augmentation; flags after it override its fields")
    parser.add_argument("file", help="audio file; its middle is shown, and mixed with its beginning")
    parser.add_argument("output", help="the picture, a PNG file")
    options, overrides = parser.parse_known_args(argv)

    # After the options: --help does not wait for them.
    import torch

    from hf_tagger import parse_recipe
    from hf_tagger.audio import load_mono
    from hf_tagger.evaluation.augmentation_plot import augmentation_panels, plot_augmentation
    from hf_tagger.models.windowing import repeat_to_length
    from hf_tagger.training.build import plan_model

    _, model_arguments, training_arguments = parse_recipe([options.recipe, *overrides])
    augmentation = training_arguments.augmentation
    if augmentation is None or not augmentation.active():
        raise HfTaggerError(
            f"{options.recipe} has no augmentation to draw; give it one, as in --augmentation.gain {{}}"
        )
    extractor = plan_model(model_arguments).feature_extractor
    rate, length = extractor.sampling_rate, extractor.window_samples

    waveform = repeat_to_length(torch.from_numpy(load_mono(options.file, rate)), length)  # [samples]
    start = (len(waveform) - length) // 2
    window, beginning = waveform[start : start + length], waveform[:length]
    panels = augmentation_panels(augmentation, window, beginning, rate, training_arguments.seed)
    title = f"{Path(options.file).name} from {start / rate:.1f} s, seed {training_arguments.seed}"
    plot_augmentation(panels, rate, options.output, title)
    print(f"{len(panels)} panels written to {options.output}")


if __name__ == "__main__":
    run_script(main)
