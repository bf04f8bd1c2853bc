import pytest

from hf_tagger import RecipeError, parse_recipe
from hf_tagger.augmentation_arguments import GainArguments
from hf_tagger.recipe import resolved_recipe
from hf_tagger.recipe_values import write_recipe


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def problems(argv):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(argv)
    return caught.value.problems


def test_flags_override_the_recipe(recipe):
    path = recipe("dataset_name: gtzan\nlearning_rate: 0.01\nnum_train_epochs: 3\n")
    data, model, training = parse_recipe([path, "--learning_rate", "1e-4", "--num_train_epochs=5"])
    assert (data.dataset_name, model.model_type) == ("gtzan", "short_cnn")
    assert (training.learning_rate, training.num_train_epochs) == (1e-4, 5.0)


def test_without_a_recipe_the_defaults_are_the_embedded_dataset():
    data, model, training = parse_recipe([])
    assert (data.dataset_name, model.model_type, training.eval_strategy) == ("synthetic", "short_cnn", "epoch")


def test_1e_4_is_a_number_and_no_is_a_word(recipe):
    path = recipe("learning_rate: 1e-4\neval_strategy: no\nsave_strategy: no\nload_best_model_at_end: false\n")
    _, _, training = parse_recipe([path])
    assert training.learning_rate == 1e-4
    assert training.eval_strategy.value == "no"
    assert problems([recipe("pcm_store: no\n")]) == ["pcm_store: true or false is expected, received 'no'"]


def test_numbers_with_leading_zeros_colons_and_underscores_stay_words(recipe):
    """YAML 1.1 would read 1:30 as 90 and 010 as 8."""
    assert "invalid int value: '1:30'" in problems([recipe("seed: 1:30\n")])[0]
    _, _, training = parse_recipe([recipe("seed: 010\n")])
    assert training.seed == 10


