"""Everything that explains a tagger's labels for one recording, and the files that show it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..argument_checks import unknown_name
from ..audio import read_audio, resample, to_mono
from ..errors import HfTaggerError
from ..tagging import Tagger
from .clip import FILLS, ExplainedClip
from .deletion import Deletion, deletion_tests
from .explanation_plot import plot_deletion, plot_explanation
from .occlusion import band_edges, occlude_frequency, occlude_time
from .saliency import Saliency, explain_by_gradients

GRADIENTS, OCCLUSION = "integrated gradients", "occlusion"


@dataclass(frozen=True)
class ExplanationSettings:
    """How an explanation is computed.

    Attributes:
        segment_seconds: Length of the parts of time that are removed.
        bands: Number of frequency bands that are removed.
        gradient_steps: Points of the integral of the gradients; see ``completeness_error`` in the result.
        fill: What replaces a removed part.
        deletion_steps: Points of the deletion curves.
        random_orders: Random orders that the explanation has to beat.
        seconds: Length of the most relevant stretch that is written as audio.
        seed: Seed of noise and random orders.

    Raises:
        HfTaggerError: If a value is out of its range, with all mistakes.
    """

    segment_seconds: float = 0.5
    bands: int = 12
    gradient_steps: int = 20
    fill: str = "noise"
    deletion_steps: int = 10
    random_orders: int = 20
    seconds: float = 3.0
    seed: int = 0

    def __post_init__(self):
        problems = [
            f"{name} must be a number greater than 0, received {getattr(self, name)}"
            for name in ("segment_seconds", "seconds")
            if not 0 < getattr(self, name) < float("inf")
        ]
        problems += [
            f"{name} must be at least {least}, received {getattr(self, name)}"
            for name, least in (
                ("bands", 2), ("gradient_steps", 1), ("deletion_steps", 2), ("random_orders", 1), ("seed", 0)
            )
            if getattr(self, name) < least
        ]  # fmt: skip
        if self.fill not in FILLS:
            problems.append(f"fill must be one of {', '.join(FILLS)}, received {self.fill!r}")
        if problems:
            raise HfTaggerError(f"The explanation cannot be computed: {'; '.join(problems)}.")


@dataclass(frozen=True)
class Explanation:
    """What makes a tagger give one label to a recording.

    Attributes:
        label: Its name.
        probability: Mean probability over the windows, as the tagger says it.
        gradients: Relevance of every segment by integrated gradients, in log odds ``[S]``.
        relevance_map: The same in time and frequency ``[bins, columns]``.
        occlusion: Drop of the probability without each segment ``[S]``.
        bands: Drop of the probability without each band ``[B]``.
        completeness_error: Of the gradients, see :meth:`Saliency.completeness_error`.
        deletion: The test of both.
        stretch: Most relevant segments ``(first, last + 1)``, by the explanation with the smaller area.
    """

    label: str
    probability: float
    gradients: np.ndarray
    relevance_map: np.ndarray
    occlusion: np.ndarray
    bands: np.ndarray
    completeness_error: float
    deletion: Deletion
    stretch: tuple[int, int]


@dataclass(frozen=True)
class Recording:
    """What the explanations of one recording share.

    Attributes:
        segment_edges: Borders of the segments in seconds ``[S + 1]``.
        band_edges: Borders of the frequency bands in Hz ``[B + 1]``.
        saliency: Gradients of all labels, and the spectrogram that they lie on.
        windows: Windows that the tagger heard.
    """

    segment_edges: np.ndarray
    band_edges: np.ndarray
    saliency: Saliency
    windows: int


def explain(
    tagger: Tagger, waveform: np.ndarray, labels: Sequence[str], settings: ExplanationSettings
) -> tuple[Recording, list[Explanation]]:
    """Explains some labels of a recording.

    Args:
        tagger: The model.
        waveform: float32 ``[samples]`` at its sampling rate.
        labels: Names of labels.
        settings: How.

    Raises:
        HfTaggerError: If the model does not know a label, or if there is nothing to explain in the audio.
    """
    numbers = label_numbers(tagger, labels)
    clip = ExplainedClip(tagger, waveform, settings.segment_seconds, settings.fill, settings.seed)
    saliency = explain_by_gradients(clip, numbers, settings.gradient_steps)
    in_time = occlude_time(clip, numbers)
    edges = band_edges(settings.bands, clip.sampling_rate)
    in_frequency = occlude_frequency(clip, numbers, edges)
    relevance = {GRADIENTS: saliency.segments, OCCLUSION: in_time}
    tests = deletion_tests(clip, numbers, relevance, settings.deletion_steps, settings.random_orders, settings.seed)
    duration = clip.samples / clip.sampling_rate
    length = min(max(1, round(settings.seconds / duration * clip.segments)), clip.segments)
    explanations = [
        Explanation(
            label=name,
            probability=float(clip.probabilities[:, number].mean()),
            gradients=saliency.segments[row],
            relevance_map=saliency.maps[row],
            occlusion=in_time[row],
            bands=in_frequency[row],
            completeness_error=saliency.completeness_error(row),
            deletion=tests[row],
            stretch=most_relevant(relevance[tests[row].best][row], length),
        )
        for row, (name, number) in enumerate(zip(labels, numbers, strict=True))
    ]
    return Recording(clip.segment_edges, edges, saliency, len(clip.starts)), explanations


def label_numbers(tagger: Tagger, labels: Sequence[str]) -> list[int]:
    """Numbers of a model's labels.

    Raises:
        HfTaggerError: If there is no such label, with the closest names.
    """
    known = {name: int(number) for number, name in tagger.model.config.id2label.items()}
    unknown = [unknown_name("label", name, list(known)) for name in labels if name not in known]
    if unknown:
        raise HfTaggerError("\n".join(unknown))
    return [known[name] for name in labels]


def most_relevant(relevance: np.ndarray, length: int) -> tuple[int, int]:
    """The ``length`` neighbouring segments whose relevance has the largest sum: first, and last + 1."""
    sums = np.convolve(relevance, np.ones(length), mode="valid")
    first = int(sums.argmax())
    return first, first + length


def explain_file(
    tagger: Tagger,
    path: str | Path,
    labels: Sequence[str] | None,
    top_k: int,
    settings: ExplanationSettings,
    folder: Path,
) -> dict:
    """Explains a file's labels and writes ``explanation.json`` and, for each label, two pictures and the most relevant
    seconds as WAV (the file's own channels and sampling rate).

    Args:
        tagger: The model.
        path: Audio file.
        labels: Names of labels; None takes the ``top_k`` likeliest.
        top_k: See there.
        settings: How.
        folder: Where to write; made if it does not exist.

    Returns:
        What ``explanation.json`` holds.

    Raises:
        HfTaggerError: If the file cannot be read, or see :func:`explain`.
    """
    if labels:
        labels = list(dict.fromkeys(labels))
        label_numbers(tagger, labels)  # before the work of reading
    samples, rate = read_audio(path)
    waveform = resample(to_mono(samples), rate, tagger.sampling_rate)
    labels = labels or [tag["label"] for tag in tagger(waveform, top_k=top_k)]
    recording, explanations = explain(tagger, waveform, labels, settings)

    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "file": str(path),
        "seconds": len(samples) / rate,
        "windows": recording.windows,
        "settings": asdict(settings),
        "units": {GRADIENTS: "log odds of a window", OCCLUSION: "probability of the recording"},
        "segment_edges": recording.segment_edges.tolist(),
        "band_edges": recording.band_edges.tolist(),
        "labels": [],
    }
    for number, (explanation, name) in enumerate(zip(explanations, file_names(labels), strict=True), start=1):
        stem = f"{number:02d}_{name}"
        start, end = (float(recording.segment_edges[segment]) for segment in explanation.stretch)
        title = f"{explanation.label} ({explanation.probability:.3f}) in {Path(path).name}"
        plot_explanation(recording, explanation, folder / f"{stem}.png", title)
        plot_deletion(explanation, folder / f"{stem}_deletion.png", title)
        excerpt = samples[round(start * rate) : round(end * rate)]
        soundfile.write(folder / f"{stem}.wav", np.clip(excerpt, -1, 1), rate, subtype="PCM_16")
        files = {"picture": f"{stem}.png", "deletion": f"{stem}_deletion.png", "audio": f"{stem}.wav"}
        result["labels"].append(as_record(explanation, start, end) | {"files": files})
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (folder / "explanation.json").write_text(text + "\n", encoding="utf-8")
    return result


def as_record(explanation: Explanation, start: float, end: float) -> dict:
    """An explanation's numbers, without its map."""
    test = explanation.deletion
    return {
        "label": explanation.label,
        "probability": explanation.probability,
        "most_relevant": {"start": start, "end": end, "by": test.best},
        "segments": {GRADIENTS: explanation.gradients.tolist(), OCCLUSION: explanation.occlusion.tolist()},
        "bands": explanation.bands.tolist(),
        "completeness_error": explanation.completeness_error,
        "deletion": {
            "shares": test.shares.tolist(),
            "probability_of_nothing": test.nothing_left,
            "random_areas": test.random_areas.tolist(),
            "random_curves": test.random.tolist(),
            **{
                name: {"curve": curve.tolist(), "area": test.area(name), "random_orders_beaten": test.beaten(name)}
                for name, curve in test.curves.items()
            },
        },
    }


def file_names(labels: Sequence[str]) -> list[str]:
    """Labels as parts of file names that every system takes."""
    return [re.sub(r"[^\w-]+", "_", label).strip("_")[:60] or "label" for label in labels]
