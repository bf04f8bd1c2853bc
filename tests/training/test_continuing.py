"""Going on from saved weights: what a recipe may change, what is kept, and what is said."""

import json
import shutil

import pytest
import torch
from tiny_checkpoints import make_mert

from hf_tagger import ModelArguments
from hf_tagger.errors import RecipeError
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.freezing import freeze_unused

TAGS, MULTI_LABEL = ["drums", "bass", "strings"], "multi_label_classification"


@pytest.fixture(scope="module")
def mert(tmp_path_factory):
    """A tiny MERT as the Hub has it: without the fields of this package."""
    torch.manual_seed(0)
    folder = make_mert(tmp_path_factory.mktemp("checkpoints") / "mert")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "normalize_waveform"}))
    return folder


def build(folder, tags=TAGS, **choices):
    return build_model(plan_model(ModelArguments(model_name_or_path=str(folder), **choices)), tags, MULTI_LABEL)


@pytest.fixture(scope="module")
def run(mert, tmp_path_factory):
    """A run on layer 2 with a linear head."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    build(mert, layer=2).save_pretrained(folder)
    return folder


def head_is_kept(run, **choices):
    before, after = build(run).classifier.output.weight, build(run, **choices).classifier.output.weight
    return before.shape == after.shape and torch.equal(before, after)


def test_a_head_is_kept_only_while_it_hears_and_means_the_same(run):
    assert head_is_kept(run)
    assert head_is_kept(run, layer=2, window_seconds=1)
    assert not head_is_kept(run, layer=1)
    assert not head_is_kept(run, head_hidden_size=16)  # as wide as the encoder: the shapes would fit
    assert not head_is_kept(run, tags=["rock", "jazz", "blues"])


@pytest.mark.parametrize("layer", ["5", "last", "weighted"])
def test_layers_that_were_cut_off_are_refused_with_those_that_are_left(run, layer):
    with pytest.raises(
        RecipeError, match=rf"layer: {layer} is not in .*/run, whose encoder was cut at layer 2; possible"
    ):
        build(run, layer=layer)


@pytest.mark.parametrize("layer", ["--5", "²", "first", ""])
def test_a_layer_that_is_none_is_named_with_what_is_possible(layer):
    with pytest.raises(
        RecipeError, match=r"layer: .* is not known; it must be last, weighted or the number of a layer"
    ):
        ModelArguments(layer=layer)


def test_the_recipe_overrules_what_the_published_preprocessor_says_about_normalising(mert, tmp_path):
    assert build(mert).config.normalize_waveform is True
    assert build(mert, model_config={"normalize_waveform": False}).config.normalize_waveform is False
    folder = shutil.copytree(mert, tmp_path / "other")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_normalize": False}))
    assert build(folder).config.normalize_waveform is False
    assert build(folder, model_config={"normalize_waveform": True}).config.normalize_waveform is True


def test_the_vector_of_masked_frames_waits_for_no_gradient_where_nothing_is_masked(mert):
    for masks in (True, False):
        model = build(mert, model_config={"apply_spec_augment": masks})
        freeze_unused(model)
        assert model.mert.masked_spec_embed.requires_grad is masks
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        assert frozen == (set() if masks else {"mert.masked_spec_embed"})
