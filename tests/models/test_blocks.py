import math

import pytest
import torch
from torch import nn

from hf_tagger.models.blocks import (
    ConvolutionBlock,
    DenseBlock,
    ResidualBlock,
    ResidualPoolingBlock,
    TimeBlock,
    fitted_pools,
    initialize_for_relu,
)


def seen(block, *shape):
    """The block, its batch norms with means and deviations of their own, and an input."""
    torch.manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                nn.init.uniform_(values, 0.5, 2.0)
            for values in (module.bias.data, module.running_mean):
                nn.init.normal_(values)
    return block.eval(), torch.randn(*shape)


@pytest.mark.parametrize(
    ("pools", "length", "expected"),
    [
        ([2, 2, 2], 8, [2, 2, 2]),
        ([2, 2, 2], 7, [2, 2, 1]),
        ([2, 2, 2], 1, [1, 1, 1]),
        ([2, 3, 4, 4], 96, [2, 3, 4, 4]),
        ([2, 3, 4, 4], 84, [2, 3, 4, 3]),
        ([2, 3, 4, 4], 40, [2, 3, 4, 1]),
        ([4, 4, 4, 5, 4], 63, [4, 4, 3, 1, 1]),
        ([3] * 10, 59_049, [3] * 10),
        ([3] * 10, 59_048, [3] * 9 + [2]),
        ([5], 3, [3]),
        ([], 3, []),
    ],
)
def test_pools_stay_as_published_until_fewer_values_are_left(pools, length, expected):
    assert fitted_pools(pools, length) == expected


@pytest.mark.parametrize("pools", [[2] * 7, [4, 4, 4, 5, 4], [2, 3, 4, 4], [3] * 10])
def test_fitted_pools_leave_a_value_of_every_length_and_are_never_larger_than_published(pools):
    for length in range(1, 300):
        fitted = fitted_pools(pools, length)
        left = length
        for pool, published in zip(fitted, pools, strict=True):
            assert 1 <= pool <= published
            left //= pool
        assert left >= 1
        assert math.prod(fitted) <= length


@pytest.mark.parametrize("pool", [(2, 2), (2, 3), (3, 5), (1, 4)])
def test_pooling_before_relu_changes_no_value(pool):
    block, hidden = seen(ConvolutionBlock(3, 5, pool), 2, 3, 13, 17)
    relu_first = nn.functional.max_pool2d(torch.relu(block.norm(block.convolution(hidden))), pool)
    assert torch.equal(block(hidden), relu_first)
    assert block(hidden).shape == (2, 5, 13 // pool[0], 17 // pool[1])


def test_pooling_before_relu_changes_no_value_over_time():
    block, hidden = seen(TimeBlock(3, 5, 7, pool=3), 2, 3, 20)
    assert torch.equal(block(hidden), nn.functional.max_pool1d(torch.relu(block.norm(block.convolution(hidden))), 3))


@pytest.mark.parametrize(("bins", "frames"), [(8, 10), (7, 9), (1, 1)])
def test_a_residual_block_halves_upwards_and_adds_a_strided_convolution(bins, frames):
    block, hidden = seen(ResidualBlock(3, 5), 2, 3, bins, frames)
    received = block(hidden)
    assert received.shape == (2, 5, -(-bins // 2), -(-frames // 2))
    first = torch.relu(block.first_norm(nn.functional.conv2d(hidden, block.first.weight, block.first.bias, 2, 1)))
    second = block.second_norm(nn.functional.conv2d(first, block.second.weight, block.second.bias, 1, 1))
    beside = block.shortcut_norm(nn.functional.conv2d(hidden, block.shortcut.weight, block.shortcut.bias, 2, 1))
    torch.testing.assert_close(received, (second + beside).clamp(min=0))


def test_a_residual_pooling_block_adds_its_input_then_takes_the_largest():
    block, hidden = seen(ResidualPoolingBlock(3, (2, 3)), 2, 3, 8, 11)
    added = hidden + block.second_norm(block.second(torch.relu(block.first_norm(block.first(hidden)))))
    received = block(hidden)
    assert received.shape == (2, 3, 4, 3)
    expected = torch.stack([added[:, :, bin_:8:2, :9] for bin_ in (0, 1)]).amax(dim=0)
    expected = torch.stack([expected[..., frame:9:3] for frame in (0, 1, 2)]).amax(dim=0).clamp(min=0)
    torch.testing.assert_close(received, expected)


def test_a_residual_pooling_block_whose_second_norm_is_zero_only_pools():
    block, hidden = seen(ResidualPoolingBlock(3, (2, 2)), 2, 3, 8, 8)
    nn.init.zeros_(block.second_norm.weight)
    nn.init.zeros_(block.second_norm.bias)
    assert torch.equal(block(hidden), torch.relu(nn.functional.max_pool2d(hidden, 2)))


@pytest.mark.parametrize(("kernel", "stride", "pool"), [(7, 1, 1), (129, 1, 1), (3, 3, 1), (3, 1, 3), (1, 1, 1)])
def test_a_time_block_makes_one_step_of_stride_times_pool(kernel, stride, pool):
    block, hidden = seen(TimeBlock(2, 4, kernel, stride, pool), 2, 2, 27)
    assert block(hidden).shape == (2, 4, 27 // (stride * pool))
    convolved = nn.functional.conv1d(hidden, block.convolution.weight, block.convolution.bias, stride, kernel // 2)
    expected = torch.relu(nn.functional.max_pool1d(block.norm(convolved), pool))
    torch.testing.assert_close(block(hidden), expected)


def test_a_dense_block_is_a_normalised_linear_layer_above_zero():
    block, hidden = seen(DenseBlock(6, 4), 3, 6)
    linear = hidden @ block.linear.weight.T + block.linear.bias
    norm = block.norm
    normalised = (linear - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(block(hidden), normalised.clamp(min=0))
    assert (block(hidden) == 0).any()


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (nn.Conv2d(64, 128, 3), 64 * 9),
        (nn.Conv1d(64, 128, 7), 64 * 7),
        (nn.Linear(500, 300, bias=False), 500),
    ],
    ids=["2d", "1d", "linear without bias"],
)
def test_initialisation_keeps_the_variance_through_a_relu(module, inputs):
    torch.manual_seed(0)
    assert initialize_for_relu(module)
    assert module.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.02)
    assert module.bias is None or not module.bias.any()


def test_other_layers_keep_their_initialisation():
    for module in (nn.BatchNorm2d(3), nn.GRU(2, 2), nn.ReLU()):
        before = {name: values.clone() for name, values in module.state_dict().items()}
        assert not initialize_for_relu(module)
        assert all(torch.equal(values, before[name]) for name, values in module.state_dict().items())
