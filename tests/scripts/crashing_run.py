"""Runs a script of the project and kills the process by SIGKILL at one point: ``crashing_run.py POINT SCRIPT …``.

What is being written at that moment is left half written, as a crash leaves it. Not a test by itself.
"""

import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import torch
import transformers.modeling_utils
from huggingface_hub import ModelCard
from transformers import TrainerState
from transformers.trainer_callback import CallbackHandler


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def cut_in_half(path):
    path = Path(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    die()


def patch(owner, name, is_the_moment, disturb):
    """Lets ``owner.name`` do its work, and what ``disturb`` does after it at the given moment."""
    original = getattr(owner, name)

    def patched(*values, **options):
        moment = is_the_moment(*values, **options)
        if moment and disturb in (die, delete_one_file):  # before the work
            disturb(*values)
        result = original(*values, **options)
        if moment:
            disturb(moment)
        return result

    setattr(owner, name, patched)


def delete_one_file(folder, *_, **__):
    next(Path(folder).glob("*.safetensors")).unlink()
    die()


def path_if(part, path):
    return path if part in str(path) else None


POINTS = {
    "evaluation": lambda: patch(
        CallbackHandler, "on_prediction_step", lambda _, args, state, *__: state.global_step == 20, die
    ),
    "weights of a checkpoint": lambda: patch(
        transformers.modeling_utils, "safe_save_file", lambda _, path, **__: path_if("checkpoint-20", path), cut_in_half
    ),
    "optimizer of a checkpoint": lambda: patch(
        torch, "save", lambda _, path, *__: path_if("checkpoint-20/optimizer.pt", path), cut_in_half
    ),
    "state of a checkpoint": lambda: patch(
        TrainerState, "save_to_json", lambda _, path: path_if("checkpoint-20", path), cut_in_half
    ),
    "deletion of a checkpoint": lambda: patch(
        shutil, "rmtree", lambda path, *_, **__: path_if("checkpoint-", path), delete_one_file
    ),
    "final weights": lambda: patch(
        transformers.modeling_utils, "safe_save_file", lambda _, path, **__: "checkpoint" not in str(path) and path,
        cut_in_half,
    ),
    "report": lambda: patch(ModelCard, "save", lambda *_: True, die),
}  # fmt: skip

if __name__ == "__main__":
    point, script, *arguments = sys.argv[1:]
    POINTS[point]()
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
