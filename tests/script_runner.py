"""How the tests call the scripts: in this process where that is enough, as a user would where it matters."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The smallest model that still learns; one process, so that a run takes seconds.
TINY = [
    "--model_config.num_channels",
    "4",
    "--num_train_epochs",
    "2",
    "--learning_rate",
    "5e-3",
    "--dataloader_num_workers",
    "0",
    "--preprocessing_num_workers",
    "1",
    "--use_cpu",
    "--report_to",
    "none",
]


def load_script(name):
    """The module of scripts/NAME.py; call its ``main(argv)``."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment():
    """The tests' environment, with the project importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def launch(*arguments):
    """Runs ``accelerate launch --config_file accelerate_configs/cpu.yaml ARGUMENTS`` in the project's folder."""
    return _run("accelerate.commands.launch", "--config_file", "accelerate_configs/cpu.yaml", *arguments)


def launch_processes(count, *arguments):
    """Runs a script in several CPU processes: ``torchrun --nproc_per_node COUNT ARGUMENTS``."""
    return _run("torch.distributed.run", "--nproc_per_node", count, *arguments)


def _run(module, *arguments):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=600
    )
