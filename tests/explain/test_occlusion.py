"""Occlusion in time and frequency, the fill, and what a clip must be."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from known_tagger import RATE, TONE_HERTZ, TONE_SECONDS, known_tagger, song

from hf_tagger.errors import HfTaggerError
from hf_tagger.explain.clip import ExplainedClip, fill_of
from hf_tagger.explain.occlusion import band_edges, band_gains, occlude_frequency, occlude_time

HUM, WHISTLE = 0, 1


def explained(waveform, fill="noise", segment_seconds=0.25, **tagger):
    return ExplainedClip(known_tagger(**tagger), waveform, segment_seconds, fill, seed=0)


@pytest.mark.parametrize("fill", ["noise", "silence"])
def test_a_whistle_is_lost_without_its_seconds_and_nothing_is_lost_without_others(fill):
    clip = explained(song(), fill)
    drops = occlude_time(clip, [WHISTLE, HUM])
    edges = clip.segment_edges
    inside = (edges[:-1] >= TONE_SECONDS[0]) & (edges[1:] <= TONE_SECONDS[1])
    assert drops.shape == (2, 20)
    assert drops[0, inside].min() > 20 * np.abs(drops[0, ~inside]).max()
    assert np.abs(drops[1]).max() == 0


def test_a_drop_is_that_of_the_probability_that_the_tagger_says_without_the_segment():
    clip = explained(song(), "silence", window_seconds=4.0)  # windows from 0 and from 1 s
    silenced = song()
    silenced[round(2.25 * RATE) : round(2.5 * RATE)] = 0
    expected = clip.tagger.probabilities(song()) - clip.tagger.probabilities(silenced)
    assert occlude_time(clip, [WHISTLE])[0, 9] == pytest.approx(expected[WHISTLE].item(), abs=0.01)
    assert expected[WHISTLE] > 0.05


def test_a_whistle_is_lost_without_its_band_and_with_no_other():
    edges = band_edges(8, RATE)
    (drops,) = occlude_frequency(explained(song()), [WHISTLE], edges)
    band = int(np.searchsorted(edges, TONE_HERTZ)) - 1
    assert edges[band] < TONE_HERTZ < edges[band + 1]
    assert drops.argmax() == band
    assert drops[band] > 0.1
    assert np.abs(np.delete(drops, band)).max() < 0.1 * drops[band]


def test_bands_reach_from_0_to_half_the_rate_and_sum_up_to_everything():
    edges = band_edges(12, 16_000)
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(8_000)
    gains = band_gains(edges, samples=16_000, sampling_rate=16_000)
    assert gains.shape == (12, 8_001)
    torch.testing.assert_close(gains.sum(dim=0), torch.ones(8_001))
    middle = round((edges[5] + edges[6]) / 2)
    assert gains[5, middle] == 1


def test_noise_lies_40_decibels_below_the_music_with_equal_power_in_every_octave():
    waveform = torch.from_numpy(song())
    noise = fill_of(waveform, "noise", seed=0)
    level = 10 * torch.log10(noise.square().mean() / waveform.square().mean())
    assert level.item() == pytest.approx(-40, abs=0.01)
    power = torch.fft.rfft(noise).abs().square()
    octaves = [power[2**n : 2 ** (n + 1)].sum().item() for n in range(10, 17)]
    assert max(octaves) < 1.2 * min(octaves)
    assert torch.equal(noise, fill_of(waveform, "noise", seed=0))
    assert not torch.equal(noise, fill_of(waveform, "noise", seed=1))
    assert not fill_of(waveform, "silence", seed=0).any()


def test_what_is_kept_stays_and_what_is_removed_becomes_the_fill():
    clip = explained(song())
    kept = torch.ones(clip.segments, dtype=torch.bool)
    torch.testing.assert_close(clip.masked_window(1, kept), clip.window(1))
    torch.testing.assert_close(clip.masked_window(1, ~kept), clip.fill_window(1))
    kept[3] = False  # 0.75 to 1 s
    masked, ramp = clip.masked_window(0, kept), RATE // 100
    first, last = round(0.75 * RATE), RATE
    assert torch.equal(masked[: first - ramp], clip.window(0)[: first - ramp])
    assert torch.equal(masked[first + ramp : last - ramp], clip.fill_window(0)[first + ramp : last - ramp])
    assert torch.equal(masked[last + ramp :], clip.window(0)[last + ramp :])


def test_short_audio_is_cut_into_ten_segments_at_least():
    assert explained(song(0.5), segment_seconds=0.5).segments == 10
    with pytest.raises(HfTaggerError, match="The audio has 9 samples"):
        explained(song()[:9])


def test_silence_cannot_be_explained():
    with pytest.raises(HfTaggerError, match="nothing but silence"):
        explained(np.zeros(RATE, dtype=np.float32))
