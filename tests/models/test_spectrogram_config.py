import math

import pytest
import torch

from hf_tagger.models import MODELS
from hf_tagger.models.spectrogram_config import FRONT_ENDS, SpectrogramConfig

SMALL = {
    "short_cnn": {"num_channels": 2},
    "fcn": {"num_channels": 2},
    "crnn": {"num_channels": 2, "hidden_size": 4},
    "musicnn": {"vertical_channels": 2, "horizontal_channels": 2, "backend_channels": 2, "dense_size": 4},
    "mel_cnn": {"num_channels": 2, "dense_size": 4},
    "mel_vae": {"num_channels": 2, "latent_size": 4},
}
POOLED = ["short_cnn", "fcn", "crnn", "mel_cnn"]
CASES = [
    (name, front_end) for name in SMALL for front_end in FRONT_ENDS if front_end in MODELS[name].config_class.front_ends
]
every_case = pytest.mark.parametrize(("name", "front_end"), CASES)
COUNTS = ["n_fft", "hop_length", "num_mel_bins", "num_mfcc", "num_cqt_bins", "cqt_bins_per_octave"]
WINDOWS = ["sampling_rate", "window_samples", "hop_samples", "windows_per_group"]


def config_of(name, window=None, **changes):
    windows = {} if window is None else {"window_samples": window, "hop_samples": window}
    return MODELS[name].config_class(**{**SMALL[name], **windows, **changes})


def test_every_model_over_a_spectrogram_is_in_this_file():
    found = {name for name, model in MODELS.items() if issubclass(model.config_class, SpectrogramConfig)}
    assert found == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("field", COUNTS + WINDOWS)
def test_what_is_counted_must_be_a_positive_whole_number(name, field):
    for value in (0, -3, 2.0, True):
        with pytest.raises(ValueError, match=f"{field} must be a positive whole number, received {value!r}"):
            config_of(name, **{field: value})


@pytest.mark.parametrize("value", ["16000", None])
def test_a_sampling_rate_must_be_a_number_at_all(value):
    with pytest.raises(ValueError, match=f"sampling_rate must be a positive whole number, received {value!r}"):
        config_of("short_cnn", sampling_rate=value)


@pytest.mark.parametrize("name", SMALL)
def test_a_models_own_sizes_are_counted_too(name):
    own = [field for field in config_of(name).counts() if field not in COUNTS]
    assert set(SMALL[name]) <= set(own)
    for field in own:
        with pytest.raises(ValueError, match=f"{field} must be a positive whole number, received 0"):
            config_of(name, **{field: 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"front_end": "stft"},
            "front_end 'stft' is not known here; it must be one of mel_db, log_mel, mfcc, cqt, wav",
        ),
        ({"f_min": True}, "f_min must be a number, received True"),
        ({"f_max": math.nan}, "f_max must be a number, received nan"),
        ({"cqt_f_min": "C1"}, "cqt_f_min must be a number greater than 0 .*received 'C1'"),
        ({"cqt_f_min": 0}, "cqt_f_min must be a number greater than 0 .*received 0"),
        ({"f_min": -1.0}, "0 <= f_min < f_max <= sampling_rate / 2 = 8000 Hz must hold, received f_min -1.0"),
        ({"f_min": 8_000.0}, "received f_min 8000.0 and f_max 8000.0"),
        ({"f_max": 8_001}, "received f_min 0.0 and f_max 8001"),
        ({"sampling_rate": 8_000}, "sampling_rate / 2 = 4000 Hz must hold"),
        ({"num_mfcc": 129, "front_end": "mfcc"}, "num_mfcc 129 must be at most num_mel_bins 128"),
        ({"classifier_dropout": 1}, r"classifier_dropout must be in \[0, 1\), received 1"),
        ({"classifier_dropout": -0.1}, r"classifier_dropout must be in \[0, 1\), received -0.1"),
        ({"classifier_dropout": None}, r"classifier_dropout must be in \[0, 1\), received None"),
        ({"window_samples": 20_000}, "hop_samples 59049 leaves gaps between windows of 20000"),
        (
            {"window_samples": 256, "hop_samples": 256},
            "window_samples 256 is too short for this model, which needs 257",
        ),
        ({"front_end": "cqt", "hop_length": 160}, "hop_length 160 must be a multiple of 64 for front_end cqt"),
        (
            {"front_end": "cqt", "num_cqt_bins": 108, "hop_length": 256},
            "reach above half the sampling rate 16",
        ),
    ],
)
def test_an_impossible_value_is_named_with_what_is_possible(changes, message):
    with pytest.raises(ValueError, match=message):
        MODELS["short_cnn"].config_class(**changes)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ValueError) as raised:
        MODELS["fcn"].config_class(
            sampling_rate=0, n_fft=0, num_channels=1.5, front_end="stft", f_min="low", classifier_dropout=2
        )
    for field in ("sampling_rate", "n_fft", "num_channels", "front_end", "f_min", "classifier_dropout"):
        assert f"{field} " in str(raised.value)
    assert str(raised.value).count(";") == 6  # six mistakes, and one in what is said of front ends
    with pytest.raises(ValueError) as raised:
        MODELS["short_cnn"].config_class(
            window_samples=200, f_max=9_000, front_end="cqt", hop_length=100, num_cqt_bins=200, cqt_bins_per_octave=24
        )
    for message in ("leaves gaps", "f_min < f_max", "reach above", "must be a multiple of 128"):
        assert message in str(raised.value)


