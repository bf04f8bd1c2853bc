"""The table of embeddings: its vectors are the model's hidden states, and every row says what it is of."""

import json

import numpy as np
import pandas
import pyarrow.parquet as parquet
import pytest
import soundfile
import torch
from fake_datasets import make_class_folder, write_tone
from script_runner import load_script
from tiny_encoders import HIDDEN, LAYERS, build_tagger, save_encoder
from transformers import AutoFeatureExtractor, AutoModel

from hf_tagger.audio import load_mono, to_pcm16
from hf_tagger.embedder import Embedder
from hf_tagger.errors import HfTaggerError, RecipeError
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.encoder_classification import normalize_windows
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification
from hf_tagger.models.windowing import cut_windows

RATE = 16_000
SECONDS = {"a": 0.3, "b": 1.9, "c": 0.8}  # one, four and two windows of half a second


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: save_encoder(family, folder / family) for family in ("mert", "ast", "hubert", "whisper")}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Three tones of different length."""
    folder = tmp_path_factory.mktemp("music")
    for number, (name, seconds) in enumerate(SECONDS.items()):
        write_tone(folder / f"{name}.wav", 200.0 * 2**number, seconds)
    return folder


def embed(model, *arguments, output):
    load_script("embed").main([str(model), *map(str, arguments), "--num_workers", "0", "--output", str(output)])
    return pandas.read_parquet(output)


def vectors(frame):
    return np.stack(frame["embedding"])


def metadata(path):
    return {name.decode(): text.decode() for name, text in parquet.read_schema(path).metadata.items()}


@torch.no_grad()
def mert_states(checkpoint, path, window, hop, stored=False):
    """Hidden states of all windows of a file (or of its 16 bits), pooled by hand: ``[windows, layers + 1, hidden]``."""
    waveform = load_mono(path, 24_000)
    if stored:
        pcm, scale = to_pcm16(waveform)
        waveform = pcm.astype(np.float32) * np.float32(scale)
    windows = cut_windows(torch.from_numpy(waveform), window, hop)
    encoder = AutoModel.from_pretrained(checkpoint).eval()
    parts = [encoder(normalize_windows(part), output_hidden_states=True) for part in windows.split(8)]
    return torch.cat([torch.stack([s.mean(dim=1) for s in part.hidden_states], dim=1) for part in parts]).numpy()


@pytest.mark.shared
def test_real_songs_get_the_mean_of_merts_hidden_states(shared, tmp_path):
    checkpoint, songs = shared / "parity" / "mert_base", sorted((shared / "audio").glob("*.ogg"))
    output = tmp_path / "songs.parquet"
    last = embed(checkpoint, shared / "audio", output=output)
    assert last["file"].tolist() == [str(song) for song in songs]
    described = metadata(output)
    assert described.pop("hf_tagger")
    assert described == {
        "model": str(checkpoint), "model_type": "mert_model", "layer": "3", "hidden_size": "32", "per": "clip",
        "pooling": "mean over time", "sampling_rate": "24000", "window_seconds": "5", "hop_seconds": "5",
    }  # fmt: skip
    states = np.stack([mert_states(checkpoint, song, 120_000, 120_000).mean(axis=0) for song in songs])
    np.testing.assert_allclose(vectors(last), states[:, 3], atol=1e-5)
    layer_1 = embed(checkpoint, *songs, "--layer", "1", output=tmp_path / "1.parquet")
    np.testing.assert_allclose(vectors(layer_1), states[:, 1], atol=1e-5)
    every = embed(checkpoint, *songs, "--all_layers", output=tmp_path / "all.parquet")
    assert (metadata(tmp_path / "all.parquet")["layer"], metadata(tmp_path / "all.parquet")["layers"]) == ("all", "4")
    np.testing.assert_allclose(vectors(every).reshape(len(songs), 4, 32), states, atol=1e-5)
    assert np.ptp(states, axis=0).min() > 1e-3  # songs differ in every layer


def test_a_row_is_a_window_where_that_is_asked_for(checkpoints, music, tmp_path):
    arguments = [music, "--window_seconds", "0.5", "--hop_seconds", "0.4", "--per"]
    windows = embed(checkpoints["mert"], *arguments, "window", output=tmp_path / "windows.parquet")
    assert windows["file"].tolist() == [str(music / f"{name}.wav") for name in "abbbbbcc"]
    np.testing.assert_allclose(windows["start_seconds"], [0, 0, 0.4, 0.8, 1.2, 1.4, 0, 0.3], atol=1e-9)
    np.testing.assert_allclose(windows["end_seconds"], [0.3, 0.5, 0.9, 1.3, 1.7, 1.9, 0.5, 0.8], atol=1e-9)
    expected = [mert_states(checkpoints["mert"], music / f"{name}.wav", 12_000, 9_600)[:, -1] for name in "abc"]
    np.testing.assert_allclose(vectors(windows), np.concatenate(expected), atol=1e-5)
    assert metadata(tmp_path / "windows.parquet")["hop_seconds"] == "0.4"

    clips = embed(checkpoints["mert"], *arguments, "clip", output=tmp_path / "clips.parquet")
    assert list(clips.columns) == ["file", "embedding"]
    np.testing.assert_allclose(vectors(clips), [of_clip.mean(axis=0) for of_clip in expected], atol=1e-5)
    assert parquet.read_schema(tmp_path / "clips.parquet").field("embedding").type.list_size == HIDDEN


def test_neither_batch_size_nor_reading_ahead_nor_row_groups_change_a_vector(checkpoints, music, tmp_path, monkeypatch):
    options = [music, "--window_seconds", "0.5", "--all_layers", "--per", "window"]
    expected = embed(checkpoints["hubert"], *options, output=tmp_path / "1.parquet")
    assert parquet.ParquetFile(tmp_path / "1.parquet").num_row_groups == 1
    monkeypatch.setattr("hf_tagger.embedding_table._ROW_GROUP_BYTES", 3 * (LAYERS + 1) * HIDDEN * 4)
    single = embed(checkpoints["hubert"], *options, "--batch_size", "1", output=tmp_path / "2.parquet")
    assert parquet.ParquetFile(tmp_path / "2.parquet").num_row_groups == 3  # of 3, 3 and 1 rows
    load_script("embed").main([str(checkpoints["hubert"]), *map(str, options), "--output", str(tmp_path / "3.parquet")])
    ahead = pandas.read_parquet(tmp_path / "3.parquet")
    for other in (single, ahead):
        assert other["file"].tolist() == expected["file"].tolist()
        np.testing.assert_allclose(vectors(other), vectors(expected), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["ast", "hubert", "whisper"])
def test_a_stock_encoder_gives_what_transformers_gives(checkpoints, tmp_path, family):
    extractor = AutoFeatureExtractor.from_pretrained(checkpoints[family])
    window = {"ast": 63 * 160 + 400, "hubert": 8_000, "whisper": 16_000}[family]  # AST: 64 frames of 25 ms every 10 ms
    samples = write_tone(tmp_path / "tone.wav", 330.0, window / RATE) and load_mono(tmp_path / "tone.wav", RATE)
    options = ["--window_seconds", str(window / RATE)] if family == "hubert" else []
    frame = embed(checkpoints[family], tmp_path / "tone.wav", *options, output=tmp_path / "embeddings.parquet")
    features = extractor(samples, sampling_rate=RATE, return_tensors="pt")
    model = AutoModel.from_pretrained(checkpoints[family]).eval()
    output = model.encoder(**features) if family == "whisper" else model(**features)
    expected = output.pooler_output if family == "ast" else output.last_hidden_state.mean(dim=1)
    np.testing.assert_allclose(vectors(frame), expected, atol=1e-4)
    pooling = "mean of the two special tokens" if family == "ast" else "mean over time"
    assert metadata(tmp_path / "embeddings.parquet")["pooling"] == pooling


def test_a_recipe_gives_every_clip_of_its_dataset_with_split_and_labels(checkpoints, tmp_path):
    labelled = make_class_folder(tmp_path / "labelled", {"rock": 10, "folk": 10})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("dataset_name: folder\nsplit_seed: 3\nmodel_type: short_cnn\n", encoding="utf-8")
    flags = ["--dataset_root", labelled, "--cache_dir", tmp_path / "cache", "--preprocessing_num_workers", "1"]
    output = tmp_path / "folder.parquet"
    frame = embed(checkpoints["mert"], recipe, *flags, "--window_seconds", "0.25", output=output)
    assert list(frame.columns) == ["split", "id", "group", "labels", "embedding"]
    assert sorted(frame["id"]) == sorted(f"{genre}/clip_{n:02}" for genre in ("rock", "folk") for n in range(10))
    assert all(list(row.labels) == [row.id.split("/")[0]] for row in frame.itertuples())
    protocol = json.loads(metadata(output)["protocol"])
    assert frame["split"].value_counts().to_dict() == protocol["sizes"]
    assert json.loads(metadata(output)["label_names"]) == ["folk", "rock"]
    for row in frame.itertuples():
        states = mert_states(checkpoints["mert"], labelled / f"{row.id}.wav", 6_000, 6_000, stored=True)
        np.testing.assert_allclose(row.embedding, states[:, -1].mean(axis=0), atol=1e-5)
    assert np.ptp(vectors(frame), axis=0).min() > 1e-3  # the classes differ


def test_clips_of_several_labels_keep_them_all(checkpoints, tmp_path):
    for number in range(12):
        write_tone(tmp_path / "music" / f"{number}.wav", 200.0 + 30 * number)
    rows = [{"file_name": f"{n}.wav", "labels": ["fast", "loud"] if n % 2 else ["slow"]} for n in range(12)]
    (tmp_path / "music" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"dataset_name: folder\ndataset_root: {tmp_path / 'music'}\n", encoding="utf-8")
    flags = ["--preprocessing_num_workers", "1", "--cache_dir", tmp_path / "cache"]
    frame = embed(checkpoints["mert"], recipe, *flags, "--window_seconds", "0.25", output=tmp_path / "e.parquet")
    labels = {row.id: sorted(row.labels) for row in frame.itertuples()}
    assert labels == {f"{n}": ["fast", "loud"] if n % 2 else ["slow"] for n in range(12)}


def test_files_that_cannot_be_read_are_named_and_left_out(checkpoints, music, tmp_path, capsys):
    broken = tmp_path / "music" / "broken.wav"
    broken.parent.mkdir()
    broken.write_bytes(b"RIFF")
    output = tmp_path / "embeddings.parquet"
    with pytest.raises(HfTaggerError, match="2 of 5 files could not be read; their lines say why"):
        embed(checkpoints["mert"], broken, music, tmp_path / "gone.mp3", output=output)
    captured = capsys.readouterr()
    assert f"{broken}: not embedded, " in captured.err
    assert f"{tmp_path / 'gone.mp3'}: not embedded, file not found" in captured.err
    assert f"3 clips, layer 3, one row a clip: {output}" in captured.out
    frame = pandas.read_parquet(output)
    assert frame["file"].tolist() == [str(music / f"{name}.wav") for name in "abc"]
    expected = mert_states(checkpoints["mert"], music / "c.wav", 120_000, 120_000)[0, -1]
    np.testing.assert_allclose(frame["embedding"][2], expected, atol=1e-5)

    with pytest.raises(HfTaggerError, match="None of 1 files could be read, and nothing was written"):
        embed(checkpoints["mert"], broken, output=tmp_path / "nothing.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embeddings.parquet", "music"]


def test_a_file_name_that_is_no_utf8_does_not_cost_the_table(checkpoints, tmp_path):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    soundfile.write((tmp_path / "cafe.wav").open("wb"), np.full(8_000, 0.1), RATE, format="WAV")
    try:
        (tmp_path / "cafe.wav").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes no such names")
    frame = embed(checkpoints["mert"], tmp_path, output=tmp_path / "e.parquet")
    assert frame["file"].tolist() == [str(tmp_path / r"caf\xe9.wav")]


def finetuned(checkpoint, folder, **options):
    model, extractor = build_tagger(checkpoint, **options)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model


def test_a_finetuned_tagger_gives_what_its_head_hears(checkpoints, music, tmp_path):
    states = [mert_states(checkpoints["mert"], music / f"{name}.wav", 12_000, 12_000).mean(axis=0) for name in "abc"]
    finetuned(checkpoints["mert"], tmp_path / "layer", layer=2)
    frame = embed(tmp_path / "layer", music, output=tmp_path / "1.parquet")
    np.testing.assert_allclose(vectors(frame), np.stack(states)[:, 2], atol=1e-5)
    assert metadata(tmp_path / "1.parquet")["layer"] == "2"

    model = finetuned(checkpoints["mert"], tmp_path / "weighted", layer="weighted", pooling="attention")
    frame = embed(tmp_path / "weighted", music, output=tmp_path / "2.parquet")
    weights = model.layer_sum.weights.softmax(dim=0).detach().numpy()
    np.testing.assert_allclose(vectors(frame), np.einsum("clh,l->ch", np.stack(states), weights), atol=1e-5)
    assert metadata(tmp_path / "2.parquet")["layer"] == "weighted"
    frame = embed(tmp_path / "weighted", music, "--layer", "1", output=tmp_path / "3.parquet")
    np.testing.assert_allclose(vectors(frame), np.stack(states)[:, 1], atol=1e-5)


def test_a_model_without_an_encoder_is_refused(tmp_path, music):
    ShortCnnForAudioClassification(ShortCnnConfig(num_channels=2)).save_pretrained(tmp_path / "cnn")
    with pytest.raises(HfTaggerError, match="holds a short_cnn, which is trained as a whole and has no encoder"):
        embed(tmp_path / "cnn", music, output=tmp_path / "e.parquet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "4"], r"layer 4 does not exist; possible are last.* to 3"),
        (["--layer", "-1"], r"layer -1 does not exist"),
        (["--layer", "top"], r"layer: 'top' is not known; it must be last, .* or the number of a layer"),
        (["--layer", "weighted"], r"a weighted sum is learned in finetuning"),
        (["--hop_seconds", "7"], r"hop_seconds: 7 must be more than 0 and at most the window's 5"),
        (["--window_seconds", "0"], r"window_seconds: 0\.0 is out of range; it must be more than 0"),
        (["--batch_size", "0"], r"--batch_size must be at least 1"),
        (["--device", "abacus"], r"--device abacus cannot be used here"),
        (["recipe.yaml"], r"A recipe stands alone; received 2 sources"),
        (["gone/"], r"1 of 4 files could not be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_explained(checkpoints, music, tmp_path, options, message):
    with pytest.raises((HfTaggerError, RecipeError), match=message):
        embed(checkpoints["mert"], music, *options, output=tmp_path / "e.parquet")


def test_an_unknown_layer_of_a_stock_model_and_an_unknown_flag_are_refused(checkpoints, music, tmp_path, capsys):
    with pytest.raises(RecipeError, match=r"layer: 0 is not possible with a stock .*; possible are .* 1 to 3"):
        embed(checkpoints["ast"], music, "--layer", "0", output=tmp_path / "e.parquet")
    with pytest.raises(SystemExit):
        embed(checkpoints["ast"], music, "--layr", "1", output=tmp_path / "e.parquet")
    assert "unrecognized arguments: --layr 1" in capsys.readouterr().err


def test_an_earlier_table_is_replaced_only_if_asked_for(checkpoints, music, tmp_path):
    output = tmp_path / "new" / "e.parquet"
    embed(checkpoints["mert"], music, output=output)
    before = output.read_bytes()
    with pytest.raises(HfTaggerError, match=r"e\.parquet exists already.*--overwrite"):
        embed(checkpoints["mert"], music, "--layer", "1", output=output)
    with pytest.raises(HfTaggerError, match=r"new is a folder; name a file"):
        embed(checkpoints["mert"], music, output=output.parent)
    assert output.read_bytes() == before
    embed(checkpoints["mert"], music, "--layer", "1", "--overwrite", output=output)
    assert metadata(output)["layer"] == "1"


def test_embeddings_that_are_fetched_late_as_of_an_accelerator_are_the_same(checkpoints, monkeypatch):
    embedder = Embedder.from_pretrained(checkpoints["mert"], window_seconds=0.5, device="cpu")
    clips = [(n, np.sin(np.arange(samples) / (n + 3), dtype=np.float32)) for n, samples in enumerate([7_000, 60_000])]
    at_once = [found.vectors for _, found in embedder.embed_clips(clips, batch_size=2)]
    launched, fetched, original = 0, [], Embedder._on_device

    def spy(self, windows):
        nonlocal launched
        launched += 1
        return original(self, windows)

    monkeypatch.setattr(Embedder, "_on_device", spy)
    monkeypatch.setattr(embedder, "_copies_late", True)
    late = []
    for name, found in embedder.embed_clips(clips, batch_size=2):
        fetched.append((name, launched))
        late.append(found.vectors)
    for one, other in zip(at_once, late, strict=True):
        np.testing.assert_array_equal(one, other)
    windows = sum(map(len, at_once))
    assert windows == 6
    assert fetched == [(0, 2), (1, 3)]  # the first clip's window was fetched when the second batch was launched


def test_a_run_that_breaks_off_leaves_no_table(checkpoints, music, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_tagger.embedding_table._ROW_GROUP_BYTES", 1)  # every row is written at once
    original, calls = Embedder._on_device, []

    def breaks(self, windows):
        calls.append(original(self, windows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(Embedder, "_on_device", breaks)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoints["mert"], music, "--batch_size", "1", output=tmp_path / "e.parquet")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_gives_no_numbers_is_explained(checkpoints, music, tmp_path):
    model = AutoModel.from_pretrained(checkpoints["mert"])
    model.encoder.layer_norm.weight.data[0] = float("nan")
    model.save_pretrained(tmp_path / "damaged")
    with pytest.raises(HfTaggerError, match="NaN or infinite: its weights are damaged"):
        embed(tmp_path / "damaged", music, output=tmp_path / "e.parquet")
    assert not (tmp_path / "e.parquet").exists()
