"""Tiny random checkpoints of the families that recipes finetune, in the layout in which they are published."""

from pathlib import Path

import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, Wav2Vec2FeatureExtractor

from hf_tagger.models.configuration_mert import MertConfig
from hf_tagger.models.configuration_musicfm import MusicFMConfig
from hf_tagger.models.modeling_mert import MertModel
from hf_tagger.models.modeling_musicfm import MusicFMModel

_TRANSFORMER = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}


def make_mert(folder: Path) -> Path:
    """An encoder with 12 layers, one more than any recipe chooses, and the published feature extractor beside it."""
    config = MertConfig(
        **_TRANSFORMER,
        num_hidden_layers=12,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    MertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=24_000, return_attention_mask=True).save_pretrained(folder)
    return folder


def make_musicfm(folder: Path) -> Path:
    """An encoder with 7 layers, as scripts/convert.py leaves it."""
    MusicFMModel(MusicFMConfig(**_TRANSFORMER, num_hidden_layers=7, conv_channels=4)).save_pretrained(folder)
    return folder


def make_ast(folder: Path) -> Path:
    """A tagger of AudioSet's 527 classes with its feature extractor."""
    ASTForAudioClassification(ASTConfig(**_TRANSFORMER, num_hidden_layers=2, num_labels=527)).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return folder


_FAMILIES = {"mert": make_mert, "musicfm": make_musicfm, "ast": make_ast}


def overrides(recipe: str, root: Path) -> list[str]:
    """Flags that put a tiny checkpoint in the place of the one that a recipe names; none for models from scratch.

    Args:
        recipe: The recipe's name, which begins with the family's.
        root: Where the checkpoints are kept.
    """
    family = recipe.split("_")[0]
    if family not in _FAMILIES:
        return []
    folder = root / family
    if not folder.exists():
        torch.manual_seed(0)
        _FAMILIES[family](folder)
    return ["--model_name_or_path", str(folder)]
