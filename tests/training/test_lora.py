"""LoRA: what is trained, what is saved, and that it comes back through every door as it was trained."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from script_runner import load_script
from tiny_checkpoints import make_ast, make_musicfm
from tiny_encoders import LABELS, save_encoder
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline, set_seed

from hf_tagger import ModelArguments
from hf_tagger.convert.merge_adapter import merge
from hf_tagger.errors import HfTaggerError, RecipeError
from hf_tagger.lora_arguments import LoraArguments
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, load_saved_model, plan_model
from hf_tagger.training.lora import add_lora, batch_norms

MULTI = "multi_label_classification"
# Name → pretrained family, the recipe's fields beside it.
CASES = {
    "mert": ("mert", {"window_seconds": 0.5}),
    "mert-weighted": ("mert", {"window_seconds": 0.5, "layer": "weighted", "pooling": "attention"}),
    "mert-cut": ("mert", {"window_seconds": 0.5, "layer": 2, "head_hidden_size": 8}),
    "mert-dora": ("mert", {"window_seconds": 0.5, "lora": {"rank": 4, "use_dora": True}}),
    "mert-rslora": ("mert", {"window_seconds": 0.5, "lora": {"rank": 4, "use_rslora": True}}),
    "musicfm": ("musicfm", {"window_seconds": 1}),
    "musicfm-convolutions": (
        "musicfm",
        {"window_seconds": 1, "lora": {"rank": 2, "target_modules": ["pointwise_conv1", "pointwise_conv2"]}},
    ),
    "ast": ("ast", {}),
    "ast-shorter": ("ast", {"window_seconds": 0.4}),
    "ast-longer": ("ast", {"window_seconds": 11}),
    "ast-own-head": ("ast", {"window_seconds": 0.4, "head_hidden_size": 8}),
    "hubert": ("hubert", {"window_seconds": 0.5}),
    "hubert-weighted": ("hubert", {"window_seconds": 0.5, "layer": "weighted"}),
    "wav2vec2-feed-forward": (
        "wav2vec2",
        {"window_seconds": 0.5, "lora": {"rank": 2, "target_modules": ["intermediate_dense", "output_dense"]}},
    ),
    "whisper": ("whisper", {}),
}
PUBLISHED = {"musicfm": make_musicfm, "ast": make_ast}  # AST as it is published: with AudioSet's head
every_case = pytest.mark.parametrize("case", CASES)


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def build(base, fields):
    plan = plan_model(ModelArguments(model_name_or_path=str(base), **{"lora": {"rank": 4}, **fields}))
    set_seed(0)  # NumPy's too: HuBERT's mask is drawn by it in training
    model = build_model(plan, LABELS, MULTI)
    return add_lora(model, plan.arguments.lora, str(base)), plan.feature_extractor


def train(model, extractor, steps=4):
    """A few steps that change adapters and head a lot."""
    features = Tagger(model.get_base_model(), extractor, "cpu")._features
    model.train()
    for module in batch_norms(model):
        module.eval()
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=0.05)
    windows = torch.from_numpy(np.stack([noise(extractor.window_samples, seed) for seed in range(3)]))
    for _ in range(steps):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**features(windows)).logits, torch.eye(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Case → (base folder, run folder with the adapter, scores of a window by the trained model itself)."""
    root, made = tmp_path_factory.mktemp("lora"), {}

    def make(case):
        if case not in made:
            family, fields = CASES[case]
            base = root / f"base-{family}"
            if not base.exists():
                PUBLISHED[family](base) if family in PUBLISHED else save_encoder(family, base)
            model, extractor = build(base, fields)
            train(model, extractor).save_pretrained(root / case)
            extractor.save_pretrained(root / case)
            tagger = Tagger(model.get_base_model(), extractor, "cpu")
            made[case] = (
                base,
                root / case,
                dict(zip(LABELS, tagger.probabilities(window_of(extractor)).tolist(), strict=True)),
            )
        return made[case]

    return make


def window_of(extractor):
    return noise(extractor.window_samples, seed=7)


