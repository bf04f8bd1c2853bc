"""Models of one dataset on the clips of another, as a user starts them; the music is tones, one pitch a genre."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict
from fake_datasets import FMA_SMALL, GENRES, make_fma, make_gtzan, write_annotations
from PIL import Image
from script_runner import TINY, load_script
from sklearn.metrics import average_precision_score, roc_auc_score

from hf_tagger import DataArguments, load_tagging_dataset, prepare_clips
from hf_tagger.errors import HfTaggerError, RecipeError
from hf_tagger.studies import run_study, transfer
from hf_tagger.studies.transfer_data import read_datasets
from hf_tagger.tagging import Tagger

# Tags of the clips in MagnaTagATune's layout, and the genre whose pitch they have.
TAGS = {"rock": "rock", "soft rock": "rock", "opera": "classical", "heavy metal": "metal", "guitar": "pop"}
CLIPS = {"0": 4, "c": 1, "d": 3}  # of each tag in each folder
GTZAN, MTAT, FMA = "GTZAN (fault_filtered)", "MagnaTagATune (original)", "FMA (small)"
# What the packaged map says of GTZAN's genres, where tag and genre differ.
SYNONYMS = {
    "classical": ["classical", "clasical", "classic", "baroque", "opera", "operatic", "male opera", "female opera"],
    "hiphop": ["hip hop", "rap"],
    "jazz": ["jazz", "jazzy"],
    "metal": ["metal", "heavy metal"],
    "rock": ["rock", "hard rock", "soft rock", "punk"],
}


def write_sound(path, genre, generator):
    """Half a second of a genre's pitch, a little off, in noise."""
    frequency = 200 * 1.4 ** GENRES.index(genre) * generator.uniform(0.85, 1.15)
    wave = 0.4 * np.sin(2 * np.pi * frequency * np.arange(11_025) / 22_050) + generator.normal(0, 0.05, 11_025)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # what is there may be a link to one file of all
    soundfile.write(path, wave, 22_050)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three datasets, with a run on two of them and the recipe of the third."""
    folder, generator = tmp_path_factory.mktemp("transfer"), np.random.default_rng(0)
    make_gtzan(folder / "gtzan", clips_per_genre=3, jazz_00054="sound")
    for path in sorted((folder / "gtzan" / "genres_original").rglob("*.wav")):
        write_sound(path, path.parent.name, generator)
    rows = []
    for part, count in CLIPS.items():
        for tag, genre in [pair for pair in TAGS.items() for _ in range(count)]:
            name = f"{part}/artist{len(rows)}-album-01-title-0-29.wav"
            write_sound(folder / "magnatagatune" / name, genre, generator)
            rows.append((str(100 + len(rows)), name, frozenset({tag})))
    write_annotations(folder / "magnatagatune" / "annotations_final.csv", rows)
    make_fma(folder / "fma")
    for number, path in enumerate(sorted((folder / "fma" / "fma_small").rglob("*.mp3"))):
        write_sound(path, GENRES[number % 10], generator)
    common = ["--allow_size_mismatch", "--cache_dir", str(folder / "cache"), *TINY]
    train = load_script("finetune").main
    gtzan = ["--dataset_name", "gtzan", "--dataset_root", str(folder / "gtzan")]
    train([*gtzan, *common, "--output_dir", str(folder / "tones")])
    mtat = ["--dataset_name", "magnatagatune", "--dataset_root", str(folder / "magnatagatune"), "--tags", "all"]
    other_rate = ["--model_config.sampling_rate", "8000", "--model_config.f_max", "4000"]
    train([*mtat, *common, *other_rate, "--output_dir", str(folder / "tags")])
    text = (
        f"dataset_name: fma\ndataset_root: {folder / 'fma'}\nallow_size_mismatch: true\ncache_dir: {folder / 'cache'}"
    )
    (folder / "fma.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """What the study says of all of them, by model and dataset."""
    study(folder, "result", "tones", "tags", "--tested_on", str(folder / "fma.yaml"))
    return read(folder / "result")


def study(folder, output, *argv):
    argv = [str(folder / own) if own in ("tones", "tags") else own for own in argv]
    run_study(["transfer", *argv, "--output_dir", str(folder / output)])


def read(folder):
    record = json.loads((folder / "transfer.json").read_text(encoding="utf-8"))
    return {(own["model"].split(": ")[1], own["tested_on"]): own for own in record["transfers"]}


def by_hand(folder, run, name, **options):
    """Label → probabilities of a dataset's test clips, clip after clip, and the label names of each clip."""
    tagger = Tagger.from_pretrained(folder / run, "cpu")
    arguments = DataArguments(
        dataset_name=name, dataset_root=str(folder / name), allow_size_mismatch=True, cache_dir=str(folder / "cache"),
        **options,
    )  # fmt: skip
    dataset = load_tagging_dataset(arguments, tagger.sampling_rate)
    clips = prepare_clips(dataset, arguments, tagger.sampling_rate)[0]["test"]
    rows = [tagger.probabilities(clips.read(index)).numpy() for index in range(len(clips))]
    labels = [own if isinstance(own, list) else [own] for own in clips.labels]
    names = [label for _, label in sorted(tagger.model.config.id2label.items())]
    probabilities = dict(zip(names, np.stack(rows, axis=1).astype(np.float64), strict=True))
    return probabilities, [{dataset.label_names[index] for index in own} for own in labels]