def test_all_mistakes_stand_in_one_message(recipe):
    path = recipe(
        "dataset_nam: gtzan\nlearning_rate: fast\nbf16: yes\nnum_train_epochs: -1\nper_device_train_batch_size: 1.5\n"
        "tags: top10\nmax_skipped_share: 2\nlr_scheduler_type: cosin\neval_strategy: sometimes\nseed: [1, 2]\nseed: 3\n"
        "model_config: {num_chanels: 3}\nmetric_for_best_model: f1\n"
    )
    found = problems([path, "--wat", "1"])
    fields = {problem.split(":")[0] for problem in found}
    assert fields == {
        "dataset_nam",
        "learning_rate",
        "bf16",
        "num_train_epochs",
        "per_device_train_batch_size",
        "tags",
        "max_skipped_share",
        "lr_scheduler_type",
        "eval_strategy",
        "seed",
        "wat",
        "model_config.num_chanels",
    }
    text = str(RecipeError(found, path))
    assert "did you mean 'dataset_name'?" in text
    assert "did you mean 'num_channels'?" in text
    assert "must be more than 0" in text
    assert "choose from 'no', 'steps', 'epoch'" in text
    assert "stands twice (again in line 11)" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset_name: gtzn\n", "Did you mean 'gtzan'?"),
        ("dataset_name: gtzan\nprotocol: random\n", "fault_filtered"),
        ("dataset_name: gtzan\ntags: all\n", "tags: gtzan does not have this option"),
        ("model_type: short_cn\n", "did you mean 'short_cnn'?"),
        ("metric_for_best_model: f1\n", "metric_for_best_model: 'f1' is not known"),
        ("model_config: {num_labels: 7}\n", "comes from the dataset"),
        ("model_config: {num_blocks: 0}\n", "num_blocks must be a positive whole number, received 0"),
        ("model_config: 3\n", "a mapping {name: value} is expected, received 3"),
        ("model_name_or_path: runs/nothing_here\n", "'runs/nothing_here' holds no model"),
        ("learning_rate: true\n", "received True"),
        ("learning_rate: null\n", "a value is needed"),
        ("learning_rate: .inf\n", "learning_rate"),
        ("dataset_root: [a, b]\n", "one value is expected, received 2"),
        ("dataset_root: {a: b}\n", "one value is expected, received a mapping"),
        ("output_dir: true\n", "output_dir: a text is expected, received True"),
        ("dataset_root: ''\n", "dataset_root: a text is expected, received ''"),
        ("model_config: {residual: no}\n", "model_config.residual: 'no' is not of type true or false"),
        ("model_config: {num_channels: 3.5}\n", "model_config.num_channels: 3.5 is not of type whole number"),
        ("report_to: tensorbord\n", "report_to: 'tensorbord' is not known"),
        ("early_stopping_patience: 3\neval_strategy: no\nload_best_model_at_end: false\n", "needs an eval_strategy"),
        ("adam_beta1: 5\n", "adam_beta1: 5.0 is out of range"),
        ("save_steps: 0\n", "save_steps: 0.0 is out of range"),
        ("push_to_hub: true\nhub_model_id: a/b/c\n", "hub_model_id: the Hub refuses 'a/b/c'"),
        ("push_to_hub: true\nhub_strategy: checkpoint\n", "hub_strategy: a run is pushed once"),
        ("hub_token: hf_x\n", "hub_token: a token belongs neither into a recipe nor"),
        ("save_strategy: steps\n", "save and eval strategy"),
        ("- a\n- b\n", "list of 'field: value' lines"),
        ("a: b: c\n", "not valid YAML"),
        ("1: 2\n", "list of 'field: value' lines"),
        ("seed: !!python/object/apply:os.system [echo]\n", "not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(recipe, text, message):
    assert any(message in problem for problem in problems([recipe(text)])), problems([recipe(text)])


def test_a_value_without_its_flag_and_a_missing_file_are_explained(recipe):
    assert "a field's flag was expected" in problems([recipe(""), "--seed=1", "oops"])[0]
    assert "cannot be read" in problems(["nowhere.yaml"])[0]


def test_bare_flags_mean_true_and_resume_means_the_last_checkpoint(recipe):
    data, _, training = parse_recipe(
        [recipe(""), "--allow_size_mismatch", "--resume_from_checkpoint", "--no_pcm_store"]
    )
    assert data.allow_size_mismatch is True
    assert data.pcm_store is False
    assert training.resume_from_checkpoint == "last"


def test_one_value_of_the_models_configuration_can_be_overridden(recipe):
    path = recipe("model_config:\n  num_channels: 32\n  residual: true\n")
    _, model, _ = parse_recipe([path, "--model_config.num_channels", "8", "--model_config.f_max=4e3"])
    assert model.model_config == {"num_channels": 8, "residual": True, "f_max": 4000.0}
    _, model, _ = parse_recipe([path, "--model_config", "{num_channels: 16}"])
    assert model.model_config == {"num_channels": 16}
    _, model, _ = parse_recipe(["--model_config", "{num_channels: 16}", "--model_config.residual", "true"])
    assert model.model_config == {"num_channels": 16, "residual": True}


def test_one_value_of_a_mapping_within_a_mapping_can_be_overridden(recipe):
    path = recipe("augmentation: {gain: {decibels: [-3, 3]}}\n")
    flags = ["--augmentation.gain.probability", "1", "--augmentation.mixup.alpha=0.4", "--augmentation.polarity", "{}"]
    augmentation = parse_recipe([path, *flags])[2].augmentation
    assert augmentation.gain == GainArguments(probability=1, decibels=[-3, 3])
    assert augmentation.mixup.alpha == 0.4
    assert set(augmentation.active()) == {"gain", "mixup", "polarity"}
    space = parse_recipe(["--search_space.model_config.num_channels", "[2, 4]"])[2].search_space
    assert space == {"model_config.num_channels": [2, 4]}


def test_a_search_changes_values_within_the_mappings_of_training(recipe):
    path = recipe("loss: {name: focal}\naugmentation: {mixup: {}}\n")
    training = parse_recipe([path])[2]
    training.set_values({"loss.gamma": 3.0, "augmentation.mixup.alpha": 0.7, "learning_rate": 0.5, "lora.rank": 4})
    assert (training.loss.name, training.loss.gamma) == ("focal", 3.0)
    assert training.augmentation.mixup.alpha == 0.7
    assert training.learning_rate == 0.5
    with pytest.raises(RecipeError) as caught:
        parse_recipe([path, "--search_space.loss.gama", "[1, 2]", "--search_space.augmentation.mixup.alpha", "[-1]"])
    assert "search_space.loss.gama: 'gama' is not known; did you mean 'gamma'?" in str(caught.value)
    assert "search_space.augmentation.mixup.alpha: -1 is out of range" in str(caught.value)
    parse_recipe(["--search_space", "{loss.gamma: [1.0, 2.0], loss.name: [focal]}"])  # one needs the other
    with pytest.raises(RecipeError) as caught:
        parse_recipe(
            ["--search_space", "{learning_rate: [-1, 0.1], sampling: [sometimes], head_dropout: [x], seed.x: [2]}"]
        )
    for part in ("learning_rate: -1", "sampling", "head_dropout", "seed"):
        assert part in str(caught.value)
    with pytest.raises(RecipeError, match=r"search_space\.augmentation: a list of values"):
        parse_recipe(["--search_space", "{augmentation: [{mixup: {}}]}"])
    with pytest.raises(RecipeError, match=r"search_space\.lora: needs a pretrained model"):
        parse_recipe([path, "--search_space.lora.rank", "[2, 4]"])


def test_a_flag_whose_value_was_forgotten_is_a_mistake():
    assert problems(["--output_dir", "--overwrite_output_dir"]) == ["output_dir: a text is expected, received True"]


def test_nested_values_of_trainings_own_fields_are_taken(recipe):
    _, _, training = parse_recipe(
        [recipe("lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-6}")]
    )
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-6}


