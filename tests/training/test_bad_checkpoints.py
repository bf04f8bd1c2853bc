"""Checkpoints and fields that cannot work: each ends with what was found and what is possible, and runs no code."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from script_runner import ROOT, TINY, environment, load_script
from transformers import ASTConfig, BertConfig, BertModel, ClapConfig, HubertConfig, pipeline

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_freezing import STOCK, make_mert, make_stock

from hf_tagger import ModelArguments, WaveformFeatureExtractor
from hf_tagger.errors import HfTaggerError, RecipeError
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.stock_models import stock_changes

AST, MERT = "audio-spectrogram-transformer", "mert_model"
ABC = ["a", "b", "c"]


def make(family, folder):
    return make_mert(folder) if family == MERT else make_stock(family, folder)


def build(folder, **arguments):
    plan = plan_model(ModelArguments(model_name_or_path=str(folder), **arguments))
    return build_model(plan, ABC, "single_label_classification"), plan.feature_extractor


def finetune(folder, output, *arguments):
    argv = ["--model_name_or_path", str(folder), "--synthetic_clips", "40", "--output_dir", str(output / "run")]
    load_script("finetune").main([*argv, *TINY[2:], *arguments])


def states(file, **values):
    """Changes values of a JSON file."""

    def edit(folder):
        path = folder / f"{file}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return edit


def is_text(file, content):
    return lambda folder: (folder / file).write_text(content)


def lacks(file):
    return lambda folder: (folder / file).unlink()


def holds_code(file, kind):
    """Names code that lies beside the weights, and would leave a file behind if it ran."""

    def edit(folder):
        (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Anything: ...\n")
        values = {"model_type": "unheard_of"} if file == "config" else {"feature_extractor_type": None}
        states(file, **values, auto_map={kind: "code.Anything"})(folder)

    return edit


NO_MODEL, NO_EXTRACTOR = "holds no model that can be read", r"no feature extractor \(preprocessor_config.json\)"
NO_CLASS = "for which neither this package nor transformers has an audio classification class; possible are"


@pytest.mark.parametrize(
    ("family", "edit", "message"),
    [
        ("hubert", lacks("config.json"), rf"{NO_MODEL}: .* `model_type` key in its config.json"),
        ("hubert", is_text("config.json", "{"), rf"{NO_MODEL}: .* not a valid JSON file"),
        ("hubert", states("config", hidden_size="wide"), rf"{NO_MODEL}: .*'hidden_size' expected int.*'wide'"),
        ("hubert", states("config", num_attention_heads=3), "no Hubert.* can be built of it: .* divisible"),
        ("hubert", states("config", num_hidden_layers=0), "num_hidden_layers 0 must be at least 1"),
        ("hubert", BertConfig().save_pretrained, rf"type 'bert', {NO_CLASS} .*mert_model.*short_cnn.*wav2vec2"),
        ("hubert", ClapConfig().save_pretrained, rf"type 'clap', {NO_CLASS} .*mert_model.*short_cnn.*wav2vec2"),
        ("hubert", holds_code("config", "AutoConfig"), rf"{NO_MODEL}: it needs code .* never run"),
        *((name, states("config", add_adapter=True), r"no \w+ can be built.*add_adapter=True")
          for name in ("wav2vec2", "wavlm", "data2vec-audio", "wav2vec2-conformer")),
        ("hubert", lacks("preprocessor_config.json"), rf"{NO_EXTRACTOR} that can be read"),
        ("hubert", is_text("preprocessor_config.json", "{"), rf"{NO_EXTRACTOR} .* not a valid JSON file"),
        ("hubert", is_text("preprocessor_config.json", "[]"), rf"{NO_EXTRACTOR} .* 'list'"),
        ("hubert", states("preprocessor_config", sampling_rate="fast"), "sampling_rate 'fast' must be a positive"),
        ("hubert", states("preprocessor_config", window_samples=0.5), "window_samples 0.5 must be a positive"),
        ("hubert", holds_code("preprocessor_config", "AutoFeatureExtractor"), rf"{NO_EXTRACTOR} .* never run"),
        (AST, states("preprocessor_config", feature_extractor_type="Wav2Vec2FeatureExtractor"),
         "a Wav2Vec2FeatureExtractor does not compute what a ASTForAudioClassification reads"),
        (AST, states("preprocessor_config", num_mel_bins=64), "num_mel_bins 64 must be the model's 128"),
        ("whisper", states("preprocessor_config", chunk_length=30), "nb_max_frames 3000 must be the model's 200"),
        ("whisper", states("preprocessor_config", feature_size=128), "feature_size 128 must be the model's 80"),
        ("wav2vec2-bert", states("preprocessor_config", feature_size=40), "feature_size 40 must be the model's 80"),
        (MERT, states("config", deepnorm=True), rf"{NO_MODEL}: deepnorm True is not supported; it must be false"),
        (MERT, states("config", feature_extractor_cqt=True), "feature_extractor_cqt True is not supported; it must"),
        (MERT, is_text("preprocessor_config.json", "{"), "preprocessor_config.json cannot be read: .* not a valid"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_use_is_explained_before_anything_is_decoded(family, edit, message, tmp_path, monkeypatch):
    """By the command line too; and nobody is asked whether code beside the weights may run, which a hurry would do."""
    folder = make(family, tmp_path / "checkpoint")
    edit(folder)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(RecipeError, match=message) as error:
        plan_model(ModelArguments(model_name_or_path=str(folder)))
    assert len(error.value.problems) == 1
    with pytest.raises(RecipeError, match=message):
        finetune(folder, tmp_path)
    with pytest.raises(HfTaggerError):
        Tagger.from_pretrained(folder)
    assert not (folder / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_a_path_that_does_not_exist_is_not_taken_for_a_repository(tmp_path):
    with pytest.raises(RecipeError, match="it is neither a folder nor a name that the Hub allows"):
        plan_model(ModelArguments(model_name_or_path=str(tmp_path / "nowhere")))


# Weights


class LeavesAFile:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def bin_of(content, save=torch.save):
    def edit(folder):
        (folder / "model.safetensors").unlink()
        with open(folder / "pytorch_model.bin", "wb") as file:
            save(content(folder / "ran"), file)

    return edit


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_ast(folder):
    (make_stock(AST, folder / "ast") / "model.safetensors").replace(folder / "model.safetensors")


def of_bert(folder):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    save_file(BertModel(BertConfig(**sizes, vocab_size=8)).state_dict(), folder / "model.safetensors")


OTHER = r"weights of a \w+ are not in .* It holds instead: {} Either its weights belong to another model"
NOT_TENSORS = "its weights file is damaged, or holds something else than named tensors.* safetensors"


@pytest.mark.parametrize("family", ["wav2vec2", MERT])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (truncated, "cannot be read: .*incomplete.* Weights are read from safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be read: .*header too small"),
        (lacks("model.safetensors"), "cannot be read: .*no file named model.safetensors"),
        (bin_of(lambda path: {"weight": LeavesAFile(path)}), NOT_TENSORS),
        (bin_of(LeavesAFile, lambda content, file: pickle.dump(content, file, protocol=2)), NOT_TENSORS),
        (bin_of(lambda path: b"", lambda content, file: file.write(content)), NOT_TENSORS),
        (bin_of(lambda path: b"weights", lambda content, file: file.write(content)), NOT_TENSORS),
        (bin_of(lambda path: [torch.zeros(2)]), NOT_TENSORS),
        (of_ast, OTHER.format("audio_spectrogram_transformer.*")),
        (of_bert, OTHER.format("embeddings.*")),
    ],
)
def test_weights_that_cannot_be_read_or_are_anothers_are_explained_and_run_no_code(family, edit, message, tmp_path):
    folder = make(family, tmp_path / "checkpoint")
    edit(folder)
    with pytest.raises(HfTaggerError, match=message):
        build(folder)
    with pytest.raises(HfTaggerError, match=message):
        Tagger.from_pretrained(folder)
    assert not (folder / "ran").exists()


# Fields


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        (AST, {"layer": 99}, "layer: 99 is not possible .* possible are last, and a number from 1 to 2"),
        ("hubert", {"layer": 0}, "layer: 0 is not possible .* possible are last, weighted, and a number from 1 to 2"),
        (MERT, {"layer": 99}, r"layer 99 does not exist; possible are last, weighted .*, or a number from 0 .* to 3"),
        (AST, {"pooling": "mean"}, "pooling: mean is not possible .* classifies its two special tokens; leave it out"),
        ("hubert", {"feature_statistics": "dataset"}, "feature_statistics: a hubert does not normalise"),
        (AST, {"model_config": {"max_length": 64}}, "model_config.max_length: follows from .* set window_seconds"),
        (AST, {"hop_seconds": 99}, "hop_seconds: 99 must be more than 0 and at most the window's 2.095"),
        (
            MERT,
            {"window_seconds": 1, "hop_seconds": 2},
            "hop_seconds: 2 must be .* at most the window's 1",
        ),
        (
            MERT,
            {"window_seconds": 1, "model_config": {"hop_samples": 6000}},
            "model_config.hop_samples: follows from window_seconds .* set hop_seconds instead",
        ),
        (
            MERT,
            {"hop_seconds": 1, "model_config": {"hop_samples": 6000}},
            "model_config.hop_samples: follows from .* set hop_seconds instead",
        ),
        (
            MERT,
            {"window_seconds": 1, "model_config": {"window_samples": 480000}},
            "model_config.window_samples: follows from .* set window_seconds instead",
        ),
        (MERT, {"window_seconds": 0.001}, "window_seconds: 0.001 is too short for this model, which needs at least"),
        ("whisper", {"window_seconds": 2.5}, "window_seconds: 2.5 is too long for this model, which hears at most 2"),
    ],
)
def test_an_impossible_field_says_what_is_possible(family, arguments, message, tmp_path):
    folder = make(family, tmp_path)
    with pytest.raises(RecipeError, match=message) as error:
        plan_model(ModelArguments(model_name_or_path=str(folder), **arguments))
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (ASTConfig(), {"layer": "weighted"}, "layer: weighted is not .* possible are last, and a number from 1 to 12"),
        (HubertConfig(), {"pooling": "attention"}, "pooling: attention is not .* a stock hubert model, which pools by"),
        (HubertConfig(), {"head_hidden_size": 8}, "head_hidden_size: .* has a head of its own; leave it out"),
        (HubertConfig(), {"head_dropout": 0.1}, "head_dropout: .* has a head of its own; leave it out"),
    ],
)
def test_what_a_class_of_transformers_cannot_express_is_said(config, arguments, message):
    (problem,) = stock_changes(config, ModelArguments(model_name_or_path="somewhere", **arguments))[1]
    assert re.search(message, problem)


@pytest.mark.parametrize("family", [name for name in STOCK if name != "whisper"])
def test_the_shortest_window_that_a_message_names_can_be_trained_on(family, tmp_path):
    """Most of them mask ten frames at once in training, and fail on fewer."""
    folder, least = make(family, tmp_path), {AST: 0.175, "wav2vec2-bert": 0.215}.get(family, 0.2)
    with pytest.raises(RecipeError, match=rf"window_seconds: {least - 0.001:g} is too short .* at least {least:g}$"):
        plan_model(ModelArguments(model_name_or_path=str(folder), window_seconds=least - 0.001))
    model, extractor = build(folder, window_seconds=least)
    windows = np.random.default_rng(0).normal(size=(2, round(16_000 * least))).astype(np.float32)
    features = extractor(list(windows), sampling_rate=16_000, return_tensors="pt")
    model.train()(**features).logits.sum().backward()


@pytest.mark.parametrize(("family", "layer"), [("wav2vec2", "layer: 99 is not"), (MERT, "layer 99 does not exist")])
def test_all_mistakes_of_a_recipe_come_in_one_message(family, layer, tmp_path):
    folder = make(family, tmp_path / "checkpoint")
    fields = ["--layer", "99", "--window_seconds", "1", "--hop_seconds", "2", "--model_config.depth", "3"]
    with pytest.raises(RecipeError) as error:
        finetune(folder, tmp_path, *fields, "--feature_statistics", "dataset", "--protocol", "mine")
    for problem in (layer, "hop_seconds: 2 must", "model_config.depth: 'depth' is not known", "feature_statistics: a"):
        assert sum(problem in found for found in error.value.problems) == 1
    assert len(error.value.problems) == 5  # and the protocol


# Sampling rates


def test_an_array_at_another_rate_is_refused_and_a_dictionary_is_resampled(tmp_path):
    tone = np.sin(np.arange(48_000) / 9).astype(np.float32)
    for family, rate in ((AST, 16_000), ("whisper", 16_000), (MERT, 24_000)):
        model, extractor = build(make(family, tmp_path / family))
        assert (extractor.sampling_rate, isinstance(extractor, WaveformFeatureExtractor)) == (rate, family == MERT)
        with pytest.raises(ValueError, match=rf"(?s){rate}.*48000|48000.*{rate}"):
            extractor(tone, sampling_rate=48_000, return_tensors="pt")
        tagger = pipeline("audio-classification", model=model, feature_extractor=extractor, top_k=None)
        resampled = torchaudio.functional.resample(torch.from_numpy(tone), 48_000, rate).numpy()
        assert tagger({"array": tone, "sampling_rate": 48_000}) == tagger(resampled)
        assert tagger(resampled) != tagger(tone)


# The scripts


def test_predict_says_that_a_model_without_a_trained_head_must_be_finetuned_first(tmp_path):
    for family in (MERT, "wav2vec2"):
        with pytest.raises(HfTaggerError, match=r"It has no trained head: finetune it first \(model_name_or_path"):
            load_script("predict").main([str(make(family, tmp_path / family)), "song.wav"])


@pytest.mark.slow
def test_a_script_ends_with_one_message_and_no_traceback(tmp_path):
    truncated(make_stock("wav2vec2", tmp_path / "checkpoint"))
    arguments = ["--model_name_or_path", str(tmp_path / "checkpoint"), "--synthetic_clips", "40", *TINY[2:]]
    command = [sys.executable, "scripts/finetune.py", *arguments, "--output_dir", str(tmp_path / "run")]
    finished = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert f"error: The model in {tmp_path / 'checkpoint'} cannot be read: " in finished.stderr
    assert "Traceback" not in finished.stderr
