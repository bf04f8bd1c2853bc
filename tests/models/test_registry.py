"""One set of sentences for every registered model: a new model is covered by being there."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from small_models import SMALL, WITHOUT_DROPOUT
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    pipeline,
)

from hf_tagger import models
from hf_tagger.models import MODELS, WaveformFeatureExtractor, WindowedEncoderClassification
from hf_tagger.models.windowed_classification import average_windows

CASES = [(name, number) for name in MODELS for number in range(len(SMALL.get(name, [{}])))]
PROBLEMS = ["single_label_classification", "multi_label_classification"]
LABELS = {0: "drums", 1: "bass", 2: "strings"}


def make(name, number=0, problem_type=PROBLEMS[1], **changes):
    torch.manual_seed(0)
    model_class = MODELS[name]
    settings = {**SMALL.get(name, [{}])[number], "id2label": LABELS, "problem_type": problem_type, **changes}
    config = model_class.config_class(**settings)
    model = model_class(config)
    settle(model)
    return model.eval(), WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)


def known_settings(name, settings):
    """Those of some settings that a model's configuration has."""
    config = MODELS[name].config_class()
    return {key: value for key, value in settings.items() if hasattr(config, key)}


def settle(model):
    """A few training passes, so that the batch norms have seen data and no output is saturated."""
    model.train()
    with torch.no_grad():
        for _ in range(30):
            model(music(4, model.config.window_samples))
    model.eval()


def music(windows, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pitches = 100 + 900 * torch.rand(windows, 1, generator=generator)
    noise = 0.02 * torch.randn(windows, samples, generator=generator)
    return 0.3 * torch.sin(2 * torch.pi * pitches * torch.arange(samples) / 16_000) + noise


def labels_for(problem_type, clips):
    if problem_type == PROBLEMS[0]:
        return torch.arange(clips) % 3
    return torch.nn.functional.one_hot(torch.arange(clips) % 3, 3).float()


every_model = pytest.mark.parametrize(("name", "number"), CASES)
every_problem = pytest.mark.parametrize("problem_type", PROBLEMS)


@pytest.mark.parametrize("name", MODELS)
def test_a_models_classes_are_imported_from_the_package_and_known_to_the_auto_classes(name):
    model_class = MODELS[name]
    for public in (model_class, model_class.config_class, getattr(model_class, "base_model_class", None)):
        assert public is None or getattr(models, public.__name__) is public
    assert AutoConfig.for_model(name).__class__ is model_class.config_class
    assert MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[model_class.config_class] is model_class


@every_model
@every_problem
def test_logits_have_one_row_a_clip_and_the_loss_is_that_of_the_problem(name, number, problem_type):
    model, _ = make(name, number, problem_type)
    inputs, labels = music(4, model.config.window_samples), labels_for(problem_type, 4)
    output = model(inputs, labels=labels)
    assert output.logits.shape == (4, 3)
    if problem_type == PROBLEMS[0]:
        expected = -output.logits.log_softmax(-1)[torch.arange(4), labels].mean()
    else:
        p = output.logits.sigmoid()
        expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)


@every_model
@pytest.mark.parametrize("problem_type", [pytest.param(PROBLEMS[0], marks=pytest.mark.slow), PROBLEMS[1]])
def test_a_fixed_batch_is_learned_and_every_parameter_gets_a_gradient(name, number, problem_type):
    model, _ = make(name, number, problem_type, **known_settings(name, WITHOUT_DROPOUT))
    inputs, labels = music(6, model.config.window_samples), labels_for(problem_type, 6)
    model.train()
    # What follows a transformer, a recurrent layer or a posterior learns more slowly than a network of batch norms.
    is_slow = isinstance(model, WindowedEncoderClassification) or name in ("crnn", "mel_vae")
    rate, steps = (3e-3, 60 if is_slow else 20)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for _ in range(steps):
        loss = model(inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        without = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum()]
        # A bias in front of a batch norm is subtracted again: its gradient is rounding noise or nothing.
        assert [key for key in without if not key.endswith("bias")] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@every_model
def test_saving_and_loading_changes_no_logit(name, number, tmp_path):
    model, extractor = make(name, number)
    inputs = music(2, model.config.window_samples)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded, info = AutoModelForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(loaded) is type(model)
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is WaveformFeatureExtractor
    weights, expected = loaded.state_dict(), model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    # A convolution's sums depend on where in memory its weights lie.
    torch.testing.assert_close(loaded(inputs).logits, model(inputs).logits, atol=1e-6, rtol=1e-6)


