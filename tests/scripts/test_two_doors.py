"""The trainer and the plain loop: the same losses, the same folder; and what only one of them does is said."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
from script_runner import load_script
from tiny_encoders import save_encoder

from hf_tagger.errors import RecipeError

AUGMENTATION = "{gain: {probability: 0.5}, noise: {probability: 0.5}, mixup: {probability: 0.5}}"
RECIPES = {
    "short_cnn with dropout, augmentation, average": [
        "--model_config.num_channels", "4", "--model_config.classifier_dropout", "0.3",
        "--augmentation", AUGMENTATION, "--ema_decay", "0.9",
    ],
    "accumulated, clipped, focal, balanced": [
        "--model_config.num_channels", "4", "--gradient_accumulation_steps", "2", "--max_grad_norm", "0.1",
        "--loss", "{name: focal}", "--sampling", "balanced", "--label_smoothing_factor", "0.1",
    ],
    "mel_vae, whose loss has parts": ["--model_type", "mel_vae", "--model_config.num_channels", "4",
                                      "--model_config.latent_size", "4"],
    "LoRA": ["--window_seconds", "0.5", "--lora.rank", "2", "--lora.dropout", "0.1", "--head_learning_rate", "0.01",
             "--layer_decay", "0.8"],
}  # fmt: skip

QUICK = ("short_cnn with dropout, augmentation, average", "LoRA")
every_case = pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in RECIPES]
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Case → the folders of both scripts, 50 steps each."""
    root, made = tmp_path_factory.mktemp("doors"), {}

    def make(case):
        if case not in made:
            flags = list(RECIPES[case])
            if case == "LoRA":
                flags += ["--model_name_or_path", str(save_encoder("mert", root / "mert"))]
            for script in ("finetune", "finetune_no_trainer"):
                load_script(script).main(
                    ["--dataset_name", "synthetic", "--synthetic_clips", "60", "--max_steps", "50",
                     "--per_device_train_batch_size", "4", "--learning_rate", "0.003", "--lr_scheduler_type", "cosine",
                     "--warmup_steps", "0.1", "--weight_decay", "0.01", "--logging_strategy", "steps",
                     "--logging_steps", "1", "--use_cpu", "--dataloader_num_workers", "0", "--report_to", "none",
                     "--preprocessing_num_workers", "1", "--cache_dir", str(root / "cache"),
                     "--output_dir", str(root / f"{len(made)}-{script}"), *flags]
                )  # fmt: skip
            made[case] = [root / f"{len(made)}-{script}" for script in ("finetune", "finetune_no_trainer")]
        return made[case]

    return make


def losses(folder):
    history = json.loads((folder / "history.json").read_text())
    return np.array([entry["loss"] for entry in history if "loss" in entry])


@every_case
def test_both_doors_have_the_same_losses_for_fifty_steps(case, folders):
    trainer, plain = (losses(folder) for folder in folders(case))
    assert len(trainer) == len(plain) == 50
    assert trainer[0] != trainer[-1]
    np.testing.assert_allclose(plain, trainer, atol=1e-5, rtol=0)


@every_case
def test_both_doors_leave_the_same_folder(case, folders):
    trainer, plain = folders(case)
    names = [{path.name for path in folder.iterdir()} - {"runs"} for folder in (trainer, plain)]
    assert {name for name in names[0] if not name.startswith("checkpoint-")} == names[1]
    numbers = [json.loads((folder / "metrics.json").read_text()) for folder in (trainer, plain)]
    assert numbers[1]["test"] == pytest.approx(numbers[0]["test"], abs=1e-4)
    assert numbers[1]["training"]["best_step"] == numbers[0]["training"]["best_step"]
    tables = [parquet.read_table(folder / "predictions_test.parquet") for folder in (trainer, plain)]
    assert tables[0].schema == tables[1].schema
    configs = [json.loads((folder / "config.json").read_text()) for folder in (trainer, plain)]
    assert configs[0].pop("use_cache") is False  # Trainer's own trace in every model
    assert configs[0] == configs[1]


def test_what_only_the_trainer_does_is_refused_in_one_message(tmp_path):
    with pytest.raises(RecipeError) as refusal:
        load_script("finetune_no_trainer").main(
            ["--early_stopping_patience", "2", "--torch_compile", "--output_dir", str(tmp_path / "run")]
        )
    message = str(refusal.value)
    assert "early_stopping_patience: only scripts/finetune.py does this" in message
    assert "torch_compile: only scripts/finetune.py does this" in message
