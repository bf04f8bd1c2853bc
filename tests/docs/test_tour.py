"""docs/tour.ipynb runs as it stands, from a folder of audio to a model on a Hub, and shows what it says.

The outputs that are committed with it are written anew by

    python tests/docs/test_tour.py
"""

import base64
import hashlib
import io
import json
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import PIL.Image
import pytest

sys.path += [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "hub")]
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from local_hub import TOKEN, USER, LocalHub
from nbclient import NotebookClient
from script_runner import ROOT, environment

TOUR = ROOT / "docs" / "tour.ipynb"
LARGEST = 700_000  # bytes; a page on GitHub should open at once
REPOSITORY = f"{USER}/tour-tagger"
PICTURES = ["look", "augmentation", "curves", "confusion", "timeline", "explain"]  # the cells that show one
SOUNDS = ["listen", "concert", "relevant"]
REPORTS = {
    "README.md", "config.json", "confusion_matrix.png", "curves.png", "history.json", "metrics.json",
    "model.safetensors", "precision_recall.png", "predictions_test.parquet", "predictions_validation.parquet",
    "preprocessor_config.json", "recipe.yaml", "reliability.png", "report.html", "roc.png", "skipped_clips.csv",
    "split.csv",
}  # fmt: skip


def run(folder):
    """The executed notebook, and the Hub afterwards.

    It runs in a process of its own, which starts in the folder, reads no settings of this user, and knows no Hub but
    the one that runs meanwhile.
    """
    notebook = nbformat.read(TOUR, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # No folders of kernels: that of this Python remains, whatever else is installed here under the same name.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    kernel.connection_file = str(folder / "kernel.json")
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, km=kernel, timeout=1_800, resources=place, record_timing=False, coalesce_streams=True
    )
    with LocalHub() as hub:
        own = {"IPYTHONDIR": str(folder / "ipython"), "MPLCONFIGDIR": str(folder / "matplotlib")}
        client.execute(env={**environment(), **hub.environment(folder / "home"), **own})
    return notebook, hub


def code_cells(notebook):
    """Id → code cell."""
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def shown(cell, kind):
    """Contents of one MIME type among a cell's outputs."""
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def kinds(cell):
    """What a cell's outputs are, without what they say; stderr with it. One line there depends on the machine's speed:
    transformers takes checkpoints written within a second for a sign of a file system without times of change."""
    return [
        (
            output.output_type,
            output.get("name"),
            sorted(output.get("data", ())),
            output.text if output.get("name") == "stderr" else None,
        )
        for output in cell.outputs
        if not re.fullmatch(r".*mtime may not be reliable on this filesystem.*\n", output.get("text", ""))
    ]


def source_hash(notebook):
    """Of the code: the text between may change without a new run."""
    sources = [[name, cell.source] for name, cell in code_cells(notebook).items()]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def write(notebook):
    """Keeps sources and outputs; of metadata what programs need to open it, and of which sources the outputs are."""
    for cell in notebook.cells:
        cell.metadata = {}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {
        "kernelspec": kernel,
        "language_info": {"name": "python"},
        "outputs_of": source_hash(notebook),
    }
    nbformat.write(notebook, TOUR)


@pytest.fixture
def committed():
    return nbformat.read(TOUR, as_version=4)


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tour")
    notebook, hub = run(folder)
    return SimpleNamespace(cells=code_cells(notebook), hub=hub, folder=folder)


# What is committed.


def test_the_outputs_are_those_of_the_cells_in_their_order_without_errors(committed):
    assert committed.metadata["outputs_of"] == source_hash(committed), "run: python tests/docs/test_tour.py"
    cells = list(code_cells(committed).values())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for cell in cells for output in cell.outputs} == {"stream", "execute_result"}
    assert {output.name for cell in cells for output in cell.outputs if output.output_type == "stream"} == {"stdout"}


def test_every_picture_and_sound_can_be_seen_and_heard_where_it_belongs(committed):
    cells = code_cells(committed)
    pictures = {name: shown(cell, "image/png") for name, cell in cells.items() if shown(cell, "image/png")}
    assert list(pictures) == PICTURES
    for name, images in pictures.items():
        (content,) = images
        image = PIL.Image.open(io.BytesIO(base64.b64decode(content))).convert("L")
        assert image.width >= 500, name
        assert len(set(image.resize((64, 64)).tobytes())) > 5, f"{name} is empty"
    sounds = [name for name, cell in cells.items() if any("<audio" in page for page in shown(cell, "text/html"))]
    assert sounds == SOUNDS


