"""Tiny random encoders as they are published, without a trained head; taggers built on them, and clips of noise."""

import numpy as np
import torch
from datasets import Dataset, Value
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from hf_tagger import ModelArguments
from hf_tagger.data.pcm import PreparedClips
from hf_tagger.models.configuration_mert import MertConfig
from hf_tagger.models.modeling_mert import MertModel
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.checkpoints import is_head

LAYERS = 3
HIDDEN = 16
LABELS = ["drums", "bass", "strings"]
LENGTHS = [30_000, 2_000, 12_500, 12_000]  # samples; the windows of 0.5 s at 24 kHz have 12,000
_TRANSFORMER = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
_WAVEFORM = {**_TRANSFORMER, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
_NO_LAYER_DROP = {"layerdrop": 0.0, "classifier_proj_size": 8, "apply_spec_augment": False}


def _mert():
    return MertModel(MertConfig(**_WAVEFORM)), None


def _ast():
    config = ASTConfig(**_TRANSFORMER, num_mel_bins=16, max_length=64, patch_size=8, frequency_stride=8, time_stride=8)
    return ASTModel(config), ASTFeatureExtractor(num_mel_bins=16, max_length=64)


def _hubert():
    return HubertModel(HubertConfig(**_WAVEFORM, **_NO_LAYER_DROP)), Wav2Vec2FeatureExtractor(do_normalize=True)


def _wav2vec2():
    config = Wav2Vec2Config(**_WAVEFORM, **_NO_LAYER_DROP, feat_extract_norm="layer", do_stable_layer_norm=True)
    return Wav2Vec2Model(config), Wav2Vec2FeatureExtractor(do_normalize=False)


def _whisper():
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)  # hears 1 s
    config = WhisperConfig(
        d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=16, max_source_positions=50, max_target_positions=8,
        vocab_size=8, classifier_proj_size=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config), extractor


_FAMILIES = {"mert": _mert, "ast": _ast, "hubert": _hubert, "wav2vec2": _wav2vec2, "whisper": _whisper}


def save_encoder(family, folder):
    """Writes a checkpoint of ``mert``, ``ast``, ``hubert``, ``wav2vec2`` or ``whisper`` and returns the folder.

    Its layers change what they are given (fresh ones of transformers hardly do), so that no layer passes for another.
    """
    torch.manual_seed(0)
    model, extractor = _FAMILIES[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    if extractor is not None:
        extractor.save_pretrained(folder)
    return folder


def build_tagger(folder, window_seconds=0.5, **options):
    """A model with a head whose weights are far from zero and from each other."""
    options = {"model_name_or_path": str(folder), "window_seconds": window_seconds, **options}
    plan = plan_model(ModelArguments(**options))
    torch.manual_seed(0)
    model = build_model(plan, LABELS, "multi_label_classification")
    for name, parameter in model.named_parameters():
        if is_head(name):
            torch.nn.init.normal_(parameter)
    return model.eval(), plan.feature_extractor


def noise_clips(lengths=LENGTHS, seed=0, rate=24_000):
    """Clips of noise, each louder than the one before."""
    generator = np.random.default_rng(seed)
    samples = [generator.integers(-900 - 900 * n, 900 + 900 * n, size) for n, size in enumerate(lengths)]
    store = Dataset.from_dict(
        {
            "pcm": [clip.astype("<i2").tobytes() for clip in samples],
            "scale": np.full(len(lengths), 1 / 32_768, dtype=np.float32),
            "num_samples": lengths,
        }
    ).cast_column("pcm", Value("large_binary"))
    count = len(lengths)
    labels = [[n % 3] for n in range(count)]
    rows = Dataset.from_dict(
        {"id": [str(n) for n in range(count)], "audio": [None] * count, "labels": labels, "group": ["g"] * count}
    )
    return PreparedClips(rows, store, range(count), rate)
