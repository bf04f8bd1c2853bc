"""From waveforms to window probabilities, the one way that pipeline, predict and explain share."""

import io
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_taggers import LABELS, MULTI, RATE, SINGLE, build, save, song

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.aggregation import auto_pool
from hf_tagger.evaluation.assessment import Fit
from hf_tagger.saved_tagger import SavedTagger, load_tagger
from hf_tagger.tagging import Tagger

SECONDS = [9.0, 0.4, 3.7, 5.0]
SHORT = {"window_samples": 40_000, "hop_samples": 30_000}


@pytest.fixture(scope="module", params=[MULTI, SINGLE])
def tagger(request):
    return Tagger(*build(problem_type=request.param, **SHORT), "cpu")


@pytest.fixture(scope="module")
def songs():
    return [song(seconds, seed=number) for number, seconds in enumerate(SECONDS)]


@pytest.fixture
def batches(monkeypatch, tagger):
    """Sizes of the batches that the model is given."""
    sizes, forward = [], tagger.model.forward

    def spy(input_values, **kwargs):
        sizes.append(len(input_values))
        return forward(input_values, **kwargs)

    monkeypatch.setattr(tagger.model, "forward", spy)
    return sizes


def test_windows_are_those_of_the_feature_extractor_and_their_mean_is_what_the_model_itself_says(tagger, songs):
    for waveform in songs:
        features = tagger.feature_extractor(waveform, sampling_rate=RATE, return_tensors="pt")
        (windows,) = tagger.window_probabilities([waveform])
        with torch.no_grad():
            logits = tagger.model(**features).logits[0]
            alone = tagger.model(features["input_values"][0]).logits
        own, by_window = (
            values.sigmoid() if tagger.problem_type == MULTI else values.softmax(-1) for values in (logits, alone)
        )
        np.testing.assert_allclose(windows, by_window, atol=1e-6)
        np.testing.assert_allclose(tagger.probabilities(waveform), own, atol=1e-6)
        np.testing.assert_allclose(tagger.scores(windows), own, atol=1e-6)
    assert np.ptp(next(iter(tagger.window_probabilities(songs))), axis=0).min() > 1e-3


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_batches_are_filled_across_recordings_and_change_no_number(tagger, songs, batches, size):
    alone = [next(tagger.window_probabilities([waveform])) for waveform in songs]
    total = sum(len(own) for own in alone)
    batches.clear()
    together = list(tagger.window_probabilities(songs, batch_size=size))
    assert batches == [size] * (total // size) + ([total % size] if total % size else [])
    assert [len(own) for own in together] == [len(own) for own in alone] == [5, 1, 2, 3]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_waveforms_are_taken_when_their_batch_is_not_full(tagger, songs):
    taken = []

    def stream():
        for number, waveform in enumerate(songs):
            taken.append(number)
            yield waveform

    found = tagger.window_probabilities(stream(), batch_size=5)
    assert taken == []
    next(found)
    assert taken == [0]  # its five windows fill a batch
    next(found)
    assert taken == [0, 1, 2, 3]  # one, two and three windows: the first five are a batch
    assert len(list(found)) == 2


def test_results_that_are_fetched_late_as_of_an_accelerator_are_the_same(tagger, songs, monkeypatch):
    at_once = list(tagger.window_probabilities(songs, batch_size=3))
    launched, fetched, forward = 0, [], tagger.model.forward

    def spy(input_values, **kwargs):
        nonlocal launched
        launched += 1
        return forward(input_values, **kwargs)

    monkeypatch.setattr(tagger.model, "forward", spy)
    monkeypatch.setattr(tagger, "_copies_late", True)
    late = []
    for found in tagger.window_probabilities(songs, batch_size=3):
        fetched.append(launched)
        late.append(found)
    for one, other in zip(at_once, late, strict=True):
        np.testing.assert_array_equal(one, other)
    windows = np.cumsum([len(found) for found in at_once])
    batches = -(-windows[-1] // 3)
    # The next batch was launched before a recording's last one was fetched; behind the last there is none.
    assert fetched == [min(-(-int(end) // 3) + 1, batches) for end in windows]


def test_attention_without_a_fitted_sharpness_is_softmax_pooling(tagger, songs):
    (windows,) = tagger.window_probabilities(songs[:1])
    weights = np.exp(windows)
    expected = (weights * windows).sum(axis=0) / weights.sum(axis=0)
    expected /= expected.sum() if tagger.problem_type == SINGLE else 1
    np.testing.assert_allclose(tagger.scores(windows, "attention"), expected, atol=1e-12)


def test_attention_takes_the_sharpness_of_the_models_configuration(tmp_path):
    sharpness = [0.0, 3.0, 40.0]
    tagger = Tagger.from_pretrained(save(tmp_path, fit=Fit(None, None, 0, sharpness), **SHORT), "cpu")
    (windows,) = tagger.window_probabilities([song(9)])
    assert tagger.thresholds is None
    np.testing.assert_allclose(tagger.scores(windows, "attention"), auto_pool(windows, np.array(sharpness))[0])
    assert tagger.scores(windows, "attention")[0] == pytest.approx(windows[:, 0].mean())


def test_tags_are_listed_best_first_up_to_a_number_and_from_a_threshold_on(tmp_path):
    tagger = Tagger.from_pretrained(save(tmp_path, fit=Fit(1.0, [0.9, 0.1, 0.5], 20), **SHORT), "cpu")
    scores = np.array([0.3, 0.6, 0.5])
    best_first = [("bass", 0.6, True), ("strings", 0.5, True), ("drums", 0.3, False)]
    assert [tuple(tag.values()) for tag in tagger.tags(scores)] == best_first
    assert [list(tag) for tag in tagger.tags(scores)] == [["label", "score", "given"]] * 3
    assert [tag["label"] for tag in tagger.tags(scores, 1)] == ["bass"]
    assert [tag["label"] for tag in tagger.tags(scores, None, 0.5)] == ["bass", "strings"]
    assert [tag["label"] for tag in tagger.tags(scores, None, [0.2, 0.7, 0.7])] == ["drums"]


def test_outputs_that_are_no_numbers_are_an_error(tagger):
    with pytest.raises(HfTaggerError, match="NaN or infinite: its training has diverged"):
        tagger.scores(np.array([[0.5, np.nan, 0.1]]))


def test_progress_is_shown_when_asked_for_and_of_long_recordings_on_a_terminal(tagger, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def shown(seconds, progress, stream):
        with redirect_stderr(stream):
            list(tagger.window_probabilities([song(seconds)], progress=progress))
        return "window" in stream.getvalue()

    assert shown(9, True, io.StringIO())
    assert not shown(9, None, Terminal())
    monkeypatch.setattr("hf_tagger.tagging._LONG_SECONDS", 8)
    assert shown(9, None, Terminal())
    assert not shown(9, None, io.StringIO())
    assert not shown(9, False, Terminal())


# Loading


def test_what_neither_a_folder_nor_the_hub_has_is_said(tmp_path):
    for name in (str(tmp_path / "nowhere"), "a//b"):
        with pytest.raises(
            HfTaggerError, match="holds no model: it is neither a folder nor a name that the Hub allows"
        ):
            load_tagger(name)
    with pytest.raises(HfTaggerError, match="nobody/nothing holds no model that can be read"):
        load_tagger("nobody/nothing")
    with pytest.raises(HfTaggerError, match=r"dtype float16: taggers are loaded in float32\. .*autocast"):
        SavedTagger.from_pretrained(str(tmp_path), dtype="float16")
    with pytest.raises(HfTaggerError, match="does not load models with device_map, quantization_config"):
        SavedTagger.from_pretrained(str(tmp_path), device_map="auto", quantization_config={})


def test_of_a_repository_the_model_files_of_one_revision_are_fetched(tmp_path, monkeypatch):
    save(tmp_path, **SHORT)
    asked = []

    def download(name, revision, allow_patterns, token, **options):
        asked.append((name, revision, allow_patterns, token))
        return str(tmp_path)

    monkeypatch.setattr("hf_tagger.saved_tagger.snapshot_download", download)
    tagger = Tagger.from_pretrained("someone/some-tagger", "cpu", revision="v2", token="secret")
    assert tagger.label_names == LABELS
    assert asked == [("someone/some-tagger", "v2", ["*.json", "*.safetensors"], "secret")]
    # Of an adapter transformers hands over the commit in its base's repository: what was asked for is taken.
    of_the_base = SimpleNamespace(initial="v3", resolved="0" * 40)
    SavedTagger.from_pretrained("someone/some-adapter", revision=of_the_base)
    assert asked[-1][1] == "v3"
    (tmp_path / "model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(HfTaggerError, match=r"no file named model\.safetensors"):
        load_tagger("someone/some-tagger")
    assert asked[-1][2] == ["*.bin"]
