import librosa
import numpy as np
import pytest
import torch

from hf_tagger.models.configuration_harmonic_cnn import HarmonicCnnConfig
from hf_tagger.models.harmonic import HarmonicSpectrogram, harmonic_bins
from hf_tagger.models.modeling_harmonic_cnn import HarmonicCnnForAudioClassification

RATE = 16_000
PITCHES = 440 * 2 ** ((24 + np.arange(128) / 2 - 69) / 12)  # C1 up in quarter tones, Hz


def front_end():
    return HarmonicSpectrogram(RATE, n_fft=512, hop_length=256, num_harmonics=6, bins_per_semitone=2)


def tone(hertz, samples=RATE):
    return (0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / RATE))[None].float()


def noise(clips, samples):
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))


def test_the_defaults_are_the_papers():
    """Won et al. 2020: 5 s, 6 harmonics, 128 pitches, 4 blocks of 128 and 3 of 256 channels."""
    with torch.device("meta"):
        model = HarmonicCnnForAudioClassification(HarmonicCnnConfig(num_labels=50))
    assert model.config.num_bins == 128
    assert tuple(model.blocks[0].convolution.weight.shape) == (128, 6, 3, 3)
    assert tuple(model.blocks[4].convolution.weight.shape) == (256, 128, 3, 3)
    pools = [(2, 2)] * 5 + [(2, 3)] * 2
    assert model.config.pools == pools
    assert [block.pool.kernel_size for block in model.blocks] == pools
    changing = 9 * (6 * 128 + 128 * 256) + 3 * (128 + 256)
    residual = 3 * 2 * (9 * 128 * 128 + 3 * 128) + 2 * 2 * (9 * 256 * 256 + 3 * 256)
    head = 256 * 256 + 3 * 256 + 256 * 50 + 50
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == 1 + 2 * 6 + changing + residual + head  # Q, and a norm for each harmonic


def test_a_window_has_the_shapes_of_the_modules_docstring():
    model = HarmonicCnnForAudioClassification(HarmonicCnnConfig(num_labels=50)).eval()
    shapes = []
    for module in (model.spectrogram, *model.blocks):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        assert model(torch.zeros(1, 80_000)).logits.shape == (1, 50)
    assert shapes == [
        (1, 6, 128, 313),
        (1, 128, 64, 156),
        (1, 128, 32, 78),
        (1, 128, 16, 39),
        (1, 128, 8, 19),
        (1, 256, 4, 9),
        (1, 256, 2, 3),
        (1, 256, 1, 1),
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [((16_000, 6, 2), 128), ((16_000, 6, 1), 64), ((16_000, 1, 2), 190), ((22_050, 6, 2), 140), ((16_000, 300, 2), -8)],
)
def test_pitches_reach_from_c1_to_where_the_last_harmonic_is_at_half_the_rate(settings, expected):
    assert harmonic_bins(*settings) == expected
    rate, harmonics, per_semitone = settings
    if expected > 0:
        highest = librosa.note_to_midi(librosa.hz_to_note(rate / 2 / harmonics))
        assert expected == (highest - librosa.note_to_midi("C1")) * per_semitone


def test_a_filter_is_a_triangle_around_a_multiple_of_its_pitch():
    front = front_end()
    centres = torch.from_numpy((np.arange(1, 7)[:, None] * PITCHES).ravel()).float()
    torch.testing.assert_close(front.centres, centres)
    widths = 0.1079 * centres + 24.7
    for offset, height in (
        (0.0, 1.0),
        (0.125, 0.75),
        (0.25, 0.5),
        (-0.25, 0.5),
        (0.49, 0.02),
        (0.51, 0.0),
        (-2.0, 0.0),
    ):
        front.frequencies = centres + offset * widths  # a filter's own value is on the diagonal
        values = front.filterbank().detach().diagonal()
        torch.testing.assert_close(values, torch.full_like(values, height), atol=2e-3, rtol=0)


def test_a_quality_of_two_halves_the_widths():
    front = front_end()
    wide = front.filterbank().detach()
    torch.nn.init.constant_(front.quality, 2.0)
    distances = np.abs(np.linspace(0, 8_000, 257)[:, None] - (np.arange(1, 7)[:, None] * PITCHES).ravel())
    widths = (0.1079 * (np.arange(1, 7)[:, None] * PITCHES).ravel() + 24.7) / 2
    narrow = torch.from_numpy(np.clip(1 - 2 * distances / widths, 0, None)).float()
    torch.testing.assert_close(front.filterbank().detach(), narrow, atol=1e-4, rtol=0)
    assert (wide >= narrow - 1e-4).all()
    assert (wide > 0).sum() > 1.8 * (narrow > 0).sum()


