import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value
from fake_datasets import GENRES, encoded_tone, gtzan_table, write_parquet

from hf_tagger import DataArguments, load_tagging_dataset
from hf_tagger.data.base import SPLITS
from hf_tagger.errors import DatasetError

NAMES = [f"{genre}.{number:05d}" for number in range(10) for genre in GENRES]


def load(root, tmp_path, sampling_rate=16_000, **options):
    arguments = DataArguments(dataset_name="hub", hub_id=str(root), cache_dir=str(tmp_path / "cache"), **options)
    return load_tagging_dataset(arguments, sampling_rate)


def saved(root, *, train, **splits):
    """A DatasetDict written by save_to_disk, made of Arrow tables (no encoder is needed to store bytes)."""
    DatasetDict({name: Dataset(table) for name, table in {"train": train, **splits}.items()}).save_to_disk(str(root))
    return root


def labelled(labels, feature, column="label", **columns):
    """A table of one short clip a label."""
    features = Features(
        {"audio": Audio(), column: feature} | {name: Value("string") for name, values in columns.items()}
    )
    audio = [{"bytes": encoded_tone(300.0), "path": None}] * len(labels)
    return pa.table({"audio": audio, column: labels, **columns}, schema=features.arrow_schema)


def column(dataset, name):
    return {split: dataset[split][name][:] for split in SPLITS}


def test_gtzan_in_parquet_with_all_splits_is_taken_as_it_is(tmp_path):
    splits = {"train": NAMES[:60], "validation": NAMES[60:80], "test": NAMES[80:]}
    root = write_parquet(tmp_path / "gtzan", {name: gtzan_table(names) for name, names in splits.items()})
    dataset = load(root, tmp_path)
    assert dataset.protocol.name == "given"
    assert [len(dataset[split]) for split in SPLITS] == [60, 20, 20]
    assert dataset.label_names == list(GENRES)
    assert dataset.problem_type == "single_label_classification"
    assert dataset["test"].column_names == ["id", "audio", "labels", "group"]
    assert dataset["test"]["id"][:2] == [f"{name}.wav" for name in NAMES[80:82]]
    assert dataset["test"]["labels"][:2] == [0, 1]


def test_one_split_alone_is_split_by_the_seed_whatever_it_is_called(tmp_path):
    root = write_parquet(tmp_path / "gtzan", {"test": gtzan_table(NAMES)})
    dataset = load(root, tmp_path)
    assert (dataset.protocol.name, dataset.protocol.generated) == ("seeded", True)
    assert [len(dataset[split]) for split in SPLITS] == [80, 10, 10]
    assert sorted(dataset["validation"]["labels"][:]) == list(range(10))
    again, other = load(root, tmp_path), load(root, tmp_path, split_seed=1)
    assert column(dataset, "id") == column(again, "id") != column(other, "id")


def test_a_row_is_decoded_at_the_rate_asked_for_without_torchcodec(tmp_path):
    root = write_parquet(tmp_path / "gtzan", {"train": gtzan_table(NAMES)})
    dataset = load(root, tmp_path, sampling_rate=8_000)
    row = dataset["test"][0]
    assert row["id"] == f"{GENRES[row['labels']]}.{row['id'][-9:]}"
    assert row["audio"]["sampling_rate"] == 8_000
    signal = row["audio"]["array"]
    assert signal.shape == (2_400,)
    frequency = np.argmax(np.abs(np.fft.rfft(signal * np.hanning(len(signal))))) * 8_000 / len(signal)
    assert frequency == pytest.approx(200 + 40 * row["labels"], abs=5)


def test_only_the_split_that_is_missing_is_drawn(tmp_path):
    root = saved(tmp_path / "saved", train=gtzan_table(NAMES[:90]), test=gtzan_table(NAMES[90:]))
    dataset = load(root, tmp_path)
    assert dataset["test"]["id"][:] == [f"{name}.wav" for name in NAMES[90:]]
    assert [len(dataset[split]) for split in SPLITS] == [80, 10, 10]


def test_a_single_dataset_saved_to_disk_is_read(tmp_path):
    Dataset(gtzan_table(NAMES)).save_to_disk(str(tmp_path / "saved"))
    assert [len(rows) for rows in load(tmp_path / "saved", tmp_path).values()] == [80, 10, 10]


def test_other_columns_and_splits_are_named_by_options(tmp_path):
    parts = {"train": NAMES[:30], "fold_1": NAMES[30:40], "extra": NAMES[40:60]}
    tables = {name: gtzan_table(names, audio="clip", label="style") for name, names in parts.items()}
    root = saved(tmp_path / "saved", **tables)
    options = {"audio_column": "clip", "label_column": "style", "validation_split": "fold_1", "test_split": "extra"}
    dataset = load(root, tmp_path, **options)
    assert [len(dataset[split]) for split in SPLITS] == [30, 10, 20]
    assert len(dataset["test"][0]["audio"]["array"]) == 4_800


