"""What two processes share: the prepared clips, the windows of an epoch, and the step at which they stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file
from script_runner import ROOT, TINY, environment

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_slurm import NOTE_MOVES

from hf_tagger.training.run_folder import last_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]

EVERY_10_STEPS = [
    "--eval_strategy", "steps", "--eval_steps", "10", "--save_strategy", "steps", "--save_steps", "10",
    "--save_total_limit", "99",
]  # fmt: skip
RUN = [
    "scripts/finetune.py", "recipes/quickstart.yaml", *TINY, "--ddp_backend", "gloo", "--synthetic_clips", "120",
    "--num_train_epochs", "10", "--per_device_train_batch_size", "4", "--dataloader_num_workers", "1", *EVERY_10_STEPS,
]  # fmt: skip
# Reads an epoch's training windows and the validation clips of its process, and writes down which.
READ = """
import json, os, sys
sys.path[:0] = sys.argv[2:]
from test_preemption import make_trainer
from test_trainer import ramp_clips

trainer = make_trainer(sys.argv[1] + "/run", ddp_backend="gloo", per_device_train_batch_size=2)
windows, seen = type(trainer.train_dataset), []
read = windows.__getitems__
windows.__getitems__ = lambda self, items: (seen.extend(map(int, items)), read(self, items))[1]
loader = trainer.get_train_dataloader()
epochs = []
for epoch in range(2):
    loader.set_epoch(epoch)
    for batch in loader:
        pass
    epochs.append(seen.copy())
    seen.clear()
evaluated = []
for batch in trainer.get_eval_dataloader(ramp_clips([4_000, 7_000, 9_000, 5_000, 3_000])):
    evaluated += batch["clip_index"].tolist()
with open(f"{sys.argv[1]}/rank-{os.environ['RANK']}.json", "w") as file:
    json.dump({"epochs": epochs, "evaluated": sorted(set(evaluated))}, file)
"""


def start(*arguments, **variables):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**environment(), **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=400)
    return output


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of an undisturbed run, with the list of stores that its processes wrote."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "sitecustomize.py").write_text(NOTE_MOVES)
    path = os.pathsep.join([str(folder), str(ROOT)])
    process = start(
        *RUN, "--output_dir", folder / "run", "--cache_dir", folder / "cache", MOVES=str(folder / "moves"),
        PYTHONPATH=path,
    )  # fmt: skip
    output = finish(process)
    assert process.returncode == 0, output[-4_000:]
    return folder


def test_the_prepared_clips_are_written_once(undisturbed):
    moves = (undisturbed / "moves").read_text().splitlines()
    shards = [f"{path.parent.name}/{path.name}" for path in (undisturbed / "cache").glob("pcm-*/*.arrow")]
    assert len({shard.split("/")[0] for shard in shards}) == 3  # training, validation, test
    assert sorted(moves) == sorted(f"0 {shard}" for shard in shards)


@pytest.mark.parametrize(
    ("rank", "number"), [(1, signal.SIGUSR1), (None, signal.SIGTERM)], ids=["one process", "torchrun"]
)
def test_both_stop_at_the_same_step_and_the_resumed_run_ends_like_an_undisturbed_one(
    tmp_path, undisturbed, rank, number
):
    """A signal to torchrun itself reaches both, and, by way of the process group, what they have started."""
    run = tmp_path / "run"
    command = [*RUN, "--output_dir", run, "--cache_dir", undisturbed / "cache"]
    process = start(*command)
    deadline = time.monotonic() + 300
    while not (run / "checkpoint-10" / "trainer_state.json").exists():
        assert process.poll() is None, process.communicate()[0][-4_000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    target = psutil.Process(process.pid)
    if rank is not None:
        workers = [child for child in target.children() if child.environ().get("RANK") == str(rank)]
        assert len(workers) == 1
        target = workers[0]
    target.send_signal(number)
    output = finish(process)
    assert process.returncode != 0
    assert output.count(f"interrupted: {number.name} stopped training after step") == 1, output[-4_000:]
    if rank is not None:
        assert "exitcode  : 75" in output
    assert not (run / "model.safetensors").exists()
    checkpoint = last_checkpoint(run)
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    assert f"after step {state['global_step']} of {state['max_steps']}" in output
    assert state["global_step"] < state["max_steps"]
    assert all(os.path.exists(f"{checkpoint}/rng_state_{index}.pth") for index in range(2))

    process = start(*command, "--resume_from_checkpoint")
    output = finish(process)
    assert process.returncode == 0, output[-4_000:]
    expected, resumed = (load_file(folder / "run" / "model.safetensors") for folder in (undisturbed, tmp_path))
    assert all(expected[name].equal(resumed[name]) for name in expected)


def test_no_window_is_read_twice_in_an_epoch_and_no_clip_is_evaluated_twice(tmp_path):
    script = tmp_path / "read.py"
    script.write_text(READ)
    tests = ROOT / "tests"
    process = start(script, tmp_path, tests, tests / "training", tests / "data")
    output = finish(process)
    assert process.returncode == 0, output[-4_000:]
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    for epoch in range(2):
        assert sorted(first["epochs"][epoch] + second["epochs"][epoch]) == list(range(12))
    assert first["epochs"][0] != first["epochs"][1]  # shuffled anew
    assert sorted(first["evaluated"] + second["evaluated"]) == list(range(5))
