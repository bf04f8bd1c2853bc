"""Every recipe from end to end, small: a tiny random checkpoint of its family on a fake layout of its dataset."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml
from fake_datasets import make_artist20, make_class_folder, make_fma, make_gtzan, make_magnatagatune
from script_runner import TINY, load_script
from small_models import SMALL
from tiny_checkpoints import overrides
from transformers import AutoModelForAudioClassification, pipeline

from hf_tagger.recipe import list_variants
from hf_tagger.tagging import Tagger

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = sorted(
    path
    for path in (ROOT / "recipes").glob("*.yaml")
    if path.stem != "quickstart" and not path.stem.startswith("classical_")  # tests/scripts/test_baselines.py runs them
)
RUNS = [(path, variant) for path in RECIPES for variant in list_variants(str(path)) or [None]]
LAYOUTS = {
    "gtzan": lambda root: make_gtzan(root, 2),
    "magnatagatune": make_magnatagatune,
    "fma": make_fma,
    "artist20": make_artist20,
    "folder": lambda root: make_class_folder(root, {"low": 20, "high": 20}),
}
PRETRAINED = ("mert", "musicfm", "ast")
# The clips last 0.3 s; a step suffices to pass through everything. The damaged clip of GTZAN is one of 60.
SHORT = ["--max_steps", "3", "--per_device_train_batch_size", "4", "--max_skipped_share", "0.05"]
PHASES = "[{epochs: 1, learning_rate: 5e-3, optimizer: adam}, {epochs: 1, learning_rate: 1e-3, optimizer: sgd}]"


def small_model(model_type):
    """Flags that make a scratch model small; its windows stay those of the recipe."""
    settings = {key: value for key, value in SMALL[model_type][0].items() if not key.endswith("_samples")}
    return [text for key, value in settings.items() for text in (f"--model_config.{key}", str(value))]


@pytest.fixture(scope="session")
def layouts(tmp_path_factory):
    """Makes the fake layout of a dataset at its first use."""
    made = {}

    def layout(name):
        if name not in made:
            made[name] = LAYOUTS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return layout


@pytest.mark.parametrize(("path", "variant"), RUNS, ids=["-".join(filter(None, (p.stem, v))) for p, v in RUNS])
def test_a_recipe_trains_evaluates_saves_reloads_and_tags(path, variant, layouts, checkpoints, tmp_path):
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe |= recipe.pop("variants")[variant] if variant else {}
    sized = ["--variant", variant] if variant else []
    name = variant or path.stem
    sized += overrides(name, checkpoints) or small_model(recipe["model_type"])
    if path.stem.startswith(PRETRAINED) or variant:
        sized += ["--window_seconds", "1", *(["--hop_seconds", "0.5"] if "hop_seconds" in recipe else [])]
    if recipe["dataset_name"] == "magnatagatune":  # its one validation clip has no tag that another has not
        sized += ["--metric_for_best_model", "lrap"]
    if recipe["dataset_name"] != "folder":
        sized.append("--allow_size_mismatch")
    if "optimizer_phases" in recipe:  # they count epochs, and begin with the learning rate
        sized += ["--max_steps", "-1", "--optimizer_phases", PHASES]
    run = tmp_path / "run"
    places = ["--dataset_root", str(layouts(recipe["dataset_name"])), "--cache_dir", str(tmp_path / "cache")]
    load_script("finetune").main([str(path), *places, "--output_dir", str(run), *TINY[2:], *SHORT, *sized])

    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    steps = metrics["training"]["steps"]
    assert steps == 3 or ("optimizer_phases" in recipe and steps >= 2 and steps % 2 == 0)  # two epochs
    assert 0 < metrics["validation"]["loss"] < 10
    table = parquet.read_table(run / "predictions_test.parquet")
    assert table.num_rows == metrics["protocol"]["used"]["test"] > 0

    # The loader of a stock model's adapter lies beside it; nothing else needs code of the folder.
    remote = {"trust_remote_code": True} if "lora" in recipe and name.startswith("ast_") else {}
    saved = AutoModelForAudioClassification.from_pretrained(run, **remote)
    is_stock = type(saved).__module__.startswith("transformers.")
    assert is_stock == name.startswith("ast_")
    tagger = Tagger.from_pretrained(str(run))
    window = 0.1 * np.random.default_rng(0).standard_normal(tagger.feature_extractor.window_samples)
    window = window.astype(np.float32)
    ours = {tag["label"]: tag["score"] for tag in tagger(window)}
    plain = pipeline("audio-classification", model=str(run), top_k=None, **remote)(
        {"array": window, "sampling_rate": tagger.sampling_rate}
    )
    assert {tag["label"] for tag in plain} == set(json.loads(table.schema.metadata[b"label_names"])) == set(ours)
    for tag in plain:
        assert tag["score"] == pytest.approx(ours[tag["label"]], abs=1e-4)
    if recipe.get("freeze") == "encoder":
        assert list((tmp_path / "cache").glob("embeddings-*.npy"))
