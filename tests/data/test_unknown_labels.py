"""Labels of which nobody knows whether a clip carries them: from the data's own form to the batch."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from datasets import Audio, ClassLabel, Features, List, Value
from fake_datasets import encoded_tone, write_metadata

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_hub import load, saved
from test_windows import ramp_clips

from hf_tagger import DataArguments, RecipeError, load_tagging_dataset, parse_recipe, prepare_clips
from hf_tagger.data.base import MULTI_LABEL, SINGLE_LABEL, SPLITS
from hf_tagger.data.windows import TrainingWindows, WindowCollator, encode_labels
from hf_tagger.embedding_table import DatasetClips
from hf_tagger.errors import DatasetError
from hf_tagger.evaluation.predictions import write_predictions

NAN = float("nan")
TAGS = ["guitar", "piano", "voice"]
# What is known of four clips: guitar, piano, voice.
KNOWN = [[1, 0, None], [0, None, 1], [None, 1, 0], [None, None, None]]
LABELS = [[0], [2], [1], None]
UNKNOWN = [[2], [1], [0], []]


def audio_table(features, **columns):
    """A table of short clips beside the columns."""
    count = len(next(iter(columns.values())))
    schema = Features({"audio": Audio(), **features}).arrow_schema
    return pa.table({"audio": [{"bytes": encoded_tone(300.0), "path": None}] * count, **columns}, schema=schema)


def tag_table(rows, kind="float32", nothing=None):
    """One column a tag; ``nothing`` stands where nobody knows."""
    columns = {
        name: [nothing if cell is None else bool(cell) if kind == "bool" else cell for cell in cells]
        for name, cells in zip(TAGS, zip(*rows, strict=True), strict=True)
    }
    return audio_table(dict.fromkeys(TAGS, Value(kind)), **columns)


def three_splits(root, make):
    """The four clips three times in train, once in validation and in test."""
    return saved(root, train=make(KNOWN * 3), validation=make(KNOWN), test=make(KNOWN))


def assert_as_known(dataset):
    assert dataset.problem_type == MULTI_LABEL
    assert dataset.label_names == TAGS
    for split in SPLITS:
        repeated = 3 if split == "train" else 1
        assert dataset[split].column_names == ["id", "audio", "labels", "group", "unknown_labels"]
        assert dataset[split]["labels"][:] == LABELS * repeated
        assert dataset[split]["unknown_labels"][:] == UNKNOWN * repeated


@pytest.mark.parametrize(
    ("kind", "nothing"),
    [("float32", None), ("float64", NAN), ("int8", None), ("int64", None), ("bool", None)],
)
def test_one_column_a_tag_holds_one_zero_and_nothing(tmp_path, kind, nothing, caplog):
    root = three_splits(tmp_path / "saved", lambda rows: tag_table(rows, kind, nothing))
    assert_as_known(load(root, tmp_path, label_columns=TAGS))
    assert "no tag is known of some clips (3 of 12 in train, 1 of 4 in validation, 1 of 4 in test)" in caplog.text


@pytest.mark.parametrize(
    ("feature", "nothing", "whole"),
    [
        (List(Value("float32")), NAN, [NAN] * 3),
        (List(Value("float64")), None, None),
        (List(Value("int64")), None, None),
        (List(Value("int8"), length=3), None, None),
        (List(Value("bool")), None, [None] * 3),
    ],
)
def test_vectors_hold_one_value_a_tag_and_the_recipe_names_the_tags(tmp_path, feature, nothing, whole):
    def table(rows):
        one, zero = (True, False) if feature.feature.dtype == "bool" else (1, 0)
        written = {1: one, 0: zero, None: nothing}
        cells = [[written[value] for value in row] if any(row) else whole for row in rows]
        return audio_table({"labels": feature}, labels=cells)

    root = three_splits(tmp_path / "saved", table)
    assert_as_known(load(root, tmp_path, label_column="labels", label_columns=TAGS))


def test_dictionaries_bring_the_names_along_and_the_recipe_may_choose_among_them(tmp_path):
    def table(rows):
        cells = [dict(zip(TAGS, row, strict=True)) for row in rows[:-1]]
        return audio_table({"labels": dict.fromkeys(TAGS, Value("int8"))}, labels=[*cells, None])

    root = three_splits(tmp_path / "saved", table)
    assert_as_known(load(root, tmp_path))
    chosen = load(root, tmp_path, label_column="labels", label_columns=["voice", "guitar"])
    assert chosen.label_names == ["voice", "guitar"]
    assert chosen["test"]["labels"][:] == [[1], [0], [], None]
    assert chosen["test"]["unknown_labels"][:] == [[0], [], [1], []]
    with pytest.raises(
        DatasetError, match=r"'labels' \(split train\) have no drums; their keys are guitar, piano, voice"
    ):
        load(root, tmp_path, label_column="labels", label_columns=["voice", "drums"])


def test_every_split_may_have_its_own_type_of_number(tmp_path):
    train, test = tag_table(KNOWN * 3, "float64"), tag_table([[1, 0, None], [0, 1, None]], "int8")
    test = test.set_column(3, "voice", pa.nulls(2))  # what a table of which nothing is known is written as
    root = saved(tmp_path / "saved", train=train, validation=tag_table(KNOWN, "bool"), test=test)
    dataset = load(root, tmp_path, label_columns=TAGS)
    assert dataset["test"]["labels"][:] == [[0], [1]]
    assert dataset["test"]["unknown_labels"][:] == [[2], [2]]


def test_columns_that_know_everything_make_the_rows_of_any_other_dataset(tmp_path):
    root = saved(tmp_path / "saved", train=tag_table([[1, 0, 1], [0, 1, 0]] * 10, "int8"))
    dataset = load(root, tmp_path, label_columns=TAGS)
    assert dataset["train"].column_names == ["id", "audio", "labels", "group"]
    assert {tuple(row) for row in dataset["train"]["labels"][:]} == {(0, 2), (1,)}


def test_a_split_that_is_drawn_takes_the_unknown_labels_along(tmp_path):
    known = [[1, 0, None], [0, None, 1], [None, 1, 0], [1, 1, 0]] * 10
    dataset = load(saved(tmp_path / "saved", train=tag_table(known)), tmp_path, label_columns=TAGS)
    assert dataset.protocol.name == "seeded"
    for split in SPLITS:
        rows = dataset[split].remove_columns("audio")
        assert len(rows) >= 4
        for row in rows:
            cells = known[int(row["id"].removeprefix("train-"))]
            assert row["labels"] == [tag for tag, cell in enumerate(cells) if cell == 1]
            assert row["unknown_labels"] == [tag for tag, cell in enumerate(cells) if cell is None]


@pytest.mark.parametrize(
    ("features", "columns", "options", "message"),
    [
        (
            {"guitar": Value("float32"), "piano": Value("string"), "voice": Value("int64")},
            {"guitar": [0.7, 1.0, 0.25, None], "piano": ["yes", "no"] * 2, "voice": [1, 0, -1, -1]},
            {"label_columns": TAGS},
            r"'piano' holds Value\('string'\), 'guitar' holds 0\.25, 0\.7, 'voice' holds -1\. Convert them by",
        ),
        (
            {"guitar": ClassLabel(names=["yes", "no"])},
            {"guitar": [0, 1] * 2},
            {"label_columns": ["guitar", "drums", "bass"]},
            r"split train: audio_column and label_columns name drums, bass, but its columns are audio, guitar\. If",
        ),
        (
            {"labels": List(Value("float32"))},
            {"labels": [[1.0, 0.0, NAN]] * 4},
            {"label_column": "labels", "label_columns": ["guitar", "piano"]},
            r"'labels' \(split train\) holds vectors of 3 values, but label_columns names 2 tags; name all of them",
        ),
        (
            {"labels": List(Value("float32"))},
            {"labels": [[1.0, 0.0, NAN], [1.0], None, None]},
            {"label_column": "labels", "label_columns": TAGS},
            r"holds vectors of 1 and of 3 values",
        ),
        (
            {"labels": List(Value("float32"))},
            {"labels": [[1.0, 0.5, NAN]] * 4},
            {"label_column": "labels", "label_columns": TAGS},
            r"'piano' holds 0\.5",
        ),
        (
            {"labels": Value("string")},
            {"labels": ["guitar"] * 4},
            {"label_column": "labels", "label_columns": TAGS},
            r"'labels' holds Value\('string'\); with label_columns it must hold vectors.* Leave label_column out",
        ),
        (
            {"labels": List(Value("float32"))},
            {"labels": [[1.0, 0.0, NAN]] * 4},
            {},
            r"lists of 3 zeros and ones, one a label; .* by label_column: labels and label_columns: \[first label",
        ),
        (
            {"guitar": Value("float32"), "piano": Value("float32")},
            {"guitar": [1.0, None] * 2, "piano": [None, 1.0] * 2},
            {"label_columns": ["guitar", "piano"]},
            r"no training clip is known not to carry guitar, piano, so .* write 0 where a clip does not carry a tag",
        ),
    ],
)
def test_what_is_no_such_tag_is_an_error_that_says_what_it_is(tmp_path, features, columns, options, message):
    rows = {name: cells * 10 for name, cells in columns.items()}
    with pytest.raises(DatasetError, match=message):
        load(saved(tmp_path / "saved", train=audio_table(features, **rows)), tmp_path, **options)


def test_a_class_label_is_no_tag_because_its_zero_may_mean_yes(tmp_path):
    table = audio_table(
        {"guitar": Value("int8"), "voice": ClassLabel(names=["yes", "no"])}, guitar=[0, 1], voice=[0, 1]
    )
    with pytest.raises(DatasetError, match=r"'voice' holds ClassLabel\(names=\['yes', 'no'\]\)"):
        load(saved(tmp_path / "saved", train=table), tmp_path, label_columns=["guitar", "voice"])


def test_a_tag_that_is_never_known_to_be_absent_is_said(tmp_path, caplog):
    known = [[1, 0, 1], [0, 1, None], [1, 1, None], [0, 0, 1]] * 5
    load(saved(tmp_path / "saved", train=tag_table(known)), tmp_path, label_columns=TAGS)
    assert "no training clip is known not to carry voice. They cannot be learned" in caplog.text


def test_training_clips_of_which_nothing_is_known_are_refused(tmp_path):
    nothing = saved(tmp_path / "saved", train=tag_table([[None, None, None]] * 20))
    with pytest.raises(DatasetError, match="no training clip is known to carry any label"):
        load(nothing, tmp_path, label_columns=TAGS)


def test_vectors_of_two_places_are_no_numbers_of_labels(tmp_path):
    table = audio_table({"labels": List(Value("int64"))}, labels=[[1, 0], [0, 1]] * 10)
    with pytest.raises(DatasetError, match="lists of 2 zeros and ones, one a label"):
        load(saved(tmp_path / "saved", train=table), tmp_path, label_column="labels")


def rows_of_a_folder(**cells):
    """Metadata of eight clips for training and four for validation and test each; cells are those of four clips."""
    return [
        {"file_name": f"{split}_{number}.wav", "split": split, **{name: own[number % 4] for name, own in cells.items()}}
        for split, count in (("train", 8), ("validation", 4), ("test", 4))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("name", "one", "zero", "nothing"),
    [
        ("metadata.csv", "1", "0", ""),
        ("metadata.csv", "1.0", "0.0", "nan"),
        ("metadata.csv", "True", "False", ""),
        ("metadata.jsonl", 1, 0, None),
        ("metadata.jsonl", True, False, None),
        ("metadata.jsonl", 1.0, 0.0, NAN),
    ],
)
def test_an_empty_cell_of_a_folders_table_is_unknown(tmp_path, name, one, zero, nothing):
    written = {1: one, 0: zero, None: nothing}
    cells = {tag: [written[row[place]] for row in KNOWN] for place, tag in enumerate(TAGS)}
    write_metadata(tmp_path, rows_of_a_folder(**cells), name=name)
    arguments = DataArguments(dataset_name="folder", dataset_root=str(tmp_path), label_columns=TAGS)
    dataset = load_tagging_dataset(arguments)
    assert dataset.label_names == TAGS
    assert dataset["train"]["labels"][:] == LABELS * 2
    assert dataset["test"]["labels"][:] == LABELS
    assert dataset["test"]["unknown_labels"][:] == UNKNOWN


def test_mistakes_in_a_folders_table_are_told_together(tmp_path):
    cells = {"guitar": ["yes", "1", "", "0"], "piano": ["1", "0", "", "2"], "voice": ["1", "0", "", ""]}
    write_metadata(tmp_path, rows_of_a_folder(**cells))
    options = {"dataset_name": "folder", "dataset_root": str(tmp_path)}
    with pytest.raises(DatasetError, match=r"'guitar' holds 'yes', 'piano' holds '2'\. Correct the cells"):
        load_tagging_dataset(DataArguments(label_columns=TAGS, **options))
    with pytest.raises(DatasetError, match=r"lacks 2 columns: 'drums', 'bass'"):
        load_tagging_dataset(DataArguments(label_columns=["voice", "drums", "bass"], **options))
    with pytest.raises(
        DatasetError, match=r"no column label or labels; .* or one column a tag, named by label_columns"
    ):
        load_tagging_dataset(DataArguments(**options))


def test_class_folders_have_no_columns(tmp_path):
    (tmp_path / "rock").mkdir()
    arguments = DataArguments(dataset_name="folder", dataset_root=str(tmp_path), label_columns=["rock"])
    with pytest.raises(DatasetError, match=r"label_columns names columns of a metadata\.csv .* it holds: rock/"):
        load_tagging_dataset(arguments)


def test_a_recipe_names_the_columns_in_a_list(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("dataset_name: hub\nhub_id: someone/openmic\nlabel_columns: [guitar, mallet percussion, 808]\n")
    assert parse_recipe([str(path)])[0].label_columns == ["guitar", "mallet percussion", "808"]
    flags = ["--dataset_name", "folder", "--label_columns", "a", "b", "--output_dir", str(tmp_path)]
    assert parse_recipe(flags)[0].label_columns == ["a", "b"]
    assert parse_recipe([*flags[:3], "a"])[0].label_columns == ["a"]
    path.write_text("dataset_name: synthetic\nlabel_columns: [a, b, a]\nlearning_rate: -1\n")
    with pytest.raises(
        RecipeError, match=r"(?s)label_columns: .* each once; received \['a', 'b', 'a'\].*learning_rate"
    ):
        parse_recipe([str(path)])
    path.write_text("dataset_name: gtzan\nlabel_columns: [a, b]\n")
    with pytest.raises(RecipeError, match="label_columns: gtzan does not have this option"):
        parse_recipe([str(path)])


def test_a_label_is_one_zero_or_nan_in_a_batch():
    encoded = encode_labels([[0], [], [1, 2]], MULTI_LABEL, 3, [[2], [], [0]])
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, [[1, 0, NAN], [0, 0, 0], [NAN, 1, 1]])
    clips = ramp_clips([30] * 3, [[0], [], [1, 2]], unknown_labels=[[2], [], [0]])
    windows = TrainingWindows(clips, window_samples=20)
    batch = WindowCollator(MULTI_LABEL, 3)([windows[item] for item in range(3)])
    np.testing.assert_array_equal(batch["labels"], encoded)
    single = WindowCollator(SINGLE_LABEL, 2)([TrainingWindows(ramp_clips([30] * 3), 20)[item] for item in range(3)])
    assert single["labels"].tolist() == [0, 1, 0]


def test_prepared_clips_predictions_and_embeddings_say_what_is_unknown(tmp_path):
    root = three_splits(tmp_path / "saved", tag_table)
    arguments = DataArguments(
        dataset_name="hub", hub_id=str(root), cache_dir=str(tmp_path / "cache"), label_columns=TAGS,
        preprocessing_num_workers=1,
    )  # fmt: skip
    clips, _ = prepare_clips(load_tagging_dataset(arguments), arguments, 16_000)
    test = clips["test"]
    assert (test.labels, test.unknown_labels, test.labelled) == (LABELS, UNKNOWN, [0, 1, 2])
    write_predictions(test, np.full((4, 3), 0.5), TAGS, tmp_path / "predictions.parquet")
    table = parquet.read_table(tmp_path / "predictions.parquet")
    assert table["labels"].to_pylist() == [["guitar"], ["voice"], ["piano"], None]
    assert table["unknown_labels"].to_pylist() == [["voice"], ["piano"], ["guitar"], []]
    embedded = DatasetClips({"test": test}, TAGS)
    assert [field.name for field in embedded.fields] == ["split", "id", "group", "labels", "unknown_labels"]
    assert embedded[0].columns["unknown_labels"] == ["voice"]


def test_without_unknown_labels_predictions_and_embeddings_have_no_column_for_them(tmp_path):
    clips = ramp_clips([30] * 2, [[0], [1]])
    write_predictions(clips, np.full((2, 2), 0.5), ["a", "b"], tmp_path / "predictions.parquet")
    assert parquet.read_table(tmp_path / "predictions.parquet").column_names == ["id", "group", "labels", "scores"]
    assert [field.name for field in DatasetClips({"test": clips}, ["a", "b"]).fields] == [
        "split",
        "id",
        "group",
        "labels",
    ]
