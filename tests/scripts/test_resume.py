"""A run that is killed and resumed ends with the weights of a run that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file
from script_runner import ROOT, TINY, environment, load_script

from hf_tagger.training.build import load_saved_model
from hf_tagger.training.run_folder import last_checkpoint

RECIPE = [
    "scripts/finetune.py",
    "recipes/quickstart.yaml",
    *TINY,
    "--synthetic_clips",
    "120",
    "--num_train_epochs",
    "3",
    "--per_device_train_batch_size",
    "4",
    "--dataloader_num_workers",
    "1",
]
IN_STEPS = [
    "--eval_strategy",
    "steps",
    "--eval_steps",
    "10",
    "--save_strategy",
    "steps",
    "--save_steps",
    "10",
    "--save_total_limit",
    "20",
]


def start(folder, *options, crash=()):
    command = [sys.executable, *crash, *RECIPE, *IN_STEPS, "--output_dir", str(folder), *options]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4_000:]
    return output


def wait_for(path, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0][-4_000:]
        assert time.monotonic() < deadline, f"{path} was never written"
        time.sleep(0.02)


@pytest.mark.slow
def test_sigkill_in_the_middle_of_an_epoch_costs_nothing_but_time(tmp_path):
    finish(start(tmp_path / "undisturbed"))
    process = start(tmp_path / "killed")
    # An epoch has 22 or 23 steps of four windows: step 30 lies in the middle of the second one.
    wait_for(tmp_path / "killed" / "checkpoint-30" / "trainer_state.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    # A second crash while a checkpoint is written leaves a folder that must not be resumed from.
    broken = tmp_path / "killed" / "checkpoint-1000"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    output = finish(start(tmp_path / "killed", "--resume_from_checkpoint"))
    assert "checkpoint-1000 was cut off" in output

    expected, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("undisturbed", "killed"))
    assert expected.keys() == resumed.keys()
    assert all(expected[name].equal(resumed[name]) for name in expected)


CRASHES = {  # where the run dies: the checkpoint that is left
    "evaluation": 10,
    "weights of a checkpoint": 10,
    "optimizer of a checkpoint": 10,
    "state of a checkpoint": 10,
    "deletion of a checkpoint": 30,  # 10 is deleted, or 20 if 10 is the best
    "final weights": 69,
    "report": 69,
}
# An average of the weights is one more file that has to fit the others; two checkpoints are kept.
AVERAGED = ["--ema_decay", "0.9", "--per_device_eval_batch_size", "4", "--save_total_limit", "2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    load_script("finetune").main([*RECIPE[1:], *IN_STEPS, *AVERAGED, "--output_dir", str(folder)])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("point", CRASHES)
def test_a_crash_in_evaluation_or_saving_leaves_the_checkpoint_before_it(undisturbed, tmp_path, point):
    process = start(tmp_path, *AVERAGED, crash=["tests/scripts/crashing_run.py", point])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output[-4_000:]
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint == str(tmp_path / f"checkpoint-{CRASHES[point]}")
    load_saved_model(checkpoint)

    load_script("finetune").main(
        [*RECIPE[1:], *IN_STEPS, *AVERAGED, "--output_dir", str(tmp_path), "--resume_from_checkpoint"]
    )
    expected, resumed = (load_file(folder / "model.safetensors") for folder in (undisturbed, tmp_path))
    assert expected.keys() == resumed.keys()
    assert all(expected[name].equal(resumed[name]) for name in expected)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (undisturbed, tmp_path)]
    assert metrics[0]["test"] == metrics[1]["test"]
