import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import test_windows
from tiny_checkpoints import make_ast, make_mert

from hf_tagger import ModelArguments, RecipeError, TaggingArguments
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.output_bias import label_shares, starting_shares

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
SMALL = {"num_channels": 2}


def build(problem_type, labels, shares, **arguments):
    plan = plan_model(ModelArguments(**arguments))
    return build_model(plan, labels, problem_type, np.array(shares))


def test_shares_are_those_of_the_labelled_clips_with_half_a_clip_more_of_every_outcome():
    labels = [[0], [0, 2], [], None]
    assert label_shares(test_windows.ramp_clips([10] * 4, labels), 3, MULTI).tolist() == [2.5 / 4, 0.5 / 4, 1.5 / 4]
    shares = label_shares(test_windows.ramp_clips([10] * 4, [0, 0, 2, None]), 3, SINGLE)
    np.testing.assert_allclose(shares, [2.5 / 4.5, 0.5 / 4.5, 1.5 / 4.5])


@pytest.mark.parametrize(
    ("fields", "problem_type", "starts_at_shares"),
    [
        ({}, MULTI, True),
        ({"loss": {"name": "focal"}}, SINGLE, True),
        ({"loss": {"class_weights": "balanced"}}, MULTI, False),
        ({"loss": {"class_weights": "balanced"}}, SINGLE, False),
        ({"sampling": "balanced"}, SINGLE, False),
        ({"sampling": "balanced"}, MULTI, True),  # drawn more often, rare tags are still rare
    ],
)
def test_training_that_makes_labels_equally_heavy_starts_at_one_half(tmp_path, fields, problem_type, starts_at_shares):
    labels = [[0], [0, 2], [1]] if problem_type == MULTI else [0, 0, 2]
    arguments = TaggingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", **fields)
    shares = starting_shares(test_windows.ramp_clips([10] * 3, labels), 3, problem_type, arguments)
    assert (shares is not None) == starts_at_shares


def test_rare_labels_are_not_weighed_twice():
    with pytest.raises(RecipeError, match="balanced twice"):
        TaggingArguments(sampling="balanced", loss={"class_weights": "balanced"}, use_cpu=True)


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
def test_a_new_head_predicts_the_shares_for_an_input_of_zeros(problem_type):
    model = build(problem_type, ["a", "b", "c"], [0.7, 0.2, 0.1], model_type="mel_cnn", model_config=SMALL)
    logits = model.classifier(torch.zeros(1, 128))[0]
    predicted = logits.sigmoid() if problem_type == MULTI else logits.softmax(dim=0)
    np.testing.assert_allclose(predicted.detach(), [0.7, 0.2, 0.1], atol=1e-6)


def test_a_saved_head_keeps_its_bias_and_one_for_other_labels_does_not(tmp_path):
    first = build(MULTI, ["a", "b"], [0.25, 0.5], model_type="mel_cnn", model_config=SMALL)
    first.save_pretrained(tmp_path)
    again = build(MULTI, ["a", "b"], [0.9, 0.9], model_name_or_path=str(tmp_path))
    assert torch.equal(again.classifier.bias, first.classifier.bias)
    other = build(MULTI, ["x", "y"], [0.9, 0.8], model_name_or_path=str(tmp_path))
    np.testing.assert_allclose(other.classifier.bias.detach().sigmoid(), [0.9, 0.8], atol=1e-6)


@pytest.mark.parametrize("head_hidden_size", [None, 8])
def test_the_heads_of_pretrained_encoders_start_there_too(tmp_path, head_hidden_size):
    for checkpoint in (make_mert(tmp_path / "mert"), make_ast(tmp_path / "ast")):
        model = build(
            MULTI, ["a", "b"], [0.9, 0.2], model_name_or_path=str(checkpoint), head_hidden_size=head_hidden_size
        )
        last = [module for module in model.classifier.modules() if isinstance(module, torch.nn.Linear)][-1]
        np.testing.assert_allclose(last.bias.detach().sigmoid(), [0.9, 0.2], atol=1e-6)
