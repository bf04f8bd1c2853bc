import copy
import math

import pytest
import torch
import torchaudio
from transformers import ASTFeatureExtractor, PretrainedConfig, PreTrainedModel

from hf_tagger.audio import load_mono
from hf_tagger.models.filterbank import KaldiFilterbank, frames_of, samples_of

RATE = 16_000
FLOOR = math.log(torch.finfo(torch.float32).eps)  # -15.94, the smallest value of the log
TOLERANCE = 1e-3  # in normalised units, whose deviation is 0.5


def noise(clips, samples, amplitude=0.1):
    return amplitude * torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))


def impulses(samples):
    waveform = torch.zeros(1, samples)
    waveform[0, ::2_345] = 1.0
    waveform[0, 160:8_000:160] = -0.5  # first samples of frames
    return waveform


def pair(max_length=128, num_mel_bins=128, rate=RATE, do_normalize=True):
    """The stock extractor as a function of a batch, and the filterbank with the same arguments."""
    stock = ASTFeatureExtractor(
        sampling_rate=rate, num_mel_bins=num_mel_bins, max_length=max_length, do_normalize=do_normalize
    )
    ours = KaldiFilterbank(rate, num_mel_bins, max_length, stock.mean, stock.std, do_normalize)

    def extract(waveform):
        return stock(list(waveform.numpy()), sampling_rate=rate, return_tensors="pt")["input_values"]

    return extract, ours


def assert_equal(received, expected, tolerance=TOLERANCE):
    torch.testing.assert_close(received, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "waveform",
    [
        noise(3, 16_000),
        noise(1, 16_000, amplitude=1e-5),
        noise(1, 16_000, amplitude=32_768.0),
        noise(2, 16_000, amplitude=1e-3) + 0.7,
        torch.full((1, 16_000), 0.3),
        torch.zeros(1, 16_000),
        noise(1, 16_000) * (torch.arange(16_000) < 7_000),
        impulses(16_000),
        noise(2, 16_000).double(),
    ],
    ids=["noise", "quiet", "loud", "on an offset", "constant", "silence", "half silence", "impulses", "float64"],
)
def test_the_filterbank_equals_the_stock_extractor(waveform):
    extract, filterbank = pair()
    received = filterbank(waveform)
    assert received.shape == (waveform.shape[0], 128, 128)
    assert received.dtype == torch.float32
    assert_equal(received, extract(waveform.float()))


@pytest.mark.parametrize("samples", [400, 559, 560, 20_719, 20_720, 20_879, 20_880, 50_000])
def test_clips_shorter_and_longer_than_max_length_equal_the_stock_extractor(samples):
    extract, filterbank = pair(max_length=128)  # 128 frames have 20,720 samples
    waveform = noise(2, samples)
    assert_equal(filterbank(waveform), extract(waveform))


@pytest.mark.parametrize(
    ("rate", "num_mel_bins"), [(8_000, 40), (22_050, 64), (24_000, 128), (44_100, 23), (48_000, 80)]
)
def test_other_rates_and_bands_equal_the_stock_extractor(rate, num_mel_bins):
    extract, filterbank = pair(100, num_mel_bins, rate)
    waveform = noise(2, rate)
    assert_equal(filterbank(waveform), extract(waveform))


@pytest.mark.shared
def test_recordings_equal_the_stock_extractor(shared):
    extract, filterbank = pair(max_length=1_024)
    recordings = sorted((shared / "audio").glob("*.ogg"))
    assert recordings
    for path in recordings:
        waveform = torch.as_tensor(load_mono(str(path), RATE))[10 * RATE : 32 * RATE].view(2, -1)
        assert_equal(filterbank(waveform), extract(waveform))


def test_values_that_are_not_normalised_equal_the_stock_extractors():
    extract, filterbank = pair(do_normalize=False)
    waveform = noise(2, 16_000)
    assert_equal(filterbank(waveform), extract(waveform), tolerance=2 * 4.57 * TOLERANCE)
    assert filterbank(waveform)[:, 98:].unique().tolist() == [0.0]


def test_missing_frames_are_zeros_before_normalisation_and_silence_is_the_floor():
    filterbank = KaldiFilterbank(RATE, 64, 10, mean=-4.0, std=2.5)
    features = filterbank(torch.full((1, 720), 0.3))  # three frames of a constant, which is removed
    assert_equal(features[0, :3], torch.full((3, 64), (FLOOR + 4.0) / 5.0), tolerance=1e-6)
    assert_equal(features[0, 3:], torch.full((7, 64), 4.0 / 5.0), tolerance=1e-6)


def test_frames_are_neither_filled_up_nor_cut_nor_normalised():
    filterbank = KaldiFilterbank(RATE, 64, 10, mean=-4.0, std=2.5)
    for samples, count in ((720, 3), (16_000, 98)):
        waveform = noise(2, samples)
        frames = filterbank.frames(waveform)
        assert frames.shape == (2, count, 64)
        normalised = (frames[:, :10] + 4.0) / 5.0
        assert_equal(filterbank(waveform)[:, :count], normalised, tolerance=1e-6)


def test_a_tone_is_loudest_in_its_band():
    filterbank = KaldiFilterbank(RATE, 128, 98, 0.0, 1.0, do_normalize=False)
    tone = 0.5 * torch.sin(2 * torch.pi * 1_000 * torch.arange(RATE) / RATE)
    # 1,000 Hz are 1127 ln(1 + 1000 / 700) = 1000.0 mel; the bands' centres lie 21.77 mel apart and begin at 53.5.
    assert filterbank(tone[None])[0].argmax(dim=-1).unique().tolist() == [43]


