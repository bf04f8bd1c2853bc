import librosa
import numpy as np
import pytest
import torch

from hf_tagger.audio import load_mono
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.constant_q import ConstantQ, constant_q_problems
from hf_tagger.models.frontends import build_front_end

RATE = 16_000
C1 = librosa.note_to_hz("C1")
DEFAULTS = (RATE, 256, 84, 12, C1)
SHORT_FOR_LIBROSA = pytest.mark.filterwarnings("ignore:n_fft=.* is too large")


def constant_q(waveform, settings=DEFAULTS):
    return ConstantQ(*settings)(torch.as_tensor(waveform)).numpy()


def librosas(waveform, settings=DEFAULTS):
    rate, hop, bins, per_octave, lowest = settings
    waveform = np.asarray(waveform)
    return np.abs(
        librosa.cqt(waveform, sr=rate, hop_length=hop, n_bins=bins, bins_per_octave=per_octave, fmin=lowest, sparsity=0)
    )


def tones(frequencies, samples=3 * RATE, rate=RATE):
    """``[tones, samples]``, each of amplitude 1."""
    return np.sin(2 * np.pi * np.asarray(frequencies)[:, None] * np.arange(samples) / rate).astype(np.float32)


def noise(samples=40_001, clips=1):
    return (0.1 * np.random.default_rng(0).standard_normal((clips, samples))).astype(np.float32)


def differences(received, expected):
    """Absolute differences in dB of what is less than 60 dB below the loudest."""
    assert received.shape == expected.shape
    loud = expected > expected.max() / 1_000
    return np.abs(20 * np.log10(np.maximum(received, 1e-10)[loud] / expected[loud]))


def assert_as_librosa(received, expected, median=0.005, quantile=0.1):
    found = differences(received, expected)
    assert np.median(found) < median
    assert np.quantile(found, 0.99) < quantile


def test_a_chord_has_librosas_values():
    swell = np.sin(np.pi * np.arange(3 * RATE) / (3 * RATE)) ** 2
    chord = (tones([130.8, 329.6, 784.0]).sum(axis=0) * swell).astype(np.float32)[None]
    assert_as_librosa(constant_q(chord), librosas(chord))


