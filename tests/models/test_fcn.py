import pytest
import torch

from hf_tagger.models.configuration_fcn import FcnConfig
from hf_tagger.models.modeling_fcn import FcnForAudioClassification


def test_the_defaults_are_the_papers():
    """Won et al. 2020: 29 s, 96 mel bins, 64, 128, 128, 128, 64 channels."""
    with torch.device("meta"):
        model = FcnForAudioClassification(FcnConfig(num_labels=50))
    channels = [1, 64, 128, 128, 128, 64]
    shapes = [tuple(block.convolution.weight.shape) for block in model.blocks]
    assert shapes == [(channels[n + 1], channels[n], 3, 3) for n in range(5)]
    assert [block.pool.kernel_size for block in model.blocks] == [(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)]
    convolutions = 9 * (1 * 64 + 64 * 128 + 128 * 128 + 128 * 128 + 128 * 64)
    biases_and_norms = 3 * (64 + 128 + 128 + 128 + 64)
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == 2 + convolutions + biases_and_norms + 64 * 50 + 50


def test_a_window_has_the_shapes_of_the_modules_docstring():
    model = FcnForAudioClassification(FcnConfig(num_labels=50)).eval()
    shapes = []
    for module in (model.spectrogram, *model.blocks):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        assert model(torch.zeros(1, 464_000)).logits.shape == (1, 50)
    assert shapes == [
        (1, 1, 96, 1_813),
        (1, 64, 48, 453),
        (1, 128, 24, 113),
        (1, 128, 12, 28),
        (1, 128, 4, 5),
        (1, 64, 1, 1),
    ]


@pytest.mark.parametrize("front_end", ["mel_db", "mfcc", "cqt", "waveform"])
@pytest.mark.parametrize("window", [3_000, 16_000, 59_049])
def test_a_window_becomes_one_value_whatever_its_length_and_bins(front_end, window):
    config = FcnConfig(num_channels=4, front_end=front_end, window_samples=window, hop_samples=window)
    model = FcnForAudioClassification(config).eval()
    bins, frames = model.blocks(torch.randn(1, 1, config.num_bins, window // 256 + 1)).shape[2:]
    assert bins == 1
    assert 1 <= frames < 2 * 4  # the last published pool is 4


def test_of_a_longer_window_the_strongest_place_counts():
    torch.manual_seed(0)
    model = FcnForAudioClassification(FcnConfig(num_channels=4, num_labels=3)).eval()
    spectrogram = torch.randn(2, 1, 96, 4 * 1_280)
    hidden = model.blocks(spectrogram)
    assert hidden.shape == (2, 4, 1, 4)
    assert not torch.equal(hidden.amax(dim=3), hidden[..., 0])
    strongest = torch.stack([hidden[..., 0, frame] for frame in range(4)]).max(dim=0).values
    torch.testing.assert_close(model.spectrogram_logits(spectrogram), model.classifier(strongest))
