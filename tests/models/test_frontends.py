import librosa
import numpy as np
import pytest
import scipy.fft
import torch
import torchaudio

from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.frontends import BinNorm, build_front_end, build_input_norm
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification
from hf_tagger.models.spectrogram_config import FRONT_ENDS

RATE = 16_000
BINS = {"mel_db": 128, "log_mel": 128, "mfcc": 40, "cqt": 84, "waveform": 128}
SETTINGS = [
    {},
    {"n_fft": 1_024, "hop_length": 320, "num_mel_bins": 96, "f_min": 50.0, "f_max": 7_000.0},
    {"sampling_rate": 22_050, "n_fft": 2_048, "hop_length": 512, "num_mel_bins": 80, "f_max": 11_025.0},
]
every_front_end = pytest.mark.parametrize("front_end", FRONT_ENDS)
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=["defaults", "a band", "22,050 Hz"])


def config_of(front_end, **changes):
    return ShortCnnConfig(front_end=front_end, num_channels=4, **changes)


def front_end_of(name, **changes):
    return build_front_end(config_of(name, **changes))


def noise(clips=2, samples=20_011, amplitude=0.1):
    return amplitude * torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))


def tone(hertz, samples=RATE, amplitude=0.5, rate=RATE):
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / rate)[None].float()


def sounds():
    """A chord that fades, in noise."""
    chord = (tone(220, 20_011) + tone(1_320, 20_011)) * torch.linspace(1, 0, 20_011) ** 3
    return chord + noise(amplitude=0.003)


def librosa_mel(waveform, config):
    return librosa.feature.melspectrogram(
        y=waveform.numpy(),
        sr=config.sampling_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        pad_mode="reflect",
        n_mels=config.num_mel_bins,
        fmin=config.f_min,
        fmax=config.f_max,
        htk=True,
        norm=None,
    )


def librosa_decibels(waveform, config):
    return librosa.power_to_db(librosa_mel(waveform, config), amin=1e-10, top_db=None)


def assert_close(received, expected, tolerance):
    torch.testing.assert_close(received, torch.as_tensor(expected), atol=tolerance, rtol=0)


@pytest.mark.filterwarnings("ignore:Empty filters detected")
@every_setting
def test_mel_decibels_are_those_of_librosa(settings):
    config = config_of("mel_db", **settings)
    received = build_front_end(config)(sounds())
    assert received.amax() - received.amin() > 40  # dB
    assert_close(received[:, 0], librosa_decibels(sounds(), config), 5e-3)


@pytest.mark.filterwarnings("ignore:Empty filters detected")
@every_setting
def test_log_mel_is_the_logarithm_of_one_and_ten_thousand_times_librosas_mel_power(settings):
    config = config_of("log_mel", **settings)
    assert_close(build_front_end(config)(sounds())[:, 0], np.log10(1 + 10_000 * librosa_mel(sounds(), config)), 1e-4)


@pytest.mark.filterwarnings("ignore:Empty filters detected")
@pytest.mark.parametrize("num_mfcc", [13, 40, 80])
@every_setting
def test_mfccs_are_the_cosine_transform_of_mel_decibels(settings, num_mfcc):
    config = config_of("mfcc", num_mfcc=num_mfcc, **settings)
    received = build_front_end(config)(sounds())
    decibels = librosa_decibels(sounds(), config)
    assert_close(received[:, 0], scipy.fft.dct(decibels, type=2, axis=1, norm="ortho")[:, :num_mfcc], 2e-2)
    assert_close(received[:, 0], librosa.feature.mfcc(S=decibels, n_mfcc=num_mfcc), 2e-2)


def test_mfccs_are_torchaudios_where_its_limit_of_80_decibels_is_not_reached():
    settings = {"n_fft": 1_024, "hop_length": 256, "n_mels": 40, "f_max": 8_000.0}
    torchaudios = torchaudio.transforms.MFCC(RATE, n_mfcc=20, melkwargs=settings)(noise())
    ours = front_end_of("mfcc", n_fft=1_024, num_mel_bins=40, num_mfcc=20)(noise())
    assert_close(ours[:, 0], torchaudios, 1e-3)