@pytest.mark.parametrize(
    ("feature", "labels", "names"),
    [
        (Value("string"), ["rock", "jazz"], ["jazz", "rock"]),
        (Value("large_string"), ["rock", "jazz"], ["jazz", "rock"]),
        (Value("int64"), [10, 9], ["9", "10"]),
        (Value("uint8"), [1, 0], ["0", "1"]),
        (ClassLabel(names=["rock", "jazz"]), [0, 1], ["rock", "jazz"]),
    ],
)
def test_a_class_may_be_text_a_number_or_a_class_label(tmp_path, feature, labels, names):
    dataset = load(saved(tmp_path / "saved", train=labelled(labels * 20, feature)), tmp_path)
    assert dataset.problem_type == "single_label_classification"
    assert dataset.label_names == names
    text = (
        dict(enumerate(feature.names)) if isinstance(feature, ClassLabel) else {label: str(label) for label in labels}
    )
    expected = [names.index(text[label]) for label in labels]
    for split in SPLITS:
        for row in dataset[split].remove_columns("audio"):
            assert row["labels"] == expected[int(row["id"].removeprefix("train-")) % 2]


@pytest.mark.parametrize(
    ("feature", "labels", "names"),
    [
        (List(Value("string")), ["b", "a"], ["a", "b"]),
        (List(Value("int32")), [2, 1], ["1", "2"]),
        (List(ClassLabel(names=["b", "a"])), [0, 1], ["b", "a"]),
    ],
)
def test_a_list_of_labels_makes_it_multi_label(tmp_path, feature, labels, names):
    first, second = labels
    cells = [[first], [second, first], [], [second, second]] * 10
    dataset = load(saved(tmp_path / "saved", train=labelled(cells, feature, "labels")), tmp_path)
    assert dataset.problem_type == "multi_label_classification"
    assert dataset.label_names == names
    one, other = (dataset.label_names.index(name) for name in ("b", "a")) if "a" in names else (1, 0)
    expected = [[one], [0, 1], [], [other]]
    for split in SPLITS:
        for row in dataset[split].remove_columns("audio"):
            assert row["labels"] == expected[int(row["id"].removeprefix("train-")) % 4]


def test_vectors_of_zeros_and_ones_are_refused_instead_of_read_as_numbers_of_labels(tmp_path):
    table = labelled([[0, 1, 0], [1, 0, 1]] * 10, List(Value("int32")), "labels")
    with pytest.raises(DatasetError, match=r"lists of 3 zeros and ones, one a label; expected are the names or the"):
        load(saved(tmp_path / "saved", train=table), tmp_path)


def test_clips_without_a_label_stay_and_have_none(tmp_path):
    feature = ClassLabel(names=["a", "b"])
    root = saved(
        tmp_path / "saved", train=labelled([0, 1, -1], feature), validation=labelled([0], feature),
        test=labelled([-1, None], feature),
    )  # fmt: skip
    dataset = load(root, tmp_path)
    assert column(dataset, "labels") == {"train": [0, 1, None], "validation": [0], "test": [None, None]}


def test_rows_without_audio_are_skipped_and_named_while_they_are_few(tmp_path, caplog):
    table = gtzan_table(NAMES)
    audio = table["audio"].to_pylist()
    audio[3], audio[55] = None, {"bytes": None, "path": None}
    table = table.set_column(0, table.schema.field("audio"), pa.array(audio, type=table.schema.field("audio").type))
    root = write_parquet(tmp_path / "gtzan", {"train": table})
    with pytest.raises(DatasetError, match=r"2 of 100 rows hold no audio: train-3, train-55\. Is audio_column right"):
        load(root, tmp_path)
    dataset = load(root, tmp_path, max_skipped_share=0.02)
    assert [(clip.id, clip.split, clip.reason) for clip in dataset.skipped] == [
        ("train-3", "train", "the row holds no audio"),
        ("train-55", "train", "the row holds no audio"),
    ]
    assert "2 of 100 rows hold no audio" in caplog.text
    assert sum(len(rows) for rows in dataset.values()) == 98
    assert not {"train-3", "train-55"} & {name for names in column(dataset, "id").values() for name in names}
    rows = dataset["train"].remove_columns("audio")
    assert all(row["labels"] == int(row["id"].removeprefix("train-")) % 10 for row in rows)


def test_ids_come_from_the_column_id_then_from_file_names_then_from_rows(tmp_path):
    labels = ["a", "b"] * 10
    own = labelled(labels, Value("string"), id=[f"song {index}" for index in range(20)])
    twice = labelled(labels, Value("string"), id=["song"] * 20)
    assert "song 7" in load(saved(tmp_path / "own", train=own), tmp_path)["train"]["id"][:]
    assert load(saved(tmp_path / "twice", train=twice), tmp_path)["train"]["id"][0].startswith("train-")
    named = saved(tmp_path / "named", train=gtzan_table(NAMES[:30]))
    assert load(named, tmp_path)["train"]["id"][0].endswith(".wav")