def test_values_are_the_decibels_of_filtered_power_spectra():
    front, waveform = front_end(), noise(2, 20_001)
    power = np.abs(librosa.stft(waveform.numpy(), n_fft=512, hop_length=256, pad_mode="reflect")) ** 2
    centres = (np.arange(1, 7)[:, None] * PITCHES)[..., None]  # [harmonics, pitches, 1]
    distances = np.abs(np.linspace(0, 8_000, 257) - centres)
    filters = np.clip(1 - 2 * distances / (0.1079 * centres + 24.7), 0, None)
    expected = 10 * np.log10(np.maximum(np.einsum("hpf,bft->bhpt", filters, power), 1e-10))
    received = front(waveform).detach()
    assert received.shape == (2, 6, 128, 20_001 // 256 + 1)
    heard = filters.sum(axis=-1) > 0.01  # the triangles between two frequencies are rounding noise or silence
    assert heard.mean() > 0.7
    torch.testing.assert_close(received.numpy()[:, heard], expected[:, heard].astype(np.float32), atol=0.05, rtol=0)
    assert received.min() >= -100


@pytest.mark.parametrize("number", [90, 110, 124])
def test_a_harmonic_of_a_tone_is_found_at_the_pitch_whose_multiple_it_is(number):
    spectrogram = front_end()(tone(PITCHES[number])).detach()[0, :, :, 30]  # [harmonics, pitches]
    octave = 24
    assert abs(spectrogram[0].argmax().item() - number) <= 1
    assert abs(spectrogram[1].argmax().item() - (number - octave)) <= 1
    assert abs(spectrogram[3].argmax().item() - (number - 2 * octave)) <= 1


def test_the_width_of_the_filters_is_learned():
    torch.manual_seed(0)
    model = HarmonicCnnForAudioClassification(HarmonicCnnConfig(num_channels=4, num_labels=3)).train()
    before = model.spectrogram.filterbank().detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    model(noise(4, 80_000), labels=torch.arange(4) % 3).loss.backward()
    assert model.spectrogram.quality.grad.abs().item() > 0
    optimizer.step()
    assert model.spectrogram.quality.item() != 1
    assert not torch.equal(model.spectrogram.filterbank(), before)


def test_the_gradient_of_the_quality_is_the_slope_of_the_values():
    front, waveform = front_end(), noise(1, 8_000)
    front(waveform).mean().backward()
    means = []
    for quality in (0.999, 1.001):
        torch.nn.init.constant_(front.quality, quality)
        means.append(front(waveform).double().mean().item())
    assert front.quality.grad.item() == pytest.approx((means[1] - means[0]) / 0.002, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_changes_no_harmonic(dtype):
    front = front_end()
    expected = front(noise(2, 16_000))
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(front(noise(2, 16_000)), expected)
    assert front(torch.zeros(1, 16_000)).unique().tolist() == [-100.0]
    assert front.to(dtype).centres.dtype == torch.float32
    assert front(noise(2, 16_000)).dtype == torch.float32


@pytest.mark.parametrize("window", [80_000, 16_000, 3_000, 257])
def test_the_shortest_window_is_the_least_that_can_be_computed(window):
    config = HarmonicCnnConfig(num_channels=2, window_samples=window, hop_samples=window)
    shortest = config.shortest_window
    assert shortest == {80_000: 287 * 256, 16_000: 31 * 256, 3_000: 7 * 256, 257: 257}[window]
    model = HarmonicCnnForAudioClassification(config).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, shortest)).logits.isfinite().all()
        with pytest.raises(ValueError, match=f"{shortest - 1} samples is too short .* needs at least {shortest}"):
            model(torch.zeros(1, shortest - 1))
        with pytest.raises(RuntimeError):
            model.window_outputs(torch.zeros(1, shortest - 1))


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"num_harmonics": 0, "n_fft": 1.5, "classifier_dropout": 1}, ["num_harmonics", "n_fft", "classifier_dropout"]),
        ({"bins_per_semitone": -1, "num_channels": 0}, ["bins_per_semitone", "num_channels"]),
        ({"num_harmonics": 300}, ["num_harmonics 300 leave no pitch above C1 whose last harmonic is below half"]),
        ({"window_samples": 256, "hop_samples": 256}, ["window_samples 256 is too short", "needs 257"]),
        ({"hop_samples": 80_001}, ["leaves gaps between windows of 80000"]),
        ({"windows_per_group": 0}, ["windows_per_group must be a positive whole number"]),
    ],
)
def test_every_impossible_value_is_named(changes, messages):
    with pytest.raises(ValueError) as raised:
        HarmonicCnnConfig(**changes)
    assert all(message in str(raised.value) for message in messages)
