"""Does the test split hold what the model has heard in training? Groups, equal files and copies across the splits.

python scripts/study.py leaks recipes/short_cnn_gtzan.yaml --dataset_root ~/data/gtzan

GTZAN is known for its repetitions (Sturm 2013, https://arxiv.org/abs/1306.1461); this finds them in your copy. Copies
within a split are listed too: they are no leak, but count twice. The field check_leaks of a recipe does the same at the
end of a run and tells it in the model card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..command_line import make_folder
from ..data import load_tagging_dataset
from ..data.leaks import LEAKS_FILE, Leaks, find_leaks, write_leaks
from ..data.pcm import prepare_clips
from ..recipe import parse_recipe

_SAMPLING_RATE = 16_000  # Hz: that of most recipes' stores; fingerprints reach up to 2,000 Hz
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this study."""
    parser.add_argument("recipe", help="recipe of the dataset; flags after it override its fields")
    parser.add_argument(
        "--output_dir", default="studies/leaks", help="folder for leaks.md and leaks.json; default: studies/leaks"
    )


def run(options: argparse.Namespace, fields: list[str]) -> None:
    """Compares all clips of all splits."""
    folder = make_folder(options.output_dir)
    data_arguments, _, training_arguments = parse_recipe([options.recipe, *fields], check_model=False)
    dataset = load_tagging_dataset(data_arguments, _SAMPLING_RATE)
    with training_arguments.main_process_first(desc="decoding"):
        clips, _ = prepare_clips(dataset, data_arguments, _SAMPLING_RATE)
    if training_arguments.process_index != 0:
        return
    leaks = find_leaks(clips, data_arguments.preprocessing_num_workers)
    write_leaks(folder / LEAKS_FILE, dataset.protocol_record(), leaks)
    text = as_markdown(dataset.facts.title, leaks)
    (folder / "leaks.md").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nWritten to {Path(folder) / 'leaks'}.md and .json")


def as_markdown(title: str, leaks: Leaks) -> str:
    """What was found, in sentences and tables."""
    sizes = ", ".join(f"{count:,} {split}" for split, count in leaks.clips.items())
    lines = [f"# Leaks between the splits of {title} ({sizes} clips)", ""]
    if not leaks.groups_are_known:
        lines.append("Groups (songs, albums or artists) of these clips are not known.")
    else:
        lines.append(f"{len(leaks.torn_groups)} groups (songs, albums or artists) stand in several splits.")
        for group, splits in list(leaks.torn_groups.items())[:_SHOWN]:
            lines.append(f"- {group}: " + ", ".join(f"{count} {split}" for split, count in splits.items()))
    pairs, across = leaks.pairs or [], leaks.pairs_across
    lines += [
        "",
        f"{len(across)} pairs of clips in different splits are the same recording, "
        f"{sum(pair.is_exact for pair in across)} of them to the last sample; within the splits "
        f"{len(pairs) - len(across)} pairs are.",
    ]
    if pairs:
        lines += ["", "| Clip | Same recording | Samples | Bits that differ | Begins after |", "|---|---|---|--:|--:|"]
        for pair in pairs[:_SHOWN]:
            one, other = (f"{split} {clip_id}" for split, clip_id in (pair.first, pair.second))
            same = "equal" if pair.is_exact else "similar"
            lines.append(f"| {one} | {other} | {same} | {pair.bit_error_rate:.1%} | {pair.offset:+.1f} s |")
        if len(pairs) > _SHOWN:
            lines.append(f"| and {len(pairs) - _SHOWN} more in leaks.json | | | | |")
    return "\n".join(lines)
