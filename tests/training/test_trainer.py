import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import test_windows

from hf_tagger import TaggingArguments, TaggingTrainer, WaveformFeatureExtractor
from hf_tagger.data.windows import EvaluationWindows, TrainingWindows
from hf_tagger.errors import DatasetError, HfTaggerError
from hf_tagger.models.configuration_musicnn import MusicnnConfig
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.modeling_musicnn import MusicnnForAudioClassification
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification
from hf_tagger.training.memory_format import match_memory_format

WINDOW = 2_048


def ramp_clips(lengths, labels=None):
    return test_windows.ramp_clips(lengths, labels, scale=1 / 32_768)


TINY = {"num_channels": 2, "num_blocks": 3, "window_samples": WINDOW, "hop_samples": WINDOW // 2}


def tiny_model(problem_type="single_label_classification", labels=2):
    torch.manual_seed(0)
    config = ShortCnnConfig(**TINY, problem_type=problem_type, num_labels=labels, classifier_dropout=0.0)
    model = ShortCnnForAudioClassification(config)
    model.classifier.weight.data.mul_(1e-3)  # untrained batch norms let logits of hundreds through
    return model, WaveformFeatureExtractor(16_000, WINDOW, WINDOW // 2)


def trainer_of(model, extractor, folder, **options):
    settings = {"use_cpu": True, "report_to": "none", "dataloader_num_workers": 0, "per_device_eval_batch_size": 3}
    datasets = {name: options.pop(name) for name in ("train_dataset", "eval_dataset") if name in options}
    arguments = TaggingArguments(output_dir=str(folder), **(settings | options))
    return TaggingTrainer(model, arguments, extractor, **datasets)


def test_workers_are_started_only_where_they_help(tmp_path):
    given = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True}
    assert TaggingArguments(**given).dataloader_num_workers == 0  # they would take the model's cores
    assert TaggingArguments(**given, dataloader_num_workers=3).dataloader_num_workers == 3
    # These are possible with workers only.
    assert TaggingArguments(**given, dataloader_persistent_workers=True).dataloader_num_workers == 2
    assert TaggingArguments(**given, dataloader_prefetch_factor=4).dataloader_num_workers == 2


def test_a_clips_score_is_the_mean_probability_of_its_windows(tmp_path):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000, 30_000])
    output = trainer_of(model, extractor, tmp_path).predict(clips)
    model.eval()
    for index in range(4):
        windows = extractor(clips.read(index), return_tensors="pt")["input_values"][0]
        with torch.no_grad():
            expected = model(windows).logits.softmax(-1).double().mean(dim=0)
        np.testing.assert_allclose(output.predictions[index], expected, atol=1e-6)
    assert output.label_ids.tolist() == [0, 1, 0, 1]
    guessed = output.predictions.argmax(axis=1)
    assert output.metrics["test_accuracy"] == (guessed == [0, 1, 0, 1]).mean()
    right = output.predictions[np.arange(4), [0, 1, 0, 1]]
    assert output.metrics["test_loss"] == pytest.approx(-np.log(right).mean())