@SHORT_FOR_LIBROSA
@pytest.mark.parametrize("samples", [40_001, 40_960, 39_935, 16_000])
def test_a_waveform_of_any_length_has_librosas_values_away_from_its_ends(samples):
    ours, theirs = constant_q(noise(samples)), librosas(noise(samples))
    assert ours.shape == (1, 84, samples // 256 + 1)
    assert_as_librosa(ours[..., 15:-15], theirs[..., 15:-15], quantile=0.02)
    assert_as_librosa(ours, theirs, quantile=0.3)  # halved at the ends in another way


@pytest.mark.parametrize(
    ("settings", "median"),
    [
        ((RATE, 256, 96, 24, 65.4), 0.02),
        ((RATE, 512, 60, 12, 110.0), 0.005),
        ((RATE, 128, 30, 12, 200.0), 0.04),  # librosa begins at a lower rate, with filters of rounded lengths
        ((RATE, 384, 50, 7, C1), 0.005),
        ((RATE, 320, 7, 12, 4_500.0), 0.01),  # less than an octave
        ((22_050, 512, 84, 12, C1), 0.005),
        ((22_050, 512, 100, 36, 65.4), 0.05),
        ((RATE, 256, 84, 12, 43.65), 0.005),
    ],
    ids=["24 an octave", "5 octaves", "30 bins", "7 an octave", "7 bins", "22,050 Hz", "36 an octave", "from F1"],
)
def test_other_bins_hops_and_rates_have_librosas_values(settings, median):
    ours, theirs = constant_q(noise(), settings)[..., 15:-15], librosas(noise(), settings)[..., 15:-15]
    assert_as_librosa(ours, theirs, median=median, quantile=0.4)


@SHORT_FOR_LIBROSA
@pytest.mark.parametrize("samples", [4_000, 700, 255])
def test_what_is_shorter_than_the_lowest_filter_has_librosas_values_too(samples):
    assert_as_librosa(constant_q(noise(samples)), librosas(noise(samples)), median=0.2, quantile=1.5)


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_songs_have_librosas_values(shared):
    songs = sorted((shared / "audio").glob("*.ogg"))
    assert songs
    for path in songs:
        excerpt = np.asarray(load_mono(str(path), RATE), dtype=np.float32)[None, 10 * RATE : 18 * RATE]
        assert_as_librosa(constant_q(excerpt), librosas(excerpt), median=0.002)


def strongest_and_middle(settings):
    """The strongest bin of a tone in every bin, its magnitude there, and the tones' frequencies."""
    rate, hop, bins, per_octave, lowest = settings
    frequencies = lowest * 2 ** (np.arange(bins) / per_octave)
    middle = constant_q(tones(frequencies, 2 * rate, rate), settings)[:, :, rate // hop]  # after a second
    return middle.argmax(axis=1), np.diagonal(middle), frequencies


def test_every_tone_lands_in_its_bin_with_half_its_amplitude_times_the_root_of_the_filters_length():
    strongest, magnitudes, frequencies = strongest_and_middle(DEFAULTS)
    assert strongest.tolist() == list(range(84))
    quality = 1 / np.tanh(np.log(2) / 12)  # (2^(2/12) + 1) / (2^(2/12) − 1)
    np.testing.assert_allclose(magnitudes, 0.5 * np.sqrt(quality * RATE / frequencies), rtol=2e-3)


@pytest.mark.parametrize("settings", [(RATE, 256, 84, 12, 55.0), (RATE, 256, 30, 12, 1_300.0)])
def test_bins_near_half_the_rate_are_as_strong_an_octave_lower(settings):
    assert constant_q_problems(*settings) == []
    strongest, magnitudes, frequencies = strongest_and_middle(settings)
    assert strongest.tolist() == list(range(settings[2]))
    quality = 1 / np.tanh(np.log(2) / 12)
    np.testing.assert_allclose(magnitudes, 0.5 * np.sqrt(quality * RATE / frequencies), rtol=5e-3)


def test_more_than_three_bins_away_from_a_tone_there_are_40_decibels_less():
    frequencies = C1 * 2 ** (np.arange(84) / 12)
    middle = constant_q(tones(frequencies, 2 * RATE))[:, :, 62]
    for number, magnitudes in enumerate(middle):
        others = np.abs(np.arange(84) - number) > 3
        assert magnitudes[others].max() < magnitudes[number] / 100


def test_a_clips_values_do_not_depend_on_its_neighbours_and_scale_with_it():
    module = ConstantQ(*DEFAULTS)
    clips = torch.from_numpy(noise(20_000, clips=3)) * torch.tensor([[1.0], [1e-4], [100.0]])
    together = module(clips)
    for number, clip in enumerate(clips):
        torch.testing.assert_close(module(clip[None])[0], together[number], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(module(clips[:1] * 8), together[:1] * 8, rtol=1e-4, atol=1e-6)


def test_the_front_end_is_twenty_logarithms_of_the_magnitude_and_has_a_floor():
    front_end = build_front_end(ShortCnnConfig(front_end="cqt"))
    waveform = torch.from_numpy(noise())
    expected = 20 * np.log10(librosas(noise())[:, None])
    found = np.abs(front_end(waveform).numpy() - expected)[..., 15:-15]
    assert np.median(found) < 0.005
    assert front_end(torch.zeros(1, 5_000)).unique().tolist() == [-100.0]


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        (DEFAULTS, []),
        ((RATE, 64, 84, 12, C1), []),
        ((RATE, 100, 84, 12, C1), ["hop_length 100 must be a multiple of 64 for front_end cqt: octaves halve it"]),
        ((RATE, 96, 85, 12, C1), ["hop_length 96 must be a multiple of 128 for front_end cqt: octaves halve it"]),
        ((RATE, 100, 7, 12, C1), []),
        ((RATE, 256, 95, 12, C1), []),
        ((RATE, 256, 96, 12, C1), ["rate 16,000; at most 95 do not"]),
        ((8_000, 100, 84, 12, C1), ["at most 83 do not", "hop_length 100 must be a multiple of 64"]),
    ],
)
def test_the_highest_bin_stays_below_half_the_rate_and_every_octave_halves_the_hop(settings, messages):
    problems = constant_q_problems(*settings)
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert message in problem


@SHORT_FOR_LIBROSA
def test_what_is_refused_and_what_is_taken_is_what_librosa_refuses_and_takes():
    for bins in range(90, 100):
        settings = (RATE, 256, bins, 12, C1)
        try:
            librosas(noise(4_000), settings)
        except librosa.ParameterError:
            assert constant_q_problems(*settings)
        else:
            assert not constant_q_problems(*settings)
