"""Everything that an exported tagger needs in one folder, which is there whole or not at all::

model.onnx        windows → logits, float32        (model.onnx.data, above 2 GB)
model_int8.onnx   the same with 8-bit weights      if asked for
tagger.json       labels, thresholds, windows      for programs
README.md         card with a program that tags    for people
export.json       parity, sizes, times, scores
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from ..convert.checkpoint import new_folder
from ..models.windowing import cut_windows
from ..saved_evaluation import SavedEvaluation, open_saved
from ..saved_tagger import load_tagger
from ..tagging import Tagger
from .card import ExportedFile, build_card, score_table, tagger_facts
from .graph import OPSET, write_graph
from .measurements import REFERENCE, Scores, megabytes, milliseconds_per_window, score_forms
from .parity import TOLERANCE, Parity, check_parity, check_windows
from .quantization import quantize
from .runtime import check_installed, onnx_tagger

FLOAT_FILE, INTEGER_FILE = "model.onnx", "model_int8.onnx"
_FORMS = {FLOAT_FILE: "ONNX, float32", INTEGER_FILE: "ONNX, 8-bit integers"}
_RECORDINGS = 5  # whose first window takes part in the comparison


@dataclass(frozen=True)
class Export:
    """What is to be exported.

    Attributes:
        model: Folder of a run, or a repository on the Hub.
        output: Folder to write, new or empty.
        quantize: Whether to write 8-bit weights as well.
        tolerance: Largest difference of a logit between graph and model, as a share of the largest logit.
        recipe: Recipe of the clips to score on, and flags that override its fields; none are scored without.
        split: Split of these clips.
    """

    model: str
    output: str
    quantize: bool = False
    tolerance: float = TOLERANCE
    recipe: Sequence[str] = ()
    split: str = "test"


def export_onnx(export: Export) -> str:
    """Writes the folder.

    Returns:
        What to tell: parity, sizes, times and scores.

    Raises:
        HfTaggerError: If a library is missing, the folder holds files, the model cannot be loaded or exported, or the
            graph does not compute what the model does. Nothing is written then.
    """
    check_installed()
    folder = new_folder(export.output).resolve()
    with ExitStack() as stack:
        saved = stack.enter_context(open_saved(export.model, export.recipe)) if export.recipe else None
        if saved is None:
            model, feature_extractor = load_tagger(export.model)
        else:
            model, feature_extractor = saved.trainer.tagger, saved.trainer.processing_class
        tagger = Tagger(model.float(), feature_extractor, "cpu")
        partial = stack.enter_context(_whole_or_not_at_all(folder))
        return _fill(partial, export, tagger, saved)


def _fill(folder: Path, export: Export, tagger: Tagger, saved: SavedEvaluation | None) -> str:
    model, feature_extractor = tagger.model, tagger.feature_extractor
    in_float = write_graph(model, feature_extractor, folder / FLOAT_FILE)
    forms = {REFERENCE: tagger, _FORMS[FLOAT_FILE]: onnx_tagger(folder / FLOAT_FILE, model.config, feature_extractor)}
    recordings = _first_windows(saved, export.split, tagger) if saved else []
    graph = forms[_FORMS[FLOAT_FILE]].model
    parity = check_parity(model, feature_extractor, graph, recordings, export.tolerance)
    if export.quantize:
        quantize(folder / FLOAT_FILE, folder / INTEGER_FILE, in_float)
        forms[_FORMS[INTEGER_FILE]] = onnx_tagger(folder / INTEGER_FILE, model.config, feature_extractor)
    scores = score_forms(forms, saved, export.split) if saved else None
    times = milliseconds_per_window(forms, check_windows(feature_extractor))
    files = [
        ExportedFile(name, title, megabytes(folder / name), times[title], times[title] / times[REFERENCE])
        for name, title in _FORMS.items()
        if title in forms
    ]
    facts = tagger_facts(tagger)
    build_card(export.model, facts, files, parity, scores).save(folder / "README.md")
    _write_json(folder / "tagger.json", facts)
    record = {
        "opset": OPSET,
        "parity": asdict(parity),
        "milliseconds_per_window": times,
        "threads": torch.get_num_threads(),
        "files": [asdict(file) for file in files],
        "scores": scores and scores.as_dict(),
        "versions": {name: version(name) for name in ("hf_tagger", "torch", "onnx", "onnxscript", "onnxruntime")},
    }
    _write_json(folder / "export.json", record)
    return _told(files, parity, scores)


def _told(files: Sequence[ExportedFile], parity: Parity, scores: Scores | None) -> str:
    lines = [
        f"Parity: the logits of {parity.windows} windows of notes and noise differ from PyTorch's by at most "
        f"{parity.difference:.1e} of the largest (tolerance {parity.tolerance:g})"
    ]
    if parity.recordings:
        lines.append(
            f"On {parity.recordings} windows of recordings by at most {parity.recordings_difference:.1e}; PyTorch's "
            f"own change by {parity.recordings_rounding:.1e} if all samples change by a millionth"
        )
    lines += [
        f"{file.name}: {file.megabytes:.1f} MB, {file.milliseconds_per_window:.1f} ms a window, {file.time:.2f} times "
        f"the time of PyTorch"
        for file in files
    ]
    if scores:
        lines += [f"\nScores on {scores.clips} clips ({scores.split}):\n", score_table(scores), ""]
    return "\n".join(lines)


def _first_windows(saved: SavedEvaluation, split: str, tagger: Tagger) -> list[torch.Tensor]:
    """The first windows of some clips, spread over the split, ``[samples]`` each."""
    clips, window = saved.labelled_clips(split), tagger.feature_extractor.window_samples
    chosen = clips.labelled[:: max(len(clips.labelled) // _RECORDINGS, 1)][:_RECORDINGS]
    return [cut_windows(torch.from_numpy(clips.read(index, 0, window)), window, window)[0] for index in chosen]


@contextmanager
def _whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its name when everything is written, and is removed if anything fails."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():  # empty; it may be where a volume is mounted, which cannot be replaced
            for path in partial.iterdir():
                shutil.move(path, folder / path.name)
        else:
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
