import importlib.util
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from hf_tagger import audio
from hf_tagger.audio import load_mono, read_audio, resample, to_mono, to_pcm16
from hf_tagger.errors import AudioDecodingError

RATE = 16_000


def tone(frequency=440.0, seconds=1.0, rate=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def strongest_frequency(samples, rate=RATE):
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "au", "aiff"])
def test_every_format_of_libsndfile_gives_the_same_music(tmp_path, suffix):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(), RATE)
    samples = load_mono(path, RATE)
    assert samples.dtype == np.float32
    assert len(samples) == RATE
    middle = slice(2_000, -2_000)
    assert np.abs(samples[middle] - tone()[middle]).max() < 0.02


def test_bytes_and_path_of_a_file_decode_alike(tmp_path):
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone(), RATE)
    np.testing.assert_array_equal(load_mono(path.read_bytes(), RATE), load_mono(str(path), RATE))


def test_channels_are_averaged(tmp_path):
    channels = np.stack([tone(220 * (number + 1)) for number in range(8)], axis=1)
    soundfile.write(tmp_path / "eight.wav", channels, RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_mono(tmp_path / "eight.wav", RATE), channels.mean(axis=1), atol=1e-7)


def test_8_bit_and_96_kilohertz_are_read(tmp_path):
    soundfile.write(tmp_path / "old.wav", tone(), RATE, subtype="PCM_U8")
    assert np.abs(load_mono(tmp_path / "old.wav", RATE) - tone()).max() < 0.01
    soundfile.write(tmp_path / "fine.wav", tone(rate=96_000), 96_000, subtype="PCM_24")
    samples = load_mono(tmp_path / "fine.wav", RATE)
    assert len(samples) == RATE
    assert strongest_frequency(samples) == pytest.approx(440, abs=1)
    assert np.abs(samples[500:-500] - tone()[500:-500]).max() < 1e-3


def test_resampling_keeps_pitch_and_level_and_removes_what_the_new_rate_cannot_hold():
    low = resample(tone(rate=44_100), 44_100, RATE)
    assert strongest_frequency(low) == pytest.approx(440, abs=1)
    assert low[4_000:12_000].std() == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    above_nyquist = resample(tone(frequency=12_000, rate=44_100), 44_100, RATE)
    assert above_nyquist[4_000:12_000].std() < 1e-4


def test_a_clip_of_one_sample_stays_a_clip(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.array([0.25], dtype=np.float32), 44_100)
    assert load_mono(tmp_path / "click.wav", RATE).tolist() == [0.25]


def test_silence_is_music_too(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    assert load_mono(tmp_path / "silence.wav", RATE).tolist() == [0.0] * RATE


def reason(source):
    with pytest.raises(AudioDecodingError) as caught:
        load_mono(source, RATE)
    return str(caught.value)


def test_reasons_say_what_is_wrong_with_a_file(tmp_path):
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.wav").write_text("these are the lyrics, not the song\n" * 20)
    (tmp_path / "folder.wav").mkdir()
    assert reason(tmp_path / "empty.mp3") == "empty file (0 bytes)"
    assert "not a" in reason(tmp_path / "text.wav")
    assert reason(tmp_path / "folder.wav") == "a folder, not a file"
    assert reason(tmp_path / "missing.wav") == "file not found"
    assert reason(b"") == "empty file (0 bytes)"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path, bad):
    samples = tone()
    samples[100] = bad
    soundfile.write(tmp_path / "bad.wav", samples, RATE, subtype="FLOAT")
    assert reason(tmp_path / "bad.wav") == "NaN or infinite samples"


def test_absurdly_loud_samples_are_refused_before_they_overflow(tmp_path):
    samples = np.stack([tone(), tone()], axis=1)
    samples[7] = 3e38
    soundfile.write(tmp_path / "loud.wav", samples, RATE, subtype="FLOAT")
    assert reason(tmp_path / "loud.wav").startswith("samples up to 3.0e+38")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "au"])
