"""The Slurm script starts a run, hands it a signal, sends it back to the queue, and finishes it at the second start.

``srun`` and ``scontrol`` are small programs made here. As with Slurm's, the command is started once a node and the
highest status is reported, a signal reaches the tasks and not what they start, and ``requeue`` ends the script.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from script_runner import ROOT, TINY, environment

SCRIPT = "scripts/slurm/finetune.sbatch"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None or os.name == "nt", reason="needs bash")

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
pids=() status=0
for ((node = 0; node < SLURM_NNODES; node++)); do
    SLURM_NODEID=$node SLURM_PROCID=$node SLURM_LOCALID=0 "$@" &
    pids+=($!)
    echo $! >>"$FAKE_SLURM/tasks"
done
for pid in "${pids[@]}"; do
    code=0
    wait "$pid" || code=$?
    ((code <= status)) || status=$code
done
exit "$status"
"""
SCONTROL = """#!/bin/bash
case $1 in
    show) for ((node = 0; node < SLURM_NNODES; node++)); do echo localhost; done ;;
    requeue) echo "$2" >>"$FAKE_SLURM/requeued"; kill -TERM $PPID ;;
esac
"""
# Ends with a status of the test's choice and notes how it was called.
STUB = """#!/bin/bash
printf '%s\\n' "$@" >"$FAKE_SLURM/arguments"
exit "$STATUS"
"""

# Every process of a run notes what it moves to its place: a shard of a store is written beside it first.
NOTE_MOVES = """
import os
replace = os.replace
def noted(source, target, **options):
    folder, name = os.path.split(target)
    if os.path.basename(folder).startswith("pcm-"):
        with open(os.environ["MOVES"], "a") as file:
            file.write(f"{os.environ.get('RANK')} {os.path.basename(folder)}/{name}\\n")
    return replace(source, target, **options)
os.replace = noted
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def free_job_number():
    """A number whose port no one listens on."""
    for number in range(os.getpid(), os.getpid() + 20_000):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", 10_000 + number % 20_000)):
                return number
    raise AssertionError("all ports are taken")


class Cluster:
    """Slurm as one job sees it."""

    def __init__(self, folder, nodes=1, **variables):
        self.folder, self.job, self.starts = folder, str(free_job_number()), 0
        programs = folder / "programs"
        executable(programs / "srun", SRUN)
        executable(programs / "scontrol", SCONTROL)
        (folder / "activate").write_text(f'PATH="{programs}:{Path(sys.executable).parent}:$PATH"\n')
        self.environment = {
            **environment(),
            "FAKE_SLURM": str(folder),
            "SLURM_JOB_ID": self.job,
            "SLURM_NNODES": str(nodes),
            "SLURM_JOB_NODELIST": f"node[1-{nodes}]",
            "ACTIVATE": str(folder / "activate"),
            "RECIPE": "recipes/quickstart.yaml",
            "OUTPUT_DIR": str(folder / "run"),
            "DATASET_ROOT": "",
            "CACHE_DIR": str(folder / "cache"),
            **variables,
        }

    def start(self, *arguments):
        """Starts the job as Slurm does: the first time, or after it was requeued."""
        restart = {"SLURM_RESTART_COUNT": str(self.starts)} if self.starts else {}
        self.starts += 1
        (self.folder / "tasks").unlink(missing_ok=True)
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                ["bash", SCRIPT, *map(str, arguments)], cwd=ROOT, env={**self.environment, **restart},
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def signal_task(self, node, number=signal.SIGUSR1):
        os.kill(int((self.folder / "tasks").read_text().split()[node]), number)

    @property
    def requeued(self):
        path = self.folder / "requeued"
        return path.read_text().split() if path.exists() else []

    @property
    def log(self):
        return (self.folder / "log").read_text()


def wait_for(path, process, cluster, seconds=300):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, cluster.log[-4_000:]
        assert time.monotonic() < deadline, f"{path} was never written\n{cluster.log[-4_000:]}"
        time.sleep(0.02)


def test_bash_accepts_the_script():
    subprocess.run(["bash", "-n", SCRIPT], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("status", "restarts", "requeues"),
    [(0, 0, False), (1, 0, False), (2, 0, False), (75, 0, True), (138, 0, True), (143, 1, True), (75, 3, False)],
)
def test_a_job_goes_back_to_the_queue_only_if_it_was_interrupted(tmp_path, status, restarts, requeues):
    cluster = Cluster(tmp_path, STATUS=str(status), MAX_RESTARTS="3")
    executable(tmp_path / "programs" / "python", STUB)
    cluster.starts = restarts
    process = cluster.start()
    assert process.wait(timeout=30) == (-signal.SIGTERM if requeues else status)
    assert cluster.requeued == ([cluster.job] if requeues else [])


def test_the_number_of_nodes_and_gpus_decides_how_it_is_launched(tmp_path):
    def called(nodes, gpus, *arguments):
        folder = tmp_path / f"{nodes}x{gpus}"
        cluster = Cluster(folder, nodes, STATUS="0", SLURM_GPUS_ON_NODE=str(gpus), DATASET_ROOT="/data/my music")
        executable(folder / "programs" / "python", STUB)
        assert cluster.start(*arguments).wait(timeout=30) == 0, cluster.log
        words = (folder / "arguments").read_text().splitlines()
        return words, {name: words[words.index(name) + 1] for name in words if name.startswith("--")}

    words, options = called(1, 1)
    assert words[0] == "scripts/slurm/launch_node.py"
    assert options["--config_file"] == "accelerate_configs/single_gpu.yaml"
    assert "--main_process_ip" not in options
    words, options = called(1, 4)
    assert options["--config_file"] == "accelerate_configs/ddp.yaml"
    assert options["--num_processes"] == "4"
    words, options = called(3, 4, "--learning_rate", "1e-5")
    assert options["--config_file"] == "accelerate_configs/multi_node.yaml"
    assert (options["--num_machines"], options["--num_processes"]) == ("3", "12")
    assert options["--main_process_ip"] == "localhost"
    assert 10_000 <= int(options["--main_process_port"]) < 30_000
    assert options["--dataset_root"] == "/data/my music"
    assert options["--learning_rate"] == "1e-5"
    assert words[-2:] == ["--resume_from_checkpoint", "last"]  # a requeued job must not begin anew
    assert (ROOT / options["--config_file"]).is_file()


WAITING_RUN = """
import os, signal, sys, time
def stop(number, frame):
    sys.exit(75)
