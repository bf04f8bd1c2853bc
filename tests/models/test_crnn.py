import torch

from hf_tagger.models.configuration_crnn import CrnnConfig
from hf_tagger.models.modeling_crnn import CrnnForAudioClassification


def small_model(**changes):
    torch.manual_seed(0)
    config = CrnnConfig(num_channels=4, hidden_size=8, num_labels=3, **changes)
    return CrnnForAudioClassification(config).eval()


def test_the_defaults_are_the_papers():
    """Won et al. 2020: 29 s, 96 mel bins, 64, 128, 128, 128 channels, two recurrent layers of 32."""
    with torch.device("meta"):
        model = CrnnForAudioClassification(CrnnConfig(num_labels=50))
    channels = [1, 64, 128, 128, 128]
    shapes = [tuple(block.convolution.weight.shape) for block in model.blocks]
    assert shapes == [(channels[n + 1], channels[n], 3, 3) for n in range(4)]
    assert [block.pool.kernel_size for block in model.blocks] == [(2, 2), (3, 3), (4, 4), (4, 4)]
    assert tuple(model.recurrent.weight_ih_l0.shape) == (3 * 32, 128)
    assert tuple(model.recurrent.weight_hh_l1.shape) == (3 * 32, 32)
    assert not model.recurrent.bidirectional
    convolutions = 9 * (1 * 64 + 64 * 128 + 128 * 128 + 128 * 128) + 3 * (64 + 3 * 128)
    recurrent = 3 * 32 * (128 + 32) + 3 * 32 * (32 + 32) + 4 * 3 * 32
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == 2 + convolutions + recurrent + 32 * 50 + 50


def test_a_window_has_the_shapes_of_the_modules_docstring():
    model = CrnnForAudioClassification(CrnnConfig(num_labels=50)).eval()
    shapes = []
    for module in (model.spectrogram, *model.blocks):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    model.recurrent.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output[0].shape)))
    with torch.no_grad():
        assert model(torch.zeros(1, 464_000)).logits.shape == (1, 50)
    assert shapes == [
        (1, 1, 96, 1_813),
        (1, 64, 48, 906),
        (1, 128, 16, 302),
        (1, 128, 4, 75),
        (1, 128, 1, 18),
        (1, 18, 32),
    ]


def test_the_last_step_is_what_is_classified():
    model = small_model()
    seen = []
    model.recurrent.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    logits = model.spectrogram_logits(torch.randn(2, 1, 96, 96 * 6))
    assert seen[0].shape == (2, 6, 8)
    assert not torch.allclose(seen[0][:, -1], seen[0][:, -2], atol=1e-3)
    torch.testing.assert_close(logits, model.classifier(seen[0][:, -1]))


def test_every_part_of_the_audio_reaches_the_logits_and_the_last_the_most():
    model = small_model()
    waveform = 0.1 * torch.randn(1, 464_000)
    logits = model(waveform).logits
    changes = []
    for start in (0, 424_000):
        changed = waveform.clone()
        changed[:, start : start + 40_000] = 0
        changes.append((model(changed).logits - logits).abs().max().item())
    first, last = changes
    assert last > 0.01
    assert last > first > 0


def test_the_order_in_time_matters():
    model = small_model()
    spectrogram = torch.randn(2, 1, 96, 96 * 6)
    logits = model.spectrogram_logits(spectrogram)
    hook = model.blocks.register_forward_hook(lambda _module, _inputs, output: output.flip(3))
    assert (model.spectrogram_logits(spectrogram) - logits).abs().max() > 0.01
    hook.remove()
    torch.testing.assert_close(model.spectrogram_logits(spectrogram), logits)


def test_more_recurrent_layers_are_stacked():
    model = small_model(num_hidden_layers=3)
    assert model.recurrent.num_layers == 3
    assert model.recurrent.weight_ih_l2.shape == (24, 8)


def test_recurrent_weights_start_as_torchs_own():
    torch.manual_seed(0)
    model = CrnnForAudioClassification(CrnnConfig())
    for weights in model.recurrent.parameters():
        assert weights.abs().max() <= 32**-0.5
        assert weights.std().item() > 0.8 * (32**-0.5) / 3**0.5  # uniform
