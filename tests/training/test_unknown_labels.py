"""Labels of which nobody knows whether a clip carries them influence neither counts nor training nor scores."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import soundfile
import torch
from script_runner import TINY, load_script
from sklearn.metrics import average_precision_score

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import test_windows
from test_trainer import WINDOW, tiny_model, trainer_of

from hf_tagger import TaggingArguments
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.training.losses import balanced_weights, known_counts, label_counts
from hf_tagger.training.output_bias import label_shares
from hf_tagger.training.sampling import BalancedSampler
from hf_tagger.training.window_loss import WindowLoss

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
LABELS = [[0], [0, 1], [1], [], None, [0]]
UNKNOWN = [[1, 2], [2], [0, 2], [2], [], [2]]  # nothing is known of the third tag
NAN = float("nan")


def partly_known(labels=LABELS, unknown=UNKNOWN, length=3_000):
    lengths = [length + 100 * index for index in range(len(labels))]
    return test_windows.ramp_clips(lengths, labels, scale=1 / 32_768, unknown_labels=unknown)


def test_counts_are_of_the_clips_where_a_label_is_known():
    clips = partly_known()
    assert label_counts(clips, 3, MULTI).tolist() == [3, 2, 0]
    assert known_counts(clips, 3, MULTI).tolist() == [4, 4, 0]
    single = test_windows.ramp_clips([10] * 4, [0, 0, 2, None])
    assert known_counts(single, 3, SINGLE).tolist() == [3, 3, 3]


def test_balanced_weights_and_starting_shares_are_of_the_clips_where_a_label_is_known():
    clips = partly_known()
    weights = balanced_weights(label_counts(clips, 3, MULTI), known_counts(clips, 3, MULTI), MULTI, bound=100)
    assert weights.tolist() == [1 / 3, 2 / 2, 1]
    assert label_shares(clips, 3, MULTI).tolist() == [3.5 / 5, 2.5 / 5, 0.5 / 1]


@pytest.mark.parametrize("fields", [{"loss": {"class_weights": "balanced"}}, {"loss": {"name": "focal"}}, {}])
def test_the_loss_weighs_positives_by_the_known_negatives_and_knows_no_difference_where_all_is_known(tmp_path, fields):
    model, extractor = tiny_model(MULTI, 3)
    arguments = TaggingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", **fields)
    batch = {"input_values": torch.randn(2, WINDOW), "labels": torch.tensor([[1.0, 1, 1], [0, 0, 0]])}

    def loss(unknown):
        clips = test_windows.ramp_clips([10] * 5, [[0], [0, 2], [1], [], [0]], unknown_labels=unknown)
        return WindowLoss(model, extractor, arguments, clips)(model.eval(), batch)[0].item()

    assert loss(None) == loss([[], [], [], [], []])
    # One negative of the second tag is not known: its positive weighs 3 to 1 instead of 4 to 1.
    is_balanced = "class_weights" in fields.get("loss", {})
    assert (loss([[], [], [], [], [1]]) < loss(None)) == is_balanced


def test_a_label_that_is_unknown_makes_a_window_as_likely_as_an_absent_one():
    absent, unknown = (
        BalancedSampler(TrainingWindows(partly_known(unknown=which), WINDOW)).probabilities
        for which in ([[] for _ in LABELS], UNKNOWN)
    )
    np.testing.assert_array_equal(absent, unknown)
    # Tag 1 has three windows, tag 2 two; the one without tags comes as often as at random.
    np.testing.assert_allclose(unknown[:2] / unknown[2], [2 / 3, 5 / 3])


def test_metrics_and_loss_of_a_split_are_over_what_is_known(tmp_path):
    model, extractor = tiny_model(MULTI, 3)
    output = trainer_of(model, extractor, tmp_path).predict(partly_known())
    expected = [[1, NAN, NAN], [1, 1, NAN], [NAN, 1, NAN], [0, 0, NAN], [1, 0, NAN]]
    np.testing.assert_array_equal(output.label_ids, expected)
    scored = output.predictions[[0, 1, 2, 3, 5]]
    known = ~np.isnan(output.label_ids)
    right = np.where(output.label_ids == 1, scored, 1 - scored)
    assert output.metrics["test_loss"] == pytest.approx(-np.log(right[known]).mean())
    tags = [average_precision_score(output.label_ids[known[:, t], t], scored[known[:, t], t]) for t in (0, 1)]
    assert output.metrics["test_ap_macro"] == pytest.approx(np.mean(tags))
    assert (output.metrics["test_tags_scored"], output.metrics["test_tags_left_out"]) == (2, 1)


def test_a_tag_of_which_nothing_is_known_is_not_trained_and_the_others_are(tmp_path):
    model, extractor = tiny_model(MULTI, 3)
    before = {name: value.clone() for name, value in model.classifier.named_parameters()}
    clips = partly_known()
    trainer = trainer_of(
        model, extractor, tmp_path, train_dataset=TrainingWindows(clips, WINDOW), eval_dataset=clips,
        per_device_train_batch_size=5, max_steps=3, weight_decay=0.0, save_strategy="no", load_best_model_at_end=False,
        loss={"name": "focal"},
    )  # fmt: skip
    trainer.train()
    for name, value in model.classifier.named_parameters():
        assert torch.equal(value[2], before[name][2]), name
        assert not torch.equal(value[0], before[name][0]), name
    assert np.isfinite([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training on a folder whose table leaves a third of its cells empty, and all of them for the last clip."""
    root = tmp_path_factory.mktemp("unknown")
    generator = np.random.default_rng(0)
    lines = ["file_name,split,low,high,noise"]
    for number in range(36):
        carried = [bool(number >> tag & 1) for tag in range(3)]
        seconds = np.arange(16_000 * 4) / 16_000
        parts = [np.sin(2 * np.pi * 150 * seconds), np.sin(2 * np.pi * 2_500 * seconds), generator.normal(size=64_000)]
        waveform = 0.1 * sum(part for part, own in zip(parts, carried, strict=True) if own)
        soundfile.write(root / f"{number}.wav", waveform + 1e-3 * generator.normal(size=64_000), 16_000)
        cells = ["" if tag == number % 3 or number == 35 else str(int(own)) for tag, own in enumerate(carried)]
        split = "train" if number < 20 else "validation" if number < 28 else "test"
        lines.append(",".join([f"{number}.wav", split, *cells]))
    (root / "metadata.csv").write_text("\n".join(lines))
    recipe = root / "recipe.yaml"
    recipe.write_text(
        f"dataset_name: folder\ndataset_root: {root}\nlabel_columns: [low, high, noise]\nmax_skipped_share: 0\n"
        "loss: {class_weights: balanced}\nsampling: random\naugmentation: {mixup: {probability: 0.5}}\n"
    )
    argv = [str(recipe), "--output_dir", str(root / "run"), "--cache_dir", str(root / "cache"), *TINY]
    load_script("finetune").main(argv)
    return root, argv


