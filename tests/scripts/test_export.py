"""scripts/export.py: a folder that tags where PyTorch cannot be imported, and mistakes told in plain words."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from onnx import numpy_helper
from script_runner import ROOT, TINY, load_script
from small_taggers import FITTED, LABELS, MULTI, RATE, SINGLE, save, song
from tiny_encoders import save_encoder

from hf_tagger import ModelArguments
from hf_tagger.errors import HfTaggerError
from hf_tagger.export import onnx_folder
from hf_tagger.export.card import build_card
from hf_tagger.export.parity import Parity
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.lora import add_lora

WINDOW = {"window_samples": 40_000, "hop_samples": 30_000}
BLOCKED = ("torch", "torchaudio", "transformers", "hf_tagger", "onnx")


def export(*arguments):
    load_script("export").main([*map(str, arguments), "--format", "onnx"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model, the folder that was made of it, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("export"), io.StringIO()
    save(folder / "model", fit=FITTED, **WINDOW)
    (folder / "model" / "README.md").write_text("---\nlicense: cc-by-4.0\ndatasets: [some/music]\n---\n# Model\n")
    with contextlib.redirect_stdout(printed):
        export(folder / "model", folder / "new" / "out", "--quantize")
    return folder / "model", folder / "new" / "out", printed.getvalue()


def run_snippet(folder, audio):
    """The card's program in a process of its own that has numpy, onnxruntime and soundfile only."""
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    without = textwrap.dedent(f"""
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {BLOCKED!r}:
                    raise ImportError("not installed here")
        sys.meta_path.insert(0, Refuse())
    """)
    command = [sys.executable, "-c", without + program, str(audio)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def graph_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("seconds", [1.2, 9.3])
def test_the_cards_program_tags_without_torch_as_the_model_does(exported, seconds, tmp_path):
    model, folder, _ = exported
    soundfile.write(tmp_path / "song.wav", song(seconds), RATE)
    finished = run_snippet(folder, tmp_path / "song.wav")
    assert finished.returncode == 0, finished.stderr
    found = [line.split(maxsplit=1) for line in finished.stdout.splitlines()]
    tags = Tagger.from_pretrained(model, "cpu")(song(seconds))
    assert [label.removeprefix("* ").strip() for _, label in found] == [tag["label"] for tag in tags]
    np.testing.assert_allclose([float(score) for score, _ in found], [tag["score"] for tag in tags], atol=1e-4)
    assert ["*" in label for _, label in found] == [tag["given"] for tag in tags]
    assert {tag["given"] for tag in tags} == {True, False}


def test_the_cards_program_refuses_another_sampling_rate(exported, tmp_path):
    soundfile.write(tmp_path / "song.wav", song(2), 8_000)
    finished = run_snippet(exported[1], tmp_path / "song.wav")
    assert finished.returncode == 1
    assert "The file has 8000 Hz, the model hears 16000 Hz: resample it first." in finished.stderr


def test_the_program_of_a_single_label_model_shares_one_certainty(exported, tmp_path):
    folder = tmp_path / "single"
    shutil.copytree(exported[1], folder)
    facts = {**json.loads((folder / "tagger.json").read_text()), "problem_type": SINGLE, "thresholds": None}
    (file,) = (onnx_folder.ExportedFile(**own) for own in json.loads((folder / "export.json").read_text())["files"][:1])
    build_card("someone/a-model", facts, [file], Parity(1e-6, 1e-4, 3), None).save(folder / "README.md")
    soundfile.write(tmp_path / "song.wav", song(2.5), RATE)  # one window
    logits = graph_of(folder / "model.onnx").run(None, {"windows": song(2.5)[None]})[0][0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    finished = run_snippet(folder, tmp_path / "song.wav")
    assert finished.returncode == 0, finished.stderr
    found = {label: float(score) for score, label in (line.split() for line in finished.stdout.splitlines())}
    assert found == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-4)
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "someone/a-model"
    assert "https://huggingface.co/someone/a-model" in card.text


def test_numbers_are_told_and_written(exported):
    _, folder, printed = exported
    record = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert record["parity"]["difference"] <= record["parity"]["tolerance"] == 1e-4
    assert record["parity"]["windows"] == 3
    assert record["scores"] is None
    for file, name in zip(record["files"], ("model.onnx", "model_int8.onnx"), strict=True):
        assert file["name"] == name
        assert file["megabytes"] == (folder / name).stat().st_size / 1e6
        assert file["time"] == pytest.approx(
            file["milliseconds_per_window"] / record["milliseconds_per_window"]["PyTorch"]
        )
        assert f"{name}: {file['megabytes']:.1f} MB, {file['milliseconds_per_window']:.1f} ms a window" in printed
    assert f"differ from PyTorch's by at most {record['parity']['difference']:.1e}" in printed
    assert json.loads((folder / "tagger.json").read_text(encoding="utf-8")) == {
        "problem_type": MULTI,
        "sampling_rate": RATE,
        **WINDOW,
        "aggregate": "mean",
        "labels": LABELS,
        "thresholds": FITTED.thresholds,
    }


def test_the_card_keeps_the_licence_and_nothing_names_a_folder_of_this_machine(exported):
    model, folder, _ = exported
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.datasets, card.data.library_name) == ("cc-by-4.0", ["some/music"], "onnx")
    assert "# model in ONNX" in card.text
    assert {path.name for path in folder.iterdir()} == {
        *("model.onnx", "model_int8.onnx", "tagger.json", "export.json", "README.md")
    }
    for path in folder.iterdir():
        content = path.read_bytes()
        for private in (str(model.parent), str(ROOT), "site-packages", "modeling_short_cnn"):
            assert private.encode() not in content, f"{path.name} names {private}"


