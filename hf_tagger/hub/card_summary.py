"""What a model card says, in three bands: given by the user, filled by the run, constant for the architecture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.base import DatasetFacts, SkippedClip
from ..data.leaks import Leaks
from ..evaluation.metrics import DEFAULT_METRIC, METRIC_NAMES

EVERYTHING, FIRST_WINDOW, ONE_PIECE = "everything", "first_window", "one_piece"


@dataclass(frozen=True, kw_only=True)
class EnergyEstimate:
    """What a training took, by estimate.

    Attributes:
        kilowatt_hours: Electricity in kWh.
        co2_grams: Carbon dioxide equivalents in grams of making it.
        source: What estimated it.
        place: Whose electricity.
    """

    kilowatt_hours: float
    co2_grams: float
    source: str
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How the weights came to be.

    Attributes:
        epochs: Passes over the training clips.
        steps: Optimizer steps.
        seconds: Time of the whole run in seconds.
        device: Name of the device.
        packages: Package → version, Python included.
        best_epoch: Epoch of the chosen checkpoint; None if the last one was kept.
        selected_by: Validation metric that chose it.
        trainable_parameters: Number of weights that were trained; None if all.
        energy: What it took, where it was estimated.
    """

    epochs: float
    steps: int
    seconds: float
    device: str
    packages: Mapping[str, str]
    best_epoch: float | None = None
    selected_by: str | None = None
    trainable_parameters: int | None = None
    energy: EnergyEstimate | None = None


@dataclass(frozen=True, kw_only=True)
class CardSummary:
    """Everything that a model card says.

    Attributes:
        model_id: What ``pipeline(model=…)`` takes: a repository on the Hub, or the run's folder (absolute, so that the
            printed snippet runs anywhere).
        command: The command line that repeats the run.
        recipe_text: The resolved recipe as YAML.
        license: Licence of the weights, as the Hub spells it.
        base_model: Hub repository that was finetuned; None for a model trained from scratch.
        tags: Further tags for the Hub, for example ``music-genre``.
        architecture: Name of the architecture, for example ``short_cnn``.
        parameters: Number of weights.
        sampling_rate: Rate in Hz that the model hears.
        window_seconds: Length of a window in seconds.
        hop_seconds: Distance of two evaluation windows in seconds.
        problem_type: ``single_label_classification`` or ``multi_label_classification``.
        label_names: Names of the labels, in the order of the outputs.
        facts: The dataset's facts.
        protocol: ``TaggingDatasetDict.protocol_record()``; where clips were lost later, ``used`` holds the split sizes
            that remained.
        metrics: Split → results of :class:`~hf_tagger.evaluation.metrics.TaggingMetrics`; empty where a split has no
            labels. The first of test and validation that has numbers goes to the Hub.
        per_label: ``per_label_table`` of that split; where it has ``known``, the card says that labels are unknown.
        training_support: Label → training clips that carry it; empty if unknown.
        intervals: Split → metric → ``low`` and ``high`` (None where undefined), of
            :func:`~hf_tagger.evaluation.assessment.assess`, as are the next two.
        bootstrap: Split → how they were drawn.
        calibration: Split → how far probabilities can be taken at their word.
        thresholds_are_fitted: Whether the thresholds in ``per_label`` were fitted on validation clips.
        skipped: Clips that took no part.
        leaks: What the splits have in common; None if nobody looked.
        training: How the weights came to be.
        figures: Caption → file name beside the card.
        architecture_citation: BibTeX of the architecture's paper.
        needs_remote_code: Whether the modelling code lies beside the weights, as for all models of this package.
        hears: What transformers' own pipeline hears of a long recording: :data:`EVERYTHING`, as our models do it, the
            :data:`FIRST_WINDOW`, to which a stock model's feature extractor cuts it, or all in :data:`ONE_PIECE`.
        is_adapter: Whether the folder holds a LoRA adapter, which loads the base model's weights.
    """

    # Given by the user.
    model_id: str
    command: str
    recipe_text: str
    license: str = "apache-2.0"
    base_model: str | None = None
    tags: Sequence[str] = ()
    # Filled by the run.
    architecture: str
    parameters: int
    sampling_rate: int
    window_seconds: float
    hop_seconds: float
    problem_type: str
    label_names: Sequence[str]
    facts: DatasetFacts
    protocol: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float | int | None]]
    per_label: Sequence[Mapping[str, Any]]
    training_support: Mapping[str, int] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Mapping | None]] = field(default_factory=dict)
    bootstrap: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    thresholds_are_fitted: bool = False
    skipped: Sequence[SkippedClip] = ()
    leaks: Leaks | None = None
    training: TrainingFacts
    figures: Mapping[str, str] = field(default_factory=dict)
    # Constant for the architecture.
    architecture_citation: str = ""
    needs_remote_code: bool = True
    hears: str = EVERYTHING
    is_adapter: bool = False

    @property
    def name(self) -> str:
        """The last part of ``model_id``."""
        return re.split(r"[\\/]", self.model_id.rstrip("\\/"))[-1]

    def defined(self, split: str) -> dict[str, float]:
        """A split's metrics that have a value, the usual one first: no counts, losses or timings, no None, no NaN."""
        results, usual = self.metrics.get(split, {}), DEFAULT_METRIC[self.problem_type]
        names = sorted(METRIC_NAMES[self.problem_type], key=lambda name: name != usual)
        return {name: results[name] for name in names if results.get(name) is not None and math.isfinite(results[name])}

    @property
    def reported_split(self) -> str | None:
        """The split whose numbers stand for the model: test, or validation where test has none."""
        return next((split for split in ("test", "validation") if self.defined(split)), None)
