"""Each augmentation does what it says, in numbers; draws come from seed, process, step and call, and nothing else."""

import numpy as np
import pytest
import scipy.stats
import torch
import torchaudio.functional as audio

from hf_tagger.argument_checks import from_mapping
from hf_tagger.augmentation_arguments import AugmentationArguments, SpeedArguments
from hf_tagger.errors import RecipeError
from hf_tagger.training.augment import Augmentation
from hf_tagger.training.augment_waveform import _change_speed_batched, change_speed
from hf_tagger.training.mixing import draw_partners, draw_symmetric_beta

RATE = 16_000
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
WAVEFORM = ["speed", "time_shift", "polarity", "low_pass", "high_pass", "gain", "noise"]
MIXING = ["mixup", "cutmix"]
ALPHA = {"mixup": {"alpha": 1.0}}  # with 0.2 a share may round to 1, which changes nothing


def parsed(mapping):
    arguments, problems = from_mapping(AugmentationArguments, mapping, "augmentation")
    assert problems == []
    return arguments


def make(problem_type=SINGLE, seed=0, process=0, **mapping):
    return Augmentation(parsed(mapping), RATE, problem_type, 4, seed, process)


def only(name, probability=1.0, **values):
    return {name: {"probability": probability, **ALPHA.get(name, {}), **values}}


def music(clips=8, samples=4_000, seed=0):
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def tones(hertz, samples=RATE):
    return torch.sin(2 * torch.pi * torch.tensor(hertz).unsqueeze(1) * torch.arange(samples) / RATE)


def classes(clips=8):
    return torch.arange(clips) % 4


def energy(waveforms):
    return waveforms.double().square().sum(dim=1)


def pitch(waveform):
    """Frequency of the strongest partial in Hz, between the bins of the Fourier transform."""
    power = torch.fft.rfft(waveform * torch.hann_window(len(waveform)), n=16 * len(waveform)).abs()
    return float(power.argmax()) * RATE / (16 * len(waveform))


def test_gain_is_within_its_range_and_each_clips_own():
    augmentation, before = make(gain={"probability": 1, "decibels": [-6, 3]}), music(64)
    after, labels = augmentation.waveforms(before, classes(64))
    measured = 10 * (energy(after) / energy(before)).log10()
    torch.testing.assert_close(measured.float(), augmentation.last_draws["gain"]["decibels"], atol=1e-4, rtol=0)
    assert -6 <= measured.min() < -5 < 2 < measured.max() <= 3
    assert len(measured.unique()) == 64
    assert torch.equal(labels, classes(64))


def test_noise_has_the_drawn_ratio_and_is_white():
    augmentation, before = make(noise={"probability": 1, "snr_decibels": [5, 30]}), tones([440.0] * 16)
    after, _ = augmentation.waveforms(before, classes(16))
    noise = after - before
    measured = 10 * (energy(before) / energy(noise)).log10()
    torch.testing.assert_close(measured.float(), augmentation.last_draws["noise"]["snr_decibels"], atol=0.01, rtol=0)
    assert 5 <= measured.min() < 10 < 25 < measured.max() <= 30
    power = torch.fft.rfft(noise).abs().square()
    upper_half = power[:, power.shape[1] // 2 :].sum(dim=1) / power.sum(dim=1)
    assert (upper_half - 0.5).abs().max() < 0.05
    assert (torch.corrcoef(noise) - torch.eye(16)).abs().max() < 0.05  # no two clips get the same noise


def test_noise_leaves_silence_silent():
    after, _ = make(noise={"probability": 1}).waveforms(torch.zeros(2, 100), classes(2))
    assert torch.equal(after, torch.zeros(2, 100))


def test_a_shift_is_circular_and_positive_is_later():
    augmentation, before = make(time_shift={"probability": 1, "seconds": [-0.1, 0.2]}), music()
    after, _ = augmentation.waveforms(before, classes())
    delays = (augmentation.last_draws["time_shift"]["seconds"] * RATE).round().int().tolist()
    assert min(delays) < 0 < max(delays)
    for clip, delay in enumerate(delays):
        assert torch.equal(after[clip], before[clip].roll(delay))


def test_polarity_is_inverted():
    after, _ = make(polarity={"probability": 1}).waveforms(music(), classes())
    assert torch.equal(after, -music())


@pytest.mark.parametrize(
    ("name", "reference"), [("low_pass", audio.lowpass_biquad), ("high_pass", audio.highpass_biquad)]
)
def test_filters_are_torchaudios_with_a_frequency_for_every_clip(name, reference):
    augmentation, before = make(**only(name, hertz=[20, 7_900])), music()
    after, _ = augmentation.waveforms(before, classes())
    frequencies = augmentation.last_draws[name]["hertz"]
    assert frequencies.max() > 5 * frequencies.min()
    for clip, hertz in enumerate(frequencies.tolist()):
        expected = reference(before[clip].double(), RATE, hertz, Q=0.5**0.5).float()
        torch.testing.assert_close(after[clip], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "passing", "stopped"), [("low_pass", 100.0, 4_000.0), ("high_pass", 6_000.0, 250.0)])
