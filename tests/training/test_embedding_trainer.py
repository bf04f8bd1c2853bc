"""A head that is trained on kept embeddings, and the model around it."""

import logging

import numpy as np
import pytest
from safetensors import safe_open
from script_runner import launch_processes, load_script
from tiny_encoders import build_tagger, noise_clips, save_encoder
from transformers import AutoModelForAudioClassification, TrainerCallback

from hf_tagger import DataArguments, ModelArguments, TaggingArguments, TaggingTrainer
from hf_tagger.training.checkpoints import is_head
from hf_tagger.training.embedding_trainer import EmbeddingTrainer, build_trainer


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: save_encoder(family, folder / family) for family in ("mert", "ast")}


def trainer_of(checkpoint, folder, model_options=(), **options):
    """A trainer as a recipe with ``freeze: encoder`` makes it, on twelve clips of noise."""
    model, extractor = build_tagger(checkpoint, layer="weighted", **dict(model_options))
    clips = {"train": noise_clips([14_000] * 12), "validation": noise_clips([14_000] * 6, seed=1)}
    arguments = ModelArguments(
        model_name_or_path=str(checkpoint),
        freeze="encoder",
        cache_embeddings=options.pop("cache_embeddings", True),
    )
    settings = {"use_cpu": True, "report_to": "none", "dataloader_num_workers": 0, "per_device_train_batch_size": 5}
    training = TaggingArguments(output_dir=str(folder / "run"), **(settings | options))
    data = DataArguments(cache_dir=str(folder / "cache"))
    return build_trainer(model, extractor, clips, data, arguments, training)


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_training_changes_the_head_and_no_bit_of_the_encoder(checkpoints, tmp_path):
    trainer = trainer_of(checkpoints["mert"], tmp_path, num_train_epochs=3, learning_rate=1e-2)
    assert isinstance(trainer, EmbeddingTrainer)
    before = copies(trainer.tagger)
    trainer.train()
    after = trainer.tagger.state_dict()
    head = {name for name in before if is_head(name)}
    assert head >= {"layer_sum.weights", "classifier.output.weight", "classifier.output.bias"}
    assert {name for name in before if not before[name].equal(after[name])} == head
    trainer.save_model()
    saved, info = AutoModelForAudioClassification.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(tensor.equal(saved.state_dict()[name]) for name, tensor in after.items())


def test_the_scores_are_those_of_the_whole_model(checkpoints, tmp_path):
    trainer = trainer_of(checkpoints["mert"], tmp_path, num_train_epochs=2)
    trainer.train()
    scores = trainer.predict(trainer.eval_dataset).predictions
    whole = TaggingTrainer(trainer.tagger, trainer.args, trainer.processing_class)
    np.testing.assert_allclose(scores, whole.predict(trainer.eval_dataset).predictions, atol=1e-6)
    assert np.ptp(scores, axis=0).min() > 1e-3


def test_unknown_labels_of_a_clip_are_unknown_for_each_of_its_embeddings(checkpoints, tmp_path):
    trainer = trainer_of(checkpoints["mert"], tmp_path)
    windows = trainer.train_dataset
    windows.clips.unknown_labels[0] = [1, 2]  # the first clip carries label 0
    own = [item for item, clip in enumerate(windows.indices) if clip == 0]
    assert len(own) > 1
    labels = trainer.data_collator([windows[item] for item in own])["labels"]
    np.testing.assert_array_equal(labels, [[1, np.nan, np.nan]] * len(own))