def test_groups_stay_together(tmp_path):
    artists = [f"artist {index // 5}" for index in range(60)]
    table = labelled(["a", "b"] * 30, Value("string"), artist=artists)
    dataset = load(saved(tmp_path / "saved", train=table), tmp_path, group_column="artist")
    groups = [set(names) for names in column(dataset, "group").values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 12


def test_the_audio_stays_where_it_lies(tmp_path):
    """No audio is copied: the loaded columns point into the memory-mapped files."""
    root = saved(tmp_path / "saved", train=gtzan_table(NAMES))
    before = pa.total_allocated_bytes()
    dataset = load(root, tmp_path)
    audio_bytes = sum(len(encoded_tone(200.0)) for _ in NAMES)
    assert audio_bytes > 1_000_000
    assert pa.total_allocated_bytes() - before < 0.1 * audio_bytes
    assert [len(dataset[split]) for split in SPLITS] == [80, 10, 10]


@pytest.mark.parametrize(
    "feature", [Value("string"), Value("binary"), {"bytes": Value("binary"), "path": Value("string")}]
)
def test_audio_without_the_audio_feature_is_read_as_well(tmp_path, feature):
    content = encoded_tone(300.0)
    (tmp_path / "tone.wav").write_bytes(content)
    cell = {str: str(tmp_path / "tone.wav"), bytes: content, dict: {"bytes": content, "path": "tone.wav"}}
    kind = dict if isinstance(feature, dict) else str if feature.dtype == "string" else bytes
    features = Features({"audio": feature, "label": Value("string")})
    table = pa.table({"audio": [cell[kind]] * 20, "label": ["a", "b"] * 10}, schema=features.arrow_schema)
    dataset = load(saved(tmp_path / "saved", train=table), tmp_path)
    assert dataset["train"][0]["audio"]["array"].shape == (4_800,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio_column": "sound"}, r"looked for audio_column 'sound' .*its columns are audio, genre, year"),
        ({"label_column": "style"}, r"label_column 'style'; its columns are audio, genre, year"),
        ({"label_column": "audio"}, r"labels must be ClassLabel, text, whole numbers, or lists"),
        ({"audio_column": "year"}, r"holds Value\('int32'\), which is no encoded audio"),
        ({"group_column": "artist"}, r"group_column: split train has no column 'artist'; its columns are audio, genre"),
        ({"train_split": "training"}, r"train_split: .* has no split 'training'; it has train, test"),
        ({"train_split": "train", "test_split": "train"}, r"must differ"),
        ({"protocol": "given"}, r"the data states no validation"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_what_there_is(tmp_path, options, message):
    root = saved(tmp_path / "saved", train=gtzan_table(NAMES[:80]), test=gtzan_table(NAMES[80:]))
    with pytest.raises(DatasetError, match=message):
        load(root, tmp_path, **options)


def test_two_splits_for_one_part_must_be_decided(tmp_path):
    tables = {name: gtzan_table(NAMES[10 * index : 10 * index + 10]) for index, name in enumerate(("val", "dev"))}
    root = saved(tmp_path / "saved", train=gtzan_table(NAMES[50:]), **tables)
    with pytest.raises(DatasetError, match="has val and dev; set validation_split"):
        load(root, tmp_path)
    assert len(load(root, tmp_path, validation_split="dev")["validation"]) == 10


def test_splits_without_one_to_train_on_are_refused(tmp_path):
    table = gtzan_table(NAMES)
    DatasetDict({"fold_1": Dataset(table), "fold_2": Dataset(table)}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DatasetError, match="no training split among fold_1, fold_2; set train_split"):
        load(tmp_path / "saved", tmp_path)


def test_two_columns_of_labels_must_be_decided(tmp_path):
    features = Features({"audio": Audio(), "label": Value("string"), "labels": List(Value("string"))})
    rows = {"audio": [{"bytes": b"", "path": None}] * 4, "label": ["a", "b"] * 2, "labels": [["a"], ["b"]] * 2}
    root = saved(tmp_path / "saved", train=pa.table(rows, schema=features.arrow_schema))
    with pytest.raises(DatasetError, match="has label and labels; set label_column"):
        load(root, tmp_path)


@pytest.mark.parametrize(
    ("labels", "feature", "message"),
    [
        (["Rock", "rock"] * 10, Value("string"), "Rock and rock"),
        (["rock"] * 20, Value("string"), "at least two classes"),
        ([0, 1, 2, 7] * 5, ClassLabel(names=["a", "b", "c"]), "has 3 classes, but also the numbers 7"),
        ([0, 1] * 10, ClassLabel(names=["a", "b", "c"]), "no training clip for 1 of 3 classes: c"),
    ],
)
def test_doubtful_labels_are_refused(tmp_path, labels, feature, message):
    with pytest.raises(DatasetError, match=message):
        load(saved(tmp_path / "saved", train=labelled(labels, feature)), tmp_path)


def test_a_dataset_that_cannot_be_loaded_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DatasetError, match="'nobody/nothing' cannot be loaded"):
        load("nobody/nothing", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load(tmp_path / "empty", tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load(tmp_path / "broken", tmp_path)


def test_a_repository_has_to_be_named():
    with pytest.raises(DatasetError, match="needs hub_id"):
        load_tagging_dataset(DataArguments(dataset_name="hub"))


def test_these_tests_ask_no_hub():
    assert datasets.config.HF_HUB_OFFLINE
