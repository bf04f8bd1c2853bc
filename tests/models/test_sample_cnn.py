import pytest
import torch
from torch import nn

from hf_tagger.models.blocks import TimeBlock
from hf_tagger.models.configuration_sample_cnn import SampleCnnConfig
from hf_tagger.models.modeling_sample_cnn import SampleCnnForAudioClassification, SqueezeExcitationBlock

CHANNELS = [1, 128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512]
KERNELS = [3] * 10 + [1]
both_forms = pytest.mark.parametrize("squeeze_excitation", [False, True])


def model_of(window=59_049, **changes):
    torch.manual_seed(0)
    config = SampleCnnConfig(num_channels=4, num_labels=3, window_samples=window, hop_samples=window, **changes)
    return SampleCnnForAudioClassification(config).eval()


def test_the_defaults_are_the_papers():
    """Won et al. 2020: 3^10 samples, eleven blocks of 128 × 3, 256 × 6, 512 × 2 channels."""
    with torch.device("meta"):
        model = SampleCnnForAudioClassification(SampleCnnConfig(num_labels=50))
    shapes = [tuple(block.convolution.weight.shape) for block in model.blocks]
    assert shapes == [(CHANNELS[n + 1], CHANNELS[n], KERNELS[n]) for n in range(11)]
    assert [block.convolution.stride for block in model.blocks] == [(3,)] + [(1,)] * 10
    assert [block.pool.kernel_size for block in model.blocks] == [1] + [3] * 9 + [1]
    assert model.dense is None
    blocks = sum(CHANNELS[n] * CHANNELS[n + 1] * KERNELS[n] + 3 * CHANNELS[n + 1] for n in range(11))
    assert sum(parameter.numel() for parameter in model.parameters()) == blocks + 512 * 50 + 50


def test_the_residual_form_has_two_convolutions_two_layers_that_weigh_channels_and_few_shortcuts():
    with torch.device("meta"):
        model = SampleCnnForAudioClassification(SampleCnnConfig(num_labels=50, squeeze_excitation=True))
    expected = 512 * 512 + 3 * 512 + 512 * 50 + 50  # dense block and classifier
    for number, (inputs, outputs, kernel) in enumerate(zip(CHANNELS[:-1], CHANNELS[1:], KERNELS, strict=True)):
        block = model.blocks[number]
        assert tuple(block.first.weight.shape) == (outputs, inputs, kernel)
        assert tuple(block.second.weight.shape) == (outputs, outputs, kernel)
        has_shortcut = number in (0, 3, 9)  # a stride, or other channels
        assert isinstance(block.shortcut, nn.Conv1d) == has_shortcut
        assert isinstance(block.shortcut_norm, nn.BatchNorm1d) == has_shortcut
        convolution = inputs * outputs * kernel + 3 * outputs
        expected += convolution * (1 + has_shortcut) + outputs * outputs * kernel + 3 * outputs
        expected += 2 * (outputs * outputs + outputs)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@both_forms
def test_ten_blocks_make_one_value_of_three_to_the_tenth(squeeze_excitation):
    model = SampleCnnForAudioClassification(SampleCnnConfig(squeeze_excitation=squeeze_excitation)).eval()
    shapes = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        model(torch.zeros(1, 3**10))
    assert shapes == [(1, CHANNELS[n + 1], 3 ** (9 - n)) for n in range(10)] + [(1, 512, 1)]


@both_forms
def test_of_a_longer_window_the_mean_counts(squeeze_excitation):
    model = model_of(squeeze_excitation=squeeze_excitation)
    waveform = 0.1 * torch.randn(2, 3 * 59_049)
    hidden = model.blocks(waveform[:, None])
    assert hidden.shape == (2, 16, 3)
    pooled = (hidden[..., 0] + hidden[..., 1] + hidden[..., 2]) / 3
    expected = model.classifier(model.dense(pooled) if squeeze_excitation else pooled)
    torch.testing.assert_close(model(waveform).logits, expected)


def weighted_block():
    torch.manual_seed(0)
    return SqueezeExcitationBlock(4, 6, 3, pool=3).eval(), torch.randn(2, 4, 27)


def test_channels_are_weighed_between_0_and_1_by_their_mean_over_time():
    block, hidden = weighted_block()
    seen = []
    block.excite.register_forward_hook(lambda _module, _inputs, output: seen.append(output.sigmoid()))
    received = block(hidden)
    (weights,) = seen
    assert weights.shape == (2, 6)
    assert ((weights > 0) & (weights < 1)).all()
    assert weights.std(dim=0).min() > 0  # every clip its own
    residual = block.second_norm(block.second(torch.relu(block.first_norm(block.first(hidden)))))
    squeezed = torch.relu(residual.sum(dim=2) / 27 @ block.squeeze.weight.T + block.squeeze.bias)
    torch.testing.assert_close(weights, (squeezed @ block.excite.weight.T + block.excite.bias).sigmoid())
    added = block.shortcut_norm(block.shortcut(hidden)) + residual * weights[..., None]
    torch.testing.assert_close(received, nn.functional.max_pool1d(added.clamp(min=0), 3))


