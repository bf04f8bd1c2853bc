"""What the model card says and what the Hub reads from it.

``python tests/hub/test_card.py`` writes golden_card.md anew; look at the difference before you keep it.
"""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_tagger.data.base import DatasetFacts, Protocol, SkippedClip
from hf_tagger.data.leaks import Leaks, Pair
from hf_tagger.evaluation.metrics import METRIC_NAMES
from hf_tagger.hub.card import _quantity, build_model_card
from hf_tagger.hub.card_summary import FIRST_WINDOW, ONE_PIECE, CardSummary, EnergyEstimate, TrainingFacts

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
GOLDEN = Path(__file__).with_name("golden_card.md")
LABELS = ("rock | pop", "#1 hits", "a*b_c_ <d>")
SIZES = {"train": 200, "validation": 40, "test": 60}

FACTS = DatasetFacts(
    name="testset",
    title="Test Set",
    citation="@article{test2020,\n  title = {A Test Set}\n}",
    license="CC BY 4.0",
    homepage="https://example.org/testset",
    how_to_get="Ask.",
    problem_type=SINGLE,
    protocols=(Protocol(name="official", source="the authors", sizes=SIZES),),
    notes="Two recordings stand twice.",
    considerations="The makers were not asked.",
    hub_id="someone/testset",
)
METRICS = {
    "accuracy": 0.8125,
    "balanced_accuracy": 0.75,
    "f1_macro": 0.7654321,
    "top3_accuracy": 1.0,
    "classes_scored": 2,
    "classes_left_out": 1,
    "loss": 0.5,
}
COPY = Pair(("train", "1"), ("test", "2"), across=True, is_exact=False, bit_error_rate=0.1, offset=0.5)


def make_row(label, ap, support=20):
    row = {"label": label, "support": support, "prevalence": support / 60, "ap": ap, "roc_auc": ap}
    return row | {"precision": ap, "recall": ap, "f1": ap}


PER_LABEL = [make_row(LABELS[0], 0.5), make_row(LABELS[1], 0.875), make_row(LABELS[2], None, support=0)]


def make_summary(**changes):
    values = {
        "model_id": "someone/tagger_of_tests",
        "command": "accelerate launch scripts/finetune.py recipes/test.yaml --seed 3",
        "recipe_text": "dataset_name: testset\nlearning_rate: 0.001\n",
        "tags": ("music-genre",),
        "architecture": "short_cnn",
        "parameters": 3_678_218,
        "sampling_rate": 16_000,
        "window_seconds": 59_049 / 16_000,
        "hop_seconds": 59_049 / 16_000,
        "problem_type": SINGLE,
        "label_names": LABELS,
        "facts": FACTS,
        "protocol": {
            "dataset": "testset",
            "name": "official",
            "source": "the authors",
            "sizes": SIZES,
            "sizes_expected": SIZES,
            "hash": "0123456789abcdef" * 4,
            "used": SIZES | {"train": 199},
        },
        "metrics": {"validation": METRICS | {"accuracy": 0.9}, "test": METRICS},
        "per_label": PER_LABEL,
        "skipped": [SkippedClip("clip | 7", "train", "audio/7.mp3", "empty file (0 bytes)")],
        "leaks": Leaks(SIZES, True, {}, [COPY]),
        "training": TrainingFacts(
            epochs=20.0,
            steps=2_500,
            seconds=754.2,
            device="cpu, 2 threads",
            packages={"torch": "2.14.1", "python": "3.11.9"},
            best_epoch=17.0,
            selected_by="accuracy",
        ),
        "figures": {"Loss and accuracy over epochs": "curves.png"},
        "architecture_citation": "@inproceedings{won2020,\n  title = {Evaluation}\n}",
    }
    return CardSummary(**(values | changes))


def with_protocol(**changes):
    return make_summary(protocol=make_summary().protocol | changes)


def facts_with(**changes):
    return dataclasses.replace(FACTS, **changes)


def results_of(summary):
    index = build_model_card(summary).data.to_dict().get("model-index")
    return model_index_to_eval_results(index)[1] if index else []