def test_the_batch_size_changes_no_score(tmp_path):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000, 30_000])
    one = trainer_of(model, extractor, tmp_path, per_device_eval_batch_size=1).predict(clips).predictions
    many = trainer_of(model, extractor, tmp_path, per_device_eval_batch_size=64).predict(clips).predictions
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_the_share_of_every_process_adds_up_to_the_whole(tmp_path, monkeypatch):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000, 30_000, 5_000])
    whole = trainer_of(model, extractor, tmp_path).predict(clips).predictions
    for rank in range(2):
        trainer = trainer_of(model, extractor, tmp_path)
        windows = EvaluationWindows(clips, WINDOW, WINDOW // 2, share=(rank, 2))
        monkeypatch.setattr(trainer.evaluation, "windows", lambda clips, process, windows=windows: windows)
        with np.errstate(invalid="ignore"):
            monkeypatch.setattr(trainer.evaluation, "_score", lambda clips, probabilities: (None, {}))
            part = trainer.predict(clips).predictions
        np.testing.assert_allclose(part[rank::2], whole[rank::2], atol=1e-7)
        assert np.isnan(part[1 - rank :: 2]).all()


def test_clips_without_labels_are_predicted_but_not_scored(tmp_path):
    model, extractor = tiny_model()
    output = trainer_of(model, extractor, tmp_path).predict(ramp_clips([5_000, 5_000], labels=[None, None]))
    assert output.predictions.shape == (2, 2)
    assert output.label_ids is None
    assert "test_accuracy" not in output.metrics
    mixed = trainer_of(model, extractor, tmp_path).predict(ramp_clips([5_000, 5_000, 5_000], labels=[1, None, 0]))
    assert mixed.label_ids.tolist() == [1, 0]


def test_the_usual_metric_chooses_the_checkpoint_unless_another_is_named(tmp_path):
    model, extractor = tiny_model()
    assert trainer_of(model, extractor, tmp_path).args.metric_for_best_model == "accuracy"
    trainer = trainer_of(model, extractor, tmp_path, metric_for_best_model="loss")
    assert trainer.args.greater_is_better is False
    model, extractor = tiny_model("multi_label_classification", 3)
    assert trainer_of(model, extractor, tmp_path).args.metric_for_best_model == "ap_macro"


def test_a_validation_split_that_cannot_choose_is_explained(tmp_path):
    model, extractor = tiny_model("multi_label_classification", 3)
    clips = ramp_clips([3_000] * 4, labels=[[0], [0], [0], [0]])
    data = {"train_dataset": TrainingWindows(clips, WINDOW), "eval_dataset": clips}
    with pytest.raises(DatasetError, match="ap_macro is undefined on the validation split"):
        trainer_of(model, extractor, tmp_path, **data)


def test_a_metric_of_the_other_problem_is_refused_before_training(tmp_path):
    model, extractor = tiny_model()
    clips = ramp_clips([3_000] * 4)
    data = {"train_dataset": TrainingWindows(clips, WINDOW), "eval_dataset": clips}
    with pytest.raises(DatasetError, match="'ap_macro' is not computed here; choose one of: accuracy"):
        trainer_of(model, extractor, tmp_path, metric_for_best_model="ap_macro", **data)


def test_a_batch_of_one_window_is_never_trained_on(tmp_path):
    """Batch norm has no variance to learn from it; transformers would crash at the end of the epoch."""
    model, extractor = tiny_model()
    clips = ramp_clips([3_000] * 9)
    data = {"train_dataset": TrainingWindows(clips, WINDOW), "eval_dataset": clips}
    trainer = trainer_of(model, extractor, tmp_path, per_device_train_batch_size=4, num_train_epochs=2, **data)
    trainer.train()
    assert trainer.state.global_step == 4
    with pytest.raises(HfTaggerError, match="at least two windows a step"):
        trainer_of(model, extractor, tmp_path, per_device_train_batch_size=1, **data)


def test_a_model_that_diverged_is_explained(tmp_path):
    model, extractor = tiny_model()
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    with pytest.raises(HfTaggerError, match="training has diverged"):
        trainer_of(model, extractor, tmp_path).predict(ramp_clips([3_000, 3_000]))


def test_training_stops_when_the_metric_no_longer_improves(tmp_path):
    model, extractor = tiny_model()
    clips = ramp_clips([3_000] * 8)
    trainer = trainer_of(
        model,
        extractor,
        tmp_path,
        train_dataset=TrainingWindows(clips, WINDOW),
        eval_dataset=clips,
        num_train_epochs=50,
        learning_rate=1e-12,
        early_stopping_patience=2,
    )
    trainer.train()
    assert trainer.state.epoch < 10


def test_evaluation_memory_does_not_grow_with_the_number_of_windows(tmp_path):
    """No logits are kept: what the loop holds is one row a clip."""
    model, extractor = tiny_model()
    clips = ramp_clips([30_000] * 3)
    trainer = trainer_of(model, extractor, tmp_path)
    largest = 0
    original = trainer.evaluation._probabilities

    def watch(logits):
        nonlocal largest
        largest = max(largest, logits.shape[0])
        return original(logits)

    trainer.evaluation._probabilities = watch
    output = trainer.predict(clips)
    assert largest == 3  # the batch size
    assert output.predictions.shape == (3, 2)


def test_on_a_cpu_convolutions_compute_channels_last_and_are_saved_as_ever(tmp_path):
    model, extractor = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clips = ramp_clips([4_000, 7_000, 9_000])
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(clips.read(1))[None]).logits
    trainer = trainer_of(model, extractor, tmp_path, eval_dataset=clips)
    contiguous = MusicnnForAudioClassification(MusicnnConfig(num_labels=2, vertical_channels=2, horizontal_channels=2))
    match_memory_format(contiguous, torch.device("cpu"))  # is faster so
    assert all(value.is_contiguous() for value in contiguous.parameters())
    weights = [module.weight for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(weights) >= 3
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(torch.from_numpy(clips.read(1))[None]).logits, expected)
    trainer.save_model()
    saved = load_file(tmp_path / "model.safetensors")
    assert all(value.equal(before[name]) for name, value in saved.items())
