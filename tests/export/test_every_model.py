"""Every registered model, and every stock one that can be finetuned, as a graph: the same sentences for all."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SMALL
from small_taggers import build
from transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor

from hf_tagger.errors import HfTaggerError
from hf_tagger.export.front_ends import NOT_EXPORTED, GraphFeatures
from hf_tagger.export.graph import write_graph
from hf_tagger.export.parity import TOLERANCE, check_parity, check_windows, largest_difference
from hf_tagger.export.quantization import quantize
from hf_tagger.export.runtime import OnnxModel
from hf_tagger.models import MODELS, WindowedEncoderClassification
from hf_tagger.models.input_features import input_features
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.checkpoints import is_head

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "training"))
from test_freezing import STOCK, make_stock

from hf_tagger import ModelArguments

CASES = [(name, number) for name in MODELS for number in range(len(SMALL.get(name, [{}])))]
WITHOUT_GRAPH = {"wav2vec2-bert": SeamlessM4TFeatureExtractor}


def with_a_loud_head(model):
    """Heads that are not trained give next to nothing, in which every difference would be small."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if is_head(name):
            torch.nn.init.normal_(parameter)
    return model.eval()


def assert_exported(model, extractor, folder):
    """The graph, and the one with 8-bit weights, tag any number of windows as the model does."""
    in_float = write_graph(model, extractor, folder / "model.onnx")
    graph = OnnxModel(folder / "model.onnx", model.config)
    parity = check_parity(model, extractor, graph)
    assert parity.difference <= TOLERANCE
    windows = torch.cat([check_windows(extractor, seed) for seed in (1, 2)])[:5]
    with torch.no_grad():
        logits = model(**input_features(extractor)(windows)).logits
    assert largest_difference(graph(windows).logits, logits) <= TOLERANCE
    assert logits.std(dim=0).max() > 0.02  # windows do not sound alike
    quantize(folder / "model.onnx", folder / "int8.onnx", in_float)
    rounded = OnnxModel(folder / "int8.onnx", model.config)(windows).logits
    assert rounded.shape == (5, 3)
    assert torch.isfinite(rounded).all()
    assert not torch.equal(rounded, logits)
    scale = logits.abs().max()
    assert (rounded - logits).abs().max() < 0.5 * scale


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), CASES)
def test_every_model_of_the_package_is_exported_with_equal_logits(name, number, tmp_path):
    model, extractor = build(name, number)
    assert_exported(
        with_a_loud_head(model) if isinstance(model, WindowedEncoderClassification) else model, extractor, tmp_path
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STOCK if name not in WITHOUT_GRAPH])
def test_every_stock_model_is_exported_with_equal_logits(name, tmp_path):
    arguments = ModelArguments(model_name_or_path=str(make_stock(name, tmp_path / "base")), window_seconds=1.5)
    plan = plan_model(arguments)
    model = build_model(plan, ["a", "b", "c"], "multi_label_classification")
    assert_exported(with_a_loud_head(model), plan.feature_extractor, tmp_path)


@pytest.mark.parametrize("name", WITHOUT_GRAPH)
def test_a_model_without_a_graph_says_why(name, tmp_path):
    plan = plan_model(ModelArguments(model_name_or_path=str(make_stock(name, tmp_path / "base")), window_seconds=1.5))
    assert type(plan.feature_extractor) is WITHOUT_GRAPH[name]
    model = build_model(plan, ["a", "b", "c"], "multi_label_classification")
    with pytest.raises(HfTaggerError, match=r"cannot be exported.*SeamlessM4TFeatureExtractor.*with NumPy"):
        write_graph(model, plan.feature_extractor, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_reasons_are_those_of_the_models_without_a_graph():
    assert set(NOT_EXPORTED) == set(WITHOUT_GRAPH.values())


def test_whispers_spectrogram_in_the_graph_is_that_of_its_feature_extractor():
    extractor = WhisperFeatureExtractor(chunk_length=3)
    extractor.window_samples = 40_000  # filled up with zeros to 3 s
    windows = check_windows(extractor)
    (expected,) = input_features(extractor)(windows).values()
    (found,) = GraphFeatures(extractor)(windows).values()
    assert found.shape == (3, 80, 300)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected.numpy()) > 1