def synonyms(genre):
    return SYNONYMS.get(genre, [genre])


def test_a_model_of_classes_on_tags_is_scored_as_by_hand_beside_the_own_model_on_the_same_concepts(folder, found):
    genres, carried = by_hand(folder, "tones", "magnatagatune", tags="all")
    tags, _ = by_hand(folder, "tags", "magnatagatune", tags="all")
    cell = found["tones", MTAT]
    rows = {row["concept"]: row for row in cell["rows"]}
    areas, precisions = [], []
    for genre, support in {"rock": 6, "classical": 3, "metal": 3}.items():
        references = [bool(own & set(synonyms(genre))) for own in carried]
        scores = genres[genre], np.max([tags[tag] for tag in synonyms(genre)], axis=0)
        areas.append([roc_auc_score(references, own) for own in scores])
        precisions.append([average_precision_score(references, own) for own in scores])
        assert rows[genre]["clips"] == support == sum(references)
        assert [rows[genre][name] for name in ("roc_auc", "own_roc_auc")] == pytest.approx(areas[-1], abs=1e-9)
    for name, expected in (("roc_auc_macro", areas), ("ap_macro", precisions)):
        both = [cell["scores"][name]["value"], cell["own"][name]["value"]]
        assert both == pytest.approx(np.mean(expected, axis=0), abs=1e-9)
        assert cell["lost"][name]["difference"] == pytest.approx(both[1] - both[0], abs=1e-9)
        assert cell["scores"][name]["low"] <= both[0] <= cell["scores"][name]["high"]
    assert (cell["clips"], len(cell["concepts"]), cell["concepts_scored"]) == (15, 10, 3)
    assert rows["blues"] == dict.fromkeys(rows["blues"]) | {"concept": "blues", "clips": 0}  # no clip has the tag
    assert "accuracy" not in cell["scores"]  # a clip of tags has no one concept


def test_a_model_of_tags_on_classes_is_scored_as_by_hand_at_its_own_sampling_rate(folder, found):
    tags, carried = by_hand(folder, "tags", "gtzan")
    scores = {genre: np.max([tags[tag] for tag in synonyms(genre)], axis=0) for genre in GENRES}
    cell = found["tags", GTZAN]
    areas = [roc_auc_score([genre in own for own in carried], scores[genre]) for genre in GENRES]
    assert cell["scores"]["roc_auc_macro"]["value"] == pytest.approx(np.mean(areas), abs=1e-9)
    guesses = [GENRES[index] for index in np.stack(list(scores.values())).argmax(axis=0)]
    hits = [guess in own for guess, own in zip(guesses, carried, strict=True)]
    assert cell["scores"]["accuracy"]["value"] == pytest.approx(np.mean(hits), abs=1e-9)


def test_on_its_own_dataset_a_model_has_the_numbers_of_its_run(folder, found):
    metrics = json.loads((folder / "tones" / "metrics.json").read_text(encoding="utf-8"))
    cell = found["tones", GTZAN]
    assert cell["is_home"]
    assert cell["own"] == cell["lost"] == {}
    assert cell["scores"]["accuracy"]["value"] == pytest.approx(metrics["test"]["accuracy"], abs=1e-9)
    by_genre = {row["label"]: row["roc_auc"] for row in metrics["per_label"]["test"]}
    expected = [by_genre[concept.replace(" ", "")] for concept in cell["concepts"]]
    assert [row["roc_auc"] for row in cell["rows"]] == pytest.approx(expected, abs=1e-9)


