import torch
from torch import nn

from hf_tagger.models.configuration_mel_cnn import MelCnnConfig
from hf_tagger.models.modeling_mel_cnn import MelCnnForAudioClassification


def test_the_defaults_are_four_doubling_blocks_and_two_layers_of_128():
    with torch.device("meta"):
        model = MelCnnForAudioClassification(MelCnnConfig(num_labels=20))
    shapes = [tuple(block.convolution.weight.shape) for block in model.blocks]
    assert shapes == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3)]
    assert [tuple(layer.weight.shape) for layer in model.dense] == [(128, 256), (128, 128)]
    assert tuple(model.classifier.weight.shape) == (20, 128)
    convolutions = 9 * (32 + 32 * 64 + 64 * 128 + 128 * 256) + 3 * (32 + 64 + 128 + 256)
    head = 256 * 128 + 128 + 128 * 128 + 128 + 128 * 20 + 20
    assert sum(parameter.numel() for parameter in model.parameters()) == 2 + convolutions + head


def test_a_window_has_the_shapes_of_the_modules_docstring():
    model = MelCnnForAudioClassification(MelCnnConfig(num_labels=20)).eval()
    shapes = []
    for module in (model.spectrogram, *model.blocks, *model.dense):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        assert model(torch.zeros(1, 59_049)).logits.shape == (1, 20)
    assert shapes == [
        (1, 1, 128, 231),
        (1, 32, 64, 115),
        (1, 64, 32, 57),
        (1, 128, 16, 28),
        (1, 256, 8, 14),
        (1, 128),
        (1, 128),
    ]


def test_the_head_sees_the_mean_over_bins_and_frames_through_two_layers_with_relu():
    torch.manual_seed(0)
    model = MelCnnForAudioClassification(MelCnnConfig(num_channels=4, dense_size=16, num_labels=3)).eval()
    spectrogram = torch.randn(2, 1, 128, 70)
    hidden = model.blocks(spectrogram)
    hidden = hidden.sum(dim=(2, 3)) / (8 * 4)
    for layer in model.dense:
        hidden = (hidden @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(model.spectrogram_logits(spectrogram), model.classifier(hidden))


def test_both_layers_drop_features_in_training():
    torch.manual_seed(0)
    model = MelCnnForAudioClassification(MelCnnConfig(num_channels=4, classifier_dropout=0.9)).train()
    outputs = []
    model.dropout.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    model(torch.randn(8, 59_049))
    assert [tuple(output.shape) for output in outputs] == [(8, 128), (8, 128)]
    assert all((output == 0).float().mean() > 0.8 for output in outputs)


def test_blocks_beyond_what_there_is_to_halve_pool_nothing():
    config = MelCnnConfig(num_channels=1, num_blocks=9, dense_size=4)
    model = MelCnnForAudioClassification(config).eval()
    assert [block.pool.kernel_size for block in model.blocks] == [(2, 2)] * 7 + [(1, 1)] * 2
    assert isinstance(model.dense[0], nn.Linear)
    assert model.dense[0].in_features == 256
    assert model(torch.zeros(1, 59_049)).logits.isfinite().all()
