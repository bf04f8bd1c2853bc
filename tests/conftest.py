"""What all tests share: no network, caches of their own, and the folder of real recordings where it exists."""

import os
import tempfile
from pathlib import Path

# Before any library reads them: the tests neither ask the Hub nor touch the user's caches.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf_tagger-tests-")
os.environ.pop("HF_DATASETS_CACHE", None)
# The models of the tests are tiny: one thread is faster than two that wait for each other, and rounds alike everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real audio and published weights, beside the project; tests that use it are marked ``shared``."""
    folder = ROOT.parent / "shared"
    if not (folder / "data" / "orchestra").is_dir():
        pytest.skip(f"no folder of real recordings at {folder}")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """Folder of the tiny checkpoints that ``tiny_checkpoints.overrides`` makes."""
    return tmp_path_factory.mktemp("checkpoints")
