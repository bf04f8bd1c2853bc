import pytest
import torch

from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification


def test_the_defaults_are_the_papers():
    """Won et al. 2020: 16 kHz, 59,049 samples, 128 mel bins, 7 blocks of 128, 128, 4 x 256, 512 channels."""
    with torch.device("meta"):
        model = ShortCnnForAudioClassification(ShortCnnConfig(num_labels=50))
    shapes = [tuple(block.convolution.weight.shape) for block in model.blocks]
    assert shapes == [
        (128, 1, 3, 3),
        (128, 128, 3, 3),
        (256, 128, 3, 3),
        (256, 256, 3, 3),
        (256, 256, 3, 3),
        (256, 256, 3, 3),
        (512, 256, 3, 3),
    ]
    assert tuple(model.dense.linear.weight.shape) == (512, 512)
    assert tuple(model.classifier.weight.shape) == (50, 512)
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == 3_687_348  # counted by hand from the shapes above, batch norms and biases included


def test_the_spectrogram_is_the_decibels_of_torchaudios_mel_power():
    model = ShortCnnForAudioClassification(ShortCnnConfig(num_channels=4)).eval()
    seconds = torch.arange(59_049) / 16_000
    decibels = model.spectrogram(0.5 * torch.sin(2 * torch.pi * 1_000 * seconds)[None])
    assert decibels.shape == (1, 1, 128, 231)
    # 1,000 Hz lie at 999.99 mel on the HTK scale; 8,000 Hz at 2,840.02: band 128 · 1000 / 2840 = 45 of 128.
    assert decibels[0, 0, :, 100].argmax().item() in (44, 45)
    assert model.spectrogram(torch.zeros(1, 59_049)).unique().tolist() == [-100.0]  # 10 · log10(1e-10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_blocks": 0}, "num_blocks must be a positive whole number, received 0"),
        ({"num_channels": 0}, "num_channels must be a positive whole number, received 0"),
        ({"num_channels": 2.5}, "num_channels must be a positive whole number, received 2.5"),
        ({"f_max": 9_000.0}, "sampling_rate / 2 = 8000 Hz"),
        ({"hop_samples": 60_000}, "leaves gaps"),
        ({"classifier_dropout": 1.0}, r"classifier_dropout must be in \[0, 1\)"),
    ],
)
def test_an_impossible_configuration_says_what_is_possible(changes, message):
    with pytest.raises(ValueError, match=message):
        ShortCnnConfig(**changes)


def test_the_residual_form_has_shortcuts():
    model = ShortCnnForAudioClassification(ShortCnnConfig(num_channels=4, residual=True))
    assert all(hasattr(block, "shortcut") for block in model.blocks)
    assert model.blocks[0].first.stride == (2, 2)
