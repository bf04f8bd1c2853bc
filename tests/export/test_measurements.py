"""What the forms of a model score and cost, with forms whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_tagger.errors import HfTaggerError
from hf_tagger.export import measurements
from hf_tagger.export.card import score_table
from hf_tagger.export.measurements import megabytes, milliseconds_per_window, score_forms
from hf_tagger.export.parity import check_parity, check_windows
from hf_tagger.models import WaveformFeatureExtractor

LABELS = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=float)
EXTRACTOR = WaveformFeatureExtractor(8_000, 4_000, 4_000)


class Clips:
    """Four labelled clips and one without labels, which say their own number."""

    labelled, groups = [0, 1, 3, 4], ["a", "b", "c", "d", "e"]

    def read(self, index):
        return np.full(4, index, dtype=np.float32)


def saved():
    clips = Clips()
    return SimpleNamespace(
        labelled_clips=lambda split: clips,
        trainer=SimpleNamespace(evaluation=SimpleNamespace(references=lambda clips: LABELS)),
        dataset=SimpleNamespace(
            problem_type="multi_label_classification", protocol_record=lambda: {"name": "known", "hash": "0" * 64}
        ),
    )


def form(scores_of_clips):
    """A tagger that knows its scores of each clip, by the number that the clip says."""
    return SimpleNamespace(
        window_probabilities=lambda waveforms: ([scores_of_clips[int(waveform[0])]] for waveform in waveforms),
        scores=lambda windows: np.mean(windows, axis=0),
    )


RIGHT = {0: [0.9, 0.1], 1: [0.8, 0.2], 3: [0.2, 0.8], 4: [0.1, 0.9]}
ONE_WRONG = {**RIGHT, 1: [0.15, 0.2]}  # of the first label's clips the second comes third: AP (1 + 2/3) / 2


def test_forms_are_scored_on_labelled_clips_and_compared_with_the_model():
    scores = score_forms({"PyTorch": form(RIGHT), "ONNX": form(RIGHT), "int8": form(ONE_WRONG)}, saved(), "test")
    assert (scores.split, scores.clips, scores.protocol["name"]) == ("test", 4, "known")
    values = {metric: own.value for metric, own in scores.by_form["PyTorch"].items()}
    assert values == pytest.approx({"ap_macro": 1, "roc_auc_macro": 1})
    assert scores.by_form["ONNX"]["ap_macro"].difference == 0
    lost = scores.by_form["int8"]["ap_macro"]
    assert lost.value == pytest.approx((5 / 6 + 1) / 2)
    assert lost.difference == pytest.approx(-1 / 12)
    assert lost.low <= lost.difference <= lost.high
    assert scores.by_form["int8"]["roc_auc_macro"].value == pytest.approx((3 / 4 + 1) / 2)
    table = score_table(scores)
    assert "| PyTorch | 1.0000 | 1.0000 |" in table
    assert "| ONNX | 1.0000 (+0.0000, +0.0000 to +0.0000) |" in table
    assert "| int8 | 0.9167 (-0.0833, " in table


def test_a_split_that_no_label_divides_is_an_error():
    every = saved()
    every.trainer.evaluation.references = lambda clips: np.ones((4, 2))
    with pytest.raises(HfTaggerError, match=r"ap_macro is undefined on the test split.*--split"):
        score_forms({"PyTorch": form(RIGHT), "ONNX": form(RIGHT)}, every, "test")


def test_the_time_of_a_form_is_that_of_a_window(monkeypatch):
    clock = iter(np.cumsum([0.0, 0.3, 0.1, 0.6] * 20))  # the first form takes 0.3 s a batch, the second 0.6
    monkeypatch.setattr(measurements, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    forms = {name: SimpleNamespace(model=lambda input_values: None, feature_extractor=EXTRACTOR) for name in "ab"}
    found = milliseconds_per_window(forms, torch.zeros(3, 4_000))
    assert found == pytest.approx({"a": 100, "b": 200})


def test_the_size_of_a_graph_is_that_of_all_its_files(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"0" * 1_000)
    assert megabytes(tmp_path / "model.onnx") == 0.001
    (tmp_path / "model.onnx.data").write_bytes(b"0" * 2_000)
    assert megabytes(tmp_path / "model.onnx") == 0.003


def mean_model(offset=0.0):
    """Says the mean and the root mean square of a window."""

    def compute(input_values):
        power = input_values.square().mean(dim=1).sqrt()
        return SimpleNamespace(logits=torch.stack([input_values.mean(dim=1), power + offset], dim=1))

    return compute


def wrong_by(error, is_wrong):
    """A graph whose logits are wrong for some windows."""

    def compute(windows):
        return SimpleNamespace(logits=mean_model()(windows).logits + error * is_wrong(windows).float()[:, None])

    return compute


def test_a_graph_that_differs_on_notes_or_noise_is_refused():
    right = check_parity(mean_model(), EXTRACTOR, mean_model())
    assert (right.difference, right.windows, right.recordings, right.recordings_difference) == (0, 3, 0, None)
    graph = wrong_by(0.01, lambda windows: windows.abs().amax(dim=1) < 0.1)  # the soft one
    with pytest.raises(
        HfTaggerError, match=r"differ from the model's by up to 0.01 of the largest, more than .* 0.0001.*--tolerance"
    ):
        check_parity(mean_model(), EXTRACTOR, graph)
    found = check_parity(mean_model(), EXTRACTOR, graph, tolerance=0.1)
    assert (found.difference, found.tolerance) == (pytest.approx(0.01, rel=1e-4), 0.1)
    alone = wrong_by(0.01, lambda windows: torch.full((len(windows),), len(windows) == 1))
    with pytest.raises(HfTaggerError, match=r"by up to 0\.01"):
        check_parity(mean_model(), EXTRACTOR, alone)


def test_the_difference_on_recordings_is_told_beside_the_models_own_roundings():
    recordings = [torch.full((4_000,), 0.5), torch.full((4_000,), -0.25)]
    graph = wrong_by(0.01, lambda windows: windows.std(dim=1) == 0)
    found = check_parity(mean_model(), EXTRACTOR, graph, recordings)
    assert (found.difference, found.recordings) == (0, 2)
    assert found.recordings_difference == pytest.approx(0.01, rel=1e-4)
    assert found.recordings_rounding == pytest.approx(5e-7, abs=2e-7)


def test_a_graph_that_says_nothing_and_a_model_that_has_diverged_are_errors():
    with pytest.raises(HfTaggerError, match="differ"):
        check_parity(mean_model(), EXTRACTOR, mean_model(float("nan")))
    with pytest.raises(HfTaggerError, match="diverged"):
        check_parity(mean_model(float("inf")), EXTRACTOR, mean_model())


def test_windows_for_the_comparison_are_loud_and_soft_and_always_the_same():
    windows = check_windows(EXTRACTOR)
    assert windows.shape == (3, 4_000)
    assert windows.dtype == torch.float32
    assert torch.equal(windows, check_windows(EXTRACTOR))
    assert not torch.equal(windows, check_windows(EXTRACTOR, seed=1))
    loudness = windows.square().mean(dim=1).sqrt()
    assert loudness[0] / loudness[1] == pytest.approx(100 / 3, rel=0.1)
    assert windows.abs().max() < 1