def test_accuracy_is_among_the_shared_concepts_and_a_dataset_without_a_model_has_no_own_numbers(folder, found):
    genres, carried = by_hand(folder, "tones", "fma")
    names = {"hiphop": "Hip-Hop", "pop": "Pop", "rock": "Rock"}
    cell = found["tones", FMA]
    assert set(cell["concepts"]) == {"hip hop", "pop", "rock"}
    assert (cell["own"], cell["lost"], cell["clips"]) == ({}, {}, len(FMA_SMALL))
    hits = [
        max(names, key=lambda genre: genres[genre][index]) == genre
        for index, own in enumerate(carried)
        for genre, name in names.items()
        if own == {name}
    ]
    assert len(hits) == 3
    assert cell["scores"]["accuracy"]["value"] == pytest.approx(np.mean(hits), abs=1e-9)


def test_the_report_holds_the_matrix_the_concepts_and_the_labels(folder, found):
    text = (folder / "result" / "transfer.md").read_text(encoding="utf-8")
    assert f"| Trained on ↓, tested on → | {GTZAN} | {MTAT} | {FMA} |" in text
    cell = found["tones", MTAT]
    own, value = cell["own"]["roc_auc_macro"]["value"], cell["scores"]["roc_auc_macro"]
    interval = f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
    assert f"| {interval}, 3 concepts; own model {own:.4f} |" in text
    assert f"## {GTZAN}: tones, tested on {MTAT}" in text
    rock = next(row for row in cell["rows"] if row["concept"] == "rock")
    numbers = " | ".join(f"{rock[name]:.3f}" for name in ("own_roc_auc", "roc_auc", "own_ap", "ap"))
    assert f"| rock | 6 | {numbers} |" in text
    assert "| blues | 0 | – | – | – | – |" in text
    assert "| hip hop | hiphop | hip hop, rap | Hip-Hop |" in text
    assert "| reggae | reggae | reggae | – |" in text
    assert f"{MTAT} has 15 test clips here instead of 5,329" in text
    with Image.open(folder / "result" / "transfer.png") as picture:
        assert picture.width > 285 * 3


def test_a_map_of_ones_own_decides_what_is_compared(folder, tmp_path):
    (tmp_path / "map.yaml").write_text(
        "loud: {gtzan: [rock, metal], magnatagatune: [rock, heavy metal]}\nlow: {gtzan: [blues]}", encoding="utf-8"
    )
    study(folder, "mapped", "tones", "tags", "--label_map", str(tmp_path / "map.yaml"))
    cell = read(folder / "mapped")["tones", MTAT]
    genres, carried = by_hand(folder, "tones", "magnatagatune", tags="all")
    references = [bool(own & {"rock", "heavy metal"}) for own in carried]
    expected = roc_auc_score(references, genres["rock"] + genres["metal"])
    assert cell["scores"]["roc_auc_macro"]["value"] == pytest.approx(expected, abs=1e-9)
    assert "low" not in cell["concepts"]


def test_clips_that_another_protocol_of_the_dataset_trains_on_are_counted(folder, tmp_path):
    text = (folder / "tags" / "recipe.yaml").read_text(encoding="utf-8")
    recipe = tmp_path / "clean.yaml"
    recipe.write_text(text.replace("protocol: original", "") + "protocol: clean\n", encoding="utf-8")
    study(folder, "protocols", "tags", "--tested_on", str(recipe), "--split", "train")
    assert read(folder / "protocols")["tags", "MagnaTagATune (clean)"]["training_clips"] == 12
    said = "12 of the train clips of MagnaTagATune (clean) are training clips of MagnaTagATune (original): tags"
    assert said in (folder / "protocols" / "transfer.md").read_text(encoding="utf-8")


def test_several_models_of_a_dataset_are_told_apart_and_the_first_is_its_own_one(folder, found, tmp_path):
    shutil.copytree(folder / "tones", tmp_path / "tones")
    study(folder, "twice", "tags", "tones", str(tmp_path / "tones"))
    record = json.loads((folder / "twice" / "transfer.json").read_text(encoding="utf-8"))
    names = [f"{GTZAN}: {own / 'tones'}" for own in (folder, tmp_path)]
    assert [own["name"] for own in record["models"]] == [f"{MTAT}: {folder / 'tags'}", *names]
    cells = {(own["model"], own["tested_on"]): own for own in record["transfers"]}
    assert cells[names[1], GTZAN]["is_home"]
    assert cells[names[0], MTAT]["scores"] == cells[names[1], MTAT]["scores"] == found["tones", MTAT]["scores"]
    assert cells[f"{MTAT}: {folder / 'tags'}", GTZAN]["own"] == found["tags", GTZAN]["own"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tones"], "One run alone transfers nowhere"),
        (["tones", "tones"], r"All runs are of GTZAN \(fault_filtered\)"),
        (["tones", "someone/model"], r"No recipe.yaml in someone/model.*--recipes RECIPE RECIPE"),
        (["tones", "tags", "--recipes", "one.yaml"], "received 1 for 2 runs"),
        (["tones", "tags", "--cache_dri", "x"], "cache_dri: there is no such field; did you mean 'cache_dir'"),
    ],
)
def test_mistakes_are_said_before_anything_is_computed(folder, argv, message):
    with pytest.raises(HfTaggerError, match=message):
        study(folder, "mistakes", *argv)