def test_help_lists_every_field_with_its_meaning(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_recipe(["--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--dataset_root DATASET_ROOT" in shown
    assert "Share of clips (0 to 1) that may be unusable" in shown
    assert "--learning_rate LEARNING_RATE" in shown
    assert "--model_config" in shown


def test_a_resolved_recipe_reads_back_to_the_same_experiment(recipe, tmp_path):
    path = recipe(
        "dataset_name: magnatagatune\ntags: all\nlearning_rate: 3e-4\nadam_beta1: 0.8\nreport_to: none\nseed: 7\n"
        "model_config: {num_channels: 8}\nwarmup_steps: 0.1\nlr_scheduler_kwargs: {num_cycles: 2}\n"
    )
    before = parse_recipe([path, "--overwrite_output_dir"])
    resolved = resolved_recipe(*before)
    write_recipe(resolved, tmp_path / "again.yaml")
    after = parse_recipe([str(tmp_path / "again.yaml")])
    assert resolved_recipe(*after) == resolved
    assert resolved["learning_rate"] == 3e-4
    assert resolved["adam_beta1"] == 0.8
    assert resolved["model_config"] == {"num_channels": 8}
    assert resolved["eval_strategy"] == "epoch"
    assert "overwrite_output_dir" not in resolved
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert (tmp_path / "again.yaml").read_text().startswith("# accelerate launch scripts/finetune.py")


@pytest.mark.parametrize("flags", [["hf_secret"], ["hf_secret", "hf_secret"], [], ["{a: hf_secret}"]])
def test_a_token_is_refused_and_not_repeated(recipe, flags):
    """In whatever form it comes: messages about mistyped values show the value."""
    for argv in ([recipe(""), "--hub_token", *flags], [recipe(f"hub_token: [{', '.join(flags)}]\n")]):
        found = problems(argv)
        assert len(found) == 1, found
        assert "log in by `hf auth login`, or set HF_TOKEN" in found[0]
        assert "hf_secret" not in found[0]


def test_the_precision_that_accelerate_asked_for_is_part_of_the_experiment(recipe, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert resolved_recipe(*parse_recipe([recipe("")]))["bf16"] is True
