"""Audio classification models of transformers: finetuned, saved and loaded as they are, without code of ours."""

import functools
import inspect
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_datasets import make_class_folder
from safetensors.torch import load_file, save_file
from script_runner import TINY, load_script
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_freezing import STOCK, make_mert, make_stock, make_trainer, synthetic

from hf_tagger import DataArguments, ModelArguments, load_tagging_dataset, prepare_clips
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, plan_model

AST = "audio-spectrogram-transformer"
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
ABC = ["a", "b", "c"]
WEIGHTED = [name for name in STOCK if name != AST]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A family's tiny checkpoint, made once."""
    root = tmp_path_factory.mktemp("stock")
    return functools.cache(lambda name: make_stock(name, root / name))


@functools.cache
def genres():
    """40 clips of three classes: the dataset and its prepared clips."""
    root = make_class_folder(Path(tempfile.mkdtemp()) / "genres", {"high": 14, "low": 14, "middle": 12})
    arguments = DataArguments(dataset_name="folder", dataset_root=str(root), preprocessing_num_workers=1)
    dataset = load_tagging_dataset(arguments, 16_000)
    return dataset, prepare_clips(dataset, arguments, 16_000)[0]


def build(folder, labels=ABC, problem_type=SINGLE, **arguments):
    plan = plan_model(ModelArguments(model_name_or_path=str(folder), **arguments))
    return build_model(plan, labels, problem_type).eval(), plan.feature_extractor


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def assert_the_pipeline_agrees(folder):
    """On one window the plain pipeline gives the scores of our own tagger."""
    tagger, plain = Tagger.from_pretrained(folder, "cpu"), pipeline("audio-classification", model=str(folder))
    options = {}
    if "problem_type" not in inspect.getsource(type(plain).postprocess):  # transformers 5.10 takes softmax for all
        options["function_to_apply"] = "sigmoid" if tagger.model.config.problem_type == MULTI else "softmax"
    window = noise(tagger.feature_extractor.window_samples)
    theirs = {score["label"]: score["score"] for score in plain(window, top_k=8, **options)}
    assert {score["label"]: score["score"] for score in tagger(window)} == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
@pytest.mark.parametrize("family", STOCK)
def test_every_type_is_trained_and_saved_as_a_model_that_needs_no_code_of_ours(
    family, problem_type, checkpoint, tmp_path
):
    dataset, clips = genres() if problem_type == SINGLE else synthetic()
    window = {} if family in (AST, "whisper") else {"window_seconds": 1}
    trainer = make_trainer(checkpoint(family), tmp_path, dataset, clips, {"learning_rate": 1e-2}, **window)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    assert max(float(value.abs().max()) for value in before.values()) < 10  # the new head is not what the memory held
    trainer.train()
    trainer.save_model()
    assert all(np.isfinite(entry.get("eval_loss", 0)) for entry in trainer.state.log_history)
    changed = [name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])]
    assert len(changed) > 0.8 * len(before)  # encoder and head; the key bias of attention, for one, changes nothing
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(model).__module__.startswith("transformers.")
    assert type(extractor).__module__.startswith("transformers.")
    assert not list(tmp_path.glob("*.py"))
    assert (
        "auto_map" not in (tmp_path / "config.json").read_text() + (tmp_path / "preprocessor_config.json").read_text()
    )
    assert list(model.config.id2label.values()) == dataset.label_names
    assert (model.config.problem_type, model.dtype) == (problem_type, torch.float32)
    assert extractor.window_samples == trainer.processing_class.window_samples
    for name, value in model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name])
    assert_the_pipeline_agrees(tmp_path)


def test_an_extractor_that_gives_an_attention_mask_scores_alike(tmp_path):
    """As in the large wav2vec 2.0 models; our windows are full, so they come without one."""
    make_stock("wav2vec2", tmp_path, feat_extract_norm="layer", do_stable_layer_norm=True)
    model, extractor = build(tmp_path, window_seconds=1)
    extractor.return_attention_mask = True
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    assert_the_pipeline_agrees(tmp_path)


def test_half_precision_checkpoints_are_trained_in_float32(tmp_path):
    model = AutoModelForAudioClassification.from_pretrained(make_stock("whisper", tmp_path)).half()
    model.save_pretrained(tmp_path)
    model, _ = build(tmp_path)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    model.save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").dtype == torch.float32