def test_datasets_without_a_common_concept_are_refused_with_their_concepts(folder, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("loud: {gtzan: [rock]}\nsoft: {magnatagatune: [soft]}", encoding="utf-8")
    with pytest.raises(HfTaggerError, match=r"no model a concept(.|\n)*GTZAN \(fault_filtered\): loud(.|\n)*: soft"):
        study(folder, "mistakes", "tones", "tags", "--label_map", str(path))
    path.write_text("loud: {gtzan: [Rock]}", encoding="utf-8")
    with pytest.raises(RecipeError, match="no label 'Rock' in gtzan; did you mean 'rock'"):
        study(folder, "mistakes", "tones", "tags", "--label_map", str(path))


def test_a_recipe_of_another_dataset_than_the_models_is_refused(folder):
    with pytest.raises(HfTaggerError, match="The model's 10 labels"):
        study(
            folder,
            "mistakes",
            "tones",
            "tags",
            "--recipes",
            *[str(folder / "tags" / "recipe.yaml"), str(folder / "fma.yaml")],
        )


def folder_recipe(path, root, **fields):
    lines = [f"{name}: {value}" for name, value in {"dataset_name": "folder", "dataset_root": root, **fields}.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """Two folders with equal file names and other music, and recipes of both."""
    root, generator = tmp_path_factory.mktemp("alike"), np.random.default_rng(0)
    for name in ("clean", "noisy"):
        for genre in ("rock", "jazz"):
            for number in range(10):
                write_sound(root / name / genre / f"{number}.wav", genre, generator)
    return [folder_recipe(root / f"{name}.yaml", root / name) for name in ("clean", "noisy")]


def test_folders_with_equal_file_names_are_two_datasets(alike, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("rock: {folder: [rock]}\n", encoding="utf-8")
    clean, noisy, again = read_datasets([[own] for own in [*alike, alike[0]]], str(path))
    assert clean is again
    assert (clean.name, noisy.name) == (
        "folder of recordings, clean (seeded)",
        "folder of recordings, noisy (seeded)",
    )
    assert clean.origin != noisy.origin
    assert clean.columns == noisy.columns == {"rock": [1]}


def test_data_of_the_hub_stands_in_a_map_under_its_registered_name(tmp_path):
    rows = {"audio": [{"path": None, "bytes": b"RIFF"}] * 30, "genre": ["rock", "jazz", "blues"] * 10}
    rows = Dataset.from_dict(rows).cast_column("genre", ClassLabel(names=["blues", "jazz", "rock"]))
    DatasetDict({"train": rows.cast_column("audio", Audio())}).save_to_disk(tmp_path / "mine")
    fields = {"hub_id": tmp_path / "mine", "label_column": "genre"}
    (tmp_path / "hub.yaml").write_text(
        "\n".join(f"{name}: {value}" for name, value in {"dataset_name": "hub", **fields}.items()), encoding="utf-8"
    )
    (tmp_path / "map.yaml").write_text("guitars: {hub: [rock, blues]}\n", encoding="utf-8")
    (tested,) = read_datasets([[str(tmp_path / "hub.yaml")]], str(tmp_path / "map.yaml"))
    assert tested.name == "mine (seeded)"
    assert tested.columns == {"guitars": [2, 0]}


def test_a_pair_that_fails_costs_the_others_nothing(folder, found, monkeypatch):
    def failing(model, tested, split, real=transfer._predict):
        if tested.name == FMA and "tones" in model.run:
            raise HfTaggerError("the disk is full")
        return real(model, tested, split)

    monkeypatch.setattr(transfer, "_predict", failing)
    with pytest.raises(HfTaggerError, match=r"1 of the pairs could not be scored:\n.*tones on FMA .*the disk is full"):
        study(folder, "partly", "tones", "tags", "--tested_on", str(folder / "fma.yaml"))
    rest = read(folder / "partly")
    assert rest == {pair: own for pair, own in found.items() if pair != ("tones", FMA)}