@pytest.mark.parametrize("field", WINDOWS[1:])
def test_a_wrong_window_is_told_beside_other_mistakes(field):
    with pytest.raises(ValueError, match=f"(?s)num_channels.*{field} must be"):
        MODELS["short_cnn"].config_class(num_channels=0, **{field: 0})


@pytest.mark.parametrize("front_end", ["mel_db", "log_mel", "waveform"])
def test_fewer_mel_bins_than_the_mfccs_that_nobody_asked_for_are_possible(front_end):
    assert config_of("short_cnn", front_end=front_end, num_mel_bins=32).num_bins == 32


def test_the_settings_of_another_front_end_than_the_constant_q_transform_need_not_fit_it():
    assert config_of("short_cnn", hop_length=160, num_cqt_bins=200).hop_length == 160


@every_case
def test_a_configuration_counts_the_bins_of_its_front_end(name, front_end):
    config = config_of(name, front_end=front_end, num_mel_bins=64, num_mfcc=20, num_cqt_bins=60)
    assert config.num_bins == {"mfcc": 20, "cqt": 60}.get(front_end, 64)


@pytest.mark.parametrize(
    ("name", "changes", "bins", "frames"),
    [
        ("short_cnn", {}, [2] * 7, [2] * 7),
        ("short_cnn", {"front_end": "cqt"}, [2] * 6 + [1], [2] * 7),
        ("short_cnn", {"front_end": "mfcc"}, [2] * 5 + [1] * 2, [2] * 7),
        ("short_cnn", {"window": 16_000}, [2] * 7, [2] * 5 + [1] * 2),
        ("fcn", {}, [2, 2, 2, 3, 4], [4, 4, 4, 5, 4]),
        ("fcn", {"front_end": "cqt"}, [2, 2, 2, 3, 3], [4, 4, 4, 5, 4]),
        ("fcn", {"front_end": "mfcc"}, [2, 2, 2, 3, 1], [4, 4, 4, 5, 4]),
        ("fcn", {"window": 16_000}, [2, 2, 2, 3, 4], [4, 4, 3, 1, 1]),
        ("crnn", {}, [2, 3, 4, 4], [2, 3, 4, 4]),
        ("crnn", {"front_end": "cqt"}, [2, 3, 4, 3], [2, 3, 4, 4]),
        ("crnn", {"front_end": "mfcc"}, [2, 3, 4, 1], [2, 3, 4, 4]),
        ("crnn", {"window": 16_000}, [2, 3, 4, 4], [2, 3, 4, 2]),
        ("mel_cnn", {}, [2] * 4, [2] * 4),
        ("mel_cnn", {"num_blocks": 9}, [2] * 7 + [1] * 2, [2] * 7 + [1] * 2),
    ],
)
def test_pools_are_fitted_to_bins_and_window(name, changes, bins, frames):
    assert config_of(name, **changes).pools == list(zip(bins, frames, strict=True))