def test_filters_keep_one_side_of_their_frequency_and_weaken_the_other(name, passing, stopped):
    before = tones([passing, 1_000.0, stopped])
    after, _ = make(**only(name, hertz=[1_000, 1_000])).waveforms(before, classes(3))
    inner = slice(RATE // 4, -RATE // 4)  # without the filter's start
    decibels = 10 * (energy(after[:, inner]) / energy(before[:, inner])).log10()
    assert decibels[0] > -0.1
    assert decibels[1] == pytest.approx(-3.01, abs=0.02)
    assert decibels[2] < -23  # two octaves at 12 dB


def test_speed_changes_a_tones_frequency_by_the_factor():
    augmentation = make(speed={"probability": 1, "factors": [0.8, 1.25]})
    after, _ = augmentation.waveforms(tones([1_000.0] * 8), classes())
    factors = augmentation.last_draws["speed"]["factors"]
    assert factors.min() < 0.95 < 1.05 < factors.max()
    for clip in range(8):
        assert pitch(after[clip, 1_000:11_000]) == pytest.approx(1_000 * float(factors[clip]), abs=0.2)
        assert after[clip, 1_000:11_000].abs().max() == pytest.approx(1, abs=0.01)


def test_speed_is_torchaudios_resampling_and_a_fast_clip_starts_over():
    before = music(3, 8_000)
    after = change_speed(before, torch.tensor([0.88, 1.0, 1.12]), fastest=1.12)
    slow, fast = audio.resample(before[0], 22, 25), audio.resample(before[2].repeat(2), 28, 25)
    inner = slice(50, -50)
    torch.testing.assert_close(after[0, inner], slow[:8_000][inner], atol=1e-6, rtol=0)
    torch.testing.assert_close(after[2, inner], fast[:8_000][inner], atol=1e-6, rtol=0)


def test_speed_of_all_clips_at_once_as_on_a_gpu_equals_one_clip_after_the_other():
    before, factors = music(4, 8_000), torch.tensor([0.5, 0.93, 1.37, 2.0])
    batched = _change_speed_batched(before, (factors * 100).round().long(), fastest=2.0)
    torch.testing.assert_close(batched, change_speed(before, factors, fastest=2.0), atol=4e-6, rtol=0)


def test_factors_are_whole_hundredths_within_the_interval_and_on_a_gpu_none_reads_beyond_the_clip():
    augmentation = make(speed={"probability": 1, "factors": [0.944, 1.059]})  # a semitone down and up
    augmentation.waveforms(music(200, 800), torch.zeros(200, dtype=torch.long))
    factors = augmentation.last_draws["speed"]["factors"]
    assert sorted({round(100 * float(factor), 3) for factor in factors}) == list(range(95, 106))
    before = music(2, 8_000)
    _change_speed_batched(before, torch.tensor([105, 95]), fastest=1.05)
    with pytest.raises(RecipeError, match="holds no whole hundredth"):
        SpeedArguments(factors=[0.992, 0.998])


def test_speed_removes_what_would_pass_half_the_sampling_rate():
    after = change_speed(tones([7_000.0]), torch.tensor([1.5]), fastest=1.5)  # 10,500 Hz would be heard as 5,500
    assert after[:, 500:10_000].abs().max() < 0.01


@pytest.mark.parametrize("name", WAVEFORM + MIXING)
def test_probability_0_changes_nothing_and_1_changes_every_clip(name):
    before = music()
    unchanged, _ = make(**only(name, 0)).waveforms(before, classes())
    assert torch.equal(unchanged, before)
    changed, _ = make(**only(name, 1)).waveforms(before, classes())
    assert (changed != before).any(dim=1).all()
    assert changed.isfinite().all()


@pytest.mark.parametrize("name", [*WAVEFORM, *MIXING, "spec_augment"])
def test_the_share_of_changed_clips_is_the_probability(name):
    augmentation, before = make(**only(name, 0.3)), music(3_000, 40)
    if name == "spec_augment":
        after = augmentation.spectrogram(before.view(-1, 5, 8)).flatten(1)
    else:
        after, _ = augmentation.waveforms(before, classes(3_000))
    chosen = augmentation.last_draws[name]["chosen"]
    assert chosen.float().mean() == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 3_000) ** 0.5)
    assert torch.equal(after[~chosen], before[~chosen])


@pytest.mark.parametrize("name", WAVEFORM)
def test_a_clip_does_not_hear_its_neighbours(name):
    before = music()
    others = torch.cat([before[:1], music(7, seed=1)])
    after = [make(**only(name)).waveforms(batch, classes())[0][0] for batch in (before, others)]
    torch.testing.assert_close(*after, atol=0, rtol=0)


EVERYTHING = {name: {"probability": 0.5} for name in [*WAVEFORM, *MIXING, "spec_augment"]}


def run(steps, batches=2, **place):
    """Waveforms, labels and spectrograms of some steps with two batches each, one after the other."""
    augmentation, results = make(**EVERYTHING, **place), []
    for step in steps:
        augmentation.begin_step(step)
        for _ in range(batches):
            results += [*augmentation.waveforms(music(4, 2_000), classes(4))]
            results += [augmentation.spectrogram(music(4, 320).view(4, 1, 16, 20))]
    return torch.cat([result.flatten() for result in results])


