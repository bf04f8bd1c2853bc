"""MERT: equal to the authors' implementation, loaded as the Hub has it."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_tagger.memory import PUBLISHED
from hf_tagger.models.configuration_mert import MertConfig
from hf_tagger.models.modeling_mert import MertForAudioClassification, MertModel

TAGS = {"num_labels": 50, "problem_type": "multi_label_classification"}
CHECKPOINTS = ["mert_base", "mert_large"]  # the second one has do_stable_layer_norm and attention_relax
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
every_checkpoint = pytest.mark.parametrize("name", CHECKPOINTS)


def tiny(**changes):
    torch.manual_seed(0)
    return MertForAudioClassification(MertConfig(**{**TINY, "num_labels": 3, **changes})).eval()


def expected_of(folder):
    expected = load_file(folder / "expected.safetensors")
    return expected.pop("input_values"), expected


@pytest.mark.shared
@every_checkpoint
def test_every_hidden_state_is_that_of_the_authors(name, shared):
    waveform, expected = expected_of(shared / "parity" / name)
    model = AutoModel.from_pretrained(shared / "parity" / name)
    assert type(model) is MertModel
    with torch.no_grad():
        output = model.eval()(waveform, output_hidden_states=True)
    assert len(output.hidden_states) == len(expected) - 1
    for index, state in enumerate(output.hidden_states):
        torch.testing.assert_close(state, expected[f"hidden_states.{index}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(output.last_hidden_state, expected["last_hidden_state"], atol=1e-4, rtol=0)
    as_tuple = model(waveform, output_hidden_states=True, return_dict=False)
    torch.testing.assert_close(as_tuple[1][-1], expected["last_hidden_state"], atol=1e-4, rtol=0)


@pytest.mark.shared
@every_checkpoint
def test_an_encoder_cut_at_a_layer_gives_that_hidden_state_and_computes_no_more(name, shared, caplog):
    waveform, expected = expected_of(shared / "parity" / name)
    for layer in range(4):
        with caplog.at_level(logging.WARNING):
            model = AutoModel.from_pretrained(shared / "parity" / name, layer=layer).eval()
        assert len(model.encoder.layers) == layer
        with torch.no_grad():
            state = model(waveform).last_hidden_state
        torch.testing.assert_close(state, expected[f"hidden_states.{layer}"], atol=1e-4, rtol=0)
    assert "UNEXPECTED" not in caplog.text


@pytest.mark.shared
@every_checkpoint
@pytest.mark.parametrize("form", ["bin", "safetensors", "safetensors with old names"])
def test_a_tagger_loads_from_the_hubs_layout_without_its_code_and_misses_only_the_head(name, form, shared, tmp_path):
    source = shared / "parity" / name
    assert "auto_map" in json.loads((source / "config.json").read_text())
    shutil.copy(source / "config.json", tmp_path)
    if form == "bin":
        shutil.copy(source / "pytorch_model.bin", tmp_path)
    else:
        weights = torch.load(source / "pytorch_model.bin", weights_only=True)
        old, new = ("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")
        wanted, other = (old, new) if form.endswith("old names") else (new, old)
        renamed = {}
        for key, value in weights.items():
            for before, after in zip(other, wanted, strict=True):
                key = key.replace(before, after)
            renamed[key] = value
        save_file(renamed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model, info = AutoModelForAudioClassification.from_pretrained(tmp_path, output_loading_info=True, **TAGS)
    assert type(model) is MertForAudioClassification
    assert info["missing_keys"] == {"classifier.output.weight", "classifier.output.bias"}
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    waveform, expected = expected_of(source)
    with torch.no_grad():
        state = model.eval().mert(waveform).last_hidden_state
    torch.testing.assert_close(state, expected["last_hidden_state"], atol=1e-4, rtol=0)
    assert model(waveform).logits.shape == (2, 50)


@pytest.mark.shared
@every_checkpoint
def test_what_is_saved_is_safetensors_with_our_code_and_no_reference_to_the_published_one(name, shared, tmp_path):
    model = AutoModelForAudioClassification.from_pretrained(shared / "parity" / name, **TAGS).eval()
    model.save_pretrained(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert {"model.safetensors", "modeling_mert.py", "configuration_mert.py", "heads.py"} <= files
    assert not {file for file in files if file.endswith(".bin")}
    assert "MERT." not in json.dumps(json.loads((tmp_path / "config.json").read_text())["auto_map"])
    waveform, _ = expected_of(shared / "parity" / name)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(waveform).logits, model(waveform).logits)


@pytest.mark.shared
@pytest.mark.parametrize("size", ["95M", "330M"])
def test_the_full_sizes_have_the_published_keys_and_shapes(size, shared):
    published = json.loads((shared / "parity" / f"mert_v1_{size.lower()}_shapes.json").read_text())
    with torch.device("meta"):
        model = MertModel(MertConfig(**PUBLISHED[f"MERT-v1-{size}"][1]))
    old_names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    ours = {}
    for key, value in model.state_dict().items():
        for new, old in old_names.items():
            key = key.replace(new, old)
        ours[key] = list(value.shape)
    assert ours == published


def test_windows_are_normalised_as_by_the_published_preprocessor():
    waveform = 0.3 * torch.randn(2, 24_000) + 0.1
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)
    expected = extractor(list(waveform.numpy()), sampling_rate=24_000, return_tensors="pt").input_values
    for normalize in (True, False):
        model, heard = tiny(normalize_waveform=normalize), []
        model.mert.register_forward_pre_hook(lambda _module, arguments, heard=heard: heard.append(arguments[0]))
        model(waveform)
        torch.testing.assert_close(heard[0], expected if normalize else waveform, atol=1e-5, rtol=0)


def test_the_head_reads_the_chosen_layer():
    waveform = torch.randn(2, 24_000)
    for stable in (False, True):
        full = tiny(do_stable_layer_norm=stable, normalize_waveform=False)
        states = full.mert(waveform, output_hidden_states=True).hidden_states
        for layer, expected in [(1, states[1]), (3, states[3]), ("last", states[3])]:
            model = tiny(do_stable_layer_norm=stable, normalize_waveform=False, layer=layer)
            model.load_state_dict(full.state_dict(), strict=False)
            logits = model.classifier(expected.mean(dim=1))
            torch.testing.assert_close(model(waveform).logits, logits, atol=1e-5, rtol=0)
        for pooling in ("mean", "attention"):
            model = tiny(do_stable_layer_norm=stable, normalize_waveform=False, layer="weighted", pooling=pooling)
            model.load_state_dict(full.state_dict(), strict=False)
            with torch.no_grad():
                model.layer_sum.weights.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
            weights = model.layer_sum.weights.softmax(0)
            mixed = sum(weight * state for weight, state in zip(weights, states, strict=True))
            logits = model.classifier(model.pooling(mixed))
            torch.testing.assert_close(model(waveform).logits, logits, atol=1e-5, rtol=0)


def test_group_norm_would_mix_padding_into_the_music_so_it_is_never_encoded():
    """The reason for cutting padding off: with group norm the encoder's own mask does not help."""
    model, window = tiny(feat_extract_norm="group"), torch.randn(1, 24_000)
    padded = torch.cat([window, torch.zeros(1, 24_000)], dim=1)
    mask = torch.cat([torch.ones(1, 24_000), torch.zeros(1, 24_000)], dim=1).long()
    alone = model.mert(window).last_hidden_state
    masked = model.mert(padded, attention_mask=mask).last_hidden_state[:, : alone.shape[1]]
    assert (masked - alone).abs().max() > 1e-2
    torch.testing.assert_close(model(padded, attention_mask=mask).logits, model(window).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", ["last", "weighted"])
def test_gradient_checkpointing_changes_no_gradient(layer):
    plain, checkpointed = tiny(layer=layer), tiny(layer=layer)
    checkpointed.gradient_checkpointing_enable()
    waveform = torch.randn(2, 24_000)
    for model in (plain, checkpointed):
        model.train()
        model.mert.config.apply_spec_augment = False
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.mert.config.attention_dropout = 0.0
        for encoder_layer in model.mert.encoder.layers:
            encoder_layer.attention.dropout = 0.0
        model(waveform, labels=torch.tensor([0, 1])).loss.backward()
    gradients = {key: value.grad for key, value in checkpointed.named_parameters() if value.grad is not None}
    assert "mert.encoder.layers.0.attention.q_proj.weight" in gradients
    for key, value in plain.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(gradients[key], value.grad, atol=1e-6, rtol=1e-4)


def test_attention_scores_that_overflow_float16_stay_finite():
    """What attention_relax is for: scores of ±10^5 are beyond float16, and SDPA's softmax takes them in float32."""
    model = tiny(attention_relax=32.0, do_stable_layer_norm=True)
    assert model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        for layer in model.mert.encoder.layers:
            layer.attention.q_proj.weight.mul_(3e3)
            layer.attention.k_proj.weight.mul_(3e3)
    waveform = torch.randn(1, 24_000)
    scores = []
    attention = model.mert.encoder.layers[0].attention
    attention.register_forward_hook(
        lambda module, arguments, keywords, _: scores.append(
            (module.q_proj(arguments[0]) @ module.k_proj(arguments[0]).transpose(1, 2)).abs().max().item()
        ),
        with_kwargs=True,
    )
    model(waveform)
    assert scores[0] > 65_504  # the largest float16
    assert torch.isfinite(model.half()(waveform.half()).logits).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deepnorm": True}, "deepnorm True is not supported; it must be false"),
        ({"feature_extractor_cqt": True}, "feature_extractor_cqt True is not supported"),
        ({"layer": 99}, "layer 99 does not exist; possible are last, weighted .* from 0 .* to 3"),
        ({"layer": "first"}, "layer 'first' does not exist"),
        ({"pooling": "max"}, "pooling 'max' is not known; it must be mean or attention"),
        ({"head_hidden_size": 0}, "head_hidden_size 0 must be a positive whole number"),
        ({"head_dropout": 1.0}, r"head_dropout must be in \[0, 1\), received 1.0"),
        ({"window_samples": 300, "hop_samples": 300}, "window_samples 300 is too short .* needs 400"),
        ({"hop_samples": 240_000}, "hop_samples 240000 leaves gaps"),
        ({"num_attention_heads": 3}, "hidden_size 16 must be a multiple of num_attention_heads 3"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm 'batch' is not known; it must be group or layer"),
    ],
)
def test_what_is_not_supported_is_refused_with_what_is(changes, message):
    with pytest.raises(ValueError, match=message):
        MertConfig(**{**TINY, **changes})