def test_a_file_that_was_cut_off_is_refused_in_every_format(tmp_path, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    soundfile.write(whole, np.random.default_rng(0).normal(0, 0.1, 10 * RATE), RATE)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert any(word in reason(cut) for word in ("cut off", "damaged"))


def test_a_wav_written_to_a_pipe_is_whole_although_its_header_does_not_know_the_length(tmp_path):
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(), RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", 0xFFFF_FFFF)
    content[40:44] = struct.pack("<I", 0xFFFF_FFFF)
    assert len(load_mono(bytes(content), RATE)) == RATE


def test_a_header_with_an_absurd_rate_is_refused_before_anything_is_resampled(tmp_path):
    path = tmp_path / "fast.wav"
    soundfile.write(path, tone(), RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 33_000_000)
    assert reason(bytes(content)) == "damaged header: a sampling rate of 33000000 Hz"


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "seteuid"), reason="needs POSIX permissions")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "locked.wav"
    soundfile.write(path, tone(), RATE)
    path.chmod(0)
    if os.geteuid() == 0:  # root may read anything: be somebody else for this one call
        os.seteuid(65_534)
        try:
            assert reason(path) == "no permission to read the file"
        finally:
            os.seteuid(0)
    else:
        assert reason(path) == "no permission to read the file"


def test_16_bit_sources_pass_the_quantisation_unchanged():
    pcm = np.random.default_rng(1).integers(-32_768, 32_768, 10_000).astype(np.int16)
    again, factor = to_pcm16(pcm.astype(np.float32) / 32_768)
    np.testing.assert_array_equal(again, pcm)
    assert factor == 1 / 32_768


def test_samples_beyond_full_scale_are_scaled_and_not_clipped():
    samples = tone(amplitude=3.0)
    pcm, factor = to_pcm16(samples)
    assert np.abs(pcm * np.float32(factor) - samples).max() < 1e-4
    assert np.abs(pcm).max() == 32_767


def test_m4a_is_read_by_torchcodec_where_it_and_ffmpeg_are_installed(tmp_path):
    if importlib.util.find_spec("torchcodec") is None or shutil.which("ffmpeg") is None:
        pytest.skip("needs the extra ffmpeg, and FFmpeg")
    wav, m4a = tmp_path / "tone.wav", tmp_path / "tone.m4a"
    soundfile.write(wav, tone(), RATE)
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", wav, "-c:a", "aac", m4a], check=True)
    samples = load_mono(m4a, RATE)
    assert len(samples) == pytest.approx(RATE, abs=2_100)  # AAC pads by up to two frames of 1,024 samples
    assert strongest_frequency(samples) == pytest.approx(440, abs=2)


def test_m4a_without_torchcodec_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert "pip install 'hf_tagger[ffmpeg]'" in reason(b"\0\0\0\x20ftypM4A \0\0\2\0isomiso2" + bytes(64))


def test_mono_of_one_channel_is_that_channel():
    samples = tone()[:, None]
    np.testing.assert_array_equal(to_mono(samples), samples[:, 0])


@pytest.mark.shared
def test_real_songs_decode_whole(shared):
    seconds = []
    for path in sorted((shared / "audio").glob("*.ogg")):
        samples, rate = read_audio(path)
        seconds.append(round(len(samples) / rate, 1))
    assert seconds == [45.8, 133.0, 119.9, 61.5]


def test_long_recordings_are_read_in_blocks_to_the_same_samples(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).normal(0, 0.1, (700_000, 2))
    soundfile.write(tmp_path / "stereo.flac", samples, 44_100)
    whole = load_mono(tmp_path / "stereo.flac", 16_000)
    monkeypatch.setattr(audio, "_LONG_SECONDS", 1)
    monkeypatch.setattr(audio, "resample", None)  # the way of short recordings is not taken
    blocks = load_mono(tmp_path / "stereo.flac", 16_000)
    assert blocks.dtype == np.float32
    np.testing.assert_allclose(blocks, whole, atol=1e-6)


def test_long_recordings_with_damage_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_LONG_SECONDS", 1)
    samples = np.random.default_rng(0).normal(0, 0.1, 300_000)
    soundfile.write(tmp_path / "cut.flac", samples, 22_050)
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioDecodingError, match="damaged"):
        load_mono(tmp_path / "cut.flac", 16_000)
    samples[200_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 22_050, subtype="FLOAT")
    with pytest.raises(AudioDecodingError, match="NaN or infinite"):
        load_mono(tmp_path / "nan.wav", 16_000)
