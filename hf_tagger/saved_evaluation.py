"""A saved model and the clips of a recipe, ready to be evaluated as often as one likes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from transformers.trainer_utils import PredictionOutput

from .data import load_tagging_dataset
from .data.base import TaggingDatasetDict
from .data.clip_views import ChangedClips, CroppedClips
from .data.pcm import PreparedClips, prepare_clips
from .errors import HfTaggerError
from .recipe import parse_recipe
from .training.build import check_labels, load_saved_model
from .training.trainer import TaggingTrainer


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

    def predict(self, clips: PreparedClips | CroppedClips | ChangedClips, split: str) -> PredictionOutput:
        """Probabilities and metrics of clips, under the names of a split."""
        return self.trainer.predict(clips, metric_key_prefix=split)

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
def open_saved(model: str, recipe: Sequence[str]) -> Iterator[SavedEvaluation]:
    """Loads a model and prepares the clips of a recipe; the run's own folder stays as it is.

    Args:
        model: Folder of a run, or a repository on the Hub.
        recipe: Path of a recipe and flags that override its fields.

    Raises:
        HfTaggerError: If the model cannot be loaded, or has other labels than the dataset.
    """
    data_arguments, _, training_arguments = parse_recipe(list(recipe), check_model=False)
    tagger, feature_extractor = load_saved_model(model)
    dataset = load_tagging_dataset(data_arguments, feature_extractor.sampling_rate)
    check_labels(tagger.config, dataset.label_names, dataset.problem_type)
    with training_arguments.main_process_first(desc="decoding"):
        clips, _ = prepare_clips(dataset, data_arguments, feature_extractor.sampling_rate)
    with tempfile.TemporaryDirectory() as scratch:
        training_arguments.output_dir, training_arguments.report_to = scratch, []
        yield SavedEvaluation(TaggingTrainer(tagger, training_arguments, feature_extractor), dataset, clips)