def scores(tagger, window):
    """By the label, whatever the order; sigmoid named for transformers 5.10, which would take softmax."""
    return {guess["label"]: guess["score"] for guess in tagger(window, top_k=3, function_to_apply="sigmoid")}


@every_case
def test_only_adapters_and_head_are_trained_and_nothing_else_changes(case, tmp_path, runs):
    base, _, _ = runs(case)
    model, extractor = build(base, CASES[case][1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, extractor)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora_" in name or "modules_to_save" in name for name in changed)
    trainable = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any("modules_to_save" in name and "classifier" in name for name in trainable)
    assert all("lora_" in name or "modules_to_save" in name for name in trainable)
    assert {name for name in trainable if "lora_B" in name} <= changed


@every_case
def test_the_adapter_is_small_and_names_its_base(case, runs):
    base, folder, _ = runs(case)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base.resolve())
    assert config["task_type"] is None  # those of peft hand input_ids to the model
    names = load_file(folder / "adapter_model.safetensors")
    assert all("lora_" in name or ".classifier." in name or "layer_sum" in name or "pooling" in name
               or "projector" in name for name in names), sorted(names)  # fmt: skip
    assert any(".classifier." in name for name in names)
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "drums", "1": "bass", "2": "strings"}


@every_case
def test_the_adapter_tags_as_it_was_trained(case, runs):
    _, folder, trained = runs(case)
    tagger = Tagger.from_pretrained(folder, "cpu")
    window = window_of(tagger.feature_extractor)
    found = dict(zip(LABELS, tagger.probabilities(window).tolist(), strict=True))
    assert found == pytest.approx(trained, abs=1e-5)
    assert max(trained.values()) - min(trained.values()) > 0.01  # so that a head made anew would be seen


@every_case
def test_the_plain_pipeline_loads_the_adapter(case, runs):
    _, folder, trained = runs(case)
    tagger = pipeline("audio-classification", model=str(folder), trust_remote_code=True)
    window = window_of(AutoFeatureExtractor.from_pretrained(folder))
    assert scores(tagger, window) == pytest.approx(trained, abs=1e-5)


@every_case
def test_the_merged_model_is_whole_and_tags_as_the_adapter(case, tmp_path, runs):
    _, folder, trained = runs(case)
    merge(str(folder), str(tmp_path / "merged"))
    names = load_file(tmp_path / "merged" / "model.safetensors")
    assert not [name for name in names if "lora" in name or "base_layer" in name or "modules_to_save" in name]
    tagger = pipeline("audio-classification", model=str(tmp_path / "merged"))
    window = window_of(AutoFeatureExtractor.from_pretrained(folder))
    assert scores(tagger, window) == pytest.approx(trained, abs=1e-5)


def test_adapters_load_where_this_package_cannot_be_imported(runs, tmp_path):
    made = {case: runs(case) for case in ("mert", "musicfm", "ast-shorter", "ast-own-head", "hubert-weighted")}
    program = textwrap.dedent("""
        import json, sys
        sys.modules["hf_tagger"] = None
        import numpy as np
        from transformers import AutoFeatureExtractor, pipeline
        found = {}
        for folder in sys.argv[1:]:
            tagger = pipeline("audio-classification", model=folder, trust_remote_code=True)
            window = np.random.default_rng(7).normal(0, 0.1, tagger.feature_extractor.window_samples)
            guesses = tagger(window.astype(np.float32), top_k=3, function_to_apply="sigmoid")
            found[folder] = {guess["label"]: guess["score"] for guess in guesses}
        print(json.dumps(found))
    """)
    folders = [str(folder) for _, folder, _ in made.values()]
    finished = subprocess.run(
        [sys.executable, "-c", program, *folders], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    for _, folder, trained in made.values():
        assert found[str(folder)] == pytest.approx(trained, abs=1e-5)


def test_an_adapter_without_its_head_is_refused_instead_of_getting_a_new_one(runs, tmp_path):
    _, folder, _ = runs("mert")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "classifier" not in name},
        tmp_path / "adapter_model.safetensors",
    )
    with pytest.raises(ValueError, match=r"lacks weights that it should have: .*classifier"):
        AutoModelForAudioClassification.from_pretrained(tmp_path, trust_remote_code=True)
    with pytest.raises(HfTaggerError, match=r"lacks weights that it should have: .*classifier"):
        load_saved_model(str(tmp_path))


