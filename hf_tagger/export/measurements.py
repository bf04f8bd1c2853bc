"""What an exported tagger costs and scores, beside the model it was made from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import HfTaggerError
from ..evaluation.intervals import compare_models, groups_to_draw
from ..evaluation.metric_inputs import MULTI_LABEL
from ..evaluation.metrics import DEFAULT_METRIC
from ..models.input_features import input_features
from ..saved_evaluation import SavedEvaluation
from ..tagging import Tagger

_REPETITIONS = 7
REFERENCE = "PyTorch"


@dataclass(frozen=True)
class Score:
    """A metric of one form of a model.

    Attributes:
        value: Its value.
        difference: What is gained (positive) or lost against the model in PyTorch; None for that model itself.
        low: Lower end of the 95 % interval of the difference (paired bootstrap over clips or groups of them).
        high: Upper end.
    """

    value: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scores:
    """Scores of all forms of a model on the same clips.

    Attributes:
        split: Name of the split.
        clips: Number of labelled clips.
        protocol: Name, hash and sizes of the dataset's protocol.
        by_form: Form → metric → score.
    """

    split: str
    clips: int
    protocol: Mapping
    by_form: Mapping[str, Mapping[str, Score]]

    def as_dict(self) -> dict:
        """As written into ``export.json``."""
        return asdict(self)


def milliseconds_per_window(taggers: Mapping[str, Tagger], windows: torch.Tensor) -> dict[str, float]:
    """Median time of a batch by its size, for every form, on the CPU.

    The forms take turns, so that another process disturbs all of them alike.

    Args:
        taggers: Form → tagger on the CPU.
        windows: Float32 ``[N, samples]``.
    """
    times: dict[str, list[float]] = {name: [] for name in taggers}
    features = {name: input_features(tagger.feature_extractor) for name, tagger in taggers.items()}
    with torch.no_grad():
        for _ in range(_REPETITIONS + 1):
            for name, tagger in taggers.items():
                started = time.perf_counter()
                tagger.model(**features[name](windows))
                times[name].append(time.perf_counter() - started)
    return {name: 1_000 * statistics.median(own[1:]) / len(windows) for name, own in times.items()}


def score_forms(taggers: Mapping[str, Tagger], saved: SavedEvaluation, split: str) -> Scores:
    """Scores every form on the labelled clips of a split, by the mean over the windows of a clip.

    Args:
        taggers: Form → tagger; the first is the one that the others are compared with.
        saved: The model's dataset and clips.
        split: Name of the split.

    Raises:
        HfTaggerError: If no clip has labels.
    """
    clips, problem_type = saved.labelled_clips(split), saved.dataset.problem_type
    references = saved.trainer.evaluation.references(clips)
    groups = groups_to_draw([clips.groups[index] for index in clips.labelled])
    metrics = [DEFAULT_METRIC[problem_type], *(["roc_auc_macro"] if problem_type == MULTI_LABEL else [])]
    found = {}
    for name, tagger in taggers.items():
        waveforms = (clips.read(index) for index in clips.labelled)
        found[name] = np.stack([tagger.scores(own) for own in tagger.window_probabilities(waveforms)])
    first, *others = found
    by_form: dict[str, dict[str, Score]] = {first: {}}
    for name in others:
        comparison = compare_models(found[first], found[name], references, problem_type, groups)
        by_form[name] = {}
        for metric in metrics:
            own = comparison[metric]
            if own is None:
                raise HfTaggerError(
                    f"{metric} is undefined on the {split} split, where no label is carried by some clips and not by "
                    f"others; choose another one by --split."
                )
            by_form[first][metric] = Score(own.first)
            by_form[name][metric] = Score(own.second, own.difference, own.low, own.high)
    protocol = saved.dataset.protocol_record()
    return Scores(split, len(clips.labelled), protocol, by_form)


def megabytes(path: Path) -> float:
    """Size of a graph in millions of bytes, with the weights that lie in a file of their own beside it."""
    parts = [path, path.with_name(path.name + ".data")]
    return sum(part.stat().st_size for part in parts if part.exists()) / 1e6
