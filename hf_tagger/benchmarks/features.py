"""Spectrograms: ours, batched on the device of the model, against the usual libraries clip by clip.

python scripts/benchmark.py features
python scripts/benchmark.py features --threads 2 --device cpu

The filterbank of AST is compared with transformers' ``ASTFeatureExtractor``, the log-mel spectrogram and the constant-Q
transform (front ends ``mel_db`` and ``cqt``) with librosa. Clips lie where they are needed: in main memory for the
libraries, on the device for ours.
"""

from __future__ import annotations

import argparse

import librosa
import torch
from transformers import ASTFeatureExtractor

from ..models.configuration_short_cnn import ShortCnnConfig
from ..models.frontends import build_front_end
from ..models.input_features import filterbank_of
from ._options import add_machine_options, chosen_machine, seconds, whole_number
from ._results import Results
from ._timing import in_turns

_QUANTILE = 0.99


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add_machine_options(parser, threads=1)
    parser.add_argument("--batch_size", type=whole_number(1), default=16, help="clips of a batch")
    parser.add_argument("--clip_seconds", type=seconds, default=10.24, help="length of a clip")
    parser.add_argument("--seconds", type=seconds, default=10.0, help="time of each measurement")


def measure(options: argparse.Namespace) -> Results:
    """Milliseconds a clip of every way, in turns; and how far the values are apart."""
    device = chosen_machine(options)
    samples = round(options.clip_seconds * 16_000)
    clips = 0.1 * torch.randn(options.batch_size, samples, generator=torch.Generator().manual_seed(0))
    arrays, on_device = list(clips.numpy()), clips.to(device)

    extractor = ASTFeatureExtractor()
    filterbank = filterbank_of(extractor)
    mel_config = ShortCnnConfig(front_end="mel_db")
    cqt_config = ShortCnnConfig(front_end="cqt")
    mel, cqt = build_front_end(mel_config).to(device), build_front_end(cqt_config).to(device)
    pairs = {
        "AST's filterbank": (
            ("ASTFeatureExtractor", lambda: extractor(arrays, sampling_rate=16_000, return_tensors="pt").input_values),
            lambda: filterbank(on_device),
        ),
        "mel spectrogram, dB": (
            ("librosa", lambda: torch.stack([_librosa_mel(array, mel_config) for array in arrays])),
            lambda: mel(on_device)[:, 0],
        ),
        "constant-Q transform, dB": (
            ("librosa", lambda: torch.stack([_librosa_cqt(array, cqt_config) for array in arrays])),
            lambda: cqt(on_device)[:, 0],
        ),
    }
    rows = []
    for name, ((library, stock), ours) in pairs.items():
        with torch.no_grad():
            apart = (stock() - ours().cpu()).abs().flatten().quantile(_QUANTILE).item()
            times = in_turns({library: stock, "ours, batched": ours}, 2 * options.seconds, device)
        for way, value in times.items():
            rows.append(
                {
                    "spectrogram": name,
                    "way": way,
                    "ms a clip": 1_000 * value / options.batch_size,
                    "times stock": times[library] / value,
                    "difference": apart if way != library else None,
                }
            )
    return Results(
        f"Spectrograms of clips of {options.clip_seconds:g} s at 16 kHz, batches of {options.batch_size}, "
        f"{options.threads} thread(s), ours on {device}.",
        rows,
        [
            f"Difference: what {100 * _QUANTILE:g} % of the values keep to; of the AST filterbank in normalised "
            f"values, of the others in decibels."
        ],
    )


def _librosa_mel(array, config: ShortCnnConfig) -> torch.Tensor:
    power = librosa.feature.melspectrogram(
        y=array,
        sr=config.sampling_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.num_mel_bins,
        fmin=config.f_min,
        fmax=config.f_max,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    return torch.from_numpy(librosa.power_to_db(power, top_db=None))


def _librosa_cqt(array, config: ShortCnnConfig) -> torch.Tensor:
    magnitudes = librosa.cqt(
        y=array,
        sr=config.sampling_rate,
        hop_length=config.hop_length,
        n_bins=config.num_cqt_bins,
        bins_per_octave=config.cqt_bins_per_octave,
        fmin=config.cqt_f_min,
        sparsity=0,
    )
    return torch.from_numpy(librosa.amplitude_to_db(abs(magnitudes), top_db=None))
