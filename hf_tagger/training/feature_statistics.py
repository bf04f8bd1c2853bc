"""The mean and deviation that AST's spectrogram is normalised with: given, or those of the training clips."""

from __future__ import annotations

from transformers import ASTFeatureExtractor

from ..data.pcm import PreparedClips
from ..data.statistics import estimate_statistics
from ..models.input_features import filterbank_of
from ..models.modeling_audio_encoder import make_feature_extractor
from .build import ModelPlan
from .own_models import hears_asts_spectrogram


def set_feature_statistics(plan: ModelPlan, clips: PreparedClips) -> None:
    """Replaces the checkpoint's statistics, which are AudioSet's, if the recipe asks for others.

    Args:
        plan: The planned model; changed in place.
        clips: The training clips.
    """
    arguments = plan.arguments
    if arguments.feature_mean is not None:
        _put(plan, arguments.feature_mean, arguments.feature_std)
    elif arguments.feature_statistics == "dataset":
        _put(plan, *estimate_feature_statistics(plan, clips))


def estimate_feature_statistics(plan: ModelPlan, clips: PreparedClips) -> tuple[float, float]:
    """Mean and deviation of the log filterbank of clips, in the windows that the model hears."""
    windows = plan.feature_extractor
    features = filterbank_of(ast_extractor(plan)).frames
    return estimate_statistics(clips, features, windows.window_samples, windows.hop_samples)


def ast_extractor(plan: ModelPlan) -> ASTFeatureExtractor | None:
    """AST's feature extractor of a planned model, stock or with our head; None for other models."""
    if isinstance(plan.feature_extractor, ASTFeatureExtractor):
        return plan.feature_extractor
    return make_feature_extractor(plan.config) if hears_asts_spectrogram(plan.config) else None


def _put(plan: ModelPlan, mean: float, std: float) -> None:
    if isinstance(plan.feature_extractor, ASTFeatureExtractor):
        plan.feature_extractor.mean, plan.feature_extractor.std = mean, std
    else:
        plan.config.feature_extractor |= {"mean": mean, "std": std}