def test_a_run_on_a_table_with_empty_cells_scores_what_is_known(run):
    root, _ = run
    folder = root / "run"
    metrics = json.loads((folder / "metrics.json").read_text())
    table = parquet.read_table(folder / "predictions_test.parquet")
    cells = [line.split(",")[2:] for line in (root / "metadata.csv").read_text().splitlines()[29:]]
    known_of_clips = [cell for cell in cells if any(cell)]
    scores = np.array([row for row, cell in zip(table["scores"].to_pylist(), cells, strict=True) if any(cell)])
    references = np.array([[float(value) if value else NAN for value in cell] for cell in known_of_clips])
    known = ~np.isnan(references)
    assert known.mean() == pytest.approx(2 / 3, abs=0.1)
    right = np.where(references == 1, scores, 1 - scores)[known]
    assert metrics["test"]["loss"] == pytest.approx(-np.log(right).mean(), abs=1e-6)
    assert [row["known"] for row in metrics["per_label"]["test"]] == known.sum(axis=0).tolist()
    assert [row["support"] for row in metrics["per_label"]["test"]] == (references == 1).sum(axis=0).tolist()
    of_tags = [average_precision_score(references[own, tag], scores[own, tag]) for tag, own in enumerate(known.T)]
    assert metrics["test"]["ap_macro"] == pytest.approx(np.mean(of_tags))
    one_of_each = [["high"], ["noise"], ["low"]] * 3
    assert table["unknown_labels"].to_pylist() == [*one_of_each[:7], []]
    assert table["labels"].to_pylist()[-1] is None
    card = (folder / "README.md").read_text()
    assert "| Label | Clips | Known in | Average precision | ROC-AUC |" in card
    assert "every number is over what is known" in card
    assert "label_columns:\n- low\n- high\n- noise" in (folder / "recipe.yaml").read_text()


def test_a_run_counts_the_training_clips_that_are_known_to_carry_a_label(run):
    root, _ = run
    cells = [line.split(",")[2:] for line in (root / "metadata.csv").read_text().splitlines()[1:21]]
    metrics = json.loads((root / "run" / "metrics.json").read_text())
    columns = dict(zip(("low", "high", "noise"), zip(*cells, strict=True), strict=True))
    expected = {name: column.count("1") for name, column in columns.items()}
    assert 0 < min(expected.values()) < max(expected.values())
    assert metrics["training_support"] == expected


def test_its_evaluation_gives_the_same_numbers_again(run, capsys):
    root, argv = run
    load_script("evaluate").main([str(root / "run"), str(root / "run" / "recipe.yaml"), *argv[3:5], "--use_cpu"])
    assert "Equal to the run's own test numbers" in capsys.readouterr().out