@every_model
def test_a_clip_alone_scores_as_in_a_batch(name, number):
    model, _ = make(name, number)
    inputs = music(5, model.config.window_samples)
    together = model(inputs).logits
    alone = torch.cat([model(inputs[index : index + 1]).logits for index in range(5)])
    # Bins of a constant-Q transform that hold nothing but roundings are as loud in decibels as others.
    tolerance = 1e-3 if getattr(model.config, "front_end", None) == "cqt" else 1e-4
    torch.testing.assert_close(alone, together, atol=tolerance, rtol=0)


@every_model
def test_a_padded_window_with_its_mask_scores_as_alone(name, number):
    model, _ = make(name, number)
    window, longer = music(1, model.config.window_samples), music(1, 2 * model.config.window_samples, seed=1)
    padded = torch.cat([window, torch.zeros_like(window)], dim=1)  # twice its length
    mask = torch.ones(2, padded.shape[1], dtype=torch.int64)
    mask[0, window.shape[1] :] = 0
    logits = model(torch.cat([padded, longer]), attention_mask=mask).logits
    torch.testing.assert_close(logits[:1], model(window).logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits[1:], model(longer).logits, atol=1e-4, rtol=0)
    as_windows = model(padded[None], attention_mask=mask[None, :1]).logits  # [clips, windows, samples]
    torch.testing.assert_close(as_windows, model(window).logits, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="without samples"):
        model(padded, attention_mask=torch.zeros_like(mask[:1]))
    with pytest.raises(ValueError, match="shape of input_values"):
        model(padded, attention_mask=mask)


@every_model
@every_problem
def test_windows_are_averaged_as_probabilities_and_padding_windows_do_not_count(name, number, problem_type):
    model, _ = make(name, number, problem_type, windows_per_group=2)  # groups smaller than the clip
    windows = music(5, model.config.window_samples)

    def to_probabilities(logits):
        return logits.softmax(-1) if problem_type == PROBLEMS[0] else logits.sigmoid()

    expected = to_probabilities(model(windows).logits).mean(dim=0)
    padded = torch.cat([windows, torch.zeros(3, windows.shape[1])])
    batch = torch.stack([padded, music(8, windows.shape[1], seed=1)])
    mask = torch.tensor([[1] * 5 + [0] * 3, [1] * 8])
    probabilities = to_probabilities(model(batch, window_mask=mask).logits)
    torch.testing.assert_close(probabilities[0], expected, atol=1e-5, rtol=0)


@every_model
def test_one_second_and_ten_minutes_are_tagged(name, number):
    model, extractor = make(name, number)
    tagger = pipeline("audio-classification", model=model, feature_extractor=extractor)
    for seconds in (1, 600):
        scores = tagger(music(1, seconds * 16_000)[0].numpy(), top_k=None)
        assert {score["label"] for score in scores} == set(LABELS.values())
        assert all(0 < score["score"] < 1 for score in scores)


@every_model
def test_the_pipeline_batches_clips_of_different_lengths(name, number):
    model, extractor = make(name, number)
    tagger = pipeline("audio-classification", model=model, feature_extractor=extractor, top_k=None)
    clips = [music(1, length, seed)[0].numpy() for seed, length in enumerate((16_000, 200_000, 59_049))]
    together = tagger(clips, batch_size=3)
    for clip, scores in zip(clips, together, strict=True):
        alone = {score["label"]: score["score"] for score in tagger(clip)}
        for score in scores:
            assert score["score"] == pytest.approx(alone[score["label"]], abs=1e-5)


