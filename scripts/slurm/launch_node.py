"""``accelerate launch`` as the task that Slurm starts on a node: signals reach the run, its exit status reaches Slurm.

srun python scripts/slurm/launch_node.py --config_file accelerate_configs/ddp.yaml scripts/finetune.py recipes/…

Slurm signals its own tasks only, not what they start. accelerate's launcher dies of SIGUSR1, and its processes with the
task; torchrun forwards SIGTERM, and kills after 30 s. Both end with status 1 whatever their processes end with.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
from accelerate.commands import launch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    sys.argv[1:1] = ["--machine_rank", os.environ.get("SLURM_NODEID", "0")]
    # torchrun must not install handlers of its own for the signals that are handed on here.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGHUP,SIGQUIT"
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, hand_on)
    try:
        launch.main()
    except ChildFailedError as error:  # several processes; the first failure is the cause of the others
        status = error.get_first_failure()[1].exitcode
    except subprocess.CalledProcessError as error:  # one process
        status = error.returncode
    else:
        status = 0
    sys.exit(status if status >= 0 else 128 - status)  # a process that died of signal N, as the shell writes it


def hand_on(number: int, frame: object) -> None:
    """Sends a signal to the processes of the run; without any there is nothing to wait for."""
    processes = psutil.Process().children()
    if not processes:
        raise SystemExit(128 + number)
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue  # it has just ended


if __name__ == "__main__":
    main()
