import pytest
import torch
from torch import nn

from hf_tagger.models.configuration_musicnn import MusicnnConfig
from hf_tagger.models.modeling_musicnn import MusicnnForAudioClassification

SMALL = {"vertical_channels": 6, "horizontal_channels": 3, "backend_channels": 4, "dense_size": 8, "num_labels": 3}


def small_model(**changes):
    torch.manual_seed(0)
    model = MusicnnForAudioClassification(MusicnnConfig(**SMALL, **changes))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean)
    return model.eval()


def test_the_defaults_are_the_papers():
    """Won et al. 2020: 3 s, 96 mel bins, 204 filters of 67×7 and 38×7, 51 of 129, 65 and 33 frames, 64, 200."""
    with torch.device("meta"):
        model = MusicnnForAudioClassification(MusicnnConfig(num_labels=50))
    assert [tuple(filters.convolution.weight.shape) for filters in model.vertical] == [(204, 1, 67, 7), (204, 1, 38, 7)]
    assert [tuple(filters.convolution.weight.shape) for filters in model.horizontal] == [
        (51, 1, 129),
        (51, 1, 65),
        (51, 1, 33),
    ]
    assert [tuple(block.convolution.weight.shape) for block in model.backend] == [
        (64, 561, 7),
        (64, 64, 7),
        (64, 64, 7),
    ]
    assert tuple(model.dense.linear.weight.shape) == (200, 1_506)
    assert tuple(model.classifier.weight.shape) == (50, 200)
    vertical = 204 * 7 * (67 + 38) + 2 * 3 * 204  # weights, then biases and two of a norm
    horizontal = 51 * (129 + 65 + 33) + 3 * 3 * 51
    back_end = 64 * 7 * (561 + 64 + 64) + 3 * 3 * 64
    head = 1_506 * 200 + 3 * 200 + 200 * 50 + 50
    assert sum(parameter.numel() for parameter in model.parameters()) == 2 + vertical + horizontal + back_end + head


def test_a_window_has_the_shapes_of_the_modules_docstring():
    model = MusicnnForAudioClassification(MusicnnConfig(num_labels=50)).eval()
    shapes = {}
    for name in ("spectrogram", "vertical.0", "vertical.1", "horizontal.0", "horizontal.2", "backend.0", "backend.2"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    model.dense.register_forward_hook(lambda _module, inputs, _output: shapes.update(pooled=tuple(inputs[0].shape)))
    model.backend[0].register_forward_hook(lambda _module, inputs, _output: shapes.update(front=inputs[0].shape))
    with torch.no_grad():
        assert model(torch.zeros(1, 48_000)).logits.shape == (1, 50)
    assert shapes == {
        "spectrogram": (1, 1, 96, 188),
        "vertical.0": (1, 204, 188),
        "vertical.1": (1, 204, 188),
        "horizontal.0": (1, 51, 188),
        "horizontal.2": (1, 51, 188),
        "front": (1, 561, 188),
        "backend.0": (1, 64, 188),
        "backend.2": (1, 64, 188),
        "pooled": (1, 1_506),
    }


@pytest.mark.parametrize(
    ("front_end", "heights"), [("mel_db", [67, 38]), ("cqt", [58, 33]), ("mfcc", [28, 16]), ("waveform", [67, 38])]
)
def test_vertical_filters_are_70_and_40_percent_of_the_bins(front_end, heights):
    model = small_model(front_end=front_end)
    assert [filters.convolution.weight.shape[2:] for filters in model.vertical] == [(height, 7) for height in heights]


def test_vertical_filters_take_the_maximum_over_the_positions_in_the_bins():
    filters = small_model().vertical[1]  # 38 high, so that 59 positions are left
    spectrogram = torch.randn(2, 1, 96, 12)
    padded = nn.functional.pad(spectrogram, (3, 3))
    weight, bias = filters.convolution.weight, filters.convolution.bias
    frame = torch.stack(
        [(padded[:, :, low : low + 38, 5:12] * weight[None, 2]).sum(dim=(1, 2, 3)) for low in range(59)]
    )
    norm = filters.norm
    scaled = (frame + bias[2] - norm.running_mean[2]) / (norm.running_var[2] + 1e-5).sqrt()
    torch.testing.assert_close(filters(spectrogram)[:, 2, 5], scaled.amax(dim=0).clamp(min=0))


def test_vertical_filters_do_not_mind_a_transposition():
    filters = small_model().vertical[1]
    spectrogram = torch.zeros(1, 1, 96, 20)
    spectrogram[:, :, 40:50, 5:15] = torch.rand(10, 10)
    torch.testing.assert_close(filters(spectrogram.roll(6, dims=2)), filters(spectrogram))


def test_horizontal_filters_see_the_mean_over_the_bins():
    model = small_model()
    spectrogram = torch.randn(2, 1, 96, 140)
    seen = []
    for filters in model.horizontal:
        filters.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    model.spectrogram_logits(spectrogram)
    expected = spectrogram.sum(dim=2) / 96
    assert len(seen) == 3
    assert all(torch.allclose(energy, expected, atol=1e-6) for energy in seen)


def test_the_back_end_adds_each_layer_to_the_one_before_and_shows_all_to_the_head():
    model = small_model()
    spectrogram = torch.randn(2, 1, 96, 40)
    pooled = []
    model.dense.register_forward_hook(lambda _module, inputs, _output: pooled.append(inputs[0]))
    logits = model.spectrogram_logits(spectrogram)
    energy = spectrogram.mean(dim=2)
    front = [filters(spectrogram) for filters in model.vertical] + [filters(energy) for filters in model.horizontal]
    front = torch.cat(front, dim=1)
    first = model.backend[0](front)
    second = model.backend[1](first) + first
    third = model.backend[2](second) + second
    together = torch.cat([front, first, second, third], dim=1)
    assert together.shape == (2, 2 * 6 + 3 * 3 + 3 * 4, 40)
    expected = torch.cat([together.max(dim=2).values, together.sum(dim=2) / 40], dim=1)
    torch.testing.assert_close(pooled[0], expected)
    torch.testing.assert_close(logits, model.classifier(model.dense(expected)))
