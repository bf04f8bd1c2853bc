import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.data import _synthesis as synthesis
from hf_tagger.data.base import SPLITS
from hf_tagger.data.synthetic import INSTRUMENTS, TAGS, TEMPI, _mix, make_clip


def load(**options):
    return load_tagging_dataset(DataArguments(**options))


def samples(clip):
    return soundfile.read(io.BytesIO(clip.content))[0]


def peak_frequency(signal):
    """The strongest frequency of a signal in Hz."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), n=1 << 18))
    return np.argmax(spectrum) * synthesis.RATE / (1 << 18)


def test_it_is_the_default_and_is_split_75_10_15():
    dataset = load(synthetic_clips=40)
    assert DataArguments().dataset_name == "synthetic"
    assert [len(dataset[split]) for split in SPLITS] == [30, 4, 6]
    assert dataset.label_names == list(TAGS)
    assert dataset.problem_type == "multi_label_classification"
    assert (dataset.protocol.name, dataset.protocol.generated) == ("seeded", True)
    row = dataset["train"][0]
    assert row["id"] == row["group"] == "seed0-00000"
    assert row["audio"]["sampling_rate"] == 16_000
    assert 4 * 16_000 <= len(row["audio"]["array"]) <= 6 * 16_000


@pytest.mark.parametrize("count", [10, 11, 13, 17])
def test_no_split_is_empty_however_few_the_clips(count):
    dataset = load(synthetic_clips=count)
    assert min(len(dataset[split]) for split in SPLITS) >= 1
    assert sum(len(dataset[split]) for split in SPLITS) == count


def test_a_clip_is_sixteen_bit_mono_at_16_khz():
    info = soundfile.info(io.BytesIO(make_clip(0, 0).content))
    assert (info.samplerate, info.channels, info.subtype, info.format) == (16_000, 1, "PCM_16", "WAV")


def test_a_clip_depends_on_seed_and_number_alone():
    assert make_clip(0, 7) == make_clip(0, 7)
    assert make_clip(0, 7).content != make_clip(0, 8).content
    assert make_clip(0, 7).content != make_clip(1, 7).content
    few, many = load(synthetic_clips=10, split_seed=5), load(synthetic_clips=20, split_seed=5)
    assert few["train"]["id"][:] == many["train"]["id"][:7]
    assert few["train"]["labels"][:] == many["train"]["labels"][:7]
    assert few.protocol_record()["hash"] != load(synthetic_clips=10, split_seed=6).protocol_record()["hash"]


def test_another_process_with_another_hash_seed_makes_the_same_clip():
    code = "import hashlib; from hf_tagger.data.synthetic import make_clip; c = make_clip(3, 11); "
    code += "print(c.labels, hashlib.sha256(c.content).hexdigest())"
    clip = make_clip(3, 11)
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == f"{clip.labels} {hashlib.sha256(clip.content).hexdigest()}"


def test_tags_overlap_and_each_is_common_enough_to_learn():
    labels = [make_clip(0, number).labels for number in range(120)]
    counts = {tag: sum(tag in row for row in labels) for tag in TAGS}
    assert all(0.12 < count / len(labels) < 0.6 for count in counts.values()), counts
    assert all(1 <= len(set(row) & set(INSTRUMENTS)) <= 3 for row in labels)
    assert not any({"fast", "slow"} <= set(row) for row in labels)
    assert not any(row[0] == "pad" and len(set(row) & set(INSTRUMENTS)) == 1 and len(row) > 1 for row in labels)
    assert sum(len(row) > 1 for row in labels) > 60


def test_clips_are_neither_clipped_nor_silent_and_differ_in_level():
    peaks = [np.abs(samples(make_clip(0, number))).max() for number in range(40)]
    assert max(peaks) < 1.0
    assert min(peaks) > 0.1
    assert max(peaks) / min(peaks) > 3


@pytest.mark.parametrize("frequency", [110.0, 220.0, 330.0])
@pytest.mark.parametrize("name", ["plucked_string", "bass", "flute"])
def test_an_instrument_sounds_the_note_that_it_is_asked_for(name, frequency):
    note = getattr(synthesis, name)(frequency, 16_000, np.random.default_rng(0))
    assert note.shape == (16_000,)
    harmonic = peak_frequency(note[2_000:]) / frequency
    assert harmonic == pytest.approx(max(1, round(harmonic)), rel=0.02)


def test_a_plucked_string_dies_away_and_its_high_partials_go_first():
    note = synthesis.plucked_string(220.0, 16_000, np.random.default_rng(0))
    early, late = note[:4_000], note[-4_000:]
    assert np.std(late) < 0.5 * np.std(early)

    def brightness(signal):
        return np.std(np.diff(signal)) / np.std(signal)

    assert brightness(late) < 0.5 * brightness(early)


def test_all_rounds_of_the_string_at_once_equal_the_loop_sample_by_sample():
    """The published loop: y[n] = loss · (y[n - P] + y[n - P - 1]) / 2, with the mean's half sample of delay undone."""
    period, frequency = 40, 400.0
    burst = np.random.default_rng(1).uniform(-1.0, 1.0, period)
    burst -= burst.mean()
    note = synthesis.plucked_string(frequency, 10 * period, np.random.default_rng(1)).reshape(10, period)
    loss = note[1] @ note[1] / (note[0] @ note[0])
    spectrum = np.fft.rfft(burst)
    shift = np.exp(1j * np.pi * np.arange(len(spectrum)) / period)  # half a sample
    current = burst
    for rounds in range(1, 10):
        current = (current + np.roll(current, 1)) / 2
        centred = np.fft.irfft(np.fft.rfft(current) * shift**rounds, n=period)
        scale = (centred @ note[rounds]) / (centred @ centred)
        np.testing.assert_allclose(note[rounds], scale * centred, atol=1e-9)
        assert 0.9 < scale < 1.0
    assert loss < 1.0


