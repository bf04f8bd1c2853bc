import pytest

from hf_tagger import RecipeError, parse_recipe
from hf_tagger.recipe import list_variants

STUDY = """
dataset_name: synthetic
output_dir: runs/study
learning_rate: 1e-3
model_config: {num_channels: 4}
variants:
  plain: {model_type: short_cnn}
  wider: {model_type: short_cnn, model_config: {num_blocks: 3}, learning_rate: 2e-3}
  as_it_is:
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return str(path)


def test_a_variant_takes_the_common_values_and_changes_its_own(study):
    _, model, training = parse_recipe([study, "--variant", "wider"])
    assert model.model_config == {"num_channels": 4, "num_blocks": 3}
    assert training.learning_rate == 2e-3
    assert training.output_dir == "runs/study/wider"
    _, model, training = parse_recipe([study, "--variant=as_it_is"])
    assert model.model_config == {"num_channels": 4}
    assert training.learning_rate == 1e-3
    assert training.output_dir == "runs/study/as_it_is"


def test_a_flag_overrides_a_variant(study):
    flags = ["--learning_rate", "3e-3", "--model_config.num_blocks", "2", "--output_dir", "runs/here"]
    _, model, training = parse_recipe([study, *flags, "--variant", "wider"])
    assert model.model_config == {"num_channels": 4, "num_blocks": 2}
    assert training.learning_rate == 3e-3
    assert training.output_dir == "runs/here"


def test_a_study_lists_its_variants_and_any_other_recipe_none(study, root):
    assert list_variants(study) == ["plain", "wider", "as_it_is"]
    assert list_variants(str(root / "recipes" / "quickstart.yaml")) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "several experiments; choose one with --variant: plain, wider, as_it_is"),
        (["--variant", "plian"], "there is no variant 'plian'; choose one"),
        (["--variant"], "the name of a variant is needed after it"),
        (["--variant", "plain", "--variant=wider"], r"given 2 times \(plain, wider\)"),
    ],
)
def test_which_variant_is_meant_must_be_clear(study, flags, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe([study, *flags])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: [a, b]\n", r"variants: a mapping .* is expected, received \['a', 'b'\]"),
        ("variants: {}\n", "variants: a mapping"),
        ("variants: {a: 3}\n", "variants.a: a mapping .* is expected, received 3"),
        ("variants: {a: {model_typ: crnn}}\n", "model_typ: there is no such field"),
        ("variants: {a: {variants: {}}}\n", "variants: there is no such field"),
    ],
)
def test_a_study_of_another_form_is_explained(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        parse_recipe([str(path), "--variant", "a"])


def test_a_variant_of_a_recipe_without_variants_is_a_mistake(root):
    with pytest.raises(RecipeError, match="--variant crnn: the recipe has no variants"):
        parse_recipe([str(root / "recipes" / "quickstart.yaml"), "--variant", "crnn"])
