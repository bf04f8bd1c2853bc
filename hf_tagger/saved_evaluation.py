"""A saved model and the clips of a recipe, ready to be evaluated as often as one likes."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from transformers import SequenceFeatureExtractor
from transformers.trainer_utils import PredictionOutput

from .data import load_tagging_dataset
from .data.base import TaggingDatasetDict
from .data.clip_views import ChangedClips, CroppedClips, SingleWindows, Waveforms
from .data.pcm import PreparedClips, prepare_clips
from .errors import HfTaggerError
from .evaluation.aggregation import Recordings
from .model_arguments import ModelArguments
from .recipe import parse_recipe
from .saved_tagger import load_tagger
from .training.build import check_labels
from .training.trainer import TaggingTrainer

logger = logging.getLogger(__name__)

_ROUNDING = 0.01  # share of a window: models fit it to their frames


@dataclass(frozen=True)
class SavedEvaluation:
    """A saved model and clips.

    Attributes:
        trainer: Evaluates.
        dataset: The dataset with its facts and protocol.
        clips: The usable clips of every split.
    """

    trainer: TaggingTrainer
    dataset: TaggingDatasetDict
    clips: Mapping[str, PreparedClips]

    def predict(
        self, clips: PreparedClips | CroppedClips | ChangedClips | SingleWindows, split: str
    ) -> PredictionOutput:
        """Probabilities and metrics of clips, under the names of a split."""
        return self.trainer.predict(clips, metric_key_prefix=split)

    def window_probabilities(self, waveforms: Waveforms, hop_samples: int) -> list[np.ndarray]:
        """Probabilities of every window of every recording, computed in batches across recordings.

        Args:
            waveforms: The recordings.
            hop_samples: Distance of two windows in samples.

        Returns:
            One float64 ``[windows, labels]`` a recording.

        Raises:
            HfTaggerError: If an output is NaN or infinite.
        """
        windows = SingleWindows(waveforms, self.trainer.processing_class.window_samples, hop_samples)
        found = self.predict(windows, "windows").predictions
        if not np.isfinite(found).all():
            raise HfTaggerError("The model's outputs are NaN or infinite: its training has diverged; train it anew.")
        return np.split(found, np.flatnonzero(np.diff(windows.recordings)) + 1)

    def labelled_windows(self, split: str, hop_samples: int) -> Recordings:
        """The labelled clips of a split by the probabilities of their windows."""
        clips = self.labelled_clips(split)
        found = self.window_probabilities(clips, hop_samples)
        groups = [clips.groups[index] for index in clips.labelled]
        return Recordings([found[index] for index in clips.labelled], self.trainer.evaluation.references(clips), groups)

    def labelled_clips(self, split: str) -> PreparedClips:
        """The clips of a split.

        Raises:
            HfTaggerError: If none of them has labels.
        """
        clips = self.clips[split]
        if not clips.labelled:
            raise HfTaggerError(f"The {split} split has no labelled clips; choose another one by --split.")
        return clips


@contextmanager
def open_saved(model: str, recipe: Sequence[str], clips_of: Sequence[str] | None = None) -> Iterator[SavedEvaluation]:
    """Loads a model and prepares the clips of a recipe; the run's own folder stays as it is.

    Args:
        model: Folder of a run, or a repository on the Hub.
        recipe: Path of a recipe and flags that override its fields.
        clips_of: The same of another recipe whose clips are taken. Their labels need not be the model's, so leave them
            out to predict such clips.

    Raises:
        HfTaggerError: If the model cannot be loaded, or has other labels than its recipe's dataset.
    """
    # The model's recipe last: reading one sets the device of this process.
    other = clips_of and parse_recipe(list(clips_of), check_model=False)
    data_arguments, model_arguments, training_arguments = parse_recipe(list(recipe), check_model=False)
    if other:
        data_arguments = other[0]
    tagger, feature_extractor = load_tagger(model)
    _warn_of_other_windows(model_arguments, feature_extractor)
    dataset = load_tagging_dataset(data_arguments, feature_extractor.sampling_rate)
    if clips_of is None:
        check_labels(tagger.config, dataset.label_names, dataset.problem_type)
    with training_arguments.main_process_first(desc="decoding"):
        clips, _ = prepare_clips(dataset, data_arguments, feature_extractor.sampling_rate)
    with tempfile.TemporaryDirectory() as scratch:
        training_arguments.output_dir, training_arguments.report_to = scratch, []
        yield SavedEvaluation(TaggingTrainer(tagger, training_arguments, feature_extractor), dataset, clips)


def _warn_of_other_windows(asked: ModelArguments, feature_extractor: SequenceFeatureExtractor) -> None:
    """Says that a saved model keeps its windows, where a recipe or a flag asks for others."""
    rate = feature_extractor.sampling_rate
    for name, samples in (
        ("window_seconds", feature_extractor.window_samples),
        ("hop_seconds", feature_extractor.hop_samples),
    ):
        value = getattr(asked, name)
        if value is not None and abs(value * rate - samples) > _ROUNDING * samples:
            logger.warning("%s: %g is not used; a saved model keeps its own, %g s.", name, value, samples / rate)