def test_a_long_clip_has_the_values_of_its_parts():
    """It is computed in several blocks, and many short clips in one; no frame may notice."""
    filterbank = KaldiFilterbank(RATE, 32, 1, 0.0, 1.0)
    waveform = noise(1, samples_of(2_500, RATE))
    frames = filterbank.frames(waveform)
    single = waveform.unfold(-1, 400, 160)[0]  # [2500, 400]
    assert_equal(frames[0], filterbank.frames(single)[:, 0], tolerance=1e-4)


def test_frames_and_samples_count_alike():
    assert [frames_of(samples, RATE) for samples in (0, 399, 400, 559, 560, 163_840)] == [0, 0, 1, 1, 2, 1_022]
    assert [samples_of(frames, RATE) for frames in (0, 1, 2, 1_022, 1_024)] == [0, 400, 560, 163_760, 164_080]
    assert samples_of(2, 22_050) == 551 + 220  # 551.25 and 220.5, rounded down
    for rate in (8_000, 11_025, RATE, 22_050, 44_100, 48_000):
        for frames in (1, 2, 7, 1_024):
            samples = samples_of(frames, rate)
            assert (frames_of(samples, rate), frames_of(samples - 1, rate)) == (frames, frames - 1)
        stock = torchaudio.compliance.kaldi.fbank(noise(1, rate), sample_frequency=rate)
        assert len(stock) == frames_of(rate, rate)


def test_a_waveform_shorter_than_a_frame_says_so():
    filterbank = KaldiFilterbank(RATE, 128, 1_024, -4.0, 4.0)
    with pytest.raises(ValueError, match=r"399 samples, but a frame of the filterbank has 400 \(25 ms at 16000 Hz\)"):
        filterbank(torch.zeros(2, 399))
    with pytest.raises(ValueError, match=r"must be \[batch, samples\]; received the shape \(16000,\)"):
        filterbank(torch.zeros(16_000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 99}, r"at least 100 Hz \(received 99\)"),
        ({"num_mel_bins": 0}, r"num_mel_bins \(received 0\)"),
        ({"max_length": 0}, r"max_length \(received 0\)"),
        ({"std": 0.0}, "std divides the features and must be greater than 0; received 0.0"),
    ],
)
def test_an_impossible_filterbank_says_what_is_possible(changes, message):
    arguments = {"sampling_rate": RATE, "num_mel_bins": 128, "max_length": 8, "mean": 0.0, "std": 1.0}
    with pytest.raises(ValueError, match=message):
        KaldiFilterbank(**{**arguments, **changes})


@pytest.mark.parametrize(
    "change", [torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.double, copy.deepcopy]
)
def test_a_cast_model_computes_the_same_in_float32(change):
    filterbank = KaldiFilterbank(RATE, 128, 128, -4.0, 4.0)
    waveform = noise(1, 16_000)
    expected = filterbank(waveform)
    assert torch.equal(change(filterbank)(waveform), expected)
    assert filterbank.state_dict() == {}


def test_mixed_precision_does_not_reach_the_filterbank():
    filterbank = KaldiFilterbank(RATE, 128, 128, -4.0, 4.0)
    waveform = noise(1, 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = filterbank(waveform)
    assert torch.equal(mixed, filterbank(waveform))
    halved = waveform.half()
    assert torch.equal(filterbank(halved), filterbank(halved.float()))


class TinyTagger(PreTrainedModel):
    config_class = PretrainedConfig

    def __init__(self, config):
        super().__init__(config)
        self.filterbank = KaldiFilterbank(RATE, 128, 128, -4.0, 4.0)
        self.linear = torch.nn.Linear(2, 2)
        self.post_init()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_loaded_model_has_the_filterbank_of_the_saved_one(tmp_path, dtype):
    """from_pretrained builds on the meta device, with the model's type as the default, and empties lone buffers."""
    model = TinyTagger(PretrainedConfig())
    model.save_pretrained(tmp_path)
    loaded = TinyTagger.from_pretrained(tmp_path, dtype=dtype)
    assert loaded.linear.weight.dtype == dtype
    waveform = noise(1, 16_000)
    assert torch.equal(loaded.filterbank(waveform), model.filterbank(waveform))


def test_gradients_pass_through_the_filterbank():
    waveform = noise(1, 2_000).requires_grad_()
    KaldiFilterbank(RATE, 40, 16, -4.0, 4.0)(waveform).square().sum().backward()
    received, waveform.grad = waveform.grad, None
    stock = torchaudio.compliance.kaldi.fbank(waveform, window_type="hanning", num_mel_bins=40)
    ((stock + 4.0) / 8.0).square().sum().backward()
    torch.testing.assert_close(received, waveform.grad, atol=1e-4 * float(received.abs().max()), rtol=0)


@pytest.mark.parametrize("amplitude", [0.1, 1.0, 32_767.0])
@pytest.mark.parametrize("hertz", [100, 440, 1_000, 3_000, 7_900])
def test_pure_tones_whose_other_bands_hold_only_roundings_equal_the_stock_extractor(hertz, amplitude):
    extractor = ASTFeatureExtractor()
    filterbank = KaldiFilterbank(16_000, 128, 1_024, extractor.mean, extractor.std)
    tone = amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(32_000) / 16_000).float()
    expected = extractor(tone.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    torch.testing.assert_close(filterbank(tone[None]), expected, atol=1e-3, rtol=0)
