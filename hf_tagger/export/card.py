"""What lies beside an exported graph: ``tagger.json`` for programs and ``README.md`` for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import ModelCard, ModelCardData

from ..evaluation.metric_inputs import MULTI_LABEL
from ..evaluation.metrics import METRIC_TITLES
from ..hub.model_cards import LICENSE_FIELDS, read_model_card
from ..hub.templates import fill_template
from ..tagging import Tagger
from ..training.checkpoints import expanded
from .graph import OPSET
from .measurements import REFERENCE, Scores
from .parity import Parity

_TEMPLATE = Path(__file__).with_name("card.md.j2")


@dataclass(frozen=True)
class ExportedFile:
    """A graph that was written.

    Attributes:
        name: The file's name.
        title: What it is.
        megabytes: Its size.
        milliseconds_per_window: On this machine's CPU.
        time: The same by that of the model in PyTorch.
    """

    name: str
    title: str
    megabytes: float
    milliseconds_per_window: float
    time: float


def tagger_facts(tagger: Tagger) -> dict:
    """What a program has to know to tag with a graph: the content of ``tagger.json``."""
    extractor = tagger.feature_extractor
    return {
        "problem_type": tagger.problem_type,
        "sampling_rate": tagger.sampling_rate,
        "window_samples": extractor.window_samples,
        "hop_samples": extractor.hop_samples,
        "aggregate": "mean",
        "labels": tagger.label_names,
        "thresholds": None if tagger.thresholds is None else [float(value) for value in tagger.thresholds],
    }


def build_card(
    model: str, facts: dict, files: Sequence[ExportedFile], parity: Parity, scores: Scores | None
) -> ModelCard:
    """The card of an exported tagger.

    Args:
        model: Folder or repository that it was made from. Of a folder only the name is told.
        facts: What :func:`tagger_facts` returned.
        files: The graphs, the one in float32 first.
        parity: How far it is from the model.
        scores: Of the graphs and the model, if they were measured.
    """
    folder = Path(expanded(model))
    name = folder.resolve().name if folder.exists() else model.split("/")[-1]
    origin = "A tagger of [hf_tagger](https://github.com/hf-tagger/hf_tagger)"
    if not folder.exists():
        origin += f", [{model}](https://huggingface.co/{model})"
    text = fill_template(
        _TEMPLATE,
        metadata=_metadata(model, folder).to_yaml(),
        name=name,
        origin=origin,
        is_multi_label=facts["problem_type"] == MULTI_LABEL,
        tagger=facts,
        files=files,
        threads=torch.get_num_threads(),
        opset=OPSET,
        parity=parity,
        scores=scores,
        score_table=scores and score_table(scores),
    )
    return ModelCard(text)


def score_table(scores: Scores) -> str:
    """A Markdown table: a row a form of the model, a column a metric."""
    metrics = list(scores.by_form[REFERENCE])
    lines = ["| | " + " | ".join(METRIC_TITLES[metric] for metric in metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for form, own in scores.by_form.items():
        cells = []
        for metric in metrics:
            score, text = own[metric], f"{own[metric].value:.4f}"
            if score.difference is not None:
                text += f" ({score.difference:+.4f}, {score.low:+.4f} to {score.high:+.4f})"
            cells.append(text)
        lines.append(f"| {form} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _metadata(model: str, folder: Path) -> ModelCardData:
    """Licence and datasets as the model's own card states them; a graph holds its weights."""
    card = read_model_card(model)
    stated = card.data.to_dict() if card else {}
    licenses = {name: stated[name] for name in LICENSE_FIELDS if stated.get(name)}
    return ModelCardData(
        **licenses,
        library_name="onnx",
        pipeline_tag="audio-classification",
        tags=["music", "music-tagging", "audio-classification", "hf_tagger", "onnx"],
        datasets=stated.get("datasets"),
        base_model=stated.get("base_model") if folder.exists() else model,
    )