@pytest.mark.parametrize("family", ["hubert", "sew-d", "unispeech", "wav2vec2", "mert_model"])
def test_a_checkpoint_without_the_frame_for_masks_gets_one_as_its_class_makes_it(family, tmp_path):
    folder = make_mert(tmp_path) if family == "mert_model" else make_stock(family, tmp_path)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.endswith("masked_spec_embed")}
    assert len(kept) == len(weights) - 1
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    frames = [value for name, value in build(folder)[0].named_parameters() if name.endswith("masked_spec_embed")]
    assert all(0 <= value <= 1 for value in frames[0].tolist())
    assert frames[0].unique().numel() > 8


# AST: the window decides how many position embeddings there are.


def grids(folder, **arguments):
    """Position embeddings ``[8 bins, time, hidden]`` of the checkpoint and of the model that is built of it."""
    saved = AutoModelForAudioClassification.from_pretrained(folder)
    model, extractor = build(folder, **arguments)
    embeddings = [m.base_model.embeddings.position_embeddings[0].detach().numpy() for m in (saved, model)]
    assert np.array_equal(embeddings[0][:2], embeddings[1][:2])
    assert model.config.max_length == extractor.max_length == 1 + (extractor.window_samples - 400) // 160
    return [embedding[2:].reshape(8, -1, 16) for embedding in embeddings]


def test_the_checkpoints_own_window_keeps_every_position_embedding(checkpoint):
    assert np.array_equal(*grids(checkpoint(AST)))


def test_a_shorter_window_takes_the_middle_of_asts_position_embeddings(checkpoint):
    old, new = grids(checkpoint(AST), window_seconds=1)
    assert (old.shape[1], new.shape[1]) == (20, 9)
    assert np.array_equal(new, old[:, 6:15])  # the authors' 20 // 2 - 9 // 2


def test_a_longer_window_interpolates_asts_position_embeddings(checkpoint):
    old, new = grids(checkpoint(AST), window_seconds=3)
    assert (old.shape[1], new.shape[1]) == (20, 29)
    for column in range(29):
        position = min(max((column + 0.5) * 20 / 29 - 0.5, 0), 19)  # where its centre lies on the old grid
        left, share = int(position), position % 1
        expected = (1 - share) * old[:, left] + share * old[:, min(left + 1, 19)]
        np.testing.assert_allclose(new[:, column], expected, atol=1e-6)


def test_a_plan_can_be_built_twice(checkpoint):
    plan = plan_model(ModelArguments(model_name_or_path=str(checkpoint(AST)), window_seconds=1))
    first, second = (build_model(plan, ABC, SINGLE) for _ in range(2))
    assert first.config.max_length == second.config.max_length == plan.feature_extractor.max_length == 98


@pytest.fixture(scope="session")
def ast_run(checkpoint, tmp_path_factory):
    """A whole run by the script, on windows of 3 s normalised with the training split's statistics."""
    folder = tmp_path_factory.mktemp("ast") / "run"
    argv = ["--model_name_or_path", str(checkpoint(AST)), "--synthetic_clips", "40", "--output_dir", str(folder)]
    argv += ["--window_seconds", "3", "--feature_statistics", "dataset", *TINY[2:], "--num_train_epochs", "1"]
    load_script("finetune").main(argv)
    return folder