@every_model
def test_a_repeated_short_clip_scores_as_its_repetition_written_out(name, number):
    model, extractor = make(name, number)
    tagger = pipeline("audio-classification", model=model, feature_extractor=extractor, top_k=None)
    short = music(1, 10_000)[0].numpy()
    window = model.config.window_samples
    long = np.tile(short, window // len(short) + 1)[:window]
    assert tagger(short) == tagger(long)


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_keeps_the_spectrogram_in_float32_and_trains_without_nan(name, number, dtype):
    model, _ = make(name, number)
    inputs, labels = music(3, model.config.window_samples), labels_for(PROBLEMS[1], 3)
    seen = []
    if hasattr(model, "spectrogram"):
        model.spectrogram.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=dtype):
        logits = model(inputs).logits
    assert set(seen) <= {torch.float32}
    assert len(seen) == hasattr(model, "spectrogram")
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits.float().sigmoid(), model(inputs).logits.sigmoid(), atol=0.1, rtol=0)
    model.train()
    with torch.autocast("cpu", dtype=dtype):
        loss = model(inputs, labels=labels).loss
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_loaded_in_reduced_precision_tags_like_the_full_one(name, number, dtype, tmp_path):
    model, extractor = make(name, number)
    has_spectrogram = hasattr(model, "spectrogram")
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    song = music(1, 100_000)[0].numpy()
    exact = {s["label"]: s["score"] for s in pipeline("audio-classification", model=str(tmp_path), top_k=None)(song)}
    reduced = pipeline("audio-classification", model=str(tmp_path), top_k=None, dtype=dtype)
    if has_spectrogram:
        assert {buffer.dtype for buffer in reduced.model.spectrogram.buffers()} <= {torch.float32}
    assert {parameter.dtype for parameter in reduced.model.classifier.parameters()} == {dtype}
    for score in reduced(song):
        assert score["score"] == pytest.approx(exact[score["label"]], abs=0.1)
    cast = model.to(dtype)  # the other way to reduced precision
    if has_spectrogram:
        assert {buffer.dtype for buffer in cast.spectrogram.buffers()} <= {torch.float32}


@every_model
def test_a_wrong_shape_is_explained(name, number):
    model, _ = make(name, number)
    with pytest.raises(ValueError, match=r"\[batch, samples\] or \[batch, windows, samples\].*\(4,\)"):
        model(torch.zeros(4))


@pytest.fixture(scope="module")
def scores_without_this_package(tmp_path_factory):
    """What a process that cannot import this package says of one song, for every model; one process for all."""
    root, song = tmp_path_factory.mktemp("models"), music(1, 150_000)[0].numpy()
    np.save(root / "song.npy", song)
    for name, number in CASES:
        for part in make(name, number):
            part.save_pretrained(root / f"{name}-{number}")
    program = textwrap.dedent(f"""
        import json, sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "hf_tagger":
                    raise ImportError("not installed here")
        sys.meta_path.insert(0, Refuse())
        import numpy as np
        from transformers import pipeline
        scores, song = {{}}, np.load("song.npy")
        for folder in {[f"{name}-{number}" for name, number in CASES]!r}:
            tagger = pipeline("audio-classification", model=folder, trust_remote_code=True, top_k=None)
            scores[folder] = tagger(song.copy())
        print(json.dumps(scores))
    """)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    assert finished.returncode == 0, finished.stderr
    return song, json.loads(finished.stdout.splitlines()[-1])


@every_model
def test_a_saved_model_tags_where_this_package_cannot_be_imported(name, number, scores_without_this_package):
    model, extractor = make(name, number)
    song, scores = scores_without_this_package
    theirs = {score["label"]: score["score"] for score in scores[f"{name}-{number}"]}
    ours = pipeline("audio-classification", model=model, feature_extractor=extractor, top_k=None)(song)
    for score in ours:
        assert theirs[score["label"]] == pytest.approx(score["score"], abs=1e-6)


@every_model
def test_a_model_is_exported_for_any_number_of_clips(name, number):
    model, _ = make(name, number)
    example, other = music(2, model.config.window_samples), music(5, model.config.window_samples, seed=1)
    shapes = ({0: torch.export.Dim("clips", min=1, max=64)},)
    exported = torch.export.export(model, (example,), dynamic_shapes=shapes).module()
    for clips in (example, other):
        torch.testing.assert_close(exported(clips).logits, model(clips).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_averaging_very_certain_windows_does_not_overflow(problem_type):
    logits = torch.tensor([[[200.0, -200.0], [200.0, -200.0]]])
    averaged = average_windows(logits, torch.ones(1, 2, dtype=torch.bool), problem_type)
    assert torch.isfinite(averaged).all()
    probabilities = averaged.sigmoid() if problem_type == PROBLEMS[1] else averaged.softmax(-1)
    assert probabilities.tolist() == [[1.0, 0.0]]
