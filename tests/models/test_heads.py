"""Layers, pooling and heads of pretrained encoders, with values computed by hand."""

import pytest
import torch

from hf_tagger.models.heads import AttentionPooling, ClassificationHead, LayerSum, MeanPooling

HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])  # [1, 3 frames, 2]
MASK = torch.tensor([[True, True, False]])


def test_the_mean_is_over_the_frames_that_exist():
    assert MeanPooling()(HIDDEN[:, :2]).tolist() == [[2.0, 4.0]]
    assert MeanPooling()(HIDDEN, MASK).tolist() == [[2.0, 4.0]]


def test_attention_starts_as_the_mean_and_then_weights_frames_by_the_softmax_of_their_scores():
    pooling = AttentionPooling(2)
    torch.nn.init.zeros_(pooling.score.weight)
    torch.testing.assert_close(pooling(HIDDEN, MASK), torch.tensor([[2.0, 4.0]]))
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([[0.5, 0.25]]))
    first, second = torch.tensor([0.5 * 1 + 0.25 * 2, 0.5 * 3 + 0.25 * 6]).softmax(0).tolist()
    expected = torch.tensor([[1 * first + 3 * second, 2 * first + 6 * second]])
    torch.testing.assert_close(pooling(HIDDEN, MASK), expected)
    torch.testing.assert_close(pooling(HIDDEN[:, :2]), expected)


def test_the_sum_of_layers_starts_as_their_mean_and_is_weighted_by_a_softmax():
    layers = torch.tensor([[[1.0, 0.0], [3.0, 8.0]]])  # [1, 2 states, 2]
    layer_sum = LayerSum(2)
    assert layer_sum(layers).tolist() == [[2.0, 4.0]]
    with torch.no_grad():
        layer_sum.weights.copy_(torch.tensor([0.0, 3.0]).log().clamp(min=-30))
    torch.testing.assert_close(layer_sum(layers), torch.tensor([[3.0, 8.0]]))
    frames = layers.unsqueeze(2).expand(1, 2, 5, 2)  # the same over frames: [1, states, 5 frames, 2]
    torch.testing.assert_close(layer_sum(frames), torch.tensor([3.0, 8.0]).expand(1, 5, 2))


def test_a_linear_head_and_one_with_a_hidden_layer():
    linear = ClassificationHead(2, 3, None, 0.0)
    assert [tuple(weight.shape) for weight in linear.parameters()] == [(3, 2), (3,)]
    deep = ClassificationHead(2, 3, 4, 0.0)
    assert [tuple(weight.shape) for weight in deep.parameters()] == [(4, 2), (4,), (3, 4), (3,)]
    pooled = torch.tensor([[1.0, -2.0]])
    expected = deep.output.weight @ torch.relu(deep.dense.weight @ pooled[0] + deep.dense.bias) + deep.output.bias
    torch.testing.assert_close(deep(pooled), expected[None])


def test_dropout_acts_before_the_last_layer_and_only_in_training():
    torch.manual_seed(0)
    head = ClassificationHead(1000, 1, None, 0.5)
    with torch.no_grad():
        head.output.weight.fill_(0.001)
        head.output.bias.zero_()
    ones = torch.ones(1, 1000)
    assert head.eval()(ones).item() == pytest.approx(1.0, abs=1e-4)
    assert head.train()(ones).item() != pytest.approx(1.0, abs=1e-4)  # half are zero, the others doubled
    assert head(ones).item() == pytest.approx(1.0, abs=0.2)
