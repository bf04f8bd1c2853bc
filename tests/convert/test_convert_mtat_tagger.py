import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from published_taggers import NETWORKS, logits, random_state
from safetensors.torch import load_file
from script_runner import load_script
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from hf_tagger.audio import load_mono
from hf_tagger.convert import mtat_tagger
from hf_tagger.data.base import protocol_lines
from hf_tagger.errors import HfTaggerError
from hf_tagger.models import MODELS

PUBLISHED = ["musicnn", "fcn", "crnn"]  # the ones whose trained weights are at hand
HUNGARIAN_DANCE = "Hungarian_Dance_number_5_-_Allegro_in_F_sharp_minor_(string_orchestra).ogg"
FILTERBANK = "spec.mel_scale.fb"
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")  # with 128 bands


def convert(folder, state=None, architecture=None, checkpoint=None):
    """Writes a state dict as published, if one is given, and converts it; the folder that was made."""
    if state is not None:
        torch.save(state, folder / "best_model.pth")
    chosen = ["--architecture", architecture] if architecture else []
    arguments = [str(checkpoint or folder / "best_model.pth"), str(folder / "converted"), *chosen]
    load_script("convert").main(["mtat-tagger", *arguments])
    return folder / "converted"


def error_of(folder, *arguments, **options):
    with pytest.raises(HfTaggerError) as caught:
        convert(folder, *arguments, **options)
    assert not (folder / "converted").exists()
    return str(caught.value)


def load(folder):
    model, info = AutoModelForAudioClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def music(samples):
    """Two chords with noise, soft and loud: ``[2, samples]``."""
    noise = torch.randn(2, samples, generator=torch.Generator().manual_seed(1)) * torch.tensor([[0.02], [0.3]])
    times = torch.arange(samples) / 16_000
    hertz = torch.tensor([[130.8, 1046.5], [659.3, 3951.1]])
    return noise + 0.15 * torch.sin(2 * torch.pi * hertz[..., None] * times).sum(dim=1)


@pytest.fixture(scope="module")
def converted(shared, tmp_path_factory):
    """Folders of the published, trained taggers by their names."""
    source = shared / "parity" / "mtat_taggers"
    return {
        name: convert(tmp_path_factory.mktemp(name), None, name, checkpoint=source / f"{name}.pth")
        for name in PUBLISHED
    }


