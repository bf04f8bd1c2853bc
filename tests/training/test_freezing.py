"""Frozen parts: which weights they hold, and that training leaves them exactly as they are.

The tiny checkpoints of every family, which the tests beside this file use too, are made here.
"""

import functools
import json

import pytest
import torch
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    ASTFeatureExtractor,
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    SeamlessM4TFeatureExtractor,
    TrainerCallback,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from hf_tagger import DataArguments, ModelArguments, TaggingArguments, load_tagging_dataset, prepare_clips
from hf_tagger.errors import RecipeError
from hf_tagger.models import MODELS
from hf_tagger.models.configuration_mert import MertConfig
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.modeling_mert import MertModel
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.embedding_trainer import build_trainer
from hf_tagger.training.freezing import freeze

STOCK = sorted({config.model_type for config in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING} - set(MODELS))
_LAYERS = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "initializer_range": 0.3, "vocab_size": 32,
}  # fmt: skip
_CONVOLUTIONS = {  # 50 frames a second, as published
    **_LAYERS, "conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 4), "conv_stride": (10, 8, 4), "layerdrop": 0.0,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8,
}  # fmt: skip
_SETTINGS = {
    "audio-spectrogram-transformer": {**_LAYERS, "max_length": 208, "time_stride": 10, "frequency_stride": 16},
    "data2vec-audio": {**_CONVOLUTIONS, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3},
    "wav2vec2-bert": {**_LAYERS, "classifier_proj_size": 8, "layerdrop": 0.0},
    "whisper": {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "init_std": 0.3,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "classifier_proj_size": 8,
        "max_source_positions": 100, "max_target_positions": 8, "vocab_size": 64, "begin_suppress_tokens": None,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
    },
}  # fmt: skip
# As most of them are published. (transformers 5.10 reads the bare encoders of these two under wrong names.)
_CLASSES = {"audio-spectrogram-transformer": AutoModelForAudioClassification, "sew-d": AutoModelForCTC}
_EXTRACTORS = {
    "audio-spectrogram-transformer": lambda: ASTFeatureExtractor(max_length=208),
    "wav2vec2-bert": SeamlessM4TFeatureExtractor,
    "whisper": lambda: WhisperFeatureExtractor(chunk_length=2),
}
_MERT = {
    "model_type": "mert_model", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 64, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "sample_rate": 24_000, "deepnorm": False, "feature_extractor_cqt": False, "architectures": ["MERTModel"],
    "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
}  # fmt: skip