def test_all_wrong_values_come_in_one_message():
    with pytest.raises(ValueError, match=r"deepnorm.*; feature_extractor_cqt.*; layer 99"):
        MertConfig(deepnorm=True, feature_extractor_cqt=True, layer=99)


def test_the_shortest_window_makes_one_frame_and_one_sample_less_none():
    config = MertConfig(**TINY)
    model = MertModel(config)
    assert model(torch.randn(1, config.shortest_window)).last_hidden_state.shape[1] == 1
    with pytest.raises(RuntimeError):
        model(torch.randn(1, config.shortest_window - 1))


def test_the_configuration_keeps_its_own_auto_map(tmp_path):
    tiny().save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).auto_map["AutoModelForAudioClassification"].startswith("modeling_mert.")


def test_a_window_that_makes_no_frame_is_refused_with_what_is_needed():
    model = tiny()
    assert model(torch.randn(1, 400)).logits.shape == (1, 3)
    with pytest.raises(ValueError, match="399 samples is too short for this model, which needs at least 400"):
        model(torch.randn(1, 399))
    mask = torch.ones(1, 600, dtype=torch.int64)
    mask[:, 399:] = 0
    with pytest.raises(ValueError, match="399 samples is too short"):
        model(torch.randn(1, 600), attention_mask=mask)


def test_a_learned_sum_never_loses_a_layer_to_layerdrop():
    model = tiny(layer="weighted", layerdrop=0.9).train()
    for _ in range(5):
        assert torch.isfinite(model(torch.randn(1, 24_000)).logits).all()
