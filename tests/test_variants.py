import pytest

from hf_tagger import RecipeError, parse_recipe
from hf_tagger.recipe import list_variants, study_folder

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


@pytest.mark.parametrize("given", ["", "output_dir: null\n"])
def test_without_an_output_dir_the_study_has_a_folder_of_its_own_name(tmp_path, given):
    path = tmp_path / "two_models.yaml"
    path.write_text(f"{given}variants: {{a: {{model_type: short_cnn}}, b: }}\n", encoding="utf-8")
    assert study_folder(str(path)) == "runs/two_models"
    for name in ("a", "b"):
        assert parse_recipe([str(path), "--variant", name])[2].output_dir == f"runs/two_models/{name}"


@pytest.mark.parametrize(("given", "folder"), [("runs/study/", "runs/study/a"), ("2024", "2024/a"), ("/", "/a")])
def test_a_variant_lies_in_the_folder_of_the_study_however_that_is_written(tmp_path, given, folder):
    path = tmp_path / "study.yaml"
    path.write_text(f"output_dir: {given}\nvariants: {{a: }}\n", encoding="utf-8")
    assert parse_recipe([str(path), "--variant", "a"])[2].output_dir == folder


@pytest.mark.parametrize("given", ["''", "[runs]", "{runs: 1}", "true"])
def test_an_output_dir_that_is_none_does_not_become_one_by_a_variant(tmp_path, given):
    path = tmp_path / "study.yaml"
    path.write_text(f"output_dir: {given}\nvariants: {{a: }}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"output_dir: .* expected"):
        parse_recipe([str(path), "--variant", "a"])


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
        ("variants: {1: {model_type: crnn}}\n", "variants: 1 cannot be the name of a variant"),
        ("variants: {a: , true: }\n", "variants: True cannot be the name of a variant"),
        ("variants: {'': {}}\n", "variants: '' cannot be the name"),
        ("variants: {.: {}}\n", r"variants: '\.' cannot be the name"),
        ("variants: {..: {}}\n", r"variants: '\.\.' cannot be the name"),
        ("variants: {a/b: {}}\n", "variants: 'a/b' cannot be the name"),
        ("variants: {--a: {}}\n", "variants: '--a' cannot be the name"),
        ("variants: {a: {model_config: {3: 4}}}\n", "model_config: 3 is no name; the keys of its mapping are text"),
        ("variants: {a: {3: 4}}\n", "variants.a: 3 is no field; a field's name is text"),
    ],
)
def test_a_study_of_another_form_is_explained(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        parse_recipe([str(path), "--variant", "a"])


def test_the_list_of_variants_explains_another_form_too(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("variants: {1: {3: 4}, b: {3: 4}}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"2 mistakes in .*\n.*1 cannot be the name.*\n.*variants\.b: 3 is no field"):
        list_variants(str(path))


def test_a_variant_of_a_recipe_without_variants_is_a_mistake(root):
    with pytest.raises(RecipeError, match="--variant crnn: the recipe has no variants"):
        parse_recipe([str(root / "recipes" / "quickstart.yaml"), "--variant", "crnn"])