def test_a_resumed_run_draws_what_the_undisturbed_one_drew():
    whole = run(range(4))
    assert torch.equal(run(range(2, 4)), whole[len(whole) // 2 :])


def test_steps_batches_processes_and_seeds_draw_differently():
    first, second = run([5]).chunk(2)
    assert not torch.equal(first, second)
    others = [run([6]), run([5], process=1), run([5], seed=1)]
    assert not any(torch.equal(run([5]), other) for other in others)


def test_pytorchs_own_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = run([0])
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(run([0]), before)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_more_augmentation_leaves_the_draws_of_the_others_as_they_were():
    alone, together = make(gain={}), make(**EVERYTHING)
    for augmentation in (alone, together):
        augmentation.begin_step(3)
        augmentation.waveforms(music(), classes())
    for name in ("chosen", "decibels"):
        assert torch.equal(alone.last_draws["gain"][name], together.last_draws["gain"][name])


@pytest.mark.parametrize("name", MIXING)
def test_labels_are_mixed_as_the_waveforms_are(name):
    augmentation, before = make(**only(name, 0.5)), music(64)
    after, labels = augmentation.waveforms(before, classes(64))
    drawn = augmentation.last_draws[name]
    assert labels.shape == (64, 4)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(64))
    for clip in range(64):
        share, partner = float(drawn["share"][clip]), int(drawn["partner"][clip])
        if not drawn["chosen"][clip]:
            share = 1.0
        expected = torch.zeros(4)
        expected[clip % 4] += share
        expected[partner % 4] += 1 - share
        torch.testing.assert_close(labels[clip], expected)
        if name == "mixup":
            torch.testing.assert_close(after[clip], share * before[clip] + (1 - share) * before[partner])
        else:
            own = after[clip] == before[clip]
            assert float(own.float().mean()) == pytest.approx(share, abs=1e-6)
            assert torch.equal(after[clip][~own], before[partner][~own])
            assert int((own[1:] != own[:-1]).sum()) <= 2  # one stretch


@pytest.mark.parametrize("name", MIXING)
def test_missing_labels_stay_missing_and_make_their_mixtures_unknown(name):
    labels = torch.tensor([[1.0, 0, torch.nan, 0]] + 3 * [[0.0, 1, 1, torch.nan]])
    mixer = make(MULTI, **only(name, 0.5))
    found_unmixed = False
    for step in range(8):
        mixer.begin_step(step)
        _, mixed = mixer.waveforms(music(4), labels)
        drawn = mixer.last_draws[name]
        expected = labels.isnan() | (drawn["chosen"].unsqueeze(1) & labels[drawn["partner"]].isnan())
        assert torch.equal(mixed.isnan(), expected)
        unmixed = ~drawn["chosen"]
        assert torch.equal(mixed[unmixed].nan_to_num(9), labels[unmixed].nan_to_num(9))
        found_unmixed |= bool(unmixed.any())
    assert found_unmixed


def test_mixing_turns_every_label_into_shares_even_where_no_clip_is_mixed():
    _, single = make(mixup={"probability": 0}).waveforms(music(), classes())
    assert torch.equal(single, torch.eye(4)[classes()])
    multi = torch.eye(4)[classes()]
    assert torch.equal(make(MULTI, mixup={"probability": 0}).waveforms(music(), multi)[1], multi)
    assert make(mixup={}).mixes_labels
    assert not make(gain={}, spec_augment={}).mixes_labels


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    shares = draw_symmetric_beta(20_000, alpha, torch.Generator().manual_seed(0))
    assert scipy.stats.kstest(shares.numpy(), scipy.stats.beta(alpha, alpha).cdf).statistic < 0.015


def test_small_alphas_draw_numbers_near_0_and_1():
    shares = draw_symmetric_beta(20_000, 0.05, torch.Generator().manual_seed(0))
    assert shares.isfinite().all()
    middle = ((shares > 0.1) & (shares < 0.9)).float().mean()
    exact = np.diff(scipy.stats.beta(0.05, 0.05).cdf([0.1, 0.9]))[0]
    assert float(middle) == pytest.approx(exact, abs=0.01)


def test_no_clip_is_its_own_partner():
    for clips in (2, 3, 16):
        for seed in range(20):
            partners = draw_partners(clips, torch.Generator().manual_seed(seed))
            assert sorted(partners.tolist()) == list(range(clips))
            assert (partners != torch.arange(clips)).all()


def test_half_precision_and_autocast_change_no_value():
    exact, _ = make(**EVERYTHING).waveforms(music(), classes())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast, _ = make(**EVERYTHING).waveforms(music(), classes())
    assert torch.equal(under_autocast, exact)
    rounded, _ = make(**EVERYTHING).waveforms(music().bfloat16(), classes())
    assert rounded.dtype == torch.float32


def test_waveforms_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must be \[batch, samples\]; received the shape \(2, 1, 100\)"):
        make(gain={}).waveforms(torch.zeros(2, 1, 100), classes(2))