def test_default_targets_are_the_queries_and_values_of_every_family(runs):
    expected = {"mert": {"q_proj", "v_proj"}, "musicfm": {"linear_q", "linear_v"}, "whisper": {"q_proj", "v_proj"}}
    for case, targets in expected.items():
        config = json.loads((runs(case)[1] / "adapter_config.json").read_text())
        assert set(config["target_modules"]) == targets, case
    ast = set(json.loads((runs("ast")[1] / "adapter_config.json").read_text())["target_modules"])
    assert ast in ({"q_proj", "v_proj"}, {"query", "value"})  # the second before transformers 5.2x


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"lora": {"rank": 0}}, r"lora\.rank: 0 is out of range; it must be at least 1"),
        ({"lora": {"rnak": 2}}, r"lora\.rnak: 'rnak' is not known; did you mean 'rank'"),
        ({"lora": {"rank": 2.5}}, r"lora\.rank: 2\.5 is not of type whole number"),
        ({"lora": {"target_modules": []}}, r"lora\.target_modules: an empty list adapts nothing"),
        ({"lora": {"target_modules": ["q_proj", 3]}}, r"lora\.target_modules: .* is not of type"),
        ({"lora": {}, "freeze": "encoder"}, "lora, freeze: encoder: each says what of the encoder is trained"),
        ({"lora": {}, "model_name_or_path": None}, "lora: needs a pretrained model"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(fields, sentence):
    with pytest.raises(RecipeError, match=sentence):
        ModelArguments(**{"model_name_or_path": "somewhere", **fields})


def test_unknown_layers_are_answered_with_the_known_ones(tmp_path):
    save_encoder("mert", tmp_path)
    plan = plan_model(ModelArguments(model_name_or_path=str(tmp_path), window_seconds=0.5))
    model = build_model(plan, LABELS, MULTI)
    with pytest.raises(RecipeError, match=r"no layer is called query; those of MertForAudio.* k_proj, out_proj"):
        add_lora(model, LoraArguments(target_modules=["query"]), str(tmp_path))


def test_finetuning_an_adapter_further_asks_to_merge_it(runs):
    folder = runs("mert")[1]
    with pytest.raises(RecipeError, match=r"holds a LoRA adapter.*convert\.py merge-adapter"):
        plan_model(ModelArguments(model_name_or_path=str(folder)))


def test_a_run_writes_adapter_merged_model_and_a_card_that_says_so(tmp_path, capsys):
    base, run = save_encoder("mert", tmp_path / "base"), tmp_path / "run"
    load_script("finetune").main(
        ["--model_name_or_path", str(base), "--window_seconds", "0.5", "--dataset_name", "synthetic",
         "--synthetic_clips", "40", "--num_train_epochs", "2", "--lora.rank", "2", "--lora.save_merged",
         "--learning_rate", "0.02", "--dataloader_num_workers", "0", "--output_dir", str(run),
         "--cache_dir", str(tmp_path / "cache"), "--preprocessing_num_workers", "1"]
    )  # fmt: skip
    assert "Trainable parameters: " in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())["training"]
    rank, layers, hidden = 2, 3, 16
    labels = len(json.loads((run / "config.json").read_text())["id2label"])
    adapters = layers * 2 * (hidden * rank + rank * hidden)  # queries and values
    assert metrics["trainable_parameters"] == adapters + (hidden + 1) * labels
    card = (run / "README.md").read_text()
    assert "library_name: peft" in card
    assert f"Trained were {metrics['trainable_parameters']:,} of {metrics['parameters']:,} parameters" in card
    merged = (run / "merged" / "README.md").read_text()
    assert "library_name: transformers" in merged
    assert str(run / "merged") in merged
    capsys.readouterr()
    load_script("evaluate").main([str(run), str(run / "recipe.yaml"), "--split", "test"])
    assert "Equal to the run's own test numbers" in capsys.readouterr().out
    load_script("evaluate").main([str(run / "merged"), str(run / "recipe.yaml"), "--split", "test"])