@pytest.fixture(scope="module")
def expected(shared):
    return json.loads((shared / "parity" / "mtat_taggers" / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_taggers_say_what_they_said(shared, converted, name):
    given = load_file(shared / "parity" / "mtat_taggers" / f"{name}_expected.safetensors")
    with torch.no_grad():
        ours = load(converted[name])(given["input_values"]).logits.sigmoid()
    torch.testing.assert_close(ours, given["probabilities"], atol=1e-4, rtol=0)  # observed: at most 2e-7


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_value_is_kept_to_the_bit(shared, converted, name):
    """Window and filterbank are not computed anew: they are what the model was trained with."""
    source = torch.load(shared / "parity" / "mtat_taggers" / f"{name}.pth", map_location="cpu", weights_only=True)
    architecture, ours = mtat_tagger.ARCHITECTURES[name], load(converted[name]).state_dict()
    assert {architecture.published_name(our) for our in ours} == set(source)
    for our, value in ours.items():
        assert torch.equal(value, source[architecture.published_name(our)]), our
    assert torch.equal(ours["spectrogram.mel.mel_scale.fb"], source[FILTERBANK])


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_real_songs_are_tagged_as_by_the_authors_code(shared, converted, expected, name):
    model = load(converted[name])
    for song, by_architecture in expected["songs"].items():
        waveform = torch.from_numpy(load_mono(shared / "audio" / song, 16_000)[: 29 * 16_000])
        windows = waveform.unfold(0, model.config.window_samples, model.config.window_samples)
        assert len(windows) == by_architecture[name]["chunks"]
        with torch.no_grad():
            ours = model(windows).logits.sigmoid().mean(dim=0)
        wanted = torch.tensor(by_architecture[name]["mean_probabilities"])
        torch.testing.assert_close(ours, wanted, atol=0.02, rtol=0)  # observed: at most 6e-7
        if name == "musicnn" and song == HUNGARIAN_DANCE:
            assert model.config.id2label[int(ours.argmax())] == "classical"


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_predict_and_the_plain_pipeline_tag_a_whole_song_alike(shared, converted, capsys, name):
    song = shared / "audio" / HUNGARIAN_DANCE
    load_script("predict").main([str(converted[name]), str(song), "--json", "--top_k", "50"])
    (ours,) = json.loads(capsys.readouterr().out)
    tagger = pipeline("audio-classification", model=str(converted[name]), trust_remote_code=True, top_k=None)
    theirs = tagger(load_mono(song, 16_000), function_to_apply="sigmoid")  # 5.10 would take softmax
    assert len(theirs) == len(ours["tags"]) == 50
    scores = {score["label"]: score["score"] for score in theirs}
    for score in ours["tags"]:
        assert score["score"] == pytest.approx(scores[score["label"]], abs=1e-5)


@pytest.mark.shared
def test_the_folder_tags_a_song_where_this_package_cannot_be_imported(shared, converted, tmp_path):
    waveform = load_mono(shared / "audio" / HUNGARIAN_DANCE, 16_000)
    np.save(tmp_path / "song.npy", waveform)
    program = textwrap.dedent(f"""
        import sys
        sys.modules["hf_tagger"] = None
        import json
        import numpy as np
        from transformers import pipeline
        folder = {str(converted["musicnn"])!r}
        tagger = pipeline("audio-classification", model=folder, trust_remote_code=True, top_k=None)
        print(json.dumps(tagger(np.load("song.npy"), function_to_apply="sigmoid")))
    """)
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    theirs = json.loads(finished.stdout.splitlines()[-1])
    tagger = pipeline("audio-classification", model=str(converted["musicnn"]), top_k=None)
    for one, other in zip(theirs, tagger(waveform, function_to_apply="sigmoid"), strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


@pytest.mark.shared
def test_the_tags_are_those_of_the_published_outputs(expected):
    assert list(mtat_tagger.TAGS) == expected["tags"]


def test_the_tags_are_those_of_the_dataset():
    assert len(set(mtat_tagger.TAGS)) == len(mtat_tagger.TAGS) == 50
    assert set(mtat_tagger.TAGS) == set(protocol_lines("magnatagatune/top50.txt"))
    assert set(mtat_tagger.TAGS) <= set(protocol_lines("magnatagatune/all188.txt"))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_independent_implementation_of_the_published_layout_agrees(tmp_path, capsys, name):
    state, waveform = random_state(name), music(NETWORKS[name][2])
    model = load(convert(tmp_path, state))
    assert f"recognised by the names of the tensors: {name}" in capsys.readouterr().out
    assert model.config.window_samples == NETWORKS[name][2]
    with torch.no_grad():
        theirs, ours = logits(name, state, waveform), model(waveform).logits
    assert (theirs[0] - theirs[1]).abs().max() > 0.1  # it does listen
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.sigmoid(), theirs.sigmoid(), atol=1e-4, rtol=0)  # observed: at most 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_names_every_tensor_of_the_full_size_model(name):
    """The harmonic filters' two computed tensors are the only ones that no published file has."""
    architecture = mtat_tagger.ARCHITECTURES[name]
    model_class = MODELS[architecture.model_type]
    with torch.device("meta"):
        ours = model_class(model_class.config_class(num_labels=50, **architecture.settings)).state_dict()
    computed = {"spectrogram.centres", "spectrogram.frequencies"} if name == "harmonic_cnn" else set()
    published = {architecture.published_name(our) for our in ours.keys() - computed}
    assert published == random_state(name).keys()
    modules = {name if name in architecture.modules else name.rpartition(".")[0] for name in published}
    assert modules == architecture.modules.keys()


def test_sizes_are_read_from_the_shapes(tmp_path):
    state = random_state("crnn")
    for name in [name for name in state if re.fullmatch(r"layer5\..*_l1", name)]:
        del state[name]  # one recurrent layer instead of two
    config = AutoConfig.from_pretrained(convert(tmp_path, state, "crnn"))
    found = {"num_channels": 3, "hidden_size": 5, "num_hidden_layers": 1, "num_mel_bins": 96, "n_fft": 512}
    assert {field: getattr(config, field) for field in found} == found
    assert (config.hop_length, config.window_samples, config.hop_samples) == (256, 464_000, 464_000)


def test_the_folder_says_all_that_transformers_asks(tmp_path, capsys):
    folder = convert(tmp_path, random_state("musicnn"), "musicnn")
    printed = capsys.readouterr().out
    assert f"{folder}: musicnn with 7,380 parameters, 50 tags and windows of 3 s; nothing of the checkpoint" in printed
    assert "recognised" not in printed
    config = AutoConfig.from_pretrained(folder)
    assert [config.id2label[number] for number in range(50)] == list(mtat_tagger.TAGS)
    assert config.label2id == {tag: number for number, tag in enumerate(mtat_tagger.TAGS)}
    assert (config.problem_type, config.sampling_rate) == ("multi_label_classification", 16_000)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert (extractor.sampling_rate, extractor.window_samples, extractor.hop_samples) == (16_000, 48_000, 48_000)
    assert (folder / "model.safetensors").is_file()
    assert (folder / "modeling_musicnn.py").is_file()


@pytest.mark.parametrize("name", ["crnn", "short_cnn"])
def test_the_card_credits_authors_papers_and_licence(tmp_path, name):
    folder = convert(tmp_path, random_state(name))
    card, license_text = ModelCard.load(folder / "README.md"), (folder / "LICENSE").read_text(encoding="utf-8")
    assert license_text.startswith("MIT License\n\nCopyright (c) 2020 Music Technology Group, Universitat Pompeu")
    assert "The above copyright notice and this permission notice shall be included in all" in license_text
    assert (card.data.license, card.data.library_name) == ("mit", "transformers")
    assert card.data.pipeline_tag == "audio-classification"
    assert {"music", name} <= set(card.data.tags)
    for fact in (
        *("Minz Won, Andres Ferraro, Dmitry Bogdanov, Xavier Serra", "https://arxiv.org/abs/2006.00751", "MIT licence"),
        *("Copyright (c) 2020 Music Technology Group, Universitat Pompeu Fabra. Code developed by Minz Won.",),
        *("https://github.com/minzwon/sota-music-tagging-models", "from `best_model.pth`", "mono, 16,000 Hz"),
        *("right only for the checkpoints in models/mtat", "trust_remote_code=True", ", ".join(mtat_tagger.TAGS)),
        MODELS[name].citation,
    ):
        assert fact in card.text
    assert card.text.count("@inproceedings{won2020evaluation,") == 1
    assert str(tmp_path) not in card.text


@pytest.mark.parametrize("given", [torch.zeros(0), None])
def test_a_filterbank_without_values_is_computed(tmp_path, capsys, given):
    state = random_state("fcn")
    whole = state.pop(FILTERBANK)
    if given is not None:
        state[FILTERBANK] = given
    model = load(convert(tmp_path, state))
    assert f"computed, as the file has no values of it: {FILTERBANK}" in capsys.readouterr().out
    torch.testing.assert_close(model.spectrogram.mel.mel_scale.fb, whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("wanted", NETWORKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_another_architecture_than_the_named_one_is_recognised(tmp_path, name, wanted):
    if name == wanted:
        assert mtat_tagger.choose_architecture("file", random_state(name), wanted) == wanted
        return
    message = f"file is no {wanted}: this looks like a {name}; use --architecture {name}."
    with pytest.raises(HfTaggerError, match=re.escape(message)):
        mtat_tagger.choose_architecture("file", random_state(name), wanted)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fcn", {"layer3.bn.bias": None}, r"1 missing: layer3\.bn\.bias\)"),
        ("crnn", {"layer2.bn.num_batches_tracked": None}, r"1 missing: layer2\.bn\.num_batches_tracked\)"),
        ("short_cnn", {"layer8.conv.weight": (3, 3)}, r"1 unexpected: layer8\.conv\.weight\)"),
        ("sample_cnn_se", {"layer2.conv_3.bias": (3,)}, r"1 unexpected: layer2\.conv_3\.bias\)"),
        ("fcn", {"spectrogram_norm.weight": (1,)}, r"1 unexpected: spectrogram_norm\.weight\)"),
        ("musicnn", {"layer2.conv.bias": (7,)}, r"shape: layer2\.conv\.bias \[7\] instead of \[6\]\)"),
        ("harmonic_cnn", {"hstft.bw_Q": ()}, r"shape: hstft\.bw_Q \[\] instead of \[1\]\)"),
        ("fcn", {"spec.spectrogram.window": (0,)}, r"shape: spec\.spectrogram\.window \[0\] instead of \[512\]"),
        ("musicnn", {FILTERBANK: (257, 2)}, "The sizes in .* make no musicnn: "),
        ("short_cnn", {FILTERBANK: (257, 128)}, "another mel filterbank .* than 128 bands from 0 to 8,000 Hz"),
        ("fcn", {"dense.weight": (56, 3)}, "has 56 outputs: they are not the 50 tags of MagnaTagATune"),
        (
            "musicnn",
            {"layer1.conv.weight": (512, 22, 7), "dense1.weight": (500, 3116)},
            "is the musicnn of the Million Song Dataset, whose tags are not those of MagnaTagATune",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_explained(tmp_path, name, change, message):
    state = random_state(name)
    for tensor, shape in change.items():
        state.pop(tensor, None)
        if shape is not None:
            state[tensor] = torch.zeros(shape)
    received = error_of(tmp_path, state)
    assert re.search(message, received)
    assert "Expected is a checkpoint of models/mtat" in received


def test_a_foreign_file_is_named_by_its_first_tensors(tmp_path):
    foreign = {f"features.{number}.weight": torch.zeros(3) for number in range(5)}
    message = error_of(tmp_path, foreign)
    assert "(features.0.weight, features.1.weight, features.2.weight, …) look like those of none of musicnn" in message
    assert "5 unexpected: features.0.weight" in error_of(tmp_path, foreign, "fcn")
    (tmp_path / "best_model.pth").write_bytes(b"<html>404</html>")
    assert "it is damaged, incomplete or no PyTorch checkpoint" in error_of(tmp_path)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted" / "notes.txt").write_text("mine")
    with pytest.raises(HfTaggerError, match="exists and is not an empty folder; nothing was written"):
        convert(tmp_path, random_state("fcn"))
    assert [path.name for path in (tmp_path / "converted").iterdir()] == ["notes.txt"]
