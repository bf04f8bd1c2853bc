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
