"""What was pushed works for a stranger: loaded by its name, in a new process, with and without this package."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from script_runner import ROOT, environment
from small_models import SMALL
from tiny_checkpoints import make_ast
from tiny_encoders import save_encoder
from transformers import pipeline

sys.path.insert(0, str(Path(__file__).resolve().parent))
from local_hub import TOKEN, LocalHub
from tiny_runs import client_of, train

from hf_tagger.audio import load_mono
from hf_tagger.hub.push import Target, push_run
from hf_tagger.models import MODELS, WaveformFeatureExtractor

# A process that cannot import this package.
STRANGER = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_tagger":
            raise ImportError("not installed here")
sys.meta_path.insert(0, Refuse())
"""
# argv: {name: [repository, whether its code is needed]}. In the folder: a recording, as RATE.npy.
TAG = """
import numpy as np
from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
asked, found = json.loads(sys.argv[1]), {}
for name, (model, code) in asked.items():
    if name.startswith("adapter"):
        model = snapshot_download(model)
    tagger = pipeline("audio-classification", model=model, trust_remote_code=code, top_k=None)
    song = np.load(f"{tagger.feature_extractor.sampling_rate}.npy")
    found[name] = {guess["label"]: guess["score"] for guess in tagger(song)}
"""
TELL = """
print("FOUND" + json.dumps(found))
"""
LORA = ["--model_config", "{}", "--window_seconds", "0.5", "--lora.rank", "2", "--learning_rate", "0.05"]


@pytest.fixture(scope="module")
def hub():
    """A Hub that this process' client talks to as well."""
    with LocalHub() as server, pytest.MonkeyPatch.context() as monkeypatch, client_of(server, monkeypatch):
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("round_trip")


@pytest.fixture(scope="module")
def song(folder, hub):
    """The first test clip of the trained runs, as float32 samples at the rates of the models: rate → file."""
    clip = folder / "music" / f"{trained(own(folder))[0]}.wav"
    for rate in (16_000, 24_000):
        np.save(folder / f"{rate}.npy", load_mono(clip, rate))
    return lambda rate: np.load(folder / f"{rate}.npy")


def own(folder):
    run = folder / "some-tagger"
    return run if run.exists() else train(run, "--learning_rate", "0.02")


def trained(run):
    """The id of the first test clip, and its scores as the trained model gave them before it was saved."""
    table = parquet.read_table(run / "predictions_test.parquet")
    labels = json.loads(table.schema.metadata[b"label_names"])
    row = table.to_pylist()[0]
    return row["id"], dict(zip(labels, row["scores"], strict=True))


