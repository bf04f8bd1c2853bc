"""Exported graphs in onnxruntime, on the CPU, in the place of the model they were made from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from transformers import PreTrainedConfig, SequenceFeatureExtractor

from ..errors import HfTaggerError
from ..models import WaveformFeatureExtractor
from ..tagging import Tagger
from .graph import INPUT, OUTPUT

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Raises HfTaggerError if what an export needs is not installed; importing the package needs none of it."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise HfTaggerError(
            f"--format onnx needs {', '.join(missing)}, not installed here: pip install 'hf_tagger[export]'"
        )


class OnnxModel(nn.Module):
    """A graph with the face of the tagger it was made from: windows ``[N, samples]`` in, ``logits`` ``[N, C]`` out.

    It runs on as many threads as torch, so that times can be compared.

    Args:
        path: The graph.
        config: The tagger's configuration.
    """

    def __init__(self, path: Path, config: PreTrainedConfig):
        super().__init__()
        import onnxruntime  # an extra; see check_installed

        self.config = config
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

    def forward(self, input_values: torch.Tensor) -> SimpleNamespace:
        """``[N, samples]`` → an object with ``logits`` ``[N, C]``."""
        (logits,) = self._session.run([OUTPUT], {INPUT: input_values.numpy()})
        return SimpleNamespace(logits=torch.from_numpy(logits))


def onnx_tagger(path: Path, config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor) -> Tagger:
    """A tagger that computes by a graph; windows are those of the model it was made from.

    Args:
        path: The graph.
        config: The model's configuration: labels, and what was fitted.
        feature_extractor: The model's feature extractor.
    """
    windows = WaveformFeatureExtractor(
        feature_extractor.sampling_rate, feature_extractor.window_samples, feature_extractor.hop_samples
    )
    return Tagger(OnnxModel(path, config), windows, "cpu")
