"""hf_tagger: finetune audio models on music and share them on the Hugging Face Hub.

Importing the package registers its models with transformers' Auto classes, and the pipeline ``"music-tagging"``.
"""

from .arguments import DataArguments, ModelArguments, TaggingArguments
from .data import dataset_facts, list_datasets, load_tagging_dataset
from .data.pcm import PreparedClips, prepare_clips
from .errors import AudioDecodingError, DatasetError, HfTaggerError, RecipeError, RunFolderError
from .evaluation.metrics import TaggingMetrics
from .models import WaveformFeatureExtractor, list_models
from .pipeline import MusicTaggingPipeline
from .recipe import parse_recipe
from .training.trainer import TaggingTrainer

__all__ = [
    "AudioDecodingError",
    "DataArguments",
    "DatasetError",
    "HfTaggerError",
    "ModelArguments",
    "MusicTaggingPipeline",
    "PreparedClips",
    "RecipeError",
    "RunFolderError",
    "TaggingArguments",
    "TaggingMetrics",
    "TaggingTrainer",
    "WaveformFeatureExtractor",
    "dataset_facts",
    "list_datasets",
    "list_models",
    "load_tagging_dataset",
    "parse_recipe",
    "prepare_clips",
]
__version__ = "0.1.0.dev0"