def make_stock(model_type, folder, **changes):
    """A model of transformers as it is published, with its feature extractor; no weight is 0 or 1."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**_SETTINGS.get(model_type, _CONVOLUTIONS), **changes})
    _shake(_CLASSES.get(model_type, AutoModel).from_config(config)).save_pretrained(folder)
    _EXTRACTORS.get(model_type, Wav2Vec2FeatureExtractor)().save_pretrained(folder)
    return folder


def make_mert(folder, **changes):
    """MERT with the configuration and the feature extractor that its authors published."""
    torch.manual_seed(0)
    _shake(MertModel(MertConfig(**_MERT, initializer_range=0.3))).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**_MERT, **changes}))
    Wav2Vec2FeatureExtractor(sampling_rate=24_000, return_attention_mask=True).save_pretrained(folder)
    return folder


def _shake(model):
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


@functools.cache
def synthetic():
    """40 synthetic clips with tags: the dataset and its prepared clips."""
    arguments = DataArguments(dataset_name="synthetic", synthetic_clips=40, preprocessing_num_workers=1)
    dataset = load_tagging_dataset(arguments, 16_000)
    return dataset, prepare_clips(dataset, arguments, 16_000)[0]


def make_trainer(folder, output, dataset, clips, options=None, **arguments):
    """The trainer of a recipe with ``arguments`` for the model and ``options`` for the training."""
    model_arguments = ModelArguments(model_name_or_path=str(folder), **arguments)
    settings = {"use_cpu": True, "report_to": "none", "dataloader_num_workers": 0, "save_strategy": "no"}
    settings |= {"load_best_model_at_end": False, "disable_tqdm": True, "num_train_epochs": 1, **(options or {})}
    training_arguments = TaggingArguments(output_dir=str(output), **settings)
    plan = plan_model(model_arguments)
    model = build_model(plan, dataset.label_names, dataset.problem_type)
    return build_trainer(model, plan.feature_extractor, clips, DataArguments(), model_arguments, training_arguments)


class Watch(TrainerCallback):
    """Notes which parameters have a gradient when a step is made."""

    def __init__(self):
        self.with_gradient = set()

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.with_gradient |= {name for name, value in model.named_parameters() if value.grad is not None}


BASE = {
    "audio-spectrogram-transformer": "audio_spectrogram_transformer", "mert_model": "mert", "whisper": "encoder",
    **{name: name.replace("-", "_") for name in STOCK if name not in ("audio-spectrogram-transformer", "whisper")},
}  # fmt: skip
FEATURE_ENCODER = {
    "audio-spectrogram-transformer": ("embeddings.patch_embeddings.",),
    "wav2vec2-bert": ("feature_projection.",),
    "whisper": ("conv1.", "conv2."),
}
NEVER_TRAINED = {"encoder.embed_positions.weight"}  # Whisper's sinusoids


@pytest.fixture(scope="module", params=[*STOCK, "mert_model"])
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen") / request.param
    if request.param == "mert_model":
        return request.param, make_mert(folder)
    return request.param, make_stock(request.param, folder)


def in_part(name, family, part):
    parts = FEATURE_ENCODER.get(family, ("feature_extractor.",)) if part == "feature_encoder" else ("",)
    return name.startswith(tuple(f"{BASE[family]}.{inner}" for inner in parts))


@pytest.mark.parametrize("part", ["feature_encoder", "encoder"])
def test_exactly_the_named_part_stays_as_it_was(checkpoint, part, tmp_path):
    """Its weights are bit-identical and have no gradient, its modules are in eval mode, so that dropout is off."""
    family, folder = checkpoint
    dataset, clips = synthetic()
    options = {"max_steps": 2, "per_device_train_batch_size": 4, "eval_strategy": "no"}
    window = {} if family == "whisper" else {"window_seconds": 0.4}
    trainer = make_trainer(folder, tmp_path, dataset, clips, options, freeze=part, cache_embeddings=False, **window)
    model, watch, modes = trainer.model, Watch(), {}
    trainer.add_callback(watch)
    for name, module in model.named_modules():
        module.register_forward_hook(lambda module, *_, name=name: modes.setdefault(name, []).append(module.training))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    frozen = {name for name in before if in_part(name, family, part)}
    assert frozen | NEVER_TRAINED >= {name for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen <= {name for name, value in model.named_parameters() if not value.requires_grad}
    trainer.train()
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert not watch.with_gradient & frozen
    weights = {name for name in set(before) - frozen - NEVER_TRAINED if name.endswith("weight")}
    assert weights <= watch.with_gradient
    assert [name for name in sorted(weights) if torch.equal(after[name], before[name])] == []
    assert {mode for name, called in modes.items() if in_part(f"{name}.", family, part) for mode in called} == {False}
    assert modes["classifier"] == [True, True]


def test_a_frozen_part_has_no_dropout_in_training(tmp_path):
    folder = make_stock("wav2vec2", tmp_path / "checkpoint", hidden_dropout=0.5, mask_time_prob=0.5)
    arguments = ModelArguments(model_name_or_path=str(folder), freeze="encoder", window_seconds=1)
    model = build_model(plan_model(arguments), ["a", "b"], "single_label_classification")
    waveform = torch.randn(2, 16_000)
    model.train()
    assert not torch.equal(model(waveform).logits, model(waveform).logits)
    frozen = freeze(model, "encoder")
    model.train()
    for module in frozen:
        module.eval()
    assert torch.equal(model(waveform).logits, model(waveform).logits)


def test_a_learned_sum_of_layers_is_trained_on_a_frozen_encoder(tmp_path):
    folder = make_stock("hubert", tmp_path / "checkpoint")
    arguments = ModelArguments(model_name_or_path=str(folder), layer="weighted", window_seconds=1)
    model = build_model(plan_model(arguments), ["a", "b"], "single_label_classification")
    freeze(model, "encoder")
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {
        "layer_weights", "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"
    }  # fmt: skip


def test_attention_pooling_is_trained_on_a_frozen_encoder(tmp_path):
    folder = make_mert(tmp_path / "mert")
    arguments = ModelArguments(model_name_or_path=str(folder), layer="weighted", pooling="attention")
    model = build_model(plan_model(arguments), ["a", "b"], "single_label_classification")
    freeze(model, "encoder")
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {
        "layer_sum.weights", "pooling.score.weight", "classifier.output.weight", "classifier.output.bias"
    }  # fmt: skip


def test_freezing_nothing_freezes_nothing(tmp_path):
    arguments = ModelArguments(model_name_or_path=str(make_mert(tmp_path / "mert")))
    model = build_model(plan_model(arguments), ["a", "b"], "single_label_classification")
    assert freeze(model, "none") == []
    assert all(value.requires_grad for value in model.parameters())


def test_an_unknown_part_says_which_are_known(tmp_path):
    with pytest.raises(RecipeError, match=r"freeze: 'decoder' .* must be one of none, feature_encoder, encoder"):
        ModelArguments(model_name_or_path="somewhere", freeze="decoder")
    model = ShortCnnForAudioClassification(ShortCnnConfig(num_channels=2))
    with pytest.raises(RecipeError, match=r"freeze: 'decoder' .* must be one of none, feature_encoder, encoder"):
        freeze(model, "decoder")


@pytest.mark.parametrize("part", ["feature_encoder", "encoder"])
def test_freezing_without_pretrained_weights_says_what_is_missing(part):
    with pytest.raises(RecipeError, match=rf"freeze: {part} needs a pretrained model; name it in model_name_or_path"):
        ModelArguments(model_type="mert_model", freeze=part)


@pytest.mark.parametrize("part", ["feature_encoder", "encoder"])
def test_a_short_cnn_says_that_it_has_no_encoder_to_freeze(part, tmp_path):
    model = ShortCnnForAudioClassification(ShortCnnConfig(num_channels=2))
    model.save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="freeze: a short_cnn has no pretrained encoder; it must be none"):
        plan_model(ModelArguments(model_name_or_path=str(tmp_path), freeze=part))
    with pytest.raises(RecipeError, match=rf"freeze: {part}: ShortCnnForAudioClassification .* none"):
        freeze(model, part)