def test_asts_saved_files_agree_with_the_window_and_its_logits_stay(ast_run):
    config = json.loads((ast_run / "config.json").read_text())
    preprocessor = json.loads((ast_run / "preprocessor_config.json").read_text())
    assert (preprocessor["window_samples"], preprocessor["hop_samples"]) == (48_000, 48_000)
    assert config["max_length"] == preprocessor["max_length"] == 298
    reloaded = AutoModelForAudioClassification.from_pretrained(ast_run).eval()
    features = AutoFeatureExtractor.from_pretrained(ast_run)(noise(48_000), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        ours = Tagger.from_pretrained(str(ast_run), "cpu").model(**features).logits
        assert torch.equal(reloaded(**features).logits, ours)


def test_feature_statistics_of_the_dataset_are_those_of_the_training_clips(ast_run):
    extractor = AutoFeatureExtractor.from_pretrained(ast_run)
    plain = type(extractor)(max_length=298, do_normalize=False)
    values = []
    for clip in (synthetic()[1]["train"].read(index) for index in range(30)):
        starts = [*range(0, len(clip) - 48_000, 48_000), len(clip) - 48_000]  # clips of 4 to 6 s
        values += [plain(clip[start : start + 48_000], sampling_rate=16_000)["input_values"] for start in starts]
    values = np.concatenate(values).astype(np.float64)
    assert extractor.mean == pytest.approx(values.mean(), abs=1e-3)
    assert extractor.std == pytest.approx(values.std(), abs=1e-3)
    assert abs(extractor.mean + 4.2677393) > 0.1  # AudioSet's


def test_the_tagger_hears_the_whole_song_by_the_stock_classes(ast_run):
    song = noise(116_800) * np.linspace(0.01, 3, 116_800, dtype=np.float32)
    windows = [song[start : start + 48_000] for start in (0, 48_000, 68_800)]
    extractor = AutoFeatureExtractor.from_pretrained(ast_run)
    features = extractor(windows, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        probabilities = AutoModelForAudioClassification.from_pretrained(ast_run).eval()(**features).logits.sigmoid()
    heard = Tagger.from_pretrained(ast_run, "cpu").probabilities(song)
    torch.testing.assert_close(heard, probabilities.mean(dim=0), atol=1e-3, rtol=0)
    assert (heard - probabilities[0]).abs().max() > 2e-3


# Layers and heads


@pytest.mark.parametrize("family", STOCK)
def test_a_layers_number_cuts_the_encoder_above_it(family, checkpoint):
    whole, _ = build(checkpoint(family))
    cut, _ = build(checkpoint(family), layer=1)
    assert (whole.config.num_hidden_layers, cut.config.num_hidden_layers) == (2, 1)
    kept, all_weights = cut.state_dict(), whole.state_dict()
    assert set(kept) < set(all_weights)
    encoder = [name for name in kept if not name.startswith(("classifier", "projector"))]
    assert all(torch.equal(kept[name], all_weights[name]) for name in encoder)


@pytest.mark.parametrize("family", WEIGHTED)
def test_a_weighted_sum_of_layers_is_learned(family, checkpoint, tmp_path):
    make_stock(family, tmp_path / "source", **{"encoder_layerdrop" if family == "whisper" else "layerdrop": 0.9})
    dataset, clips = genres()
    window = {} if family == "whisper" else {"window_seconds": 1}
    options = {"max_steps": 2, "eval_strategy": "no"}
    trainer = make_trainer(tmp_path / "source", tmp_path, dataset, clips, options, layer="weighted", **window)
    assert torch.equal(trainer.model.layer_weights, torch.full((3,), 1 / 3))
    trainer.train()  # with a layer dropped at random the sum would lack a term
    assert trainer.model.layer_weights.unique().numel() == 3
    trainer.save_model()
    again, _ = build(tmp_path, dataset.label_names)
    assert torch.equal(again.layer_weights, trainer.model.layer_weights)
    last, _ = build(tmp_path, dataset.label_names, layer="last")
    assert not hasattr(last, "layer_weights")


# Going on with a finetuned run


@pytest.mark.parametrize("family", [AST, "wav2vec2", "whisper"])
def test_a_finetuned_model_keeps_its_head_for_its_labels_and_gets_a_new_one_for_others(family, checkpoint, tmp_path):
    model, extractor = build(checkpoint(family))
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    saved = model.state_dict()
    same, _ = build(tmp_path)
    assert all(torch.equal(value, saved[name]) for name, value in same.state_dict().items())
    for labels in (["a", "b", "d"], ["a", "b", "c", "d"]):
        other, _ = build(tmp_path, labels)
        assert other.config.id2label == dict(enumerate(labels))
        for name, value in other.state_dict().items():
            if name.startswith("classifier"):
                assert "weight" not in name or "norm" in name or not torch.equal(value[:3], saved[name])
            else:  # the projection too
                assert torch.equal(value, saved[name])


@pytest.mark.parametrize("family", [AST, "wav2vec2", "mert_model"])
def test_two_accumulated_half_batches_are_one_step_of_the_whole_batch(family, tmp_path):
    off = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "mask_time_prob"), 0.0)
    if family == "mert_model":
        folder = make_mert(tmp_path / "source", **off)
    else:
        folder = make_stock(family, tmp_path / "source", **(off if family == "wav2vec2" else {}))
    options = {"max_steps": 1, "eval_strategy": "no", "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0}
    options |= {"warmup_steps": 0, "lr_scheduler_type": "constant"}
    arguments = {"window_seconds": 0.5, **({"head_dropout": 0.0} if family == "mert_model" else {})}
    after = []
    for size, accumulated in ((8, 1), (4, 2)):
        options |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulated}
        torch.manual_seed(0)  # of the new head
        trainer = make_trainer(folder, tmp_path, *synthetic(), options, **arguments)
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        trainer.train()
        after.append({name: value.detach() - before[name] for name, value in trainer.model.named_parameters()})
    whole, halves = after
    assert max(float(step.abs().max()) for step in whole.values()) > 1e-3
    for name, step in whole.items():
        torch.testing.assert_close(halves[name], step, atol=2e-6, rtol=1e-3, msg=name)
