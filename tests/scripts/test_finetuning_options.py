"""What a recipe can ask of training, from end to end with tiny models."""

import json
import shutil

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from script_runner import load_script
from tiny_encoders import save_encoder
from transformers import SchedulerType

from hf_tagger import parse_recipe
from hf_tagger.errors import HfTaggerError, RecipeError

BASE = [
    "--dataset_name", "synthetic", "--synthetic_clips", "60", "--dataloader_num_workers", "0", "--use_cpu",
    "--report_to", "none", "--preprocessing_num_workers", "1", "--per_device_train_batch_size", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def finetune(tmp_path_factory):
    """Runs scripts/finetune.py into a folder of its own, which it returns."""
    root = tmp_path_factory.mktemp("options")
    save_encoder("mert", root / "mert")

    def run(name, *flags):
        folder = root / name
        places = ["--cache_dir", str(root / "cache"), "--output_dir", str(folder)]
        load_script("finetune").main([*BASE, *places, *flags])
        return folder

    run.scratch = ["--model_config.num_channels", "4", "--learning_rate", "0.01"]
    run.mert = ["--model_name_or_path", str(root / "mert"), "--window_seconds", "0.5"]
    return run


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def history(folder, name):
    return [entry[name] for entry in json.loads((folder / "history.json").read_text()) if name in entry]


def test_the_average_of_the_weights_is_evaluated_saved_and_resumed_exactly(finetune):
    flags = [*finetune.scratch, "--num_train_epochs", "4", "--ema_decay", "0.9", "--save_total_limit", "4"]
    whole = finetune("average", *flags)
    checkpoints = sorted(whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    trained, averaged = (
        load_file(checkpoints[1] / name) for name in ("training_weights.safetensors", "model.safetensors")
    )
    assert any(not np.array_equal(value, averaged[name]) for name, value in trained.items())
    best = metrics(whole)["training"]["best_step"]
    saved, kept = load_file(whole / "model.safetensors"), load_file(whole / f"checkpoint-{best}" / "model.safetensors")
    assert all(np.array_equal(value, kept[name]) for name, value in saved.items())
    load_script("evaluate").main([str(whole), str(whole / "recipe.yaml"), "--split", "validation"])
    half = whole.parent / "average-half"
    half.mkdir()
    shutil.copytree(checkpoints[1], half / checkpoints[1].name)
    shutil.copytree(checkpoints[0], half / checkpoints[0].name)
    state = json.loads((half / checkpoints[1].name / "trainer_state.json").read_text())
    state["best_model_checkpoint"] = str(half / state["best_model_checkpoint"].split("/")[-1])
    (half / checkpoints[1].name / "trainer_state.json").write_text(json.dumps(state))
    resumed = finetune("average-half", *flags, "--resume_from_checkpoint")
    assert metrics(resumed)["test"] == metrics(whole)["test"]
    again = load_file(resumed / "model.safetensors")
    assert all(np.array_equal(value, again[name]) for name, value in saved.items())


@pytest.mark.slow
def test_the_average_is_smoother_than_the_weights(finetune):
    plain = finetune("plain", *finetune.scratch, "--num_train_epochs", "4")
    averaged = finetune("averaged", *finetune.scratch, "--num_train_epochs", "4", "--ema_decay", "0.95")
    np.testing.assert_allclose(history(plain, "loss"), history(averaged, "loss"), atol=1e-5)  # training is the same
    assert history(plain, "eval_loss") != history(averaged, "eval_loss")


def test_a_plateau_waits_for_the_metric_to_rise(finetune):
    folder = finetune(
        "plateau", *finetune.scratch, "--num_train_epochs", "6", "--lr_scheduler_type", "reduce_lr_on_plateau",
        "--lr_scheduler_kwargs", "{patience: 0, factor: 0.1}",
    )  # fmt: skip
    rates, scores = history(folder, "learning_rate"), history(folder, "eval_ap_macro")
    best, expected, rate = -1.0, [], 0.01
    for score in scores:
        expected.append(rate)
        rate = rate if score > best * (1 + 1e-4) else rate * 0.1
        best = max(best, score)
    assert rates == pytest.approx(expected)
    assert (
        SchedulerType.REDUCE_ON_PLATEAU.value
        == yaml.safe_load((folder / "recipe.yaml").read_text())["lr_scheduler_type"]
    )


@pytest.mark.parametrize(
    "flags",
    [
        ["--train_last_layers", "1", "--head_learning_rate", "0.01"],
        ["--unfreeze_layers_per_epoch", "1", "--num_train_epochs", "4"],
        pytest.param(["--layer_decay", "0.7", "--gradient_checkpointing"], marks=pytest.mark.slow),
        pytest.param(
            ["--lora.rank", "2", "--gradient_checkpointing", "--gradient_accumulation_steps", "2"],
            marks=pytest.mark.slow,
        ),
        ["--lora.rank", "2", "--layer", "weighted"],
    ],
    ids=lambda flags: flags[0][2:] + (" " + flags[-1] if flags[-1].startswith("--") else ""),
)
def test_an_encoder_is_finetuned_in_part_and_evaluates_the_same_again(flags, finetune, capsys):
    name = "-".join(flags).replace("--", "").replace(".", "_")
    folder = finetune(name, *finetune.mert, "--learning_rate", "0.003", "--num_train_epochs", "2", *flags)
    assert np.isfinite(history(folder, "loss")).all()
    capsys.readouterr()
    load_script("evaluate").main([str(folder), str(folder / "recipe.yaml"), "--split", "test"])
    assert "Equal to the run's own test numbers" in capsys.readouterr().out


@pytest.mark.slow
def test_bfloat16_with_lora_trains_close_to_float32(finetune):
    flags = [*finetune.mert, "--learning_rate", "0.003", "--num_train_epochs", "2", "--lora.rank", "2"]
    whole, half = (history(finetune(name, *flags, *more), "loss") for name, more in (("f32", []), ("b16", ["--bf16"])))
    assert whole != half
    np.testing.assert_allclose(half, whole, rtol=0.02)


@pytest.mark.slow
def test_a_search_tries_values_and_writes_the_best_as_a_recipe(finetune, capsys):
    space = (
        "{learning_rate: {low: 1e-5, high: 1e-2, log: true}, lora.rank: [1, 2], per_device_train_batch_size: [4, 8]}"
    )
    flags = ["--lora.rank", "4", "--num_train_epochs", "1", "--metric_for_best_model", "loss"]
    folder = finetune("search", *finetune.mert, *flags, "--search", "3", "--search_space", space)
    printed = capsys.readouterr().out
    assert "Best of 3 trials by loss" in printed
    result = json.loads((folder / "search.json").read_text())
    values = [trial["value"] for trial in result["trials"]]
    assert len(values) == 3
    assert len(set(values)) == 3
    assert result["best"]["value"] == min(values)
    for trial in result["trials"]:
        assert 1e-5 <= trial["values"]["learning_rate"] <= 1e-2
        assert trial["values"]["lora.rank"] in (1, 2)
    _, model, training = parse_recipe([str(folder / "best_recipe.yaml")])
    assert model.lora.rank == result["best"]["values"]["lora.rank"]
    assert training.learning_rate == result["best"]["values"]["learning_rate"]
    assert training.search_space is None
    assert not (folder / "metrics.json").exists()


def test_a_search_without_ranges_or_with_wrong_ones_is_a_mistake_of_the_recipe():
    with pytest.raises(RecipeError) as refusal:
        parse_recipe(["--search", "3", "--search_space", "{learning_rate: {low: 1, high: 0}, depth: [1]}"])
    assert "search_space.learning_rate: a list of values is expected, or {low: number" in str(refusal.value)
    with pytest.raises(RecipeError, match="search: the recipe has no search_space"):
        parse_recipe(["--search", "3"])
    with pytest.raises(RecipeError, match=r"search_space\.depth: there is no such field"):
        parse_recipe(["--search_space", "{depth: [1]}"])


def test_mistakes_of_nested_fields_come_together():
    with pytest.raises(RecipeError) as refusal:
        parse_recipe(
            ["--augmentation", "{gian: {}, noise: {probability: 2}}", "--loss", "{name: focal, margin: 0.1}",
             "--layer_decay", "1.5", "--augmentation.low_pass", "{hertz: [100, 9000]}"]
        )  # fmt: skip
    message = str(refusal.value)
    for part in (
        "augmentation.gian",
        "did you mean 'gain'",
        "augmentation.noise.probability: 2",
        "loss.margin",
        "layer_decay",
    ):
        assert part in message
    with pytest.raises(HfTaggerError, match=r"augmentation\.low_pass\.hertz: 9000 Hz is too high"):
        parse_recipe(["--augmentation.low_pass", "{hertz: [100, 9000]}"])
