"""Embeddings computed once stand for the encoder: same logits, kept on disk, made anew when anything changes."""

import resource

import numpy as np
import pytest
import torch
from tiny_encoders import HIDDEN, LAYERS, LENGTHS, build_tagger, noise_clips, save_encoder

from hf_tagger.errors import HfTaggerError
from hf_tagger.models.encoder_classification import normalize_windows
from hf_tagger.models.input_features import input_features
from hf_tagger.models.windowing import cut_windows
from hf_tagger.training import embeddings
from hf_tagger.training.embeddings import EmbeddingHead, EmbeddingStore, layer_embeddings, window_embeddings

CASES = [
    ("mert", {}),
    ("mert", {"layer": 0}),
    ("mert", {"layer": 2}),
    ("mert", {"layer": "weighted", "head_hidden_size": 8}),
    ("ast", {}),
    ("ast", {"layer": 1}),
    ("hubert", {"layer": 2}),
    ("hubert", {"layer": "weighted"}),
    ("wav2vec2", {}),
    ("wav2vec2", {"layer": "weighted"}),
    ("whisper", {}),
    ("whisper", {"layer": "weighted"}),
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: save_encoder(family, folder / family) for family in {family for family, _ in CASES}}


def waveforms(samples, count=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, samples, generator=generator) * torch.tensor([0.01, 0.05, 0.1, 0.3])[:count, None]


@pytest.mark.parametrize(("family", "options"), CASES)
@torch.no_grad()
def test_embedding_and_head_give_the_logits_of_the_whole_model(checkpoints, family, options):
    model, extractor = build_tagger(checkpoints[family], **options)
    features = input_features(extractor)(waveforms(extractor.window_samples))
    embedded = window_embeddings(model, features)
    assert embedded.shape == ((4, LAYERS + 1, HIDDEN) if options.get("layer") == "weighted" else (4, HIDDEN))
    expected = model(**features).logits
    assert expected.std(dim=0).max() > 1e-3  # windows differ, or the next line could not fail
    torch.testing.assert_close(EmbeddingHead(model)(embedded), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["mert", "ast", "hubert", "wav2vec2", "whisper"])
@torch.no_grad()
def test_the_embeddings_of_all_layers_are_the_pooled_hidden_states_and_end_with_the_output(checkpoints, family):
    model, extractor = build_tagger(checkpoints[family])
    features = input_features(extractor)(waveforms(extractor.window_samples))
    layers = layer_embeddings(model, features)
    assert layers.shape == (4, LAYERS + 1, HIDDEN)
    torch.testing.assert_close(layers[:, -1], window_embeddings(model, features), atol=1e-6, rtol=0)
    encoder = model.encoder if family == "whisper" else model.base_model
    if family == "mert":
        features = {"input_values": normalize_windows(features["input_values"])}
    states = encoder(**features, output_hidden_states=True).hidden_states
    for number, state in enumerate(states[:-1]):
        frames = state[:, :2] if family == "ast" else state
        torch.testing.assert_close(layers[:, number], frames.mean(dim=1), atol=1e-6, rtol=0)
    assert (layers[:, 1:] - layers[:, :-1]).abs().amax(dim=(0, 2)).min() > 1e-3  # no layer passes for another


@torch.no_grad()
def test_kept_embeddings_are_those_of_every_window_in_the_order_of_evaluation(checkpoints, tmp_path):
    model, extractor = build_tagger(checkpoints["mert"], window_seconds=0.25, hop_seconds=0.2)
    clips = noise_clips()
    kept = EmbeddingStore(model, extractor, tmp_path, batch_size=3).embeddings(clips, "train")
    windows = torch.cat([cut_windows(torch.from_numpy(clips.read(n)), 6_000, 4_800) for n in range(len(clips))])
    assert len(windows) == 6 + 1 + 3 + 3
    expected = model.mert(normalize_windows(windows)).last_hidden_state.mean(dim=1)
    np.testing.assert_allclose(kept, expected, atol=1e-5)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_a_second_run_reads_the_file_and_leaves_the_encoder_alone(checkpoints, tmp_path, monkeypatch):
    first = EmbeddingStore(*build_tagger(checkpoints["mert"]), tmp_path).embeddings(noise_clips(), "train")
    monkeypatch.setattr(embeddings, "window_embeddings", lambda *_: pytest.fail("the encoder was called"))
    again = EmbeddingStore(*build_tagger(checkpoints["mert"]), tmp_path).embeddings(noise_clips(), "train")
    np.testing.assert_array_equal(first, again)


def files_of(folder, model, extractor, clips=None, **options):
    EmbeddingStore(model, extractor, folder, **options).embeddings(clips or noise_clips(), "train")
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "change",
    [
        {"layer": 2},
        {"layer": "weighted"},
        {"window_seconds": 0.4},
        {"hop_seconds": 0.25},
        {"model_config": {"num_attention_heads": 4}},  # the same weights in all of these
        {"model_config": {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}},
        {"model_config": {"do_stable_layer_norm": True}},
        {"model_config": {"feat_extract_activation": "relu"}},
        {"model_config": {"normalize_waveform": False}},
    ],
    ids=str,
)
def test_whatever_changes_embeddings_makes_another_file(checkpoints, tmp_path, change):
    before = files_of(tmp_path, *build_tagger(checkpoints["mert"]))
    after = files_of(tmp_path, *build_tagger(checkpoints["mert"], **change))
    assert len(before) == 1
    assert len(after) == 2


def test_other_encoder_weights_clips_or_precision_make_another_file(checkpoints, tmp_path):
    model, extractor = build_tagger(checkpoints["mert"])
    assert len(files_of(tmp_path, model, extractor)) == 1
    assert len(files_of(tmp_path, model, extractor, noise_clips(seed=1))) == 2
    assert len(files_of(tmp_path, model, extractor, noise_clips(LENGTHS[:3]))) == 3
    assert len(files_of(tmp_path, model, extractor, mixed_precision="bf16")) == 4
    model.mert.encoder.layers[0].attention.k_proj.bias.data[0] += 1e-6
    assert len(files_of(tmp_path, model, extractor)) == 5


def test_another_head_and_what_only_training_uses_leave_the_file_as_it_is(checkpoints, tmp_path):
    files = files_of(tmp_path, *build_tagger(checkpoints["mert"]))
    model, extractor = build_tagger(checkpoints["mert"], head_hidden_size=5, head_dropout=0.5)
    model.config.id2label = {0: "rock"}
    model.mert.masked_spec_embed.data.normal_()
    assert files_of(tmp_path, model, extractor) == files
    assert len(files) == 1


def test_a_full_disk_is_explained_and_leaves_nothing(checkpoints, tmp_path):
    model, extractor = build_tagger(checkpoints["mert"])
    store, clips = EmbeddingStore(model, extractor, tmp_path / "cache"), noise_clips()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))  # bytes a file may have
    try:
        with pytest.raises(HfTaggerError, match=r"could not be written to .*cache.*Free some space.*cache_dir"):
            store.embeddings(clips, "train")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_encoder_that_gives_no_numbers_is_explained(checkpoints, tmp_path):
    model, extractor = build_tagger(checkpoints["mert"])
    model.mert.encoder.layer_norm.weight.data[0] = float("nan")
    with pytest.raises(HfTaggerError, match="NaN or infinite"):
        EmbeddingStore(model, extractor, tmp_path).embeddings(noise_clips(), "train")
    assert list(tmp_path.iterdir()) == []
