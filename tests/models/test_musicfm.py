import pytest
import torch
from transformers import AutoModel, AutoModelForAudioClassification
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as stock

from hf_tagger.models.configuration_musicfm import MusicFMConfig
from hf_tagger.models.modeling_musicfm import MusicFMForAudioClassification, MusicFMModel

SMALL = {
    "num_mel_bins": 32,
    "conv_channels": 8,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_depthwise_kernel_size": 7,
    "window_samples": 24_000,
    "hop_samples": 24_000,
}
WITHOUT_DROPOUT = dict.fromkeys(
    ["hidden_dropout", "attention_dropout", "activation_dropout", "conformer_conv_dropout", "head_dropout"], 0.0
)


def make(model_class=MusicFMModel, **changes):
    torch.manual_seed(0)
    return model_class(MusicFMConfig(**{**SMALL, **changes})).eval()


def music(clips, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pitches = 100 + 900 * torch.rand(clips, 1, generator=generator)
    return 0.3 * torch.sin(2 * torch.pi * pitches * torch.arange(samples) / 24_000) + 0.01 * torch.randn(
        clips, samples, generator=generator
    )


@torch.no_grad()
def encode(model, waveform, **options):
    return model(waveform, **options).last_hidden_state


def test_the_defaults_are_the_papers():
    """Won et al. 2023: 330M parameters, 12 layers, 1,024 features, 25 frames a second."""
    with torch.device("meta"):
        model = MusicFMModel(MusicFMConfig())
    assert len(model.conformer.layers) == 12
    assert model.conv.linear.weight.shape == (1024, 512 * 32)
    assert model.conformer.layers[0].conv_module.depthwise_conv.weight.shape == (1024, 1, 31)
    assert model.spectrogram.mel.mel_scale.fb.shape == (1025, 128)
    # The published 329,170,226 values without the 8,389,760 of convolutional positions (1024 · 64 · 128 + 128 + 1024),
    # the 4,198,400 of the prediction layer, quantizer (73,728) and class token (1,024), buffers not counted.
    buffers = sum(buffer.numel() for buffer in model.buffers())
    values = sum(parameter.numel() for parameter in model.parameters()) + buffers
    assert values == 329_170_226 - 8_389_760 - 4_198_400 - 73_728 - 1_024


def test_a_second_has_25_frames_of_normalised_decibels():
    model = make(mel_mean=-50.0, mel_std=10.0)
    seen = []
    model.conv.register_forward_hook(lambda _module, inputs, output: seen.extend([inputs[0], output]))
    assert encode(model, music(2, 24_000)).shape == (2, 25, 16)
    assert seen[0].shape == (2, 1, 32, 100)  # of 101 frames the last is left out
    assert seen[1].shape == (2, 25, 16)
    seen.clear()
    encode(model, torch.zeros(1, 24_000))
    assert seen[0].unique().tolist() == [-5.0]  # silence: (-100 dB + 50) / 10


@pytest.mark.parametrize("samples", [2_400, 24_000, 100_001])
def test_windows_of_other_lengths_work(samples):
    assert encode(make(), music(1, samples)).shape == (1, -(-(samples // 240) // 4), 16)


def test_the_shortest_window_makes_one_frame_and_less_is_explained():
    model = make(n_fft=512, window_samples=257, hop_samples=257)
    assert model.config.shortest_window == 257  # the transform mirrors 256 samples at each edge
    assert encode(model, music(1, 257)).shape == (1, 1, 16)
    with pytest.raises(ValueError, match=r"at least 257 samples; received the shape \(1, 256\)"):
        model(music(1, 256))
    with pytest.raises(ValueError, match=r"\[batch, samples\]"):
        model(music(1, 24_000)[0])


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"hidden_size": 0}, ["hidden_size must be a positive whole number, received 0"]),
        ({"num_attention_heads": 3}, ["hidden_size 1024 must be a multiple of 2 · num_attention_heads 3"]),
        ({"hidden_size": 16, "num_attention_heads": 16}, ["rotary positions turn pairs"]),
        ({"conv_depthwise_kernel_size": 30}, ["conv_depthwise_kernel_size 30 must be odd"]),
        ({"hidden_act": "swisch"}, ["hidden_act 'swisch' is not known", "swish"]),
        ({"mel_mean": float("nan")}, ["mel_mean must be a number, received nan"]),
        ({"window_samples": 1_024, "hop_samples": 1_024}, ["window_samples 1024 is too short", "needs 1025"]),
        ({"hop_samples": 240_001}, ["leaves gaps"]),
        ({"layer": 13, "pooling": "max"}, ["layer 13 does not exist", "to 12", "pooling 'max'"]),
        (
            {"n_fft": 0, "mel_std": 0.0, "hidden_dropout": 1.0, "attention_dropout": -0.1},
            ["n_fft", "mel_std must be greater than 0", "hidden_dropout must be in", "attention_dropout must be in"],
        ),
    ],
)
def test_an_impossible_configuration_names_every_wrong_value(changes, messages):
    with pytest.raises(ValueError) as caught:
        MusicFMConfig(**changes)
    for message in messages:
        assert message in str(caught.value)