def test_a_bell_has_partials_that_are_no_harmonics():
    note = synthesis.bell(500.0, 16_000, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(note[:8_000] * np.hanning(8_000)))

    def level(frequency):
        return spectrum[round(frequency * 0.5) - 3 : round(frequency * 0.5) + 4].max()

    assert level(0.92 * 500) > 3 * level(1.05 * 500)
    assert level(1.19 * 500) > 3 * level(1.05 * 500)


def test_a_pad_swells():
    chord = synthesis.pad(np.array([220.0, 277.2, 329.6]), 64_000, np.random.default_rng(0))
    assert np.std(chord[:2_000]) < 0.2 * np.std(chord[30_000:32_000])


def test_fast_has_more_onsets_than_slow():
    def onsets_a_second(tempo, seed):
        """Rises of the short-time energy of four seconds of drums."""
        generator = np.random.default_rng(seed)
        drums = _mix(["drums"], generator.uniform(*TEMPI[tempo]), generator)
        energy = np.square(drums[: 4 * synthesis.RATE]).reshape(-1, 160).sum(axis=1)
        loud = energy > 0.02 * energy.max()
        return np.sum(loud[1:] & ~loud[:-1]) / 4

    rates = {tempo: [onsets_a_second(tempo, seed) for seed in range(10)] for tempo in TEMPI}
    assert max(rates["slow"]) < np.mean(rates[None]) < min(rates["fast"])
    assert max(rates["slow"]) < min(rates["fast"])


def test_damped_sines_are_the_sum_that_they_stand_for():
    frequencies, decays, amplitudes = np.array([100.0, 333.3]), np.array([1.0, 5.0]), np.array([1.0, 0.3])
    signal = synthesis.damped_sines(frequencies, decays, amplitudes, 5_001, np.random.default_rng(2))
    phases = np.random.default_rng(2).uniform(size=2)
    time = np.arange(5_001)[:, None] / synthesis.RATE
    expected = amplitudes * np.exp(-decays * time) * np.cos(2 * np.pi * (frequencies * time + phases))
    np.testing.assert_allclose(signal, expected.sum(axis=1), atol=1e-9)