def test_a_checkpoint_holds_the_head_and_a_resumed_run_ends_like_an_undisturbed_one(checkpoints, tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 8

    options = {"num_train_epochs": 4, "save_strategy": "steps", "save_steps": 4, "load_best_model_at_end": False}
    undisturbed = trainer_of(checkpoints["mert"], tmp_path / "one", **options)
    undisturbed.train()
    assert undisturbed.state.global_step == 20  # five steps an epoch: the checkpoint lies within one
    stopped = trainer_of(checkpoints["mert"], tmp_path / "two", **options)
    stopped.add_callback(Stop())
    stopped.train()
    checkpoint = tmp_path / "two" / "run" / "checkpoint-8"
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        assert set(file.keys()) == {"layer_sum.weights", "classifier.output.weight", "classifier.output.bias"}
    resumed = trainer_of(checkpoints["mert"], tmp_path / "two", **options)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    expected, halfway, final = (copies(trainer.model) for trainer in (undisturbed, stopped, resumed))
    assert all(final[name].equal(expected[name]) for name in expected)
    assert not any(halfway[name].equal(expected[name]) for name in expected)


def test_attention_pooling_trains_without_kept_embeddings_and_says_why(checkpoints, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trainer_of(checkpoints["mert"], tmp_path, {"pooling": "attention"}, num_train_epochs=1)
    assert "every epoch runs the encoder: attention pooling is learned and comes before the embedding" in caplog.text
    assert not isinstance(trainer, EmbeddingTrainer)
    before = copies(trainer.tagger)
    trainer.train()
    changed = {name for name, tensor in trainer.tagger.state_dict().items() if not tensor.equal(before[name])}
    assert "pooling.score.weight" in changed
    assert all(is_head(name) for name in changed)
    assert not (tmp_path / "cache").exists()


def test_embeddings_are_not_kept_where_the_recipe_or_a_sharded_head_forbids_it(
    checkpoints, tmp_path, caplog, monkeypatch
):
    with caplog.at_level(logging.WARNING):
        assert type(trainer_of(checkpoints["mert"], tmp_path, cache_embeddings=False)) is TaggingTrainer
        assert "Embeddings" not in caplog.text
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    made = []
    monkeypatch.setattr("hf_tagger.training.embedding_trainer.TaggingTrainer", lambda **_: made.append(1))
    trainer_of(checkpoints["mert"], tmp_path)
    assert made == [1]
    assert "every epoch runs the encoder: FSDP and DeepSpeed would shard the head" in caplog.text


def finetune_arguments(checkpoint, folder):
    return [
        *("--dataset_name", "synthetic", "--synthetic_clips", "60", "--cache_dir", str(folder / "cache")),
        *("--model_name_or_path", str(checkpoint), "--window_seconds", "1", "--freeze", "encoder"),
        *("--output_dir", str(folder / "run"), "--num_train_epochs", "3", "--use_cpu", "--report_to", "none"),
        *("--dataloader_num_workers", "0", "--preprocessing_num_workers", "1"),
    ]


@pytest.mark.parametrize("family", ["mert", "ast"])
def test_evaluate_repeats_the_numbers_of_a_run_on_embeddings(checkpoints, tmp_path, capsys, family):
    load_script("finetune").main(finetune_arguments(checkpoints[family], tmp_path))
    assert len(list((tmp_path / "cache").glob("embeddings-*.npy"))) == 3
    for split in ("test", "validation"):
        load_script("evaluate").main(
            [str(tmp_path / "run"), str(tmp_path / "run" / "recipe.yaml"), "--split", split, "--use_cpu"]
        )
        assert f"Equal to the run's own {split} numbers" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_write_one_file_with_the_embeddings_of_one(checkpoints, tmp_path):
    stores = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        arguments = [*finetune_arguments(checkpoints["mert"], folder), "--ddp_backend", "gloo"]
        finished = launch_processes(count, "scripts/finetune.py", *arguments)
        assert finished.returncode == 0, finished.stderr[-4_000:]
        assert not list((folder / "cache").glob("*.partial"))
        stores.append({path.name: np.load(path) for path in (folder / "cache").glob("embeddings-*.npy")})
    one, two = stores
    assert len(one) == 3
    assert one.keys() == two.keys()
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, atol=1e-5)
        assert np.abs(expected).min(axis=1).min() > 0  # no row was left out
