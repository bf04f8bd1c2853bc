"""Every kind of recording becomes the same samples, and what is none is explained."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from local_files import served
from small_taggers import RATE, song

from hf_tagger.audio import load_mono, resample
from hf_tagger.audio_input import is_recording, to_waveform
from hf_tagger.errors import AudioDecodingError


class Decoder:
    """What torchcodec's AudioDecoder has, over samples in memory."""

    def __init__(self, samples, rate, begin=0.0):
        self.samples, self.rate, self.begin, self.asked = np.atleast_2d(samples), rate, begin, []
        self.metadata = SimpleNamespace(
            duration_seconds=self.samples.shape[1] / rate, begin_stream_seconds=begin, sample_rate=rate
        )

    def get_samples_played_in_range(self, start_seconds=0.0, stop_seconds=None):
        self.asked.append((start_seconds, stop_seconds))
        first = round((start_seconds - self.begin) * self.rate)
        last = None if stop_seconds is None else round((stop_seconds - self.begin) * self.rate)
        data = torch.from_numpy(self.samples[:, first:last])
        return SimpleNamespace(data=data, sample_rate=self.rate)


@pytest.fixture(scope="module", params=[RATE, 44_100])
def recording(request, tmp_path_factory):
    """A folder with song.wav, its samples at its rate, the rate, and what they are at the model's rate."""
    folder = tmp_path_factory.mktemp("recording")
    samples = song(2.5, request.param)
    soundfile.write(folder / "song.wav", samples, request.param, subtype="PCM_16")
    return folder, samples, request.param, load_mono(folder / "song.wav", RATE)


def kinds(folder, samples, rate):
    """Every way to hand over one recording with its own rate, by name."""
    path = folder / "song.wav"
    content = path.read_bytes()
    return {
        "path": path,
        "name": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "file": io.BytesIO(content),
        "array": {"array": samples, "sampling_rate": rate},
        "raw": {"raw": samples, "sampling_rate": float(rate)},
        "path in it": {"array": samples, "sampling_rate": rate, "path": "gone.wav"},
        "double": {"array": samples.astype(np.float64), "sampling_rate": np.int64(rate)},
        "int16": {"array": (samples * 32_768).astype(np.int16), "sampling_rate": rate},
        "tensor": {"array": torch.from_numpy(samples).requires_grad_(), "sampling_rate": rate},
        "channels first": {"array": np.stack([samples, samples]), "sampling_rate": rate},
        "channels last": {"array": torch.from_numpy(samples[:, None]), "sampling_rate": rate},
        "undecoded bytes": {"bytes": content, "path": "gone.wav"},
        "undecoded path": {"bytes": None, "path": str(path)},
        "decoder": Decoder(samples, rate),
        "decoder of two channels that starts late": Decoder(np.stack([samples, samples]), rate, begin=0.5),
    }


def test_every_kind_of_recording_gives_the_same_samples(recording):
    folder, samples, rate, expected = recording
    for name, source in kinds(folder, samples, rate).items():
        assert is_recording(source), name
        found = to_waveform(source, RATE)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert len(found) == len(expected) == 40_000
        np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=name)  # a decoder's are resampled as a stream
    with served(folder) as url:
        assert is_recording(f"{url}/song.wav")
        np.testing.assert_array_equal(to_waveform(f"{url}/song.wav", RATE), expected)


def test_an_array_alone_has_the_models_rate():
    samples = song(0.1)
    for source in (
        samples,
        torch.from_numpy(samples),
        samples.astype(np.float64),
        np.stack([samples, samples], axis=1),
    ):
        assert is_recording(source)
        np.testing.assert_array_equal(to_waveform(source, RATE), samples)
    half = torch.from_numpy(samples).to(torch.bfloat16)
    np.testing.assert_array_equal(to_waveform(half, RATE), half.float().numpy())


def test_channels_are_mixed_to_their_mean_whichever_axis_they_stand_on():
    left, right = song(0.1), song(0.1, seed=1)
    for channels in ([left, right], [left, right, left], [left] * 5 + [right]):
        expected = np.mean(channels, axis=0, dtype=np.float32)
        for axis in (0, 1):
            np.testing.assert_allclose(to_waveform(np.stack(channels, axis=axis), RATE), expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 2), (1, 64), (64, 3), (65, 65), (1_000, 500)])
def test_a_shape_that_does_not_say_where_the_channels_are_is_an_error(shape):
    with pytest.raises(
        AudioDecodingError, match=r"\(\d+, \d+\) does not say which axis holds the channels.*at most 64"
    ):
        to_waveform(np.zeros(shape, dtype=np.float32), RATE)


