"""Set everything up in .venv and do one job; needs nothing but Python and git.

python3 scripts/make.py quickstart    trains a tagger on clips made in code
python3 scripts/make.py test          runs the tests
python3 scripts/make.py setup         only sets up
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PROGRAMS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
JOBS = {
    "setup": [],
    "quickstart": [
        "accelerate launch --config_file accelerate_configs/cpu.yaml scripts/finetune.py recipes/quickstart.yaml "
        "--overwrite_output_dir",
    ],
    "test": ["python -m pytest -n 2 --dist loadscope"],  # two processes, each with whole modules
}


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 (this file has to say so to any Python)
        sys.exit(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        sys.exit(__doc__)
    set_up()
    for command in JOBS[sys.argv[1]]:
        program, *arguments = command.split()
        arguments += sys.argv[2:]
        print("$", program, *arguments, flush=True)
        finished = subprocess.run([PROGRAMS / program, *arguments], cwd=ROOT, check=False)
        if finished.returncode:
            sys.exit(finished.returncode)


def set_up() -> None:
    """Makes .venv and installs the project; does nothing if pyproject.toml has not changed since."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    mark = ENVIRONMENT / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return
    print(f"Setting up {ENVIRONMENT} (once; PyTorch is a large download) …", flush=True)
    try:
        venv.create(ENVIRONMENT, with_pip=True)
    except subprocess.CalledProcessError:
        sys.exit("Python's venv module cannot install pip; on Debian and Ubuntu: apt install python3-venv")
    install = [PROGRAMS / "python", "-m", "pip", "install", "--quiet", "--editable", ".[dev]"]
    if subprocess.run(install, cwd=ROOT, check=False).returncode:
        sys.exit("The installation failed; pip's message above says why. Run the same command again to go on.")
    mark.write_text(wanted)


if __name__ == "__main__":
    main()
