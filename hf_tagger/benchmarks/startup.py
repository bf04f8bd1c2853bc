"""How long it takes until a script does something: imports and ``--help``, each in a process of its own.

python scripts/benchmark.py startup
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ..errors import HfTaggerError
from ._options import seconds
from ._results import Results
from ._timing import in_turns

_BASE = "import transformers, torch"
_SCRIPT = "scripts/finetune.py --help"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--seconds", type=seconds, default=60.0, help="time of the measurement")
    parser.add_argument("--scripts", default="scripts", help="folder of the scripts")


def measure(options: argparse.Namespace) -> Results:
    """Seconds of every start, in turns."""
    script = Path(options.scripts, "finetune.py")
    if not script.is_file():
        raise HfTaggerError(f"--scripts {options.scripts}: {script} is not there; run this in the project's folder.")
    commands = {
        _BASE: ["-c", _BASE],
        "import hf_tagger": ["-c", "import hf_tagger"],
        "the training classes": ["-c", "from hf_tagger import TaggingTrainer, parse_recipe"],
        "Trainer of transformers": ["-c", "from transformers import Trainer"],
        _SCRIPT: [str(script), "--help"],
    }
    times = in_turns({name: _start(command) for name, command in commands.items()}, options.seconds)
    rows = [{"start": name, "seconds": value, "ratio": value / times[_BASE]} for name, value in times.items()]
    return Results(f"Starts of a new process; ratio to `{_BASE}`.", rows)


def _start(command: list[str]):
    def run() -> None:
        finished = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        if finished.returncode:
            raise HfTaggerError(f"python {' '.join(command)} failed: {finished.stderr.strip()[-500:]}")

    return run