def test_it_is_small_and_says_nothing_of_the_machine_it_ran_on(committed):
    text = TOUR.read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    assert all(cell.metadata == {} for cell in committed.cells)
    for cell in committed.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("image/png", None)
    words = re.sub(r"base64,[A-Za-z0-9+/=]+", "", json.dumps(committed))
    assert "pluck" in words  # so that the search below finds something to look through
    machine = ["/tmp", "/home/", "/root/", "/Users/", str(Path.home()), str(ROOT), tempfile.gettempdir(), TOKEN]
    assert [place for place in machine if place in words] == []
    assert re.findall(r"127\.0\.0\.1|localhost|hf_[A-Za-z]{20,}|0x[0-9a-f]{6,}|it/s\]", words) == []


def test_no_cell_is_too_long_to_read_at_a_glance(committed):
    lengths = {cell.id: len(cell.source.splitlines()) for cell in committed.cells}
    assert {name: length for name, length in lengths.items() if length > 20 + 6 * (name == "recipe")} == {}


# What a run of it does.


@pytest.mark.slow
def test_a_run_shows_what_the_committed_outputs_show(tour, committed):
    assert {name: kinds(cell) for name, cell in tour.cells.items()} == {
        name: kinds(cell) for name, cell in code_cells(committed).items()
    }
    assert [name for name, cell in tour.cells.items() if shown(cell, "image/png")] == PICTURES


@pytest.mark.slow
def test_its_numbers_are_those_of_the_run(tour):
    metrics = json.loads((tour.folder / "tour" / "run" / "metrics.json").read_text())
    accuracy = float(re.search(r"Accuracy +([\d.]+)", printed(tour.cells["finish"]))[1])
    assert accuracy == pytest.approx(metrics["test"]["accuracy"], abs=5e-5)
    assert accuracy > 0.5  # six classes: it has learned
    assert f"{metrics['test']['accuracy']:.4f}" in shown(tour.cells["card"], "text/markdown")[0]
    explanation = json.loads((tour.folder / "tour" / "explanation" / "explanation.json").read_text())
    stretch = explanation["labels"][0]["most_relevant"]
    assert f"from {stretch['start']:.1f} to {stretch['end']:.1f} s" in printed(tour.cells["relevant"])


@pytest.mark.slow
def test_the_hub_gets_one_private_commit_with_the_whole_run_and_nothing_else(tour):
    assert tour.hub.titles(REPOSITORY) == ["initial commit", "Push the run run with hf_tagger"]
    assert tour.hub.repositories[REPOSITORY].private
    files = tour.hub.files(REPOSITORY)
    assert {name for name in files if not name.endswith(".py")} == REPORTS | {".gitattributes"}
    assert "modeling_short_cnn.py" in files
    assert {name for name, content in files.items() if str(tour.folder).encode() in content} == set()
    assert printed(tour.cells["push"]).split() == [REPOSITORY, *sorted(files)]


@pytest.mark.slow
def test_the_model_from_the_hub_gives_the_scores_of_the_folder(tour):
    difference = float(printed(tour.cells["equal"]).split()[-1])
    assert difference <= 1e-5
    assert tour.hub.calls("storage") > 0  # the weights were fetched, not taken from the folder
    top = re.findall(r"'label': '(\w+)'", shown(tour.cells["again"], "text/plain")[0])
    assert len(top) == 3


@pytest.mark.slow
def test_everything_it_writes_lies_in_its_folder(tour):
    ours = {"kernel.json", "ipython", "matplotlib", "home"}
    assert {path.name for path in tour.folder.iterdir()} - ours == {"tour"}


def test_without_a_token_it_says_what_to_do_and_goes_on_with_the_folder(committed, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    names = {}
    exec(code_cells(committed)["push"].source, names)
    assert names["repository"] == "tour/run"
    assert "hf auth login" in capsys.readouterr().out


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write(run(Path(scratch))[0])
    print(f"{TOUR}: {TOUR.stat().st_size:,} bytes")
