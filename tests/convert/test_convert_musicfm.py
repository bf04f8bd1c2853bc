import inspect
import json
import re
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file
from script_runner import load_script
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from hf_tagger.convert import musicfm
from hf_tagger.convert.checkpoint import read_checkpoint
from hf_tagger.errors import HfTaggerError
from hf_tagger.models.configuration_musicfm import MusicFMConfig
from hf_tagger.models.modeling_musicfm import MusicFMModel

# Every size differs from the defaults, and from every other size.
SIZES = {
    "n_fft": 512,
    "num_mel_bins": 24,
    "conv_channels": 6,
    "hidden_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 36,
    "conv_depthwise_kernel_size": 7,
    "rotary_embedding_base": 5_000,
}
STATISTICS = {"melspec_2048_mean": -20.5, "melspec_2048_std": 12.25}
MODULES = {"first": "1", "second": "2", "shortcut": "3"}  # ours, and the number in the published names


def published_name(name):
    name = name.replace("spectrogram.mel.", "preprocessor_melspec_2048.mel_stft.").replace("conv.blocks.", "conv.conv.")
    for ours, number in MODULES.items():
        name = name.replace(f".{ours}.", f".conv{number}.").replace(f".{ours}_norm.", f".bn{number}.")
    return name


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return MusicFMModel(MusicFMConfig(**SIZES, mel_mean=-20.5, mel_std=12.25)).eval()


@pytest.fixture
def state(encoder):
    return {f"model.{published_name(name)}": value.clone() for name, value in encoder.state_dict().items()}


def convert(folder, state, statistics=STATISTICS, checkpoint="pretrained_msd.pt"):
    """Writes the two files as published and converts them; the folder that was made."""
    if state is not None:
        torch.save({"state_dict": state}, folder / checkpoint)
    (folder / "msd_stats.json").write_text(statistics if isinstance(statistics, str) else json.dumps(statistics))
    load_script("convert").main(
        ["musicfm", str(folder / checkpoint), str(folder / "msd_stats.json"), str(folder / "converted")]
    )
    return folder / "converted"


def error_of(folder, *arguments, **options):
    with pytest.raises(HfTaggerError) as caught:
        convert(folder, *arguments, **options)
    assert not (folder / "converted").exists()
    return str(caught.value)


