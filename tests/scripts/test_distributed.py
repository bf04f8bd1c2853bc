"""Two processes give the numbers of one, and prepare the data once."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
from script_runner import TINY, launch, launch_processes

GLOO = ["--ddp_backend", "gloo"]
DATA = ["--dataset_name", "synthetic", "--synthetic_clips", "61"]


@pytest.mark.slow
@pytest.mark.parametrize("best", ["true", "false"])
def test_two_processes_evaluate_to_the_numbers_of_one(tmp_path, best):
    run = tmp_path / "run"
    trained = launch_processes(
        2, "scripts/finetune.py", *DATA, *TINY, *GLOO, "--load_best_model_at_end", best, "--output_dir", run
    )
    assert trained.returncode == 0, trained.stderr[-4_000:]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["training"]["processes"] == 2
    table = parquet.read_table(run / "predictions_test.parquet")
    assert len(set(table["id"].to_pylist())) == table.num_rows == metrics["protocol"]["sizes"]["test"]
    assert np.isfinite(np.array(table["scores"].to_pylist())).all()

    output = tmp_path / "one.json"
    evaluated = launch("scripts/evaluate.py", run, run / "recipe.yaml", "--output", output)
    assert evaluated.returncode == 0, evaluated.stderr[-4_000:]
    alone = json.loads(output.read_text(encoding="utf-8"))["test"]
    for name, value in metrics["test"].items():
        assert alone[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
def test_the_plain_loop_in_two_processes_has_the_losses_and_numbers_of_the_trainer(tmp_path):
    options = [
        "--max_steps", "12", "--per_device_train_batch_size", "4", "--logging_strategy", "steps",
        "--logging_steps", "1", "--ema_decay", "0.9", "--augmentation", "{gain: {}, mixup: {}}",
        "--cache_dir", tmp_path / "cache",
    ]  # fmt: skip
    histories, results = [], []
    for script in ("finetune", "finetune_no_trainer"):
        run = tmp_path / script
        trained = launch_processes(2, f"scripts/{script}.py", *DATA, *TINY, *GLOO, *options, "--output_dir", run)
        assert trained.returncode == 0, trained.stderr[-4_000:]
        history = json.loads((run / "history.json").read_text(encoding="utf-8"))
        histories.append([entry["loss"] for entry in history if "loss" in entry])
        results.append(json.loads((run / "metrics.json").read_text(encoding="utf-8")))
    assert len(histories[0]) == 12
    np.testing.assert_allclose(histories[1], histories[0], atol=1e-5, rtol=0)
    assert results[1]["training"]["processes"] == results[0]["training"]["processes"] == 2
    assert results[1]["test"] == pytest.approx(results[0]["test"], abs=1e-4)