@every_case
@pytest.mark.parametrize("window", [None, 16_000, 3_000])
def test_the_shortest_window_is_the_least_that_can_be_computed(name, front_end, window):
    config = config_of(name, window, front_end=front_end)
    model = MODELS[name](config).eval()
    shortest = config.shortest_window
    with torch.no_grad():
        assert model(torch.zeros(1, shortest)).logits.isfinite().all()
        with pytest.raises(ValueError, match=f"{shortest - 1} samples is too short .* needs at least {shortest}"):
            model(torch.zeros(1, shortest - 1))
        if shortest > 1:
            with pytest.raises(RuntimeError):
                model.window_outputs(torch.zeros(1, shortest - 1))


@every_case
def test_a_window_may_be_as_short_as_a_frame(name, front_end):
    shortest = 1 if front_end in ("cqt", "waveform") else 257
    assert config_of(name, shortest, front_end=front_end).shortest_window == shortest
    if shortest > 1:
        with pytest.raises(ValueError, match="window_samples 256 is too short for this model, which needs 257"):
            config_of(name, 256, front_end=front_end)


@pytest.mark.parametrize(
    ("name", "front_end", "expected"),
    [
        ("short_cnn", "mel_db", 127 * 256),
        ("fcn", "mel_db", 1_279 * 256),
        ("crnn", "mel_db", 95 * 256),
        ("mel_cnn", "mel_db", 15 * 256),
        ("musicnn", "mel_db", 257),
        ("mel_vae", "mel_db", 257),
        ("musicnn", "cqt", 1),
        ("mel_vae", "cqt", 1),
    ],
)
def test_the_shortest_window_of_the_defaults(name, front_end, expected):
    assert MODELS[name].config_class(front_end=front_end).shortest_window == expected


def test_the_residual_short_cnn_halves_whatever_it_gets():
    config = config_of("short_cnn", residual=True)
    assert config.shortest_window == 257
    model = MODELS["short_cnn"](config).eval()
    assert model(torch.zeros(1, 257)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("front_end", "accepted"), [(name, name != "waveform") for name in FRONT_ENDS], ids=list(FRONT_ENDS)
)
def test_a_variational_encoder_does_not_learn_its_own_target(front_end, accepted):
    if accepted:
        assert config_of("mel_vae", front_end=front_end).front_end == front_end
    else:
        with pytest.raises(
            ValueError, match="'waveform' is not known here; it must be one of mel_db, log_mel, mfcc, cqt"
        ):
            config_of("mel_vae", front_end=front_end)


def test_musicnn_needs_bins_for_its_lower_filters():
    assert config_of("musicnn", num_mel_bins=3, num_mfcc=3).num_bins == 3
    with pytest.raises(ValueError, match="2 bins are too few for filters of 40 % of their height; 3 are the fewest"):
        config_of("musicnn", num_mel_bins=2, num_mfcc=2)


@every_case
def test_a_saved_configuration_is_loaded_as_it_was(name, front_end, tmp_path):
    config = config_of(name, 30_000, front_end=front_end, cqt_f_min=55.0, num_cqt_bins=72, f_max=7_000.0)
    config.save_pretrained(tmp_path)
    loaded = type(config).from_pretrained(tmp_path)
    assert {**loaded.to_dict(), "transformers_version": None} == {**config.to_dict(), "transformers_version": None}
    assert loaded.shortest_window == config.shortest_window