def test_nothing_that_is_never_computed_exists():
    """Parameters without a gradient stop distributed training."""
    model = make(MusicFMForAudioClassification, **WITHOUT_DROPOUT)
    assert not [name for name in model.state_dict() if "pos_conv_embed" in name or "cls_token" in name]
    model.train()
    model(music(2, 24_000), labels=torch.tensor([0, 1])).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_fresh_weights_let_the_signal_through():
    model = make(MusicFMForAudioClassification, conv_channels=32)
    weight = model.musicfm.conv.blocks[1].first.weight
    assert weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)  # He: sqrt(2 / inputs)
    assert model.musicfm.conv.linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    norm = model.musicfm.conv.blocks[1].first_norm
    assert (norm.weight.unique().tolist(), norm.running_var.unique().tolist()) == ([1.0], [1.0])
    frames = encode(model.musicfm, music(4, 24_000))
    assert 0.5 < frames.std().item() < 2


def test_hidden_states_go_from_the_first_layers_input_to_the_final_norms_output():
    model = make()
    torch.nn.init.normal_(model.conformer.layer_norm.weight)
    inputs = music(2, 24_000)
    seen = {}
    for name in ("conv", "conformer.layers.0", "conformer.layers.1", "conformer.layer_norm"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
        )
    with torch.no_grad():
        output = model(inputs, output_hidden_states=True)
        as_tuple = model(inputs, output_hidden_states=True, return_dict=False)
    expected = [value[0] if isinstance(value, tuple) else value for value in seen.values()]
    assert len(output.hidden_states) == 4
    for index, number in enumerate((0, 1, 2, 3)):
        assert torch.equal(output.hidden_states[number], expected[index]), number
    assert output.last_hidden_state is output.hidden_states[-1]
    assert torch.equal(as_tuple[0], output.last_hidden_state)
    assert model(inputs).hidden_states is None


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_model_cut_at_a_layer_computes_the_full_models_hidden_state(layer, tmp_path, capfd):
    model = make()
    torch.nn.init.normal_(model.conformer.layer_norm.weight)
    model.save_pretrained(tmp_path)
    cut, info = AutoModel.from_pretrained(tmp_path, layer=layer, output_loading_info=True)
    assert len(cut.conformer.layers) == layer
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs = music(2, 24_000)
    with torch.no_grad():
        states = model(inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encode(cut.eval(), inputs), states[layer], atol=0, rtol=0)
    tagger, info = AutoModelForAudioClassification.from_pretrained(
        tmp_path, layer=layer, num_labels=3, output_loading_info=True
    )
    assert len(tagger.musicfm.conformer.layers) == layer
    assert not info["unexpected_keys"]
    assert "UNEXPECTED" not in "".join(capfd.readouterr())


