"""Every recipe and every accelerate configuration of the project is parsed, so that none of them rots."""

import re
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from tiny_checkpoints import overrides

from hf_tagger import parse_recipe
from hf_tagger.baselines.features import value_names
from hf_tagger.baselines.recipe import parse_baseline_recipe
from hf_tagger.models import MODELS, WindowedEncoderClassification
from hf_tagger.models.spectrogram_config import FRONT_ENDS
from hf_tagger.recipe import list_variants
from hf_tagger.training.build import plan_model

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
STUDIES = [path for path in RECIPES if path.stem.startswith("study_")]
BASELINES = [path for path in RECIPES if path.stem.startswith("classical_")]
VARIANTS = [(path, name) for path in STUDIES for name in list_variants(str(path))]
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))


def by_name(path):
    return path.stem


def test_the_promised_recipes_and_configurations_are_there():
    names = {path.stem for path in RECIPES}
    assert names >= {"quickstart"} | {
        f"short_cnn_{name}" for name in ("gtzan", "mtat", "fma_small", "artist20", "folder")
    } | {
        "mert_mtat",
        "mert_gtzan_probe",
        "mert_330m_gtzan_probe",
        "musicfm_mtat",
        "musicfm_artist20_probe",
        "ast_gtzan",
        "ast_fma_small",
        "ast_mtat",
        "crnn_gtzan",
        "sample_cnn_mtat",
        "musicnn_mtat",
        "mel_vae_gtzan",
        "mel_cnn_artist20",
        "study_inputs",
        "study_augmentation",
        "study_rare_classes",
        "short_cnn_mtat_paper",
        "mert_gtzan_lora",
        "mert_fma_small_lora",
        "mert_artist20_lora",
        "musicfm_mtat_lora",
        "ast_gtzan_lora",
        "classical_gtzan",
        "classical_artist20",
        "classical_fma_medium",
        "classical_mtat",
    }
    assert {path.stem for path in CONFIGS} >= {
        "cpu",
        "single_gpu",
        "single_gpu_fp16",
        "ddp",
        "fsdp",
        "deepspeed_zero2",
        "multi_node",
    }


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in [*STUDIES, *BASELINES]], ids=by_name)
def test_a_recipe_parses_and_starts_with_the_command_that_runs_it(path, checkpoints):
    data, model, training = parse_recipe([str(path), *overrides(path.stem, checkpoints)])
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.match(r"# accelerate launch .*scripts/finetune\.py recipes/", first_line)
    assert f"recipes/{path.name}" in first_line
    assert training.output_dir == f"runs/{path.stem}"
    rate = 24_000 if path.stem.startswith(("mert", "musicfm")) else 16_000
    assert plan_model(model).feature_extractor.sampling_rate == rate
    if data.dataset_name != "synthetic":
        assert "--dataset_root" in first_line


@pytest.mark.parametrize("path", BASELINES, ids=by_name)
def test_a_recipe_of_baselines_parses_and_starts_with_the_command_that_runs_it(path):
    data, arguments = parse_baseline_recipe([str(path)])
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith(f"# python scripts/baselines.py recipes/{path.name} --dataset_root ~/data/")
    assert data.dataset_name != "synthetic"
    assert arguments.output_dir == f"runs/{path.stem}"


def test_the_baselines_of_fma_have_the_features_and_the_parameters_of_the_paper():
    _, arguments = parse_baseline_recipe([str(ROOT / "recipes" / "classical_fma_medium.yaml")])
    assert len(value_names(arguments.features, arguments.statistics)) == 196
    assert 1 in arguments.classifiers["svm"]["C"]
    assert 200 in arguments.classifiers["knn"]["n_neighbors"]


# What a study varies; everything else is the same for all of its variants.
VARIED = {
    "study_inputs": ("inputs", {"model_type", "model_config"}),
    "study_augmentation": ("variants", {"augmentation", "seed"}),
    "study_rare_classes": ("rare-classes", {"loss", "sampling"}),
}
# Pretrained encoders come with what is theirs: the part that is trained, the head, and a learning rate for both.
OF_PRETRAINED = {
    *("model_name_or_path", "model_config", "feature_statistics", "layer", "head_hidden_size", "head_dropout"),
    *("lora", "learning_rate"),
}


