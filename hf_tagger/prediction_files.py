"""The tags of many files, as text and as timelines, for ``scripts/predict.py``."""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .audio import load_mono
from .errors import AudioDecodingError
from .evaluation.aggregation import Timeline
from .evaluation.timeline_plot import TOP_TAGS, plot_timeline
from .pipeline import MusicTaggingPipeline
from .read_ahead import read_ahead

_WITHOUT_THRESHOLDS = 5  # labels of a file


def tag_files(
    tagger: MusicTaggingPipeline,
    paths: Sequence[Path],
    top_k: int | None = None,
    aggregate: str = "mean",
    timelines: Path | None = None,
) -> list[dict]:
    """Tags files, in batches across them; a bad one is named and stops nothing.

    Args:
        tagger: The model.
        paths: The files.
        top_k: Labels of each file; None for those that reach their thresholds, or five of a model without thresholds.
        aggregate: A name of :data:`~hf_tagger.evaluation.aggregation.AGGREGATIONS`.
        timelines: Folder for a timeline of each file, see :func:`write_timeline`; None for none.

    Returns:
        Of each file, in their order, ``file`` and ``tags`` (with a timeline also ``timeline``, its file), or ``file``
        and ``error``.
    """
    results: list[dict] = [{"file": str(path)} for path in paths]
    names, readable = unique_names(paths) if timelines else [], deque()

    def waveforms() -> Iterator[np.ndarray]:
        rate = tagger.feature_extractor.sampling_rate
        for number, read in enumerate(read_ahead(lambda path: load_mono(path, rate), paths)):
            try:
                waveform = read.result()
            except AudioDecodingError as error:
                results[number]["error"] = str(error)
            else:
                readable.append(number)
                yield waveform

    options = {"top_k": None, "aggregate": aggregate, "timeline": timelines is not None}
    with tqdm(total=len(paths), desc="Tagging", unit="file", file=sys.stderr) as progress:
        for found in tagger(waveforms(), batch_size=tagger.tagger.batch_size, **options):
            number = readable.popleft()
            tags = found if timelines is None else found["tags"]
            results[number]["tags"] = chosen(tags, top_k)
            if timelines is not None:
                name = names[number]
                write_timeline(found, timelines / name, paths[number].name, top_k or TOP_TAGS)
                results[number]["timeline"] = str(timelines / f"{name}.jsonl")
            progress.update(number + 1 - progress.n)
        progress.update(len(paths) - progress.n)
    return results


def chosen(tags: list[dict], top_k: int | None) -> list[dict]:
    """The best labels; without a number those that reach their thresholds, or five if there are no thresholds."""
    if top_k is None and "given" in tags[0]:
        return [tag for tag in tags if tag["given"]]
    return tags[: top_k or _WITHOUT_THRESHOLDS]


def unique_names(paths: Sequence[Path]) -> list[str]:
    """The files' names without suffix, with a number where one stands twice, in small letters or large."""
    names: list[str] = []
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for path in paths:
        name, stem = path.stem, path.stem.casefold()
        while name.casefold() in taken:
            numbers[stem] += 1
            name = f"{path.stem}_{numbers[stem] + 1}"
        taken.add(name.casefold())
        names.append(name)
    return names


def write_timeline(result: Mapping, path: Path, title: str, top_k: int = TOP_TAGS) -> None:
    """Writes ``PATH.jsonl``, a line a second with ``start``, ``end`` and ``scores`` of all labels, and ``PATH.png``.

    Args:
        result: What :class:`MusicTaggingPipeline` returns of a recording with ``top_k=None`` and ``timeline=True``.
        path: Without a suffix.
        title: Of the picture.
        top_k: Labels of the picture.
    """
    tags, cells = result["tags"], result["timeline"]
    lines = "".join(json.dumps(cell) + "\n" for cell in cells)
    path.with_name(f"{path.name}.jsonl").write_text(lines, encoding="utf-8")
    names = [tag["label"] for tag in tags]
    timeline = Timeline(
        probabilities=np.array([[cell["scores"][name] for name in names] for cell in cells]),
        starts=np.array([cell["start"] for cell in cells]),
        window_seconds=1.0,  # what stands for a cell is the cell itself
        seconds=cells[-1]["end"],
        label_names=names,
    )
    scores = np.array([tag["score"] for tag in tags])
    plot_timeline(timeline, scores, path.with_name(f"{path.name}.png"), top_k, title)


def as_text(results: Sequence[dict], keys: Sequence[str], form: str) -> str:
    """All results in one of the formats ``lines``, ``json`` and ``artist20``; ``keys`` are the songs of the last."""
    if form == "json":
        return json.dumps(results, indent=2)
    if form == "lines":
        return "\n".join(as_line(result) for result in results)
    tagged = [(key, result["tags"]) for key, result in zip(keys, results, strict=True) if "tags" in result]
    return json.dumps({key: [tag["label"] for tag in tags] for key, tags in tagged}, indent=2)


def as_line(result: Mapping) -> str:
    """``file: tag 0.93, tag 0.41`` or ``file: not tagged, reason``."""
    if "error" in result:
        return f"{result['file']}: not tagged, {result['error']}"
    tags = ", ".join(f"{tag['label']} {tag['score']:.3f}" for tag in result["tags"])
    return f"{result['file']}: {tags or 'no label reaches its threshold'}"