def test_rotary_positions_are_those_of_transformers():
    model = make()
    theirs = stock.Wav2Vec2ConformerRotaryPositionalEmbedding(model.config)
    ours = model.conformer.embed_positions(50)
    torch.testing.assert_close(ours, theirs(torch.zeros(1, 50, 16)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_pass_in_mixed_precision_is_close_and_leaves_no_trace(dtype):
    model, inputs = make(), music(2, 24_000)
    before = encode(model, inputs)
    with torch.autocast("cpu", dtype=dtype):
        mixed = encode(model, inputs)
    assert torch.isfinite(mixed).all()
    torch.testing.assert_close(mixed.float(), before, atol=0.1, rtol=0)
    assert torch.equal(encode(model, inputs), before)


def test_training_works_after_inference_mode():
    model, inputs = make(**WITHOUT_DROPOUT), music(2, 24_000)
    with torch.inference_mode():
        model(inputs)
    model.train()
    model(inputs).last_hidden_state.square().sum().backward()
    assert torch.isfinite(model.conformer.layers[0].self_attn.linear_q.weight.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_keeps_spectrogram_and_frequencies_in_float32(dtype, tmp_path):
    model, inputs = make(), music(2, 24_000)
    model.save_pretrained(tmp_path)
    exact = encode(model, inputs)
    for reduced in (AutoModel.from_pretrained(tmp_path, dtype=dtype), model.to(dtype)):
        buffers = [*reduced.spectrogram.buffers(), reduced.conformer.embed_positions.inv_freq]
        assert {buffer.dtype for buffer in buffers} == {torch.float32}
        assert reduced.conv.linear.weight.dtype == dtype
        hidden = encode(reduced.eval(), inputs)
        assert hidden.dtype == dtype
        torch.testing.assert_close(hidden.float(), exact, atol=0.1, rtol=0)


def test_every_attention_implementation_computes_the_same(tmp_path):
    make().save_pretrained(tmp_path)
    inputs = music(2, 24_000)
    mask = torch.ones(2, 24_000, dtype=torch.int64)
    mask[1, 12_000:] = 0
    eager, sdpa = (
        encode(AutoModel.from_pretrained(tmp_path, attn_implementation=name).eval(), inputs, attention_mask=mask)
        for name in ("eager", "sdpa")
    )
    torch.testing.assert_close(eager, sdpa, atol=1e-5, rtol=0)


def test_a_mask_keeps_attention_off_the_padding():
    model, inputs = make(), music(2, 48_000)
    mask = torch.ones(2, 48_000, dtype=torch.int64)
    mask[1, 24_000:] = 0
    padded = inputs * mask
    masked = encode(model, padded, attention_mask=mask)
    assert torch.equal(masked, encode(model, padded, attention_mask=mask[:, ::960]))  # a frame is 960 samples
    torch.testing.assert_close(masked[0], encode(model, inputs[:1])[0], atol=1e-5, rtol=0)
    noisy = padded.clone()
    noisy[1, 28_000:] = music(1, 20_000, seed=2)  # the spectrogram and its convolutions reach 4 frames
    torch.testing.assert_close(encode(model, noisy, attention_mask=mask)[1, :25], masked[1, :25], atol=1e-5, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(encode(model, padded, attention_mask=mask)).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 7), r"\[batch, samples\] = \(2, 24000\) or \[batch, frames\] = \(2, 25\).*\(2, 7\)"),
        (torch.tensor([[1] * 25, [0] * 25]), "leaves a clip empty"),
        (torch.zeros(2, 24_000), "leaves a clip empty"),
    ],
)
def test_a_mask_that_does_not_fit_is_explained(mask, message):
    with pytest.raises(ValueError, match=message):
        make()(music(2, 24_000), attention_mask=mask)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(use_reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = make(MusicFMForAudioClassification, layer="weighted", problem_type="multi_label_classification")
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": use_reentrant})  # transformers 5.23 renamed it
            assert sum(getattr(module, "gradient_checkpointing", False) for module in model.modules()) >= 3
        model.train()
        torch.manual_seed(1)  # the same dropout
        model(music(2, 24_000), labels=torch.tensor([[0.0, 1.0], [1.0, 0.0]])).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