def ask(program, hub, folder, *arguments, **variables):
    """What a new process finds, which knows the Hub's address and nothing else of us; and what it wrote."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        env={**clean, **hub.environment(folder / f"home-{len(hub.requests)}"), **variables},
        cwd=folder, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    output = finished.stdout + finished.stderr
    return json.loads(output.split("FOUND")[1].splitlines()[0]), output


@pytest.mark.slow
def test_a_stranger_loads_the_pushed_run_by_its_name_and_gets_the_trained_scores(hub, folder, song):
    """Pushed by the script in a process of its own, as a user does."""
    run = own(folder)
    pushed = subprocess.run(
        [sys.executable, "scripts/push.py", run, "some-tagger"],
        env={**environment(), **hub.environment(folder / "home")}, cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert pushed.returncode == 0, pushed.stderr
    assert f"Pushed: {hub.url}/someone/some-tagger (" in pushed.stdout
    refuse = """
    try:
        pipeline("audio-classification", model=asked["own"][0], trust_remote_code=False)
        found["refused"] = ""
    except ValueError as error:
        found["refused"] = str(error)
    """
    asked = {"own": ("someone/some-tagger", True)}
    found, output = ask(STRANGER + TAG + textwrap.dedent(refuse) + TELL, hub, folder, json.dumps(asked))
    scores = trained(run)[1]
    assert found["own"] == pytest.approx(scores, abs=1e-5)
    assert abs(scores["high"] - scores["low"]) > 0.01  # a head made anew would give others
    assert "trust_remote_code=True" in found["refused"]
    assert TOKEN not in output + pushed.stdout + pushed.stderr


@pytest.mark.slow
def test_with_this_package_no_code_of_the_repository_is_needed_or_run(hub, folder, song):
    push_run(own(folder), Target("someone/some-tagger"))
    check = """
    name = asked["own"][0]
    classes = (AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification)
    found["modules"] = [type(auto.from_pretrained(name)).__module__ for auto in classes]
    found["remote"] = [module for module in sys.modules if module.startswith("transformers_modules")]
    """
    asked = {"own": ("someone/some-tagger", False)}
    program = "import json, sys, hf_tagger\n" + TAG + textwrap.dedent(check) + TELL
    found, _ = ask(program, hub, folder, json.dumps(asked), PYTHONPATH=str(ROOT))
    assert found["own"] == pytest.approx(trained(own(folder))[1], abs=1e-5)
    assert found["modules"] == [
        "hf_tagger.models.configuration_short_cnn",
        "hf_tagger.models.feature_extraction_waveform",
        "hf_tagger.models.modeling_short_cnn",
    ]
    assert found["remote"] == []


@pytest.mark.slow
def test_a_stranger_loads_stock_models_adapters_and_merged_models(hub, folder, song):
    """A stock AST needs no code; an adapter is read with its base, which lies in a repository of its own."""
    save_encoder("mert", folder / "base-mert")
    torch.manual_seed(0)
    make_ast(folder / "base-ast")
    api = HfApi(token=TOKEN)
    for family in ("mert", "ast"):
        api.create_repo(f"tiny-{family}")
        api.upload_folder(repo_id=f"someone/tiny-{family}", folder_path=folder / f"base-{family}")
    ast = train(folder / "ast", *LORA[:4], "--model_name_or_path", "someone/tiny-ast", "--learning_rate", "0.05")
    runs = {
        "ast": (ast, False),
        **{
            f"adapter-{family}": (
                train(folder / f"adapter-{family}", *LORA, "--model_name_or_path", f"someone/tiny-{family}"), True
            )
            for family in ("mert", "ast")
        },
    }  # fmt: skip
    for name, (run, _) in runs.items():
        push_run(run, Target(name))
    asked = {name: (f"someone/{name}", code) for name, (_, code) in runs.items()}
    for family, code in (("mert", True), ("ast", False)):
        push_run(runs[f"adapter-{family}"][0], Target(f"merged-{family}", merged=True))
        asked[f"merged-{family}"] = (f"someone/merged-{family}", code)
        runs[f"merged-{family}"] = runs[f"adapter-{family}"]
    found, _ = ask(STRANGER + TAG + TELL, hub, folder, json.dumps(asked))
    for name, (run, _) in runs.items():
        scores = trained(run)[1]
        if "ast" not in name:  # the plain pipeline hears the first window of an AST only
            assert found[name] == pytest.approx(scores, abs=1e-5), name
        mine = pipeline("audio-classification", model=str(run), trust_remote_code=True, top_k=None)
        guesses = mine(song(mine.feature_extractor.sampling_rate))
        assert found[name] == pytest.approx({guess["label"]: guess["score"] for guess in guesses}, abs=1e-5), name
        assert abs(found[name]["high"] - found[name]["low"]) > 0.01, name

    for family in ("mert", "ast"):
        files = hub.files(f"someone/adapter-{family}")
        assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == f"someone/tiny-{family}"
        assert not [name for name in files if name.startswith("model") and name.endswith("safetensors")]
        card = ModelCard(files["README.md"].decode())
        assert (card.data.base_model, card.data.library_name) == (f"someone/tiny-{family}", "peft")
        assert f'model=snapshot_download("someone/adapter-{family}"), trust_remote_code=True)' in card.text
        assert "and `peft` must be installed" in card.text
        assert card.text.count("for its base: download it, as above.\n\n") == 1
        merged = hub.files(f"someone/merged-{family}")
        assert "adapter_config.json" not in merged
        whole = ModelCard(merged["README.md"].decode())
        assert (whole.data.base_model, whole.data.library_name) == (f"someone/tiny-{family}", "transformers")
        assert ("trust_remote_code" in whole.text) == (family == "mert")
    snippets = re.findall(r"```python\n(.*?)```", hub.files("someone/adapter-mert")["README.md"].decode(), re.DOTALL)
    found, output = ask(STRANGER + snippets[0] + "\nfound = True" + TELL, hub, folder)
    assert {line.split()[-1] for line in output.splitlines() if re.fullmatch(r"0\.\d{3}  \w+", line)} == {"high", "low"}


@pytest.mark.slow
def test_the_auto_classes_resolve_for_every_registered_model(hub, folder):
    asked, expected = {}, {}
    for name, model_class in MODELS.items():
        torch.manual_seed(0)
        config = model_class.config_class(**SMALL.get(name, [{}])[0], id2label={0: "drums", 1: "bass"})
        model = model_class(config).eval()
        run = folder / "registered" / name
        model.save_pretrained(run)
        WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples).save_pretrained(run)
        (run / "README.md").write_text("---\nlicense: mit\n---\n# registered\n")
        push_run(run, Target(f"registered-{name}"))
        asked[name] = f"someone/registered-{name}"
        with torch.inference_mode():
            expected[name] = model(torch.sin(torch.arange(2 * config.window_samples) / 10)[None]).logits[0].tolist()
    program = """
    import torch
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification
    found = {}
    for name, repository in json.loads(sys.argv[1]).items():
        options = dict(pretrained_model_name_or_path=repository, trust_remote_code=True)
        config, extractor = AutoConfig.from_pretrained(**options), AutoFeatureExtractor.from_pretrained(**options)
        model = AutoModelForAudioClassification.from_pretrained(**options).eval()
        sound = torch.sin(torch.arange(2 * extractor.window_samples) / 10)[None]
        with torch.inference_mode():
            found[name] = [config.model_type, model(sound).logits[0].tolist()]
    """
    found, _ = ask(STRANGER + textwrap.dedent(program) + TELL, hub, folder, json.dumps(asked))
    for name in MODELS:
        assert found[name][0] == name
        assert found[name][1] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name
