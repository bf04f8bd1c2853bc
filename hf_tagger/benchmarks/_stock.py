"""The stock way: what transformers' own example for audio classification does.

https://github.com/huggingface/transformers/blob/main/examples/pytorch/audio-classification/run_audio_classification.py:
an ``Audio`` column that decodes a whole file at every access, a random crop, and the feature extractor, in
``set_transform``; then ``Trainer`` with its own collation.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Audio, Dataset
from transformers import SequenceFeatureExtractor
from transformers.pipelines.audio_utils import ffmpeg_read

from ..audio import load_mono
from ..data.clip_audio import ClipAudio


def stock_dataset(
    paths: Sequence[Path], extractor: SequenceFeatureExtractor, window_seconds: float, with_features: bool = True
) -> Dataset:
    """Recordings that are decoded, cropped and given to the feature extractor whenever they are looked at.

    Args:
        paths: Audio files.
        extractor: The model's feature extractor.
        window_seconds: Length of the crop in seconds.
        with_features: False leaves the feature extractor out: rows hold the crop itself.

    Returns:
        Rows ``{"input_values", "labels"}``; the label is always 0.
    """
    rate = extractor.sampling_rate
    dataset = Dataset.from_dict({"audio": [str(path) for path in paths], "label": [0] * len(paths)})
    column = Audio if stock_decoder() == "torchcodec" else ClipAudio
    dataset = dataset.cast_column("audio", column(sampling_rate=rate))
    samples = round(window_seconds * rate)

    def crops(rows: dict) -> dict:
        waveforms = [_random_crop(audio["array"], samples) for audio in rows["audio"]]
        labels = list(rows["label"])
        if not with_features:
            return {"input_values": waveforms, "labels": labels}
        features = extractor(waveforms, sampling_rate=rate, return_tensors="pt")
        return {"input_values": list(features["input_values"]), "labels": labels}

    dataset.set_transform(crops, output_all_columns=False)
    return dataset


def stock_decoder() -> str:
    """What ``datasets.Audio`` decodes with: torchcodec; libsndfile in its place where FFmpeg is not installed."""
    if importlib.util.find_spec("torchcodec") is None:
        return "libsndfile"
    try:
        import torchcodec.decoders  # noqa: F401  (its libraries are loaded by this)
    except (ImportError, OSError, RuntimeError):  # FFmpeg's shared libraries are missing
        return "libsndfile"
    return "torchcodec"


def stock_file_reader() -> str:
    """What stock pipelines read files with: the program ffmpeg; libsndfile in its place where there is none."""
    return "ffmpeg" if shutil.which("ffmpeg") else "libsndfile"


def read_like_the_pipeline(path: Path, sampling_rate: int) -> np.ndarray:
    """A file as the stock pipeline reads it: float32 ``[samples]`` at ``sampling_rate`` Hz."""
    if stock_file_reader() == "ffmpeg":
        return ffmpeg_read(path.read_bytes(), sampling_rate)
    return load_mono(path, sampling_rate)


def stack(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Collates rows of :func:`stock_dataset`, with features or without."""
    return {
        "input_values": torch.stack([torch.as_tensor(row["input_values"]) for row in rows]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def _random_crop(waveform: np.ndarray, samples: int) -> np.ndarray:
    waveform = np.asarray(waveform)
    if len(waveform) <= samples:
        return np.pad(waveform, (0, samples - len(waveform)))
    start = random.randint(0, len(waveform) - samples)
    return waveform[start : start + samples]