def test_a_long_decoder_is_read_block_by_block_to_the_samples_of_the_whole(monkeypatch):
    monkeypatch.setattr("hf_tagger.audio_input._BLOCK_SECONDS", 1)
    for rate in (44_100, RATE):
        samples = song(3.25, rate)
        decoder = Decoder(np.stack([samples, samples]), rate, begin=0.25)
        found = to_waveform(decoder, RATE)
        assert decoder.asked == [(0.25, 1.25), (1.25, 2.25), (2.25, 3.25), (3.25, None)]
        np.testing.assert_allclose(found, resample(samples, rate, RATE), atol=2e-6)


def test_torchcodecs_decoder_gives_the_samples_of_the_file(recording, monkeypatch):
    decoders = pytest.importorskip("torchcodec.decoders", reason="torchcodec is not installed")
    folder, _, rate, expected = recording
    for seconds in (60, 1):
        monkeypatch.setattr("hf_tagger.audio_input._BLOCK_SECONDS", seconds)
        decoder = decoders.AudioDecoder(str(folder / "song.wav"))
        assert is_recording(decoder)
        np.testing.assert_allclose(to_waveform(decoder, RATE), expected, atol=2e-6)
    at_our_rate = decoders.AudioDecoder(str(folder / "song.wav"), sample_rate=RATE)
    monkeypatch.setattr("hf_tagger.audio_input._BLOCK_SECONDS", 60)
    np.testing.assert_allclose(to_waveform(at_our_rate, RATE), expected, atol=2e-6 if rate == RATE else 0.02)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.wav", r"^gone\.wav: file not found$"),
        (b"", r"^empty file \(0 bytes\)$"),
        (b"no music at all", "not a known audio format|not a format that libsndfile knows"),
        (np.zeros(0, dtype=np.float32), "^no samples$"),
        (np.array([0.1, np.nan] * 50, dtype=np.float32), "NaN or infinite samples"),
        (np.zeros((2, 2, 500), dtype=np.float32), r"received \(2, 2, 500\)\. Several recordings go into a list"),
        (np.float32(0.5), "received float32"),
        (np.zeros(100, dtype=np.int32), "or int16; received int32. Divide whole numbers by their full scale"),
        (torch.zeros(100, dtype=torch.bool), "received bool"),
        ({"array": np.zeros(100)}, "needs their 'sampling_rate' in Hz; received a dictionary with 'array'"),
        ({"array": np.zeros(100), "sampling_rate": "16k"}, "needs their 'sampling_rate' in Hz"),
        ({"array": np.zeros(100), "sampling_rate": 44.1}, "a sampling_rate of 44.1 Hz; possible are 1000 to 768000"),
        ({"audio": 1, "labels": 2}, "a recording is a path, .* received a dictionary with 'audio', 'labels'"),
        ({}, "received a dictionary with nothing"),
        (7, "a recording is a path, a URL, .* received int"),
    ],
)
def test_what_is_no_recording_is_explained(source, message):
    with pytest.raises(AudioDecodingError, match=message):
        to_waveform(source, RATE)


def test_a_decoder_that_fails_says_why():
    class Damaged(Decoder):
        def get_samples_played_in_range(self, start_seconds=0.0, stop_seconds=None):
            raise RuntimeError("no audio stream")

    with pytest.raises(AudioDecodingError, match="the AudioDecoder fails: no audio stream"):
        to_waveform(Damaged(song(0.1), RATE), RATE)


def test_a_url_that_cannot_be_fetched_is_named_without_the_keys_in_it(tmp_path):
    (tmp_path / "text.wav").write_text("no music")
    with served(tmp_path) as url:
        for name, message in (("gone.wav", r"cannot be fetched \(the server answers 404\)"), ("text.wav", "not a ")):
            with pytest.raises(AudioDecodingError, match=message) as error:
                to_waveform(f"{url.replace('//', '//user:password@')}/{name}?key=secret", RATE)
            assert str(error.value).startswith(f"{url}/{name}: ")
            assert "password" not in str(error.value)
            assert "secret" not in str(error.value)
    with pytest.raises(AudioDecodingError, match=r"cannot be fetched \(ConnectionError\)") as error:
        to_waveform(f"{url}/song.wav?key=secret", RATE)
    assert "secret" not in str(error.value)
    with pytest.raises(AudioDecodingError, match=r"cannot be fetched \(InvalidURL\)"):
        to_waveform("http://", RATE)
    for nobodys in (f"http://{70 * 'a'}.com/x?key=secret", "http://[secret/a.wav"):
        with pytest.raises(AudioDecodingError, match="cannot be fetched") as error:
            to_waveform(nobodys, RATE)
        assert "secret" not in str(error.value)


def test_several_recordings_are_not_one():
    for several in (["a.wav"], ("a.wav",), iter([]), {"a.wav"}, None, 7):
        assert not is_recording(several)