def test_a_quiet_clip_keeps_its_mfccs_beside_a_loud_one():
    front_end = front_end_of("mfcc")
    quiet, loud = noise(1, amplitude=1e-4), noise(1, amplitude=10.0)  # 100 dB apart
    assert_close(front_end(torch.cat([loud, quiet]))[1:], front_end(quiet), 1e-3)


@every_front_end
@pytest.mark.parametrize("samples", [16_000, 16_127, 16_128, 16_129, 59_049])
def test_a_frame_begins_every_hop_whatever_the_front_end(front_end, samples):
    for hop in (256, 320):
        spectrogram = front_end_of(front_end, hop_length=hop)(noise(2, samples))
        assert spectrogram.shape == (2, 1, BINS[front_end], samples // hop + 1)
        assert spectrogram.dtype == torch.float32


@every_front_end
def test_an_impulse_is_seen_in_the_frame_around_it(front_end):
    impulse = torch.zeros(1, 16_000)
    impulse[0, 256 * 30] = 1.0
    spectrogram = front_end_of(front_end)(impulse)[0, 0]
    highest = spectrogram[0] if front_end == "mfcc" else spectrogram[-20:].sum(dim=0)  # short in a constant-Q transform
    assert highest.argmax().item() == 30


@every_front_end
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_changes_no_value(front_end, dtype):
    front = front_end_of(front_end)
    expected = front(sounds())
    with torch.autocast("cpu", dtype=dtype):
        received = front(sounds())
    assert received.dtype == torch.float32
    assert torch.equal(received, expected)
    assert torch.equal(front(sounds().to(dtype)), front(sounds().to(dtype).float()))


@pytest.mark.parametrize(
    ("front_end", "values"),
    [("mel_db", [-100.0]), ("log_mel", [0.0]), ("cqt", [-100.0]), ("waveform", [0.0])],
)
def test_silence_is_the_floor(front_end, values):
    assert front_end_of(front_end)(torch.zeros(1, RATE)).unique().tolist() == values


def test_silence_has_a_first_cepstral_coefficient_only():
    cepstrum = front_end_of("mfcc")(torch.zeros(1, RATE))[0, 0]
    assert_close(cepstrum[0], torch.full((63,), -100 * 128**0.5), 1e-2)
    assert_close(cepstrum[1:], torch.zeros(39, 63), 1e-2)


@every_front_end
def test_the_loudest_sounds_stay_finite(front_end):
    front = front_end_of(front_end)
    assert front(32_768 * torch.sign(tone(1_000))).isfinite().all()


@every_front_end
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_cast_to_less_computes_the_same_spectrogram(front_end, dtype):
    model = ShortCnnForAudioClassification(config_of(front_end))
    expected = model.spectrogram(sounds())
    received = model.to(dtype).spectrogram(sounds())
    # Learned filters are parameters, and cast; what they are multiplied with is not.
    assert_close(received, expected, 0.05 if front_end == "waveform" else 0)


@every_front_end
def test_a_front_end_moves_with_its_model_and_is_computed_even_where_the_model_has_no_memory(front_end):
    with torch.device("meta"):
        built = ShortCnnForAudioClassification(config_of(front_end))
    expected = dict(front_end_of(front_end).named_buffers())
    assert set(expected) == {name for name, _ in built.spectrogram.named_buffers()}
    assert all(torch.equal(buffer, expected[name]) for name, buffer in built.spectrogram.named_buffers())
    moved = front_end_of(front_end).to("meta")
    assert {tensor.device.type for tensor in moved.state_dict().values()} <= {"meta"}


@every_front_end
def test_a_saved_front_end_is_loaded_bit_for_bit(front_end, tmp_path):
    torch.manual_seed(0)
    model = ShortCnnForAudioClassification(config_of(front_end)).eval()
    with torch.no_grad():
        for parameter in model.spectrogram.parameters():
            parameter += 0.01 * torch.randn_like(parameter)  # as after training
    model.save_pretrained(tmp_path)
    loaded = ShortCnnForAudioClassification.from_pretrained(tmp_path)
    assert loaded.config.front_end == front_end
    assert torch.equal(loaded.spectrogram(sounds()), model.spectrogram(sounds()))
    assert torch.equal(loaded(noise(2, 59_049)).logits, model(noise(2, 59_049)).logits)


@every_front_end
def test_only_the_filterbank_of_the_waveform_is_learned(front_end):
    names = [name for name, _ in front_end_of(front_end).named_parameters()]
    assert names == (["filters"] if front_end == "waveform" else [])


@every_front_end
def test_the_input_norm_has_one_mean_and_one_a_coefficient_for_mfccs(front_end):
    norm = build_input_norm(config_of(front_end))
    spectrogram = 100 * torch.arange(BINS[front_end])[:, None] + torch.randn(4, 1, BINS[front_end], 30)
    normalized = norm(spectrogram)
    assert normalized.shape == spectrogram.shape
    assert_close(normalized.mean(), torch.tensor(0.0), 1e-3)
    deviations = normalized.std(dim=(0, 1, 3))
    if front_end == "mfcc":
        assert_close(deviations, torch.ones(40), 0.02)
        assert isinstance(norm, BinNorm)
    else:
        assert norm.num_features == 1
        assert deviations.max() < 0.1  # a hundred between two bins
    assert build_input_norm(config_of(front_end), affine=False).weight is None


def mel_edges(num_filters, f_max=8_000.0):
    return librosa.mel_frequencies(num_filters + 2, fmin=0.0, fmax=f_max, htk=True)


def test_learned_filters_start_at_the_centres_and_with_the_widths_of_mel_bands():
    filters = front_end_of("waveform").filters.detach().double()
    cosines, sines = filters[:128, 0], filters[128:, 0]
    edges = mel_edges(128)
    time = np.arange(512) / RATE

    def power(hertz):  # [128], of filter n at frequency n
        phases = np.exp(-2j * np.pi * np.asarray(hertz)[:, None] * time)
        return np.abs(((cosines.numpy() + 1j * sines.numpy()) * phases).sum(axis=1)) ** 2

    centre, width = edges[1:-1], (edges[2:] - edges[:-2]) / 2
    np.testing.assert_allclose(power(centre), 1, atol=1e-6)  # a tone of amplitude 1 has 1/4, as half is at −f
    assert (power(centre + width / 8) < power(centre)).all()
    assert (power(centre - width / 8) < power(centre)).all()
    wide = width > 60  # those whose envelope is over before the filter is
    assert wide.sum() > 50
    np.testing.assert_allclose(power(centre + width / 2)[wide], 0.5, atol=0.01)
    np.testing.assert_allclose(power(centre - width / 2)[wide], 0.5, atol=0.01)


@pytest.mark.parametrize("number", [20, 50, 90, 126])
def test_a_tone_lights_its_filter_with_a_quarter_of_its_squared_amplitude(number):
    centre = mel_edges(128)[1 + number]
    frames = front_end_of("waveform")(tone(centre))[0, 0, :, 5:-5]
    assert frames.argmax(dim=0).unique().tolist() == [number]
    expected = np.log10(1 + 10_000 * 0.5**2 / 4)
    assert_close(frames[number], torch.full_like(frames[number], expected), 0.02)


def test_a_frame_is_the_squared_product_of_the_filters_with_the_samples_around_it():
    front = front_end_of("waveform", n_fft=400, num_mel_bins=16, num_mfcc=16, hop_length=160)
    waveform = noise(1, 4_001)
    received = front(waveform).detach()[0, 0]
    padded = np.pad(waveform[0].numpy(), 200)
    filters = front.filters.detach().numpy()[:, 0]
    for frame in (0, 1, 13, 25):
        products = filters @ padded[frame * 160 : frame * 160 + 400]
        expected = np.log10(1 + 10_000 * (products[:16] ** 2 + products[16:] ** 2))
        assert_close(received[:, frame], expected, 1e-4)


def test_every_learned_filter_gets_a_gradient_and_training_moves_it():
    front = front_end_of("waveform")
    before = front.filters.detach().clone()
    optimizer = torch.optim.SGD(front.parameters(), 1e-3)
    front(noise()).mean().backward()
    assert (front.filters.grad.abs().amax(dim=(1, 2)) > 0).all()
    optimizer.step()
    assert ((front.filters - before).abs().amax(dim=(1, 2)) > 0).all()
    assert front(noise()).mean() < build_front_end(config_of("waveform"))(noise()).mean()
