import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
from test_windows import ramp_clips

from hf_tagger import ModelArguments, RecipeError, TaggingArguments, TaggingTrainer, WaveformFeatureExtractor
from hf_tagger.models import MelVaeConfig, MelVaeForAudioClassification, ShortCnnConfig, ShortCnnForAudioClassification
from hf_tagger.models.windowed_classification import classification_loss
from hf_tagger.training.build import build_model, plan_model

WINDOW = 4_096
TINY = {
    "num_channels": 2,
    "latent_size": 4,
    "window_samples": WINDOW,
    "hop_samples": WINDOW,
    "kl_warmup_batches": 4,
    "classification_weight": 2.0,
    "problem_type": "multi_label_classification",
    "id2label": {0: "low", 1: "high"},
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MelVaeForAudioClassification(MelVaeConfig(**TINY))


@pytest.fixture
def saved_cnn(tmp_path):
    config = ShortCnnConfig(num_channels=2, num_blocks=3, window_samples=WINDOW, hop_samples=WINDOW, num_mel_bins=64)
    ShortCnnForAudioClassification(config).save_pretrained(tmp_path / "cnn")
    return str(tmp_path / "cnn")


class Windows(torch.utils.data.Dataset):
    clips = ramp_clips([WINDOW] * 8, [[item % 2] for item in range(8)])

    def __len__(self):
        return 8

    def __getitem__(self, item):
        generator = torch.Generator().manual_seed(item)
        return {"input_values": 0.1 * torch.randn(WINDOW, generator=generator), "labels": [item % 2]}


def train(model, folder, **options):
    arguments = TaggingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        dataloader_num_workers=0,
        per_device_train_batch_size=4,
        logging_steps=2,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        **options,
    )
    extractor = WaveformFeatureExtractor(16_000, WINDOW, WINDOW)
    trainer = TaggingTrainer(model, arguments, extractor, train_dataset=Windows())
    trainer.train()
    return trainer


def test_the_trainer_minimises_and_logs_the_labels_loss_and_the_terms_of_the_bound(model, tmp_path):
    entries = [entry for entry in train(model, tmp_path, max_steps=4).state.log_history if "loss" in entry]
    assert len(entries) == 2
    for entry in entries:
        assert entry["reconstruction_loss"] > 0
        assert entry["kl_loss"] > 0
        assert entry["loss"] > entry["reconstruction_loss"] + entry["kl_loss"]


def test_the_trainers_loss_is_that_of_the_model_with_its_weights_and_label_smoothing(model, tmp_path):
    trainer = train(model, tmp_path, max_steps=1, label_smoothing_factor=0.2)
    inputs = torch.stack([Windows()[item]["input_values"] for item in range(4)])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 2)
    model.train()
    torch.manual_seed(0)
    loss, outputs = trainer.compute_loss(model, {"input_values": inputs, "labels": labels}, return_outputs=True)
    expected = 2 * classification_loss(outputs["logits"], labels, model.config.problem_type, 0.2)
    model.training_batches -= 1
    torch.manual_seed(0)
    expected = expected + model(inputs).further_loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_finetuning_a_saved_variational_encoder_starts_the_warm_up_again(model, tmp_path):
    train(model, tmp_path / "run", max_steps=3)
    assert model.training_batches == 3
    model.save_pretrained(tmp_path / "vae")
    changes = {"kl_warmup_batches": 9, "classification_weight": 0.5}
    plan = plan_model(ModelArguments(model_name_or_path=str(tmp_path / "vae"), model_config=changes))
    again = build_model(plan, ["low", "high"], "multi_label_classification")
    assert again.training_batches == 0
    assert (again.config.kl_warmup_batches, again.config.classification_weight) == (9, 0.5)
    torch.testing.assert_close(again.posterior.weight, model.posterior.weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"front_end": "log_mel"},
            r"model_config\.front_end: the weights .* trained with 'mel_db', received 'log_mel'",
        ),
        ({"f_max": 4000.0}, r"model_config\.f_max: the weights .* trained with 8000\.0, received 4000\.0"),
        ({"num_mel_bins": 32, "num_channels": 3}, r"num_mel_bins: the weights .*(?s:.*)num_channels: the weights"),
    ],
)
def test_what_the_weights_of_a_saved_scratch_model_stand_for_cannot_be_changed(saved_cnn, changes, message):
    with pytest.raises(RecipeError, match=message):
        plan_model(ModelArguments(model_name_or_path=saved_cnn, model_config=changes))


def test_windows_and_dropout_of_a_saved_scratch_model_can_be_changed(saved_cnn):
    arguments = ModelArguments(
        model_name_or_path=saved_cnn,
        model_config={"classifier_dropout": 0.1, "front_end": "mel_db"},
        window_seconds=0.05,
        hop_seconds=0.025,
    )
    plan = plan_model(arguments)
    model = build_model(plan, ["a", "b", "c"], "single_label_classification")
    assert (plan.feature_extractor.window_samples, plan.feature_extractor.hop_samples) == (800, 400)
    assert model.dropout.p == 0.1
    assert model(torch.zeros(2, 800)).logits.shape == (2, 3)


@pytest.mark.parametrize("seconds", [0.05, 1, 40])
@pytest.mark.parametrize("model_type", ["short_cnn", "fcn", "crnn", "musicnn", "mel_cnn", "mel_vae", "sample_cnn"])
def test_every_scratch_model_is_built_for_any_window(model_type, seconds):
    small = {} if model_type == "musicnn" else {"num_channels": 2}
    plan = plan_model(ModelArguments(model_type=model_type, window_seconds=seconds, model_config=small))
    model = build_model(plan, ["a", "b"], "single_label_classification").eval()
    samples = plan.feature_extractor.window_samples
    assert samples == 16_000 * seconds
    with torch.no_grad():
        assert model(torch.zeros(1, samples)).logits.shape == (1, 2)