signal.signal(signal.SIGUSR1, stop)
open(os.path.join(sys.argv[1], "ready-" + os.environ.get("RANK", "0")), "w").close()
time.sleep(120)
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_launcher_of_a_node_hands_signals_on_and_ends_with_the_status_of_the_run(tmp_path, processes):
    (tmp_path / "run.py").write_text(WAITING_RUN)
    config = write_config(tmp_path, processes)
    command = [
        sys.executable, "scripts/slurm/launch_node.py", "--config_file", config, "--num_processes", str(processes),
        "--main_process_port", "0", str(tmp_path / "run.py"), str(tmp_path),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("ready-*"))) < processes:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75


def write_config(folder, processes):
    """One process on the CPU, or several as several GPUs are launched, but without the GPUs."""
    if processes == 1:
        return str(ROOT / "accelerate_configs" / "cpu.yaml")
    config = yaml.safe_load((ROOT / "accelerate_configs" / "ddp.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"mixed_precision": "no"}))
    return str(folder / "config.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_that_is_interrupted_is_requeued_and_finishes_at_the_second_start(tmp_path, nodes):
    (tmp_path / "sitecustomize.py").write_text(NOTE_MOVES)
    cluster = Cluster(
        tmp_path,
        nodes,
        ACCELERATE_CONFIG=write_config(tmp_path, nodes),
        MOVES=str(tmp_path / "moves"),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    every = ["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "10", "--save_steps", "10"]
    options = [
        *TINY, "--synthetic_clips", "120", "--num_train_epochs", "12", "--per_device_train_batch_size", "4",
        "--dataloader_num_workers", "1", *every, "--save_total_limit", "99",
        *(["--ddp_backend", "gloo"] if nodes > 1 else []),
    ]  # fmt: skip
    run = tmp_path / "run"
    process = cluster.start(*options)
    wait_for(run / "checkpoint-10" / "trainer_state.json", process, cluster)
    cluster.signal_task(nodes - 1)  # one node only, and not the first
    assert process.wait(timeout=120) == -signal.SIGTERM, cluster.log[-4_000:]
    assert cluster.requeued == [cluster.job]
    assert "interrupted: SIGUSR1 stopped training after step" in cluster.log
    assert {path.name for path in run.iterdir() if not path.name.startswith("checkpoint-")} == {"recipe.yaml"}
    written = {path: path.stat().st_mtime_ns for path in run.glob("checkpoint-*/trainer_state.json")}

    assert cluster.start(*options).wait(timeout=300) == 0, cluster.log[-4_000:]
    assert cluster.requeued == [cluster.job]  # once
    assert (run / "metrics.json").exists()
    assert {path: path.stat().st_mtime_ns for path in written} == written  # it went on, not again
    stores = [f"{path.parent.name}/{path.name}" for path in (tmp_path / "cache").glob("pcm-*/*.arrow")]
    writers, names = zip(*map(str.split, (tmp_path / "moves").read_text().splitlines()), strict=True)
    assert sorted(names) == sorted(stores)  # each once, whichever node took it
    assert set(writers) <= ({"None"} if nodes == 1 else {"0", "1"})  # one process knows no ranks
