"""From a tagger to an ONNX graph. Shapes::

windows   [windows, samples]   float32, mono at the model's sampling rate, samples = the model's window
logits    [windows, labels]    float32, before sigmoid or softmax

The number of windows is free. Their length is not: windows have one length in training and evaluation, shorter
recordings are repeated until they fill one, and some models cannot be written down for a free length (recurrent layers,
the constant-Q transform, sample-level convolutions). Everything from the waveform on is in the graph: normalisation,
the spectrogram, the network.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..errors import HfTaggerError
from ..models.frontends import FrontEnd
from ..models.modeling_audio_encoder import AudioEncoderForAudioClassification, make_feature_extractor
from .front_ends import GraphFeatures

INPUT, OUTPUT = "windows", "logits"
OPSET = 18  # the lowest that torch writes by itself, so that older runtimes read it; STFT is in it since 17
_SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter notes them


class WindowLogits(nn.Module):
    """Windows → logits.

    Args:
        model: A tagger.
        feature_extractor: Its feature extractor.

    Raises:
        HfTaggerError: If what the model reads cannot be computed in a graph.
    """

    def __init__(self, model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor):
        super().__init__()
        self.features, self.model = GraphFeatures(feature_extractor), model

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        return self.model(**self.features(windows)).logits


def write_graph(model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor, path: Path) -> list[str]:
    """Writes a tagger as ONNX.

    Names of files, classes and lines of code, which the exporter notes at every node, are left out.

    Args:
        model: A tagger on the CPU, in float32.
        feature_extractor: Its feature extractor.
        path: The file.

    Returns:
        Names of the nodes that compute the spectrogram or the normalisation, which must stay in float32.

    Raises:
        HfTaggerError: If the model cannot be exported.
    """
    with _features_in_graph(model), torch.no_grad(), _quiet():
        wrapper = WindowLogits(model, feature_extractor).eval()
        example = torch.zeros(2, feature_extractor.window_samples)
        try:
            program = torch.onnx.export(
                wrapper,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim(INPUT, min=1)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # the exporter fails in every way: its own errors, those of torch.export, TypeError
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise HfTaggerError(f"{type(model).__name__} cannot be exported by torch.onnx: {reason[0]}") from error
        front_end = {name for name, module in wrapper.named_modules() if isinstance(module, FrontEnd | GraphFeatures)}
        program.save(path)
    return _without_origin(path, front_end)


def _without_origin(path: Path, front_end: set[str]) -> list[str]:
    """Removes the exporter's notes from a file, and inner shapes, which its optimiser leaves outdated (torch 2.14).

    Returns:
        Names of the nodes that come from one of the modules named.
    """
    import onnx  # an extra; see runtime.check_installed

    written = onnx.load(path, load_external_data=False)
    graph = written.graph
    names = [node.name for node in graph.node if _scopes(node) & front_end]
    for part in (written, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    onnx.save(written, path)
    return names


def _scopes(node) -> set[str]:
    """Names of the modules that a node comes from, from the outermost on."""
    noted = next((note.value for note in node.metadata_props if note.key == _SCOPES), "[]")
    return set(ast.literal_eval(noted))


@contextmanager
def _features_in_graph(model: PreTrainedModel) -> Iterator[None]:
    """Has an encoder with a feature extractor of its own compute it by torch for the time of the export."""
    if not isinstance(model, AudioEncoderForAudioClassification):
        yield
        return
    own = model._features
    model._features = GraphFeatures(make_feature_extractor(model.config))
    try:
        yield
    finally:
        del model._features
        model._features = own


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on libraries that no tagger needs, and on its own inner workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
