"""Who installed transformers, torch and torchaudio, and nothing else, tags a whole song with a pushed model."""

import importlib.metadata as metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import torchaudio
from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).resolve().parent))
from local_hub import TOKEN, LocalHub
from tiny_runs import client_of, train

from hf_tagger.hub.push import Target, push_run
from hf_tagger.tagging import Tagger

TAG = """
import importlib.util, json, wave
others = ("hf_tagger", "librosa", "soundfile", "datasets", "pandas", "scipy", "accelerate", "peft")
assert not [name for name in others if importlib.util.find_spec(name)]
import numpy as np, torch, torchaudio
from transformers import pipeline

tagger = pipeline("audio-classification", model="someone/some-tagger", trust_remote_code=True)
with wave.open("song.wav") as file:
    samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
    rate = file.getframerate()
mono = torch.tensor(samples / 2**15, dtype=torch.float32).mean(dim=1)
mono = torchaudio.functional.resample(mono, rate, tagger.feature_extractor.sampling_rate)
print("FOUND" + json.dumps({guess["label"]: guess["score"] for guess in tagger(mono.numpy(), top_k=None)}))
"""


def site_of(folder, *names):
    """A folder to import from that holds some installed packages and what they require, and nothing else."""
    folder.mkdir()
    seen, left = set(), list(names)
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        needed = [Requirement(text) for text in package.requires or []]
        left += [own.name for own in needed if own.marker is None or own.marker.evaluate({"extra": ""})]
        for entry in {file.parts[0] for file in package.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / entry).exists():
                (folder / entry).symlink_to(package.locate_file(entry))
    return folder


@pytest.mark.shared
def test_a_newcomer_tags_a_whole_song(tmp_path, shared, monkeypatch):
    stereo, rate = soundfile.read(next((shared / "audio").glob("Karissa*.ogg")), dtype="int16", always_2d=True)
    soundfile.write(tmp_path / "song.wav", stereo, rate)
    assert len(stereo) / rate > 60
    site = site_of(tmp_path / "site", "transformers", "torch", "torchaudio")
    with LocalHub() as hub, client_of(hub, monkeypatch):
        run = train(tmp_path / "some-tagger", "--learning_rate", "0.02")
        push_run(run, Target("someone/some-tagger"))
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        finished = subprocess.run(
            [sys.executable, "-S", "-c", TAG],
            env={**clean, **hub.environment(tmp_path / "home"), "PYTHONPATH": str(site)},
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert TOKEN not in finished.stdout + finished.stderr
    found = json.loads(finished.stdout.split("FOUND")[1])

    tagger = Tagger.from_pretrained(str(run))
    mono = torch.tensor(stereo / 2**15, dtype=torch.float32).mean(dim=1)
    mono = torchaudio.functional.resample(mono, rate, tagger.sampling_rate).numpy()
    expected = dict(zip(tagger.label_names, tagger.probabilities(mono).tolist(), strict=True))
    assert found == pytest.approx(expected, abs=1e-5)
