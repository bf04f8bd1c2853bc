"""Every recipe and every accelerate configuration of the project is parsed, so that none of them rots."""

import re
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from tiny_checkpoints import overrides

from hf_tagger import parse_recipe
from hf_tagger.training.build import plan_model

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
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
    }
    assert {path.stem for path in CONFIGS} >= {"cpu", "single_gpu", "single_gpu_fp16", "ddp", "fsdp", "multi_node"}


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
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


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_a_recipe_states_only_what_differs_and_fits_on_a_screen(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert "num_labels" not in yaml.safe_load(text)
    assert "sampling_rate" not in text


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_accelerate_reads_the_configuration(path):
    config = load_config_from_file(str(path))
    expected = {"cpu": "no", "fsdp": "no", "single_gpu_fp16": "fp16"}.get(path.stem, "bf16")
    assert config.mixed_precision == expected
    assert config.use_cpu is (path.stem == "cpu")
