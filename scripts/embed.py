"""Write embeddings of audio files, of folders, or of a recipe's dataset as a Parquet file.

python scripts/embed.py runs/mert_gtzan song.mp3 album/ --output embeddings.parquet
python scripts/embed.py m-a-p/MERT-v1-95M recipes/short_cnn_gtzan.yaml --dataset_root ~/data/gtzan --layer 7
"""

from __future__ import annotations

import os
import sys

# This folder comes first on the path of its scripts, where evaluate.py would hide the library of that name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]

import argparse
from pathlib import Path

from hf_tagger.audio_files import find_audio
from hf_tagger.command_line import check_device, run_script
from hf_tagger.errors import HfTaggerError


def main(argv: list[str]) -> None:
    options, overrides = parse(argv)

    # After the options: --help does not wait for them.
    from hf_tagger import load_tagging_dataset, parse_recipe, prepare_clips
    from hf_tagger.embedder import Embedder
    from hf_tagger.embedding_table import (
        DatasetClips,
        FileClips,
        check_output,
        describe,
        describe_dataset,
        write_embeddings,
    )

    output = check_output(Path(options.output).expanduser(), options.overwrite)
    recipe = options.sources[0] if is_recipe(options.sources[0]) else None
    files = [] if recipe else find_audio(options.sources)
    arguments = parse_recipe([recipe, *overrides], check_model=False)[0] if recipe else None

    embedder = Embedder.from_pretrained(
        options.model, options.layer, options.all_layers, options.window_seconds, options.hop_seconds, options.device
    )
    metadata = describe(embedder, options.model, options.per)
    if recipe:
        dataset = load_tagging_dataset(arguments, embedder.sampling_rate)
        prepared, _ = prepare_clips(dataset, arguments, embedder.sampling_rate)
        clips = DatasetClips(prepared, dataset.label_names)
        metadata |= describe_dataset(dataset)
    else:
        clips = FileClips(files, embedder.sampling_rate)
    failed = write_embeddings(embedder, clips, output, metadata, options.batch_size, options.num_workers)

    if failed == len(clips):
        raise HfTaggerError(f"None of {failed} files could be read, and nothing was written; their lines say why.")
    print(f"{len(clips) - failed} clips, layer {embedder.layer}, one row a {options.per}: {output}")
    if failed:
        raise HfTaggerError(f"{failed} of {len(clips)} files could not be read; their lines say why.")


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the flags after a recipe that override its fields."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("model", help="folder or Hub repository: a finetuned model, or a pretrained encoder")
    add("sources", nargs="+", help="audio files and folders; or one recipe, whose dataset is embedded (its fields as "
        "flags override it; which model it trains does not matter here)")  # fmt: skip
    add("--output", default="embeddings.parquet", help="file to write (default: embeddings.parquet)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    layers = parser.add_mutually_exclusive_group()
    layers.add_argument("--layer", help="last or a number; default: what a finetuned head hears, otherwise the last")
    layers.add_argument("--all_layers", action="store_true", help="every layer, one after the other in each row")
    add("--per", choices=("clip", "window"), default="clip", help="a row is a clip, the mean of its windows (default), "
        "or a window with its start and end in seconds")  # fmt: skip
    add("--window_seconds", type=float, help="length of a window (default: the model's own)")
    add("--hop_seconds", type=float, help="distance of two windows (default: the model's own, or one window)")
    add("--batch_size", type=int, default=16, help="windows computed at once (default: 16)")
    add("--num_workers", type=int, default=2, help="processes that read audio ahead (default: 2)")
    add("--device", help="for example cuda:0; default: the first accelerator or the CPU")
    options, overrides = parser.parse_known_args(argv)
    if any(map(is_recipe, options.sources)) and len(options.sources) > 1:
        raise HfTaggerError(f"A recipe stands alone; received {len(options.sources)} sources: {options.sources}.")
    if overrides and not is_recipe(options.sources[0]):
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    if options.batch_size < 1 or options.num_workers < 0:
        raise HfTaggerError("--batch_size must be at least 1, and --num_workers at least 0.")
    check_device(options.device)
    return options, overrides


def is_recipe(name: str) -> bool:
    return Path(name).suffix.lower() in (".yaml", ".yml")


if __name__ == "__main__":
    run_script(main)
