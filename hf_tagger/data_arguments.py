"""The fields of a recipe that say which clips, with which labels and split, and how they are prepared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .argument_checks import range_problems
from .errors import RecipeError


@dataclass
class DataArguments:
    """Which clips, with which split, and how they are prepared."""

    dataset_name: str = field(
        default="synthetic",
        metadata={"help": "Name of a dataset, such as gtzan, folder or hub; the README lists them."},
    )
    dataset_root: str | None = field(default=None, metadata={"help": "Folder that holds the dataset's files."})
    protocol: str | None = field(
        default=None,
        metadata={"help": "How the dataset is split, by name. Default: the dataset's first protocol."},
    )
    tags: Literal["top50", "all"] | None = field(
        default=None, metadata={"help": "magnatagatune only: the 50 usual tags (default) or all 188."}
    )
    synthetic_clips: int | None = field(
        default=None, metadata={"help": "synthetic only: number of clips made, over all splits. Default: 640."}
    )
    split_seed: int = field(
        default=0, metadata={"help": "Seed of splits that are drawn by us, and of synthetic clips."}
    )
    hub_id: str | None = field(
        default=None,
        metadata={"help": "hub only: repository on the Hub, or a folder written by datasets' save_to_disk."},
    )
    hub_config: str | None = field(default=None, metadata={"help": "hub only: the dataset's configuration name."})
    audio_column: str | None = field(default=None, metadata={"help": "hub only: column of the audio. Default: audio."})
    label_column: str | None = field(
        default=None, metadata={"help": "hub only: column of the label or labels. Default: label, labels or genre."}
    )
    label_columns: list[str] | None = field(
        default=None,
        metadata={
            "help": "hub and folder only: tags that have a column of their own, which holds 1, 0, or nothing where "
            "nobody knows; or, with label_column, the tags that its vectors of such values stand for."
        },
    )
    group_column: str | None = field(
        default=None, metadata={"help": "hub only: column of the artist or album that no split may tear apart."}
    )
    train_split: str | None = field(default=None, metadata={"help": "hub only: name of the training split."})
    validation_split: str | None = field(default=None, metadata={"help": "hub only: name of the validation split."})
    test_split: str | None = field(default=None, metadata={"help": "hub only: name of the test split."})
    allow_size_mismatch: bool = field(
        default=False,
        metadata={"help": "Accept a dataset whose split sizes differ from the protocol's. Said loudly in the log."},
    )
    max_skipped_share: float = field(
        default=0.01,
        metadata={"help": "Share of clips (0 to 1) that may be unusable; above it the run stops with their list."},
    )
    pcm_store: bool = field(
        default=True,
        metadata={"help": "Decode every clip once and keep it as 16-bit samples on disk; false decodes on the fly."},
    )
    store_format: Literal["pcm", "flac"] = field(
        default="pcm",
        metadata={
            "help": "How decoded clips are kept: pcm is read fastest, flac takes about two thirds of the space. Their "
            "samples are equal."
        },
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the PCM store and of Hub data. Default: datasets' own cache folder."}
    )
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that decode clips. Default: one a core."}
    )
    check_leaks: bool = field(
        default=False,
        metadata={
            "help": "Search the splits for the same recordings (once; kept beside the PCM store) and tell in the card."
        },
    )
    crops_per_clip: int = field(
        default=1, metadata={"help": "Random training windows drawn from every clip in one epoch."}
    )

    def __post_init__(self) -> None:
        infinity = math.inf
        problems = range_problems(
            self,
            {
                "synthetic_clips": (10, 100_000, True),
                "split_seed": (0, 2**32 - 1, True),
                "max_skipped_share": (0, 1, True),
                "preprocessing_num_workers": (1, infinity, True),
                "crops_per_clip": (1, infinity, True),
            },
        )
        if self.label_columns is not None:
            names = self.label_columns
            if not names or len(set(names)) < len(names):
                problems.append(f"label_columns: one or more names are expected, each once; received {names!r}")
        if self.tags not in (None, "top50", "all"):
            problems.append(f"tags: {self.tags!r} is not known; it must be top50 or all")
        if self.store_format not in ("pcm", "flac"):
            problems.append(f"store_format: {self.store_format!r} is not known; it must be pcm or flac")
        elif self.store_format == "flac" and not self.pcm_store:
            problems.append(
                "store_format: flac keeps decoded clips, and pcm_store: false keeps none; leave one of them out"
            )
        if problems:
            raise RecipeError(problems, "the data arguments")
