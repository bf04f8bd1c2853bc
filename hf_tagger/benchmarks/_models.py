"""The models that are measured, with random weights, in their real size and small enough for a CPU."""

from __future__ import annotations

from pathlib import Path

from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, PreTrainedModel

from ..arguments import ModelArguments
from ..errors import HfTaggerError
from ..training.build import ModelPlan, build_model, plan_model

_SMALL_ENCODER = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 768}
"""The width of DeiT-tiny (Touvron et al. 2021, https://arxiv.org/abs/2012.12877, table 1), a third of its layers."""

SIZES = {
    "short_cnn": {"small": {"num_channels": 48, "n_fft": 2048, "hop_length": 1024}, "real": {}},
    "ast": {"small": _SMALL_ENCODER, "real": {}},
    "mert": {"small": _SMALL_ENCODER | {"conv_dim": [128] * 7}, "real": {}},
    "musicfm": {"small": _SMALL_ENCODER | {"conv_channels": 128}, "real": {}},
}
"""Settings of each model and size; ``real`` are the defaults: the paper's short-chunk CNN, AST-base, MERT-95M and
MusicFM. The small short_cnn is that of ``recipes/study_augmentation.yaml``."""

_TYPES = {"short_cnn": "short_cnn", "mert": "mert_model", "musicfm": "musicfm"}
WINDOW_SECONDS = {"short_cnn": 5.0, "ast": None, "mert": 5.0, "musicfm": 5.0}
"""Length of the windows in seconds; AST has its own, 10.26 s."""


def plan(name: str, size: str, folder: Path) -> ModelPlan:
    """The plan of a model of :data:`SIZES`, as a recipe's model arguments give it.

    Args:
        name: The model.
        size: ``small`` or ``real``.
        folder: Where a stock model is saved first, for recipes know stock models by their folder.

    Raises:
        HfTaggerError: If there is no such model.
    """
    if name not in SIZES:
        raise HfTaggerError(f"There is no model {name!r} to measure; there are {', '.join(SIZES)}.")
    settings = SIZES[name][size]
    if name != "ast":
        return plan_model(
            ModelArguments(model_type=_TYPES[name], model_config=settings, window_seconds=WINDOW_SECONDS[name])
        )
    if not folder.exists():
        ASTForAudioClassification(ASTConfig(**settings)).save_pretrained(folder)
        ASTFeatureExtractor().save_pretrained(folder)
    return plan_model(ModelArguments(model_name_or_path=str(folder)))


def build(model_plan: ModelPlan, labels: int = 50) -> PreTrainedModel:
    """A model with one class a label, and random weights."""
    return build_model(model_plan, [f"label {number}" for number in range(labels)], "single_label_classification")
