"""Tiny finished runs to push, and the way of the client in this process to a Hub on this machine."""

from __future__ import annotations

import contextlib
import types

import numpy as np
import soundfile
from huggingface_hub import constants
from huggingface_hub.utils import _http, close_session
from local_hub import TOKEN
from script_runner import TINY, load_script

RATE = 16_000


def make_music(root):
    """Class folders of high and low tones, 10 clips of 4 s each, one of them damaged."""
    generator = np.random.default_rng(0)
    for name, (lowest, highest) in {"high": (1_500, 3_000), "low": (100, 300)}.items():
        (root / name).mkdir(parents=True)
        for number in range(10):
            tone = 0.3 * np.sin(2 * np.pi * generator.uniform(lowest, highest) * np.arange(RATE * 4) / RATE)
            soundfile.write(root / name / f"{number:02}.wav", tone + generator.normal(0, 0.01, len(tone)), RATE)
    (root / "low" / "03.wav").write_bytes(b"RIFF")
    return root


def train(folder, *flags, script="finetune"):
    """A run of a few seconds on such music, which lies beside it; every path in its recipe is one of this machine."""
    music = folder.parent / "music"
    if not music.exists():
        make_music(music)
    load_script(script).main(
        ["--dataset_name", "folder", "--dataset_root", str(music), "--cache_dir", str(folder.parent / "cache"),
         "--max_skipped_share", "0.1", "--output_dir", str(folder), *TINY, *flags]
    )  # fmt: skip
    return folder


@contextlib.contextmanager
def client_of(hub, monkeypatch, token=TOKEN):
    """Leads the client, which read its variables when it was imported, to the Hub; it waits for no second try."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("HF_TOKEN", token)
    close_session()
    yield hub
    close_session()
