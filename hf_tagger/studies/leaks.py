"""Does the test split hold what the model has heard in training? Groups, equal files and copies across the splits.

python scripts/study.py leaks recipes/short_cnn_gtzan.yaml --dataset_root ~/data/gtzan

GTZAN is known for its repetitions (Sturm 2013, https://arxiv.org/abs/1306.1461); this finds them in your copy. Copies
within a split are listed too: they are no leak, but count twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from tqdm import tqdm

from ..data import load_tagging_dataset
from ..data.fingerprints import find_copies, fingerprint
from ..data.pcm import PreparedClips, prepare_clips
from ..recipe import parse_recipe
from .conditions import make_folder

_SAMPLING_RATE = 16_000  # Hz: that of most recipes' stores; fingerprints reach up to 2,000 Hz
_SHOWN = 20


@dataclass(frozen=True)
class Pair:
    """Two clips that are the same recording.

    Attributes:
        first: Split and id of one clip.
        second: Split and id of the other.
        across: Whether they are in different splits.
        is_exact: Whether all samples are equal.
        bit_error_rate: Share of differing bits of their fingerprints; 0 for equal samples.
        offset: Seconds from the start of the first at which the second begins.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    across: bool
    is_exact: bool
    bit_error_rate: float
    offset: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this study."""
    parser.add_argument("recipe", help="recipe of the dataset; flags after it override its fields")
    parser.add_argument(
        "--output_dir", default="studies/leaks", help="folder for leaks.md and leaks.json; default: studies/leaks"
    )


def run(options: argparse.Namespace, fields: list[str]) -> None:
    """Compares all clips of all splits."""
    folder = make_folder(options.output_dir)
    data_arguments, _, _ = parse_recipe([options.recipe, *fields], check_model=False)
    dataset = load_tagging_dataset(data_arguments, _SAMPLING_RATE)
    clips, _ = prepare_clips(dataset, data_arguments, _SAMPLING_RATE)
    torn, pairs = torn_groups(clips), find_pairs(clips)
    record = {
        "protocol": dataset.protocol_record(),
        "clips": {split: len(own) for split, own in clips.items()},
        "groups_in_several_splits": torn,
        "same_recordings": [asdict(pair) for pair in pairs],
    }
    (folder / "leaks.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    text = as_markdown(dataset.facts.title, clips, torn, pairs)
    (folder / "leaks.md").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nWritten to {Path(folder) / 'leaks'}.md and .json")


def torn_groups(clips: Mapping[str, PreparedClips]) -> dict[str, dict[str, int]]:
    """Groups (songs, albums or artists) of several splits: group → split → number of clips."""
    counts: dict[str, dict[str, int]] = {}
    for split, own in clips.items():
        for group in own.groups:
            if group is not None:
                counts.setdefault(group, {}).setdefault(split, 0)
                counts[group][split] += 1
    return {group: splits for group, splits in sorted(counts.items()) if len(splits) > 1}


def find_pairs(clips: Mapping[str, PreparedClips]) -> list[Pair]:
    """Pairs of clips that are the same recording, those across splits first, then the most alike."""
    names = [(split, clip_id) for split, own in clips.items() for clip_id in own.ids]
    digests: dict[bytes, list[int]] = {}
    prints = []
    with tqdm(total=len(names), desc="Listening", unit="clip") as progress:
        for own in clips.values():
            for index in range(len(own)):
                waveform = own.read(index)
                if waveform.any():  # silent clips are equal, but no recording
                    digests.setdefault(hashlib.sha256(waveform.tobytes()).digest(), []).append(len(prints))
                prints.append(fingerprint(waveform, own.sampling_rate))
                progress.update()
    exact = {pair for same in digests.values() for pair in combinations(same, 2)}
    found = dict.fromkeys(sorted(exact), (0.0, 0.0))
    for copy in find_copies(prints):
        found.setdefault((copy.first, copy.second), (copy.bit_error_rate, copy.offset))
    pairs = [
        Pair(names[one], names[other], names[one][0] != names[other][0], (one, other) in exact, rate, offset)
        for (one, other), (rate, offset) in found.items()
    ]
    return sorted(pairs, key=lambda pair: (not pair.across, not pair.is_exact, pair.bit_error_rate))


def as_markdown(
    title: str, clips: Mapping[str, PreparedClips], torn: Mapping[str, Mapping[str, int]], pairs: list[Pair]
) -> str:
    """What was found, in sentences and tables."""
    sizes = ", ".join(f"{len(own):,} {split}" for split, own in clips.items())
    # Where nothing is known, every clip is a group of its own, named by its id.
    known = any(group != clip_id for own in clips.values() for group, clip_id in zip(own.groups, own.ids, strict=True))
    lines = [f"# Leaks between the splits of {title} ({sizes} clips)", ""]
    if not known:
        lines.append("Groups (songs, albums or artists) of these clips are not known.")
    else:
        lines.append(f"{len(torn)} groups (songs, albums or artists) stand in several splits.")
        for group, splits in list(torn.items())[:_SHOWN]:
            lines.append(f"- {group}: " + ", ".join(f"{count} {split}" for split, count in splits.items()))
    across = [pair for pair in pairs if pair.across]
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
