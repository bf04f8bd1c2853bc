"""``pipeline("music-tagging")``: every model, every kind of recording, any number of them."""

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from local_files import served
from small_models import SMALL
from small_taggers import FITTED, LABELS, MULTI, RATE, SINGLE, build, save, song
from tiny_encoders import build_tagger, save_encoder
from transformers import AutoModelForAudioClassification, pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging as transformers_logging

from hf_tagger import ModelArguments, MusicTaggingPipeline
from hf_tagger.audio import resample
from hf_tagger.errors import AudioDecodingError, HfTaggerError
from hf_tagger.evaluation.aggregation import AGGREGATIONS, aggregate
from hf_tagger.models import MODELS
from hf_tagger.models.windowing import cut_windows
from hf_tagger.tagging import Tagger
from hf_tagger.training.build import build_model, plan_model
from hf_tagger.training.lora import add_lora

CASES = [(name, number) for name in MODELS for number in range(len(SMALL.get(name, [{}])))]
FAMILIES = ["ast", "hubert", "wav2vec2", "whisper"]
WINDOW, HOP = 40_000, 30_000
SHORT = {"window_samples": WINDOW, "hop_samples": HOP}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with thresholds and a sharpness."""
    return save(tmp_path_factory.mktemp("fitted"), fit=FITTED, **SHORT)


@pytest.fixture(scope="module")
def tagger(folder):
    return pipeline("music-tagging", model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def unfitted(tmp_path_factory):
    return MusicTaggingPipeline.from_pretrained(
        save(tmp_path_factory.mktemp("unfitted"), problem_type=SINGLE, **SHORT), device="cpu"
    )


def scores(tags):
    return {tag["label"]: tag["score"] for tag in tags}


def by_hand(tagger, waveform, rule="mean", sharpness=None):
    """Label → score: windows cut all at once, tagged one by one, and aggregated."""
    extractor, config = tagger.feature_extractor, tagger.model.config
    rows = []
    for window in cut_windows(torch.from_numpy(waveform), extractor.window_samples, extractor.hop_samples):
        features = extractor(window.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        with torch.no_grad():
            logits = tagger.model(**features).logits[0].double()
        rows.append((logits.sigmoid() if config.problem_type == MULTI else logits.softmax(-1)).numpy())
    found = aggregate(rule, np.stack(rows), config.problem_type, sharpness)
    return dict(zip(LABELS, found, strict=True))


# Models


@pytest.mark.parametrize(("name", "number"), CASES)
def test_every_model_of_the_package_tags_a_long_recording_as_it_does_itself(name, number, tmp_path):
    tagger = pipeline("music-tagging", model=str(save(tmp_path, name, number)), device="cpu", top_k=None)
    config = tagger.model.config
    waveform = song(2.3 * config.window_samples / config.sampling_rate, config.sampling_rate)
    features = tagger.feature_extractor(waveform, sampling_rate=config.sampling_rate, return_tensors="pt")
    with torch.no_grad():
        own = tagger.model(**features).logits[0].sigmoid()
    assert features["input_values"].shape[1] == 3
    assert scores(tagger(waveform)) == pytest.approx(dict(zip(LABELS, own.tolist(), strict=True)), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stock_model_hears_all_of_a_recording(family, tmp_path):
    model, extractor = build_tagger(
        save_encoder(family, tmp_path / "base"), **({"window_seconds": None} if family == "whisper" else {})
    )
    model.save_pretrained(tmp_path / "run")
    extractor.save_pretrained(tmp_path / "run")
    tagger = pipeline("music-tagging", model=str(tmp_path / "run"), device="cpu")
    assert type(tagger.model).__module__.startswith("transformers.")
    waveform = song(2.3 * extractor.window_samples / RATE)
    expected = by_hand(tagger, waveform)
    assert scores(tagger(waveform)) == pytest.approx(expected, abs=1e-4)  # our filterbank and theirs round differently
    first = by_hand(tagger, waveform[: extractor.window_samples])
    assert max(abs(first[label] - expected[label]) for label in LABELS) > 1e-3
    for rule in ("max", "attention"):
        one = by_hand(tagger, waveform, rule, np.ones(3))
        assert scores(tagger(waveform, aggregate=rule)) == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize("family", ["ast", "mert"])
def test_an_adapter_is_added_to_its_base(family, tmp_path):
    base = save_encoder(family, tmp_path / "base")
    plan = plan_model(ModelArguments(model_name_or_path=str(base), window_seconds=0.5, lora={"rank": 2}))
    torch.manual_seed(0)
    model = add_lora(build_model(plan, LABELS, MULTI), plan.arguments.lora, str(base)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    for part in (model, plan.feature_extractor):
        part.save_pretrained(tmp_path / "run")
    waveform = song(1.7, plan.feature_extractor.sampling_rate)
    expected = Tagger(model.get_base_model(), plan.feature_extractor, "cpu").probabilities(waveform)
    tagger = pipeline("music-tagging", model=str(tmp_path / "run"), device="cpu")
    assert scores(tagger(waveform)) == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-5)


def test_a_model_in_memory_comes_with_its_feature_extractor(tagger):
    model, extractor = build(**SHORT)
    made = pipeline("music-tagging", model=model, feature_extractor=extractor, device="cpu")
    assert scores(made(song(5))) == scores(tagger(song(5)))
    with pytest.raises(HfTaggerError, match="needs a feature extractor with window_samples; received NoneType"):
        pipeline("music-tagging", model=model)


def test_a_model_without_a_trained_head_is_refused(tmp_path):
    with pytest.raises(HfTaggerError, match="It has no trained head: finetune it first"):
        pipeline("music-tagging", model=str(save_encoder("hubert", tmp_path)))


def test_what_is_saved_is_the_model_and_not_the_pipeline(tagger, tmp_path):
    tagger.save_pretrained(tmp_path)
    again = pipeline("music-tagging", model=str(tmp_path), device="cpu")
    assert again(song(5)) == tagger(song(5))
    assert not (tmp_path / "pipeline.py").exists()
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()
    AutoModelForAudioClassification.from_pretrained(tmp_path)


# Recordings


def test_files_urls_bytes_arrays_and_decoded_datasets_get_the_same_tags(tagger, tmp_path):
    waveform = song(6)
    path = tmp_path / "song.wav"
    soundfile.write(path, waveform, RATE, subtype="PCM_16")
    expected = tagger(waveform)
    same = [path, str(path), path.read_bytes(), torch.from_numpy(waveform), np.stack([waveform, waveform])]
    same += [{"raw": waveform, "sampling_rate": RATE}, {"bytes": path.read_bytes(), "path": None}]
    with served(tmp_path) as url:
        same.append(f"{url}/song.wav")
        for source in same:
            assert tagger(source) == expected
        together = tagger(same)
        assert tagger(tuple(same)) == together
        for found in together:  # computed in larger batches, which round differently
            assert scores(found) == pytest.approx(scores(expected), abs=1e-6)
        assert tagger(same[-1], top_k=1) == expected[:1]


def test_samples_that_cannot_be_written_to_are_tagged_without_a_warning(tagger, recwarn):
    waveform = song(6)
    expected = tagger(waveform)
    waveform.flags.writeable = False
    torch.set_warn_always(True)  # PyTorch would have this said once a process only
    try:
        assert tagger(waveform) == expected
    finally:
        torch.set_warn_always(False)
    assert [str(warning.message) for warning in recwarn if "writable" in str(warning.message)] == []


def test_columns_of_datasets_are_streamed(tagger, tmp_path):
    pytest.importorskip("torchcodec", reason="torchcodec is not installed")
    paths = []
    for number, seconds in enumerate((6, 3)):
        paths.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(paths[-1], song(seconds), RATE, subtype="PCM_16")
    dataset = Dataset.from_dict({"audio": paths, "labels": [[0], [1]]}).cast_column("audio", Audio())
    expected = tagger(paths)
    for column in (dataset["audio"], KeyDataset(dataset, "audio"), (row["audio"] for row in dataset)):
        found = tagger(column)
        assert not isinstance(found, list)
        for one, other in zip(found, expected, strict=True):
            assert scores(one) == pytest.approx(scores(other), abs=1e-6)


def test_recordings_are_resampled_to_the_models_rate(tagger):
    waveform = song(6, 44_100)
    expected = tagger(resample(waveform, 44_100, RATE))
    assert tagger({"array": waveform, "sampling_rate": 44_100}) == expected
    assert scores(tagger(waveform)) != pytest.approx(scores(expected), abs=0.01)  # slower and lower than it sounds


def test_nothing_gives_nothing(tagger):
    assert tagger([]) == []
    assert list(tagger(iter(()))) == []


def test_a_recording_of_many_that_cannot_be_used_is_named(tagger):
    with pytest.raises(AudioDecodingError, match=r"^recording 1: gone\.wav: file not found$"):
        tagger([song(1), "gone.wav"])
    with pytest.raises(AudioDecodingError, match=r"^gone\.wav: file not found$"):
        tagger("gone.wav")
    found = tagger(iter([song(1), [song(1)]]))
    assert len(next(found)) == 3
    with pytest.raises(AudioDecodingError, match=r"recording 1: a recording is a path, .* received list"):
        next(found)
    with pytest.raises(AudioDecodingError, match=r"a recording is a path, .* received NoneType"):
        tagger(None)


# Several


@pytest.mark.parametrize("batch_size", [None, 1, 4, 50])
def test_batches_across_recordings_change_nothing(tagger, batch_size):
    songs = [song(seconds, seed=number) for number, seconds in enumerate((9, 0.3, 2.5, 6, 0.1))]
    alone = [scores(tagger(waveform)) for waveform in songs]
    assert len({tuple(own.values()) for own in alone}) == len(songs)
    for inputs in (songs, iter(songs)):
        for found, own in zip(tagger(inputs, batch_size=batch_size), alone, strict=True):
            assert scores(found) == pytest.approx(own, abs=1e-6)


def test_a_stream_is_taken_recording_by_recording_unless_batches_are_asked_for(tagger):
    def taken(**options):
        numbers = []
        found = tagger((numbers.append(number) or song(1, seed=number) for number in range(9)), **options)
        counts = [len(numbers)]
        for _ in range(5):
            next(found)
            counts.append(len(numbers))
        return counts

    assert taken() == [0, 1, 2, 3, 4, 5]
    assert taken(batch_size=4) == [0, 4, 4, 4, 4, 8]  # windows of one recording each


# What is asked for


@pytest.mark.parametrize("rule", AGGREGATIONS)
def test_long_recordings_get_what_their_windows_say_by_hand(tagger, unfitted, rule):
    waveform = song(11)
    for made, sharpness in ((tagger, FITTED.sharpness), (unfitted, [1.0] * 3)):
        expected = by_hand(made, waveform, rule, sharpness)
        assert scores(made(waveform, aggregate=rule)) == pytest.approx(expected, abs=1e-6)
    assert tagger(waveform)[0]["score"] != pytest.approx(tagger(waveform, aggregate="max")[0]["score"], abs=1e-3)


def test_options_of_the_pipeline_hold_until_a_call_says_otherwise(folder, tagger):
    made = pipeline("music-tagging", model=str(folder), device="cpu", aggregate="max", top_k=1)
    waveform = song(9)
    assert made(waveform) == tagger(waveform, aggregate="max", top_k=1)
    assert made(waveform, aggregate="mean") == tagger(waveform, top_k=1)
    assert made(waveform, top_k=None) == tagger(waveform, aggregate="max")


def test_thresholds_choose_the_labels(tagger):
    waveform = song(9)
    every = tagger(waveform)
    assert [tag["score"] for tag in every] == sorted((tag["score"] for tag in every), reverse=True)
    lowest = dict(zip(LABELS, FITTED.thresholds, strict=True))
    assert [tag["given"] for tag in every] == [tag["score"] >= lowest[tag["label"]] for tag in every]
    assert tagger(waveform, threshold="fitted") == [tag for tag in every if tag["given"]]
    assert 0 < len(tagger(waveform, threshold="fitted")) < 3
    middle = every[1]["score"]
    assert tagger(waveform, threshold=middle) == every[:2]
    assert tagger(waveform, threshold=middle, top_k=1) == every[:1]
    assert tagger(waveform, threshold=1.0) == []


def test_five_labels_are_the_default_and_all_with_a_threshold(tmp_path):
    names = dict(enumerate("abcdefgh"))
    tagger = MusicTaggingPipeline.from_pretrained(save(tmp_path, id2label=names, **SHORT), device="cpu")
    assert [len(tagger(song(1), **options)) for options in ({}, {"top_k": None}, {"threshold": 0}, {"top_k": 99})] == [
        5, 8, 8, 8
    ]  # fmt: skip


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_a_timeline_tells_of_every_second_what_the_window_around_it_says(tagger, rule):
    waveform = song(6.5)
    found = tagger(waveform, timeline=True, aggregate=rule)
    assert found["tags"] == tagger(waveform, aggregate=rule)  # the same as without
    assert [(cell["start"], cell["end"]) for cell in found["timeline"]] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 6.5)
    ]  # fmt: skip
    starts = [0, RATE * 3 // 2 - WINDOW // 2, 20_000, 36_000, 52_000, 64_000, 64_000]  # within 0 and 104,000 - 40,000
    for cell, start in zip(found["timeline"], starts, strict=True):
        start = max(start, 0)
        assert list(cell["scores"]) == [tag["label"] for tag in found["tags"]]
        assert cell["scores"] == pytest.approx(by_hand(tagger, waveform[start : start + WINDOW]), abs=1e-6)
    first, last = (found["timeline"][number]["scores"]["bass"] for number in (0, -1))
    assert abs(first - last) > 1e-3


def test_a_timeline_has_other_steps_the_labels_that_are_listed_and_short_recordings(tagger):
    waveform = song(6.5)
    found = tagger([waveform, song(0.7)], timeline=3, top_k=1)
    assert [cell["end"] for cell in found[0]["timeline"]] == [3, 6, 6.5]
    assert all(list(cell["scores"]) == [found[0]["tags"][0]["label"]] for cell in found[0]["timeline"])
    parts = [by_hand(tagger, waveform[start : start + WINDOW]) for start in (0, 8_000)]  # 3 s are more than a window
    label = found[0]["tags"][0]["label"]
    assert found[0]["timeline"][0]["scores"][label] == pytest.approx(np.mean([own[label] for own in parts]), abs=1e-6)
    (cell,) = found[1]["timeline"]
    assert (cell["start"], cell["end"]) == (0, 0.7)
    assert cell["scores"] == pytest.approx(scores(found[1]["tags"]), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k 0: a whole number of at least 1, or None for no limit"),
        ({"top_k": True}, "top_k True: a whole number"),
        ({"threshold": "best"}, "threshold 'best': 'fitted', a number from 0 to 1, or None"),
        ({"threshold": 1.5}, "threshold 1.5: 'fitted'"),
        ({"aggregate": "median", "top_k": 2.5}, "top_k 2.5: .*; aggregate 'median': one of 'mean', 'max', 'attention'"),
        ({"aggregate": ["mean"]}, r"aggregate \['mean'\]: one of"),
        ({"timeline": 0}, "timeline 0: True, False, or a number of seconds greater than 0"),
        ({"timeline": "yes"}, "timeline 'yes': True, False"),
        ({"timeline": float("nan")}, "timeline nan"),
        ({"progress": "yes"}, "progress 'yes': True, False or None"),
        ({"batch_size": 0}, "batch_size 0 is not a whole number of windows of at least 1"),
        ({"topk": 3}, "knows no topk; its options are top_k, threshold, aggregate, timeline, progress, batch_size and"),
    ],
)
def test_what_cannot_be_asked_for_is_explained_when_it_is_made_and_when_it_is_called(tagger, folder, options, message):
    with pytest.raises(HfTaggerError, match=message):
        tagger(song(1), **options)
    with pytest.raises(HfTaggerError, match=message):
        pipeline("music-tagging", model=str(folder), device="cpu", **options)


def test_thresholds_that_were_never_fitted_are_an_error_that_says_what_to_do(unfitted):
    with pytest.raises(HfTaggerError, match=r"this model has no thresholds\..* Give a number from 0 to 1, or top_k\."):
        unfitted(song(1), threshold="fitted")
    assert list(unfitted(song(1))[0]) == ["label", "score"]


def test_attention_that_was_never_fitted_says_what_it_is_instead(unfitted, tagger, caplog):
    with caplog.at_level("WARNING", logger="hf_tagger.pipeline"):
        tagger(song(1), aggregate="attention")
        assert not caplog.records
        transformers_logging.warning_once.cache_clear()
        for _ in range(2):
            unfitted(song(1), aggregate="attention")
    (record,) = caplog.records
    assert "softmax pooling is used" in record.message
    assert "scripts/study.py long-audio RUN RECIPE --store" in record.message
