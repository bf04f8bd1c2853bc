"""``pipeline("music-tagging")`` on repositories of a Hub: whole models, stock ones and adapters, by revision."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from script_runner import environment
from small_taggers import LABELS, MULTI, save, song
from tiny_encoders import build_tagger, save_encoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from local_hub import TOKEN, LocalHub
from tiny_runs import client_of

from hf_tagger import ModelArguments
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.lora import add_lora

TAG = textwrap.dedent("""
    import json, sys
    import numpy as np
    from transformers import pipeline
    import hf_tagger
    from hf_tagger.tagging import Tagger

    song, found = np.load("song.npy"), {}
    for name, options in json.loads(sys.argv[1]):
        own = Tagger.from_pretrained(name, "cpu", **options)
        tagger = pipeline("music-tagging", model=name, device="cpu", **options)
        same = own(song) == tagger(song)
        found["@".join([name, *options.values()])] = same and {tag["label"]: tag["score"] for tag in tagger(song)}
    print("FOUND" + json.dumps(found))
""")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Name → folder of what is on the Hub: a tagger in two versions, a stock one, and an adapter with its base."""
    root = tmp_path_factory.mktemp("folders")
    save(root / "tagger")
    save(root / "newer", problem_type="single_label_classification")
    for part in build_tagger(save_encoder("ast", root / "encoder")):
        part.save_pretrained(root / "stock")
    base = save_encoder("hubert", root / "base")
    plan = plan_model(ModelArguments(model_name_or_path=str(base), window_seconds=0.5, lora={"rank": 2}))
    torch.manual_seed(0)
    model = add_lora(build_model(plan, LABELS, MULTI), plan.arguments.lora, str(base)).eval()
    for part in (model, plan.feature_extractor):
        part.save_pretrained(root / "adapter")
    return root


def test_every_kind_of_repository_gives_the_scores_of_its_folder(folders, tmp_path):
    waveform = song(1.7)
    np.save(tmp_path / "song.npy", waveform)
    expected = {
        name: Tagger.from_pretrained(folders / name, "cpu")(waveform)
        for name in ("tagger", "newer", "stock", "adapter")
    }
    path = folders / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "someone/base"}))
    asked = [("tagger", {}), ("tagger", {"revision": "v1"}), ("stock", {}), ("adapter", {})]
    with LocalHub() as hub, pytest.MonkeyPatch.context() as monkeypatch, client_of(hub, monkeypatch):
        api = HfApi(endpoint=hub.url, token=TOKEN)
        for name, folder in (("tagger", "tagger"), ("stock", "stock"), ("adapter", "adapter"), ("base", "base")):
            api.create_repo(f"someone/{name}", private=True)
            api.upload_folder(repo_id=f"someone/{name}", folder_path=folders / folder)
        api.create_branch("someone/tagger", branch="v1")
        api.upload_folder(repo_id="someone/tagger", folder_path=folders / "newer")
        own = {**environment(), **hub.environment(tmp_path / "home")}
        argument = json.dumps([[f"someone/{name}", options] for name, options in asked])
        finished = subprocess.run(
            [sys.executable, "-c", TAG, argument], cwd=tmp_path, env=own, capture_output=True, text=True, check=False
        )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.split("FOUND")[1])
    folder_of = dict(zip(found, ("newer", "tagger", "stock", "adapter"), strict=True))
    assert list(folder_of) == ["someone/tagger", "someone/tagger@v1", "someone/stock", "someone/adapter"]
    for name, scores in found.items():
        by_label = {tag["label"]: tag["score"] for tag in expected[folder_of[name]]}
        assert scores == pytest.approx(by_label, abs=1e-6), name
    assert found["someone/tagger"] != pytest.approx(found["someone/tagger@v1"], abs=1e-2)