@pytest.mark.shared
def test_every_hidden_state_is_that_of_the_authors_implementation(shared, tmp_path):
    source = shared / "parity" / "musicfm_tiny"
    files = [str(source / "pretrained_msd.pt"), str(source / "msd_stats.json")]
    load_script("convert").main(["musicfm", *files, str(tmp_path / "converted")])
    model, info = AutoModel.from_pretrained(tmp_path / "converted", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = load_file(source / "expected.safetensors")
    with torch.no_grad():
        output = model(expected["input_values"], output_hidden_states=True)
    assert len(output.hidden_states) == 3
    for number, hidden in enumerate(output.hidden_states):
        torch.testing.assert_close(hidden, expected[f"hidden_states.{number}"], atol=1e-4, rtol=0)


@pytest.mark.shared
def test_the_full_size_model_has_the_published_names_and_shapes(shared):
    shapes = json.loads((shared / "parity" / "musicfm_330m_shapes.json").read_text())
    published = {f"model.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    frequencies = "conformer.embed_positions.inv_freq"
    published[f"model.{frequencies}"] = 10_000 ** (-torch.arange(32) / 32)
    kept, dropped = musicfm.rename(published)
    assert sorted(name for names in dropped.values() for name in names) == [
        "cls_token",
        "conformer.pos_conv_embed.conv.bias",
        "conformer.pos_conv_embed.conv.parametrizations.weight.original0",
        "conformer.pos_conv_embed.conv.parametrizations.weight.original1",
        "linear.bias",
        "linear.weight",
        "quantizer_melspec_2048_0.codebook",
        "quantizer_melspec_2048_0.random_projection",
    ]
    defaults = MusicFMConfig()
    found = musicfm.sizes(kept)
    assert found == {name: getattr(defaults, name) for name in found}
    assert found.keys() == SIZES.keys()
    with torch.device("meta"):
        ours = MusicFMModel(defaults).state_dict()
    assert {name: value.shape for name, value in kept.items()} == {name: value.shape for name, value in ours.items()}


def test_every_size_and_statistic_is_read_from_the_files(encoder, state, tmp_path):
    model = AutoModel.from_pretrained(convert(tmp_path, state)).eval()
    assert {name: getattr(model.config, name) for name in SIZES} == SIZES
    assert (model.config.mel_mean, model.config.mel_std) == (-20.5, 12.25)
    waveform = torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(waveform).last_hidden_state, encoder(waveform).last_hidden_state)


def test_the_folder_is_ready_for_finetuning(state, tmp_path, capsys):
    state["model.cls_token"] = torch.zeros(40)
    state["model.linear.weight"] = torch.zeros(9, 40)
    folder = convert(tmp_path, state)
    printed = capsys.readouterr().out
    for part in ("cls_token (part of no", "linear.weight (predicts the targets", f"model_name_or_path: {folder}"):
        assert part in printed
    model, info = AutoModelForAudioClassification.from_pretrained(
        folder, num_labels=50, problem_type="multi_label_classification", output_loading_info=True
    )
    assert sorted(info["missing_keys"]) == ["classifier.output.bias", "classifier.output.weight"]
    assert not info["unexpected_keys"]
    assert model(torch.zeros(1, 2, 24_000)).logits.shape == (1, 50)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert (extractor.sampling_rate, extractor.window_samples, extractor.hop_samples) == (24_000, 240_000, 240_000)
    card = (folder / "README.md").read_text()
    for fact in ("Minz Won", "arxiv.org/abs/2311.03318", "MIT", "huggingface.co/minzwon/MusicFM", "not finetuned"):
        assert fact in card
    assert "24,000 Hz mono in, 25 frames a second out" in card


def test_the_folder_loads_where_this_package_cannot_be_imported(state, tmp_path):
    folder = convert(tmp_path, state)
    program = textwrap.dedent(f"""
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "hf_tagger":
                    raise ImportError("not installed here")
        sys.meta_path.insert(0, Refuse())
        from transformers import AutoModel, AutoModelForAudioClassification
        options = dict(pretrained_model_name_or_path={str(folder)!r}, trust_remote_code=True)
        print(type(AutoModel.from_pretrained(**options)).__name__)
        print(type(AutoModelForAudioClassification.from_pretrained(num_labels=3, **options)).__name__)
    """)
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["MusicFMModel", "MusicFMForAudioClassification"]


def test_names_without_prefix_and_half_precision_are_read_as_well(encoder, state, tmp_path):
    halves = {name.removeprefix("model."): value.half() for name, value in state.items() if value.is_floating_point()}
    whole = {name.removeprefix("model."): value for name, value in state.items() if not value.is_floating_point()}
    model = AutoModel.from_pretrained(convert(tmp_path, {**halves, **whole}))
    assert model.dtype == torch.float32
    torch.testing.assert_close(model.conv.linear.weight, encoder.conv.linear.weight, atol=1e-3, rtol=0)


def test_a_foreign_checkpoint_is_named_by_its_first_keys(tmp_path):
    message = error_of(tmp_path, {f"block{number}.weight": torch.zeros(3) for number in range(5)})
    assert "5 unexpected: block0.weight, block1.weight, block2.weight, …" in message
    assert "missing: spectrogram.mel.spectrogram.window" in message
    assert re.search('Expected is a checkpoint of MusicFM as published .*"state_dict"', message)


@pytest.mark.shared
def test_the_checkpoint_of_another_model_is_refused(shared, tmp_path):
    other = shared / "parity" / "mtat_taggers" / "musicnn.pth"
    message = error_of(tmp_path, None, checkpoint=str(other))
    assert "unexpected: spec.spectrogram.window, spec.mel_scale.fb, spec_bn.weight" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.conv.linear.bias"), "1 missing: conv.linear.bias"),
        (lambda state: state.pop("model.conv.linear.weight"), "missing: conv.linear.weight"),
        (
            lambda state: state.update({"model.conv.linear.bias": torch.zeros(7)}),
            r"1 of another shape: conv.linear.bias \[7\] instead of \[40\]",
        ),
        (lambda state: state.update({"model.conv.conv.2.conv1.bias": torch.zeros(6)}), r"1 unexpected: conv.blocks.2"),
        (
            lambda state: state.update({"model.conformer.layers.0.conv_module.depthwise_conv.weight": torch.zeros(1)}),
            "of another shape: conformer.layers.0.conv_module.depthwise_conv.weight",
        ),
        (
            lambda state: state.update(
                {"model.conformer.layers.0.conv_module.depthwise_conv.weight": torch.zeros(40, 1, 6)}
            ),
            "make no MusicFM: conv_depthwise_kernel_size 6 must be odd",
        ),
        (
            lambda state: state["model.preprocessor_melspec_2048.mel_stft.mel_scale.fb"].mul_(0.5),
            "trained at another sampling rate than 24,000 Hz",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(state, tmp_path, change, message):
    change(state)
    assert re.search(message, error_of(tmp_path, state))


def test_a_damaged_checkpoint_is_refused(state, tmp_path):
    path = tmp_path / "pretrained_msd.pt"
    torch.save({"state_dict": state}, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-100], b"", b"<html>404</html>", b"not what it says", whole[1:]):
        path.write_bytes(content)
        message = error_of(tmp_path, None)
        assert f"{path} cannot be read: it is damaged, incomplete or no PyTorch checkpoint" in message
        assert "download it again" in message
        assert "weights_only" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected are tensors by name"),
        (torch.zeros(3), "holds a Tensor; expected are tensors by name"),
        ({"state_dict": {}}, "holds nothing; expected are tensors by name"),
        ({"epoch": 3, "name": "x"}, "no tensors are 'epoch', 'name'"),
    ],
)
def test_a_file_without_a_state_dict_is_explained(tmp_path, content, message):
    torch.save(content, tmp_path / "pretrained_msd.pt")
    assert message in error_of(tmp_path, None)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(state, tmp_path, new_format):
    trace = tmp_path / "it_ran"

    class Payload:
        def __reduce__(self):
            return open, (str(trace), "w")

    path = tmp_path / "pretrained_msd.pt"
    torch.save({"state_dict": {**state, "x": Payload()}}, path, _use_new_zipfile_serialization=new_format)
    message = error_of(tmp_path, None)
    assert f"{path} was not read: it holds more than tensors (io.open), and loading that could run code" in message
    assert not trace.exists()


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert f"There is no checkpoint {tmp_path / 'pretrained_msd.pt'}" in error_of(tmp_path, None)
    with pytest.raises(HfTaggerError, match="There is no checkpoint"):
        read_checkpoint(str(tmp_path))  # a folder
    with pytest.raises(HfTaggerError, match=r"There is no file .*stats\.json"):
        musicfm.read_statistics(str(tmp_path / "stats.json"))


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ("mean: 6.7", "is not JSON"),
        ("[6.7, 18.4]", "lacks melspec_2048_mean and melspec_2048_std; it has no names"),
        ({"melspec_2048_mean": 6.7, "std": 18.4}, "lacks melspec_2048_std; it has melspec_2048_mean, std"),
        ({"melspec_2048_mean": "6.7", "melspec_2048_std": 0}, "melspec_2048_mean is '6.7'; melspec_2048_std is 0."),
        ({"melspec_2048_mean": 6.7, "melspec_2048_std": True}, "melspec_2048_std is True"),
        ('{"melspec_2048_mean": NaN, "melspec_2048_std": 18.4}', "melspec_2048_mean is nan"),
    ],
)
def test_wrong_statistics_are_explained(state, tmp_path, statistics, message):
    assert message in error_of(tmp_path, state, statistics)


def test_a_folder_in_use_is_left_alone(state, tmp_path):
    (tmp_path / "converted").mkdir()
    convert(tmp_path, state)  # an empty folder is free
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "converted").iterdir()}
    with pytest.raises(HfTaggerError, match="exists and is not an empty folder; nothing was written"):
        convert(tmp_path, state)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "converted").iterdir()} == before


def test_a_family_is_a_file_with_a_run(capsys):
    script = load_script("convert")
    families = script.find_families()
    assert families["musicfm"] is musicfm
    assert "checkpoint" not in families
    for family in families.values():
        assert list(inspect.signature(family.run).parameters) == ["options"]
        assert family.DESCRIPTION
    with pytest.raises(SystemExit):
        script.main(["musicfn", "a", "b", "c"])
    assert "musicfm" in capsys.readouterr().err
