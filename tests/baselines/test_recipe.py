"""A recipe of baselines is read as strictly as one of models."""

import pytest

from hf_tagger import RecipeError
from hf_tagger.baselines.classifiers import CLASSIFIERS
from hf_tagger.baselines.features import ROWS, STATISTICS
from hf_tagger.baselines.recipe import parse_baseline_recipe, resolved_baseline_recipe, write_baseline_recipe


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def problems(argv):
    with pytest.raises(RecipeError) as caught:
        parse_baseline_recipe(argv)
    return caught.value.problems


def test_without_a_recipe_everything_is_measured_and_three_classifiers_are_searched():
    data, arguments = parse_baseline_recipe([])
    assert data.dataset_name == "synthetic"
    assert arguments.features == list(ROWS)
    assert arguments.statistics == list(STATISTICS)
    assert arguments.classifiers == {"knn": None, "random_forest": None, "svm": None}
    assert (arguments.sampling_rate, arguments.folds, arguments.processes) == (22_050, 5, None)


def test_flags_override_the_recipe_and_one_grid_within_it(recipe):
    path = recipe("dataset_name: gtzan\nfolds: 3\nclassifiers: {svm: {C: [1]}, knn: null}\n")
    data, arguments = parse_baseline_recipe(
        [path, "--folds", "4", "--features", "mfcc", "tempo", "--classifiers.svm.C", "[1, 1e1]",
         "--allow_size_mismatch", "--classifiers.random_forest", "--statistics=mean"]
    )  # fmt: skip
    assert (data.dataset_name, data.allow_size_mismatch) == ("gtzan", True)
    assert (arguments.folds, arguments.features, arguments.statistics) == (4, ["mfcc", "tempo"], ["mean"])
    assert arguments.classifiers == {"svm": {"C": [1, 10.0]}, "knn": None, "random_forest": None}
    _, arguments = parse_baseline_recipe([path, "--classifiers", "{extra_trees: {min_samples_leaf: 2}}"])
    assert arguments.classifiers == {"extra_trees": {"min_samples_leaf": 2}}


def test_all_mistakes_stand_in_one_message(recipe):
    path = recipe(
        "dataset_nam: gtzan\nprotocol: random\nfolds: 1\nseed: many\nfeatures: [mfc, tempo, tempo]\nstatistics: []\n"
        "classifiers: {svn: null, svm: {C: [-1], kernle: [rbf]}}\nmetric: f1\nsampling_rate: 8000\nprocesses: 0\n"
        "crops_per_clip: 3\nfolds: 3\npcm_store: no\n"
    )
    found = problems([path, "--wat", "1", "oops"])
    fields = {problem.split(":")[0] for problem in found}
    assert fields == {
        "dataset_nam",
        "seed",
        "features",
        "statistics",
        "classifiers",
        "classifiers.svm.C",
        "classifiers.svm.kernle",
        "metric",
        "sampling_rate",
        "processes",
        "crops_per_clip",
        "folds",
        "wat",
        "pcm_store",
        "protocol",
    }
    text = str(RecipeError(found, path))
    assert "did you mean 'dataset_name'?" in text
    assert "did you mean 'mfcc'?" in text
    assert "did you mean 'svm'?" in text
    assert "did you mean 'kernel'?" in text
    assert "sampling_rate: 8000 is out of range; it must be at least 16000" in text
    assert "folds: stands twice (again in line 12)" in text
    assert "pcm_store: true or false is expected, received 'no'" in text
    assert "synthetic has no protocol 'random'" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classifiers: {}\n", "classifiers: at least one is needed"),
        ("classifiers: [svm]\n", "classifiers: a mapping {name: value} is expected"),
        ("classifiers: {1: null}\n", "classifiers: '1' is not known"),
        ("features: mfcc\nfolds: 2.5\n", "folds: "),
        ("tags: all\n", "tags: synthetic does not have this option"),
        ("- a\n", "a recipe is a list of 'field: value' lines"),
        ("a: b: c\n", "not valid YAML"),
        ("learning_rate: 0.1\n", "learning_rate: 'learning_rate' is not known"),
        ("output_dir: ''\n", "output_dir: a text is expected, received ''"),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(recipe, text, message):
    found = problems([recipe(text)])
    assert any(message in problem for problem in found), found


def test_the_written_recipe_is_the_experiment_again(recipe, tmp_path):
    path = recipe(
        "dataset_name: gtzan\ndataset_root: /data/a b\nclassifiers: {svm: {C: [1, 1e2]}, knn: null}\nseed: 7\n"
    )
    before = parse_baseline_recipe([path, "--processes", "3", "--overwrite_output_dir"])
    written = tmp_path / "run" / "recipe.yaml"
    written.parent.mkdir()
    write_baseline_recipe(resolved_baseline_recipe(*before), written)
    head = written.read_text(encoding="utf-8").splitlines()[0]
    assert head == f"# python scripts/baselines.py {written} --output_dir ANOTHER_FOLDER"
    data, arguments = parse_baseline_recipe([str(written)])
    assert data == before[0]
    assert (arguments.processes, arguments.overwrite_output_dir) == (None, False)  # of the moment
    before[1].processes, before[1].overwrite_output_dir = None, False
    assert arguments == before[1]


def test_help_names_every_feature_and_every_classifier(capsys):
    with pytest.raises(SystemExit):
        parse_baseline_recipe(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text for name in (*ROWS, *CLASSIFIERS, "--dataset_root", "--overwrite_output_dir"))