def table_rows(text, header):
    """The cells of the table below the header's line; an escaped bar does not end a cell."""
    lines = text[text.index(header) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def snippet(summary, number=0):
    return re.findall(r"```python\n(.*?)```", build_model_card(summary).text, re.DOTALL)[number]


def test_card_equals_the_golden_card():
    assert str(build_model_card(make_summary())) == GOLDEN.read_text(encoding="utf-8")


def test_metadata_survives_saving_and_loading(tmp_path):
    card = build_model_card(make_summary(base_model="someone/base"))
    card.save(tmp_path / "README.md")
    assert str(ModelCard.load(tmp_path / "README.md")) == str(card)
    metadata = metadata_load(tmp_path / "README.md")
    assert metadata == card.data.to_dict()
    assert metadata["license"] == "apache-2.0"
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "audio-classification"
    assert metadata["datasets"] == ["someone/testset"]
    assert metadata["base_model"] == "someone/base"
    assert metadata["metrics"] == ["accuracy", "balanced_accuracy", "f1", "top3_accuracy"]
    assert {"music", "music-tagging", "audio-classification", "hf_tagger", "short_cnn", "music-genre"} == set(
        metadata["tags"]
    )


def test_model_index_holds_the_test_metrics_in_full_precision():
    results = results_of(make_summary())
    assert {result.metric_type: result.metric_value for result in results} == {
        name: METRICS[name] for name in METRIC_NAMES[SINGLE]
    }
    assert results[0].metric_type == "accuracy"
    for result in results:
        assert (result.dataset_type, result.dataset_name) == ("someone/testset", "Test Set")
        assert (result.dataset_config, result.dataset_split) == ("official", "test")
        assert result.dataset_args == {"ids_sha256": "0123456789abcdef" * 4, "clips": 60}
    assert build_model_card(make_summary()).data.model_name == "tagger_of_tests"


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_undefined_metrics_are_left_out_of_the_model_index_and_dashed_in_the_table(nothing):
    summary = make_summary(metrics={"validation": METRICS, "test": METRICS | {"f1_macro": nothing}})
    assert "f1_macro" not in {result.metric_type for result in results_of(summary)}
    assert "| F1 (macro) (`f1_macro`) | 0.7654 | – |" in build_model_card(summary).text


@pytest.mark.parametrize("metrics", [{"validation": METRICS}, {"validation": METRICS, "test": {}}])
def test_where_test_has_no_labels_the_validation_numbers_are_reported_with_a_reservation(metrics):
    summary = make_summary(metrics=metrics)
    assert {result.dataset_split for result in results_of(summary)} == {"validation"}
    assert "The test split has no numbers." in build_model_card(summary).text


def test_a_card_without_any_numbers_is_valid():
    card = build_model_card(make_summary(metrics={"test": {"accuracy": None}}, per_label=[], skipped=[], figures={}))
    assert "model-index" not in card.data.to_dict()
    assert "No split with labels was evaluated." in card.text


def test_intervals_calibration_and_thresholds_of_the_reported_split_are_told():
    metrics = dict.fromkeys(METRIC_NAMES[MULTI], 0.5) | {"tags_scored": 3, "tags_left_out": 0}
    interval = {"low": 0.41, "high": 0.62, "undefined": 0.0}
    intervals = dict.fromkeys(METRIC_NAMES[MULTI], interval) | {"lrap": None}
    drawn = {"level": 0.95, "resamples": 1_000, "drawn": "clips", "clips": 60, "groups": 3}
    fitted = {"temperature": 1.25, "expected_calibration_error": 0.0321, "negative_log_likelihood": 0.2}
    summary = make_summary(
        problem_type=MULTI,
        metrics={"test": metrics, "validation": metrics},
        per_label=[row | {"threshold": 0.125} for row in PER_LABEL],
        thresholds_are_fitted=True,
        intervals={"test": intervals, "validation": intervals},
        bootstrap={"test": drawn},
        calibration={"test": {"expected_calibration_error": 0.0712, "with_temperature": fitted}},
    )
    text = " ".join(build_model_card(summary).text.split())
    assert "| Average precision, PR-AUC (macro) (`ap_macro`) | 0.5000 | 0.5000 (0.4100 to 0.6200) |" in text
    assert "(`lrap`) | 0.5000 | 0.5000 |" in text
    assert "95 % intervals of a bootstrap over the 60 clips of the test split" in text
    assert "These clips come from 3 groups only" in text
    assert "off by 0.071 on average (expected calibration error), by 0.032 after division of the logits by 1.25" in text
    assert "| Label | Clips | Average precision | ROC-AUC | Threshold | Precision | Recall | F1 |" in text
    assert "| 0.125 | 0.875 | 0.875 | 0.875 |" in text
    whole = dataclasses.replace(summary, bootstrap={"test": drawn | {"drawn": "groups", "groups": 40}})
    assert "a bootstrap over the 40 groups (songs, albums or artists)" in build_model_card(whole).text
    assert "An interval without width is no certainty" not in text
    perfect = {"test": {name: {"low": 1.0, "high": 1.0, "undefined": 0.0} for name in METRIC_NAMES[MULTI]}}
    told = build_model_card(dataclasses.replace(summary, intervals=perfect)).text
    assert "An interval without width is no certainty" in told


def test_multi_label_cards_speak_of_tags():
    metrics = dict.fromkeys(METRIC_NAMES[MULTI], 0.5) | {"tags_scored": 2, "tags_left_out": 1}
    tags = [{name: row[name] for name in ("label", "support", "prevalence", "ap", "roc_auc")} for row in PER_LABEL]
    card = build_model_card(make_summary(problem_type=MULTI, metrics={"test": metrics}, per_label=tags))
    assert "In the test split 1 of 3 labels are carried by no clip or by all" in card.text
    assert "(sigmoid)" in card.text
    assert "| Label | Clips | Average precision | ROC-AUC |\n" in card.text
    assert card.data.eval_results[0].metric_type == "ap_macro"


def test_several_labels_a_clip_are_probabilities_of_their_own_in_every_version_of_transformers():
    """Its pipeline takes a softmax before 5.23, whatever the model says."""
    metrics = {"test": dict.fromkeys(METRIC_NAMES[MULTI], 0.5) | {"tags_scored": 3, "tags_left_out": 0}}
    assert 'function_to_apply="sigmoid"' in snippet(make_summary(problem_type=MULTI, metrics=metrics))
    assert "function_to_apply" not in snippet(make_summary())


@pytest.mark.parametrize(
    ("changes", "loud"),
    [
        ({}, False),  # one of 200 clips is unusable and listed
        ({"sizes_expected": None}, False),
        ({"used": SIZES | {"train": 190}}, True),  # more are gone than are listed
        ({"used": SIZES | {"test": 61}}, True),
        ({"used": SIZES, "sizes_expected": SIZES | {"test": 70}}, True),
    ],
)
def test_other_sizes_than_the_published_ones_are_said_loudly(changes, loud):
    card = build_model_card(with_protocol(**changes))
    assert ("Do not compare the numbers below with published ones" in card.text) == loud
    assert all(("not the published clips" in result.dataset_config) == loud for result in card.data.eval_results)


def test_many_lost_clips_are_loud_even_where_they_are_listed():
    lost = [SkippedClip(f"{number}", "train", "", "file not found") for number in range(50)]
    summary = with_protocol(used=SIZES | {"train": 150})
    assert "Do not compare" in build_model_card(dataclasses.replace(summary, skipped=lost)).text


@pytest.mark.parametrize(
    ("leaks", "told"),
    [
        (Leaks(SIZES, False, {}), ["are not known, so they may be in several splits", "Nobody listened for copies"]),
        (Leaks(SIZES, True, {}), ["None of the known groups (recordings, songs, albums or artists) is in more than"]),
        (Leaks(SIZES, True, {"one": {"train": 1, "test": 2}}), ["1 of the known groups (recordings, songs, albums or"]),
        (
            Leaks(SIZES, True, {"one": {"train": 1, "test": 2}, "two": {"validation": 1, "test": 2}}, []),
            ["2 of the known groups", "artists) are in more than one", "No two clips of different splits were found"],
        ),
        (
            Leaks(SIZES, True, {}, [COPY, dataclasses.replace(COPY, is_exact=True)]),
            ["**2 pairs of clips in different splits are the same recording**, 1 of them to the last sample"],
        ),
        (
            Leaks(SIZES, True, {}, [COPY, dataclasses.replace(COPY, across=False)]),
            ["**1 pair of clips in different splits is the same recording**, none of them to the last sample"],
        ),
    ],
)
def test_what_the_splits_have_in_common_is_told(leaks, told):
    text = build_model_card(make_summary(leaks=leaks)).text
    for sentence in told:
        assert sentence in text


@pytest.mark.parametrize(
    ("license", "noted"),
    [
        ("CC BY-NC-SA 3.0", True),
        ("For non-commercial use.", True),
        ("None stated; for research and teaching only.", True),
        ("CC BY 4.0", False),
        ("Unknown: that of your recordings.", False),
    ],
)
def test_noncommercial_data_are_named(license, noted):
    text = build_model_card(make_summary(facts=facts_with(license=license))).text
    assert ("**NonCommercial**" in text) == noted
    assert license in text


def test_special_characters_in_labels_do_not_break_the_tables():
    text = build_model_card(make_summary()).text
    rows = table_rows(text, "| Label |")
    assert {len(row) for row in rows} == {7}
    assert [row[0] for row in rows[2:]] == [r"\#1 hits", r"rock \| pop", r"a\*b_c\_ \<d\>"]
    assert rows[4][1:] == ["0", "–", "–", "–", "–", "–"]
    assert table_rows(text, "| Clip |")[2] == [r"clip \| 7", "train", "empty file (0 bytes)"]


def test_long_tables_are_folded():
    rows = [make_row(f"label {number}", 0.5) for number in range(21)]
    assert "<summary>Scores of all 21 labels (test)</summary>" in build_model_card(make_summary(per_label=rows)).text
    assert "<summary>Scores of" not in build_model_card(make_summary(per_label=rows[:20])).text


def test_many_skipped_clips_are_counted():
    skipped = [SkippedClip(f"clip {number}", "train", "", "empty file") for number in range(60)]
    text = build_model_card(make_summary(skipped=skipped)).text
    assert "60 clips could not be used: empty file (60)." in text
    assert "| and 10 more | | |" in text


@pytest.mark.parametrize("model_id", ["someone/tagger", "/home/a b/runs/x", 'C:\\runs\\a "b"'])
def test_the_snippet_runs_as_printed(model_id, monkeypatch, capsys):
    transformers = pytest.importorskip("transformers")
    calls = []

    def pipeline(task, **options):
        calls.append((task, options))

        def classify(waveform, top_k):
            assert (waveform.dtype, waveform.shape) == (np.float32, (160_000,))
            assert 0.5 < np.abs(waveform).max() <= 1
            return [{"score": 0.5, "label": "rock"}] * top_k

        return classify

    monkeypatch.setattr(transformers, "pipeline", pipeline)
    exec(compile(snippet(make_summary(model_id=model_id)), "snippet", "exec"), {})
    assert calls == [("audio-classification", {"model": model_id, "trust_remote_code": True})]
    assert capsys.readouterr().out.splitlines() == ["0.500  rock"] * 5


@pytest.mark.parametrize(
    ("hears", "told"),
    [(FIRST_WINDOW, "The plain pipeline hears the first 3.69 s;"), (ONE_PIECE, "hears a file in one piece")],
)
def test_stock_models_need_no_remote_code_and_say_what_they_hear(hears, told):
    summary = make_summary(needs_remote_code=False, hears=hears)
    assert "trust_remote_code" not in build_model_card(summary).text
    assert told in build_model_card(summary).text
    assert "heard whole" not in build_model_card(summary).text
    compile(snippet(summary), "snippet", "exec")


def test_an_adapter_of_a_stock_model_needs_code_and_hears_no_more_than_it():
    text = build_model_card(make_summary(needs_remote_code=True, hears=FIRST_WINDOW, is_adapter=True)).text
    assert "The plain pipeline hears the first 3.69 s;" in text
    assert "`trust_remote_code=True` runs the modelling code" in text
    assert "heard whole" not in text


def test_the_snippet_of_the_own_pipeline_runs_as_printed(monkeypatch):
    calls = []

    def pipeline(task, model):
        return lambda file, **options: calls.append((task, model, file, options))

    monkeypatch.setattr("transformers.pipeline", pipeline)
    exec(snippet(make_summary(), number=1), {})
    exec(snippet(make_summary(thresholds_are_fitted=True, per_label=[make_row("rock", 1) | {"threshold": 0.5}]), 1), {})
    common = ("music-tagging", "someone/tagger_of_tests", "song.mp3")
    assert calls == [(*common, {"timeline": True}), (*common, {"timeline": True, "threshold": "fitted"})]


def test_labels_are_told_by_how_rare_they_are():
    scores = {"zither": 0.25, "harp": 0.5, "flute": 0.75, "violin": 1.0, "theremin": None}
    support = {"violin": 1_000, "flute": 40, "harp": 9, "zither": 2, "theremin": 0}
    rows = [make_row(name, ap) for name, ap in scores.items()]
    text = build_model_card(make_summary(per_label=rows, training_support=support, label_names=tuple(scores))).text
    assert table_rows(text, "| Labels |")[2:] == [
        ["rarest (1)", "2", "0.250"],
        ["middle (2)", "9 to 40", "0.625"],
        ["most frequent (1)", "1,000", "1.000"],
    ]
    alike = build_model_card(make_summary(per_label=rows, training_support=dict.fromkeys(scores, 100))).text
    assert "### Rare labels" not in alike


def test_small_amounts_are_written_out():
    assert [_quantity(value) for value in (0.0, 2.34e-5, 0.0234, 7.0, 99.7, 1234.5)] == [
        "0", "0.000023", "0.023", "7", "100", "1,234",
    ]  # fmt: skip


def test_energy_is_told_to_people_and_to_the_hub():
    energy = EnergyEstimate(kilowatt_hours=0.0234, co2_grams=123.4, source="codecarbon 3.3", place="France")
    training = dataclasses.replace(make_summary().training, energy=energy)
    card = build_model_card(make_summary(training=training, base_model="someone/base"))
    assert "It took 0.023 kWh of electricity, which makes 123 g of CO₂ in France: an estimate by code" in card.text
    assert ModelCard(str(card)).data.to_dict()["co2_eq_emissions"] == {
        "emissions": 123.4,
        "source": "codecarbon 3.3",
        "training_type": "fine-tuning",
        "geographical_location": "France",
        "hardware_used": "cpu, 2 threads",
    }
    silent = build_model_card(make_summary())
    assert "The energy was not estimated" in silent.text
    assert "co2_eq_emissions" not in silent.data.to_dict()


def test_paths_of_this_machine_stand_in_the_snippets_only():
    summary = make_summary(
        model_id="/home/me/runs/x", base_model="/home/me/models/base", facts=facts_with(hub_id="/home/me/saved")
    )
    card = build_model_card(summary)
    assert str(card).count("/home/me") == 2
    assert "base_model" not in card.data.to_dict()
    assert "finetuned from base)" in card.text
    assert card.data.datasets == ["testset"]


def test_backticks_in_a_recipe_do_not_end_its_block():
    text = build_model_card(make_summary(recipe_text="note: '```'\nseed: 1\n")).text
    assert "````yaml\nnote: '```'\nseed: 1\n````" in text


def test_metadata_is_what_json_takes():
    json.dumps(build_model_card(make_summary()).data.to_dict(), allow_nan=False)


if __name__ == "__main__":
    GOLDEN.write_text(str(build_model_card(make_summary())), encoding="utf-8")
