"""Learning rates by depth, what is trained when, and the average of the weights, in numbers."""

import pytest
import torch
from tiny_checkpoints import make_ast, make_musicfm
from tiny_encoders import LAYERS, build_tagger, save_encoder
from torch import nn

from hf_tagger import ModelArguments, TaggingArguments
from hf_tagger.errors import RecipeError
from hf_tagger.models import MODELS
from hf_tagger.training.layers import layer_depths, train_last_layers
from hf_tagger.training.lora import add_lora
from hf_tagger.training.optimizer import parameter_groups
from hf_tagger.training.trained_part import choose_trained_part
from hf_tagger.training.unfreezing import GradualUnfreezing
from hf_tagger.training.weight_average import WeightAverage

FAMILIES = ("mert", "ast", "hubert", "wav2vec2", "whisper")
WINDOWS = {"ast": None, "whisper": None}


@pytest.fixture(scope="session")
def tagger(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")

    def make(family, **fields):
        if not (root / family).exists():
            made = {"musicfm": make_musicfm, "ast": make_ast}.get(family)  # AST as published, with a head
            made(root / family) if made else save_encoder(family, root / family)
        return build_tagger(root / family, WINDOWS.get(family, 0.5), **fields)[0]

    return make


def arguments(tmp_path, **fields):
    return TaggingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True, **fields)


def rates(model, tagger, training):
    groups = parameter_groups(model, tagger, training)
    found = {id(value): group["lr"] for group in groups for value in group["params"]}
    return {name: found[id(value)] for name, value in tagger.named_parameters() if id(value) in found}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_has_its_depth(family, tagger):
    model = tagger(family)
    depths, layers = layer_depths(model, "layer_decay")
    assert layers == model.config.num_hidden_layers
    assert depths.keys() == dict(model.named_parameters()).keys()
    of_the_stack = {name: depth for name, depth in depths.items() if any(f".{n}." in name for n in range(layers))
                    and "conv_layers" not in name}  # fmt: skip
    for number in range(layers):
        own = {depth for name, depth in of_the_stack.items() if f".{number}." in name}
        assert number + 1 in own
    assert {depth for name, depth in depths.items() if name.startswith("classifier")} == {layers + 1}
    first = {"ast": "embeddings", "whisper": "conv1"}.get(family, "feature_extractor")
    assert {depth for name, depth in depths.items() if f".{first}." in name} == {0}


def test_the_learning_rate_falls_by_the_decay_from_layer_to_layer(tmp_path, tagger):
    model = tagger("mert")
    found = rates(model, model, arguments(tmp_path, learning_rate=1e-3, layer_decay=0.5))
    assert found["classifier.output.weight"] == 1e-3
    for number in range(LAYERS):
        expected = 1e-3 * 0.5 ** (LAYERS - number)
        assert found[f"mert.encoder.layers.{number}.attention.q_proj.weight"] == pytest.approx(expected)
    assert found["mert.feature_projection.projection.weight"] == pytest.approx(1e-3 * 0.5 ** (LAYERS + 1))


def test_the_head_learns_at_its_own_rate(tmp_path, tagger):
    model = tagger("hubert")
    found = rates(model, model, arguments(tmp_path, learning_rate=1e-5, head_learning_rate=1e-3))
    assert {rate for name, rate in found.items() if name.startswith(("classifier", "projector"))} == {1e-3}
    assert {rate for name, rate in found.items() if not name.startswith(("classifier", "projector"))} == {1e-5}


def test_adapters_learn_at_the_rate_of_their_layer(tmp_path, tagger):
    fields = ModelArguments(model_name_or_path="x", lora={"rank": 2})
    model = tagger("mert")
    adapted = add_lora(model, fields.lora, "x")
    found = rates(adapted, model, arguments(tmp_path, learning_rate=1e-3, layer_decay=0.5, head_learning_rate=1e-2))
    adapters = {name: rate for name, rate in found.items() if "lora_" in name}
    assert len(adapters) == LAYERS * 2 * 2
    for name, rate in adapters.items():
        number = int(name.split("layers.")[1].split(".")[0])
        assert rate == pytest.approx(1e-3 * 0.5 ** (LAYERS - number))
    assert {rate for name, rate in found.items() if name.startswith("classifier")} == {1e-2}


def test_norms_and_biases_have_no_weight_decay(tmp_path, tagger):
    model = tagger("mert")
    groups = parameter_groups(model, model, arguments(tmp_path, weight_decay=0.1, layer_decay=0.5))
    decays = {id(value): group["weight_decay"] for group in groups for value in group["params"]}
    for name, value in model.named_parameters():
        if value.requires_grad:
            expected = 0.0 if name.endswith("bias") or "norm" in name else 0.1
            assert decays[id(value)] == expected, name


def test_a_network_without_layers_is_refused_by_name(tmp_path):
    model = MODELS["short_cnn"](MODELS["short_cnn"].config_class(num_channels=4))
    with pytest.raises(RecipeError, match="layer_decay: ShortCnnForAudioClassification has no pretrained encoder"):
        parameter_groups(model, model, arguments(tmp_path, layer_decay=0.5))


@pytest.mark.parametrize("family", [*FAMILIES, "musicfm"])
def test_only_the_last_layers_and_the_head_are_trained(family, tagger):
    model = tagger(family)
    _, layers = layer_depths(model, "x")
    frozen = train_last_layers(model, 1)
    depths, _ = layer_depths(model, "x")
    for name, value in model.named_parameters():
        assert value.requires_grad == (depths[name] >= layers) or "masked_spec_embed" in name, name
    stack = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == layers][-1]
    assert stack[0] in frozen
    assert stack[layers - 1] not in frozen


def test_more_layers_than_there_are_is_a_mistake(tagger):
    with pytest.raises(RecipeError, match="train_last_layers: 4 is more than the encoder's 3 layers"):
        train_last_layers(tagger("mert"), 4)


def test_layers_join_training_epoch_by_epoch_from_the_top(tagger):
    model = tagger("mert")
    model, frozen = choose_trained_part(model, ModelArguments(model_name_or_path="x", freeze="feature_encoder"))
    depths, _ = layer_depths(model, "x")
    unfreezing = GradualUnfreezing(model, 2, frozen)
    lowest = {0: LAYERS + 1, 1: LAYERS - 1, 2: 0, 3: 0}  # three layers, two an epoch; then what comes before them
    lowest[2] = LAYERS + 1 - 4
    for epoch in lowest:
        unfreezing.unfreeze(epoch)
        for name, value in model.named_parameters():
            expected = depths[name] >= LAYERS + 1 - 2 * epoch and "feature_extractor" not in name
            assert value.requires_grad == expected or "masked_spec_embed" in name, (epoch, name)
        layer = model.mert.encoder.layers[0]
        assert (layer in unfreezing.frozen) == (epoch < 2)
    assert model.mert.feature_extractor in unfreezing.frozen


def test_the_average_is_that_of_the_formula_and_goes_in_and_out():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    average, expected, weights = WeightAverage(model, 0.5), 1.0, [2.0, 4.0, 8.0]
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    average = WeightAverage(model, 0.5)
    for step, weight in enumerate(weights, start=1):
        with torch.no_grad():
            model[0].weight.fill_(weight)
            model[1].running_mean.fill_(weight)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    with average.applied():
        assert model[0].weight.tolist() == [pytest.approx([expected, expected])]
        assert 0 < model[1].running_mean.item() < 8
    assert model[0].weight.tolist() == [[8.0, 8.0]]
    assert model[1].running_mean.item() == 8.0