@pytest.mark.parametrize("bias", [-100.0, 100.0])
def test_a_weight_of_0_leaves_the_shortcut_and_of_1_the_whole_residual(bias):
    block, hidden = weighted_block()
    nn.init.zeros_(block.excite.weight)
    nn.init.constant_(block.excite.bias, bias)
    expected = block.shortcut_norm(block.shortcut(hidden))
    if bias > 0:
        expected = expected + block.second_norm(block.second(torch.relu(block.first_norm(block.first(hidden)))))
    torch.testing.assert_close(block(hidden), torch.relu(nn.functional.max_pool1d(expected, 3)))


@pytest.mark.parametrize(
    ("channels", "stride", "has_shortcut"),
    [((4, 4), 1, False), ((4, 4), 3, True), ((4, 8), 1, True), ((1, 4), 3, True)],
)
def test_a_shortcut_is_learned_only_where_stride_or_channels_change(channels, stride, has_shortcut):
    block = SqueezeExcitationBlock(*channels, 3, stride).eval()
    assert isinstance(block.shortcut, nn.Identity) != has_shortcut
    assert isinstance(block.shortcut_norm, nn.Identity) != has_shortcut
    assert block(torch.randn(2, channels[0], 27)).shape == (2, channels[1], 27 // stride)


@pytest.mark.parametrize(
    ("window", "pools", "shortest"),
    [
        (59_049, [3] * 10, 59_049),
        (100_000, [3] * 10, 59_049),
        (59_048, [3] * 9 + [2], 39_366),
        (16_000, [3] * 8 + [2, 1], 13_122),
        (5, [3] + [1] * 9, 3),
        (2, [2] + [1] * 9, 2),
        (1, [1] * 10, 1),
    ],
)
@both_forms
def test_pools_are_fitted_to_the_window_and_the_shortest_is_what_they_make_one_of(
    window, pools, shortest, squeeze_excitation
):
    model = model_of(window, squeeze_excitation=squeeze_excitation)
    assert model.config.pools == pools
    assert model.config.shortest_window == shortest
    assert [model.blocks[0].get_submodule("first" if squeeze_excitation else "convolution").stride[0]] == pools[:1]
    assert [block.pool.kernel_size for block in model.blocks[1:10]] == pools[1:]
    with torch.no_grad():
        assert model(torch.zeros(2, shortest)).logits.isfinite().all()
    with pytest.raises(ValueError, match=f"{shortest - 1} samples is too short .* needs at least {shortest}"):
        model(torch.zeros(1, shortest - 1))


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"num_channels": 0}, ["num_channels must be a positive whole number, received 0"]),
        ({"window_samples": 0}, ["window_samples must be a positive whole number, received 0"]),
        ({"hop_samples": 59_050}, ["hop_samples 59050 leaves gaps between windows of 59049"]),
        ({"windows_per_group": 0}, ["windows_per_group must be a positive whole number, received 0"]),
        ({"sampling_rate": 2.5}, ["sampling_rate must be a positive whole number, received 2.5"]),
        ({"classifier_dropout": 1}, ["classifier_dropout must be in [0, 1), received 1"]),
        ({"num_channels": 0, "hop_samples": 0, "classifier_dropout": -1}, ["num_channels", "hop_samples", "dropout"]),
    ],
)
def test_every_impossible_value_is_named(changes, messages):
    with pytest.raises(ValueError) as raised:
        SampleCnnConfig(**changes)
    assert all(message in str(raised.value) for message in messages)


@pytest.mark.parametrize("field", ["hop_samples", "sampling_rate", "windows_per_group"])
def test_a_wrong_window_hides_no_other_mistake(field):
    with pytest.raises(ValueError, match=f"{field} must be"):
        SampleCnnConfig(window_samples=0, **{field: 0})


def test_samples_are_read_in_the_precision_of_the_weights():
    model = model_of()
    assert isinstance(model.blocks[0], TimeBlock)
    waveform = 0.1 * torch.randn(2, 59_049)
    expected = model(waveform).logits
    assert model(waveform.double()).logits.dtype == torch.float32
    received = model.to(torch.bfloat16)(waveform).logits
    assert received.dtype == torch.bfloat16
    torch.testing.assert_close(received.float(), expected, atol=0.05, rtol=0.1)