@pytest.mark.parametrize("path", STUDIES, ids=by_name)
def test_a_study_starts_with_the_command_that_runs_it_and_varies_one_thing(path):
    command, varied = VARIED[path.stem]
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith(f"# python scripts/study.py {command} recipes/{path.name} --dataset_root")
    variants = yaml.safe_load(path.read_text(encoding="utf-8"))["variants"]
    for fields in variants.values():
        assert set(fields) <= (OF_PRETRAINED if "model_name_or_path" in fields else varied)


@pytest.mark.parametrize(("path", "name"), VARIANTS, ids=[f"{path.stem}-{name}" for path, name in VARIANTS])
def test_a_variant_of_a_study_parses(path, name, checkpoints):
    _, model, training = parse_recipe([str(path), "--variant", name, *overrides(name, checkpoints)])
    assert training.output_dir == f"runs/{path.stem}/{name}"
    extractor = plan_model(model).feature_extractor
    assert extractor.sampling_rate == (24_000 if name.startswith("mert") else 16_000)
    assert extractor.window_samples == extractor.sampling_rate * yaml.safe_load(path.read_text())["window_seconds"]


def test_the_input_study_compares_every_scratch_model_and_every_front_end_with_pretrained_ones():
    recipe = yaml.safe_load((ROOT / "recipes" / "study_inputs.yaml").read_text(encoding="utf-8"))
    pretrained = {name: own for name, own in recipe["variants"].items() if "model_name_or_path" in own}
    assert list(pretrained) == ["ast_lora", "mert_lora"]
    variants = [own for name, own in recipe["variants"].items() if name not in pretrained]
    scratch = {name for name, model in MODELS.items() if not issubclass(model, WindowedEncoderClassification)}
    assert {variant["model_type"] for variant in variants} == scratch
    front_ends = {variant["model_config"].get("front_end", "mel_db") for variant in variants}
    assert front_ends == set(FRONT_ENDS)


def test_the_study_of_rare_classes_compares_every_option_against_imbalance_with_none():
    variants = {name: parse_recipe([str(path), "--variant", name])[2] for path, name in VARIANTS if "rare" in path.stem}
    chosen = {
        name: (own.loss and own.loss.name, own.loss and own.loss.class_weights, own.sampling)
        for name, own in variants.items()
    }
    assert chosen == {
        "plain": (None, None, "random"),
        "positive_weights": ("cross_entropy", "balanced", "random"),
        "focal": ("focal", "none", "random"),
        "asymmetric": ("asymmetric", "none", "random"),
        "balanced_sampling": (None, None, "balanced"),
    }


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_a_recipe_states_only_what_differs_and_fits_on_a_screen(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert "num_labels" not in yaml.safe_load(text)
    assert "sampling_rate" not in text or path in BASELINES  # features have no checkpoint that says it


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_accelerate_reads_the_configuration(path):
    config = load_config_from_file(str(path))
    expected = {"cpu": "no", "fsdp": "no", "deepspeed_zero2": "no", "single_gpu_fp16": "fp16"}.get(path.stem, "bf16")
    assert config.mixed_precision == expected
    assert config.use_cpu is (path.stem == "cpu")
    kind = {"ddp": "MULTI_GPU", "multi_node": "MULTI_GPU", "fsdp": "FSDP", "deepspeed_zero2": "DEEPSPEED"}
    assert config.distributed_type.value == kind.get(path.stem, "NO")


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_a_configuration_is_headed_by_the_command_that_uses_it_and_accelerate_knows_every_option(path):
    """accelerate copies unknown options of a strategy over silently, where nothing reads them."""
    head = "".join(line[1:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    command = re.search(r"accelerate launch (--config_file .*)", head.replace("\\", ""))
    parsed = launch_command_parser().parse_args(command[1].split())
    assert parsed.config_file == f"accelerate_configs/{path.name}"
    assert parsed.training_script == "scripts/finetune.py"
    assert (ROOT / parsed.training_script_args[0]).is_file()
    config = load_config_from_file(str(path))
    assert {**config.fsdp_config, **config.deepspeed_config}.keys() <= vars(parsed).keys()


def test_several_machines_meet_at_the_first_ones_address():
    """With another rendezvous than static, accelerate hands torchrun no address, and each machine waits for itself."""
    config = load_config_from_file(str(ROOT / "accelerate_configs" / "multi_node.yaml"))
    assert config.rdzv_backend == "static"
    assert config.same_network
