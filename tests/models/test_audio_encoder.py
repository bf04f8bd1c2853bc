"""Stock encoders with this package's head: the same encoder, another way to logits."""

import pytest
import torch
from tiny_checkpoints import make_ast
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoFeatureExtractor,
    AutoModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
)

from hf_tagger import ModelArguments
from hf_tagger.errors import RecipeError
from hf_tagger.models.configuration_audio_encoder import AudioEncoderConfig
from hf_tagger.models.modeling_audio_encoder import AudioEncoderForAudioClassification
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.feature_statistics import set_feature_statistics
from hf_tagger.training.freezing import freeze

TAGS, MULTI_LABEL = ["drums", "bass", "strings"], "multi_label_classification"
WAVEFORM = "Wav2Vec2FeatureExtractor"


@pytest.fixture(scope="module")
def ast(tmp_path_factory):
    """A tiny AST with 1,024 frames."""
    torch.manual_seed(0)
    return str(make_ast(tmp_path_factory.mktemp("checkpoints") / "ast"))


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    """A tiny HuBERT that drops layers in training, with its feature extractor."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints") / "hubert"
    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        layerdrop=0.5,
    )
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


def build(name, **choices):
    plan = plan_model(ModelArguments(model_name_or_path=name, **choices))
    return build_model(plan, TAGS, MULTI_LABEL).eval(), plan


def test_a_wish_that_the_stock_class_has_stays_stock_and_another_one_makes_an_audio_encoder(ast, hubert, caplog):
    for name, choices, stock in [
        (ast, {"layer": 1}, True),
        (ast, {"layer": "weighted"}, False),
        (ast, {"pooling": "attention"}, False),
        (ast, {"head_hidden_size": 8}, False),
        (hubert, {"layer": "weighted"}, True),
        (hubert, {"pooling": "mean"}, True),
        (hubert, {"pooling": "attention"}, False),
        (hubert, {"head_dropout": 0.5}, False),
    ]:
        caplog.clear()
        model, _ = build(name, **choices)
        assert type(model).__module__.startswith("transformers.") is stock
        assert isinstance(model, AudioEncoderForAudioClassification) is not stock
        assert ("saved as an audio_encoder" in caplog.text) is not stock


def test_a_learned_sum_of_asts_layers_is_taken_of_the_stock_encoders_states(ast):
    model, plan = build(ast, layer="weighted", head_hidden_size=8)
    stock = AutoModel.from_pretrained(ast).eval()
    waveform = 0.1 * torch.randn(2, plan.feature_extractor.window_samples)
    features = ASTFeatureExtractor()(list(waveform.numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        model.layer_sum.weights.copy_(torch.tensor([0.0, 1.0, -1.0]))
        output = stock(**features, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        weights = model.layer_sum.weights.softmax(0)
        mixed = sum(weight * state.mean(dim=1) for weight, state in zip(weights, states, strict=True))
        torch.testing.assert_close(model(waveform).logits, model.classifier(mixed), atol=1e-4, rtol=0)


def test_attention_over_huberts_frames(hubert):
    model, plan = build(hubert, pooling="attention", layer=2, window_seconds=1)
    stock = HubertModel.from_pretrained(hubert).eval()
    waveform = 0.1 * torch.randn(2, plan.feature_extractor.window_samples)
    extractor = AutoFeatureExtractor.from_pretrained(hubert)
    features = extractor(list(waveform.numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        model.pooling.score.weight.normal_(std=3.0)
        state = stock(features.input_values, output_hidden_states=True).hidden_states[2]
        expected = model.classifier(model.pooling(state))
        assert not torch.allclose(model.pooling(state), state.mean(dim=1), atol=1e-2)
        torch.testing.assert_close(model(waveform).logits, expected, atol=1e-4, rtol=0)
    assert len(model.audio_encoder.encoder.layers) == 2


def test_a_sum_of_layers_is_trained_without_dropping_layers(hubert):
    model, plan = build(hubert, layer="weighted", pooling="attention", window_seconds=1)
    assert model.audio_encoder.config.layerdrop == 0.0
    model.train()
    for _ in range(5):
        model(torch.randn(1, plan.feature_extractor.window_samples), labels=torch.ones(1, 3)).loss.backward()


def test_asts_position_embeddings_are_those_of_the_resized_stock_model(ast):
    own, _ = build(ast, layer="weighted", window_seconds=3)
    stock, _ = build(ast, window_seconds=3)
    assert isinstance(stock, ASTForAudioClassification)
    expected = stock.audio_spectrogram_transformer.state_dict()
    assert own.audio_encoder.config.max_length == stock.config.max_length == 298
    for name, value in own.audio_encoder.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_statistics_of_the_recipe_reach_the_features_inside_the_model(ast):
    arguments = ModelArguments(model_name_or_path=ast, layer="weighted", feature_mean=-6.0, feature_std=3.0)
    plan = plan_model(arguments)
    set_feature_statistics(plan, None)
    model = build_model(plan, TAGS, MULTI_LABEL)
    waveform = 0.1 * torch.randn(1, plan.feature_extractor.window_samples)
    expected = ASTFeatureExtractor(mean=-6.0, std=3.0)(
        waveform[0].numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_values
    torch.testing.assert_close(model._features(waveform)["input_values"], expected, atol=1e-3, rtol=0)


def test_a_saved_one_is_continued_with_other_labels_but_keeps_its_window(ast, tmp_path):
    model, plan = build(ast, layer="weighted", window_seconds=3)
    model.save_pretrained(tmp_path)
    plan.feature_extractor.save_pretrained(tmp_path)
    again = plan_model(ModelArguments(model_name_or_path=str(tmp_path)))
    continued = build_model(again, ["rock", "jazz"], "single_label_classification")
    assert continued.classifier.output.weight.shape == (2, 16)
    assert torch.equal(
        continued.audio_encoder.embeddings.position_embeddings, model.audio_encoder.embeddings.position_embeddings
    )
    with pytest.raises(RecipeError, match=r"makes 498 frames .* this AST hears 298. Start from the stock checkpoint"):
        plan_model(ModelArguments(model_name_or_path=str(tmp_path), window_seconds=5))


def test_wrong_values_are_refused_together(ast):
    with pytest.raises(RecipeError, match=r"layer 9 does not exist"):
        plan_model(ModelArguments(model_name_or_path=ast, layer=9, pooling="attention"))
    with pytest.raises(ValueError, match=r"pooling 'max'.*head_dropout must be in .*received 2"):
        AudioEncoderConfig(pooling="max", head_dropout=2)


TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8, 12),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.5,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_layerdrop": 0.5,
    "vocab_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
FAMILIES = dict.fromkeys(["wav2vec2", "hubert", "wavlm", "sew", "data2vec-audio", "unispeech", "unispeech-sat"], TINY)


@pytest.mark.parametrize("family", [*FAMILIES, "whisper"])
@pytest.mark.parametrize("head", [{"layer": "weighted"}, {"layer": 1, "pooling": "attention"}])
def test_every_family_is_loaded_as_it_was_saved_and_never_drops_a_layer_of_a_sum(family, head, tmp_path):
    """SEW has a ``layer_norm`` beside and within its ``encoder``: names that loading must not mix up."""
    torch.manual_seed(0)
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor" if family == "whisper" else WAVEFORM}
    config = AudioEncoderConfig(
        encoder={"model_type": family, **FAMILIES.get(family, WHISPER)},
        feature_extractor=extractor,
        num_labels=3,
        **head,
    )
    model = AudioEncoderForAudioClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    loaded, info = AudioEncoderForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    waveform = 0.1 * torch.randn(2, 16_000)
    assert torch.equal(loaded.eval()(waveform).logits, model.eval()(waveform).logits)
    assert freeze(model, "feature_encoder")
    assert {name.split(".")[0] for name, value in model.named_parameters() if not value.requires_grad} == {
        "audio_encoder"
    }
    model.train()
    for _ in range(5 if head["layer"] == "weighted" else 0):
        assert torch.isfinite(model(waveform).logits).all()