def test_eight_bit_weights_are_in_the_network_and_not_in_the_spectrogram(exported):
    folder = exported[1]
    whole, rounded = (onnx.load(folder / name).graph for name in ("model.onnx", "model_int8.onnx"))
    convolutions = [node for node in whole.node if node.op_type == "Conv"]
    assert len(convolutions) == 7
    kinds = [node.op_type for node in rounded.node]
    assert (kinds.count("ConvInteger"), kinds.count("Conv"), kinds.count("MatMulInteger")) == (7, 0, 2)
    sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in rounded.initializer}
    large = {name: values.dtype for name, values in sizes.items() if values.shape == (257, 128)}
    assert list(large.values()) == [np.float32]  # the mel filterbank
    windows = np.stack([song(2.5, seed=seed) for seed in range(4)])
    exact, found = (
        graph_of(folder / name).run(None, {"windows": windows})[0] for name in ("model.onnx", "model_int8.onnx")
    )
    assert 0 < np.abs(exact - found).max() < 0.3
    assert np.ptp(exact) > 1


def same_graph(folder):
    """In place of the exporter: a graph that was written before."""

    def write_graph(model, feature_extractor, path):
        shutil.copy(folder / "model.onnx", path)
        return []

    return write_graph


def test_a_graph_that_differs_too_much_leaves_nothing(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_folder, "write_graph", same_graph(exported[1]))
    with pytest.raises(
        HfTaggerError, match=r"differ from the model's by up to .*tolerance of 1e-12; nothing was written"
    ):
        export(exported[0], tmp_path / "out", "--tolerance", "1e-12")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    export(exported[0], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.onnx", "tagger.json", "export.json", "README.md")
    }
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(exported[0], ".")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "out"]
    assert (tmp_path / "here" / "model.onnx").exists()


def test_mistakes_are_told_before_anything_is_computed(exported, tmp_path, monkeypatch, capsys):
    model, folder, _ = exported
    with pytest.raises(HfTaggerError, match=r"is not an empty folder; nothing was written. Name another one"):
        export(model, folder)
    with pytest.raises(HfTaggerError, match=r"--split_seed 3: not known here. Fields of a recipe need --recipe"):
        export(model, tmp_path / "out", "--split_seed", "3")
    with pytest.raises(HfTaggerError, match="--tolerance must be greater than 0, received 0"):
        export(model, tmp_path / "out", "--tolerance", "0")
    with pytest.raises(HfTaggerError, match="holds no model"):
        export(tmp_path / "no" / "model" / "here", tmp_path / "out")
    with pytest.raises(SystemExit):
        load_script("export").main([str(model), str(tmp_path / "out"), "--format", "tflite"])
    assert "'tflite' (choose from" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(HfTaggerError, match=r"needs onnxscript, not installed here: pip install 'hf_tagger\[export\]'"):
        export(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_scored_on_the_clips_of_its_recipe(tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    argv = ["--dataset_name", "synthetic", "--synthetic_clips", "80", "--cache_dir", str(tmp_path / "cache"), *TINY]
    load_script("finetune").main([*argv, "--output_dir", str(run)])
    export(run, out, "--quantize", "--recipe", run / "recipe.yaml", "--cache_dir", tmp_path / "cache")
    record = json.loads((out / "export.json").read_text(encoding="utf-8"))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    forms = record["scores"]["by_form"]
    for metric in ("ap_macro", "roc_auc_macro"):
        assert forms["PyTorch"][metric]["value"] == pytest.approx(metrics["test"][metric], abs=1e-6)
        assert abs(forms["ONNX, float32"][metric]["difference"]) < 1e-3
        assert abs(forms["ONNX, 8-bit integers"][metric]["difference"]) < 0.1
    assert record["scores"]["protocol"]["hash"] == metrics["protocol"]["hash"]
    assert record["parity"]["recordings"] == 5
    assert record["parity"]["recordings_difference"] < 0.01
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"| PyTorch | {metrics['test']['ap_macro']:.4f} | {metrics['test']['roc_auc_macro']:.4f} |" in card
    assert card.count("8-bit integers |") == 2  # files and scores


@pytest.mark.slow
def test_of_a_lora_adapter_the_whole_model_is_exported(tmp_path):
    base, run, out = save_encoder("mert", tmp_path / "base"), tmp_path / "run", tmp_path / "out"
    plan = plan_model(ModelArguments(model_name_or_path=str(base), window_seconds=0.5, lora={"rank": 4}))
    model = add_lora(build_model(plan, LABELS, MULTI), plan.arguments.lora, str(base)).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    for part in (model, plan.feature_extractor):
        part.save_pretrained(run)
    export(run, out)
    windows = np.stack([song(0.5, 24_000, seed) for seed in range(3)])
    with torch.no_grad():
        trained = model(torch.from_numpy(windows)).logits
        with model.disable_adapter():
            before = model(torch.from_numpy(windows)).logits
    found = graph_of(out / "model.onnx").run(None, {"windows": windows})[0]
    np.testing.assert_allclose(found, trained, atol=1e-4)
    assert np.abs(found - before.numpy()).max() > 0.1
