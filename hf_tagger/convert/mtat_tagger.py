"""Taggers as published by Won et al. 2020 for MagnaTagATune → a folder that tags music with its 50 tags.

Paper: "Evaluation of CNN-based Automatic Music Tagging Models", https://arxiv.org/abs/2006.00751; code and weights:
https://github.com/minzwon/sota-music-tagging-models (MIT licence). ``ARCHITECTURES`` says what each of eight calls its
layers, and which shape tells which size. Every tensor of a file is used. Names in messages are those in the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..data.base import protocol_lines
from ..errors import HfTaggerError
from ..models import MODELS, WaveformFeatureExtractor, WindowedAudioClassification
from ..models.windowed_classification import MULTI_LABEL
from .checkpoint import check_fit, new_folder, read_checkpoint

DESCRIPTION = "taggers of MagnaTagATune (Won et al. 2020), from https://github.com/minzwon/sota-music-tagging-models"

TAGS = tuple(protocol_lines("magnatagatune/top50.txt"))
"""The 50 tags in the order of the published outputs, which is that of the list."""

_FILTERBANK = "spec.mel_scale.fb"
_COMPUTED = ("spectrogram.centres", "spectrogram.frequencies")  # ours; the published harmonic filters keep neither
_MILLION_SONG_SIZES = {"backend_channels": 512, "dense_size": 500}  # of musicnn; MTG-Jamendo's is as MagnaTagATune's
_LIKENESS = 0.5  # share of modules in common from which a file is called one of these architectures
_EXPECTED = "Expected is a checkpoint of models/mtat in https://github.com/minzwon/sota-music-tagging-models."

# Modules as published, and ours.
_MEL = {
    "spec.spectrogram": "spectrogram.mel.spectrogram",
    "spec.mel_scale": "spectrogram.mel.mel_scale",
    "spec_bn": "spectrogram_norm",
}
_CONVOLUTION = {"conv": "convolution", "bn": "norm"}
_RESIDUAL = {"conv_1": "first", "bn_1": "first_norm", "conv_2": "second", "bn_2": "second_norm"}
_SHORTCUT = {"conv_3": "shortcut", "bn_3": "shortcut_norm"}
_EXCITATION = {"dense1": "squeeze", "dense2": "excite"}
_SHORT_HEAD = {"dense": "classifier"}
_LONG_HEAD = {"dense1": "dense.linear", "bn": "dense.norm", "dense2": "classifier"}
_MEL_SIZES = {"n_fft": ("spec.spectrogram.window", 0), "num_mel_bins": (_FILTERBANK, 1)}
_CHANNELS = {"num_channels": ("layer1.conv.weight", 0)}
_RESIDUAL_CHANNELS = {"num_channels": ("layer1.conv_1.weight", 0)}


def _layers(
    numbers: Iterable[int], parts: dict[str, str], theirs: str = "layer", ours: str = "blocks.", offset: int = 1
) -> dict[str, str]:
    """``layer1.conv``: ``blocks.0.convolution`` and so on; the published layers count from 1, ours from 0."""
    return {
        f"{theirs}{number}.{part}": f"{ours}{number - offset}.{our_part}"
        for number in numbers
        for part, our_part in parts.items()
    }


@dataclass(frozen=True)
class Architecture:
    """One published architecture.

    Attributes:
        model_type: Our model.
        modules: Its modules (or single tensors) as published, and ours.
        sizes: Fields of the configuration, and the published tensor and axis that tell them.
        settings: Fields of the configuration that make our model this architecture.
    """

    model_type: str
    modules: Mapping[str, str]
    sizes: Mapping[str, tuple[str, int]]
    settings: Mapping[str, bool] = field(default_factory=dict)

    def published_name(self, name: str) -> str:
        """What the file calls a tensor of our model."""
        published = {ours: theirs for theirs, ours in self.modules.items()}
        module, _, leaf = name.rpartition(".")
        return published[name] if name in published else f"{published[module]}.{leaf}"


ARCHITECTURES = {
    "musicnn": Architecture(
        "musicnn",
        _MEL
        | _layers((0, 1), _CONVOLUTION, "layers.", "vertical.", offset=0)
        | _layers((2, 3, 4), _CONVOLUTION, "layers.", "horizontal.", offset=2)
        | _layers((1, 2, 3), _CONVOLUTION, "layer", "backend.")
        | _LONG_HEAD,
        _MEL_SIZES
        | {"vertical_channels": ("layers.0.conv.weight", 0), "horizontal_channels": ("layers.2.conv.weight", 0)}
        | {"backend_channels": ("layer1.conv.weight", 0), "dense_size": ("dense1.weight", 0)},
    ),
    "fcn": Architecture("fcn", _MEL | _layers(range(1, 6), _CONVOLUTION) | _SHORT_HEAD, _MEL_SIZES | _CHANNELS),
    "crnn": Architecture(
        "crnn",
        _MEL | _layers(range(1, 5), _CONVOLUTION) | {"layer5": "recurrent"} | _SHORT_HEAD,
        _MEL_SIZES | _CHANNELS | {"hidden_size": ("layer5.weight_hh_l0", 1)},
    ),
    "short_cnn": Architecture(
        "short_cnn", _MEL | _layers(range(1, 8), _CONVOLUTION) | _LONG_HEAD, _MEL_SIZES | _CHANNELS
    ),
    "short_cnn_res": Architecture(
        "short_cnn",
        _MEL | _layers(range(1, 8), _RESIDUAL | _SHORTCUT) | _LONG_HEAD,
        _MEL_SIZES | _RESIDUAL_CHANNELS,
        {"residual": True},
    ),
    "sample_cnn": Architecture("sample_cnn", _layers(range(1, 12), _CONVOLUTION) | _SHORT_HEAD, _CHANNELS),
    "sample_cnn_se": Architecture(
        "sample_cnn",
        # A shortcut has a convolution where the stride is not 1 or the channels change.
        _layers(range(1, 12), _RESIDUAL | _EXCITATION) | _layers((1, 4, 10), _SHORTCUT) | _LONG_HEAD,
        _RESIDUAL_CHANNELS,
        {"squeeze_excitation": True},
    ),
    "harmonic_cnn": Architecture(
        "harmonic_cnn",
        {"hstft.bw_Q": "spectrogram.quality", "hstft.spec": "spectrogram.transform", "hstft_bn": "spectrogram_norm"}
        | _layers((1, 5), _CONVOLUTION)
        | _layers((2, 3, 4, 6, 7), _RESIDUAL)
        | _LONG_HEAD,
        {"n_fft": ("hstft.spec.window", 0), "num_harmonics": ("hstft_bn.weight", 0)} | _CHANNELS,
    ),
}
"""The published architectures by the name that ``--architecture`` takes."""

_CARD, _LICENSE = (Path(__file__).with_name(f"mtat_tagger_{name}") for name in ("card.md", "license.txt"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what :func:`run` reads."""
    parser.add_argument(
        "checkpoint",
        help="best_model.pth of a folder in models/mtat. Those in models/msd and models/jamendo have other tags but "
        "mostly the same shapes: they would get wrong tags unnoticed",
    )
    parser.add_argument("output", help="folder to make; it must not hold anything yet")
    parser.add_argument("--architecture", choices=list(ARCHITECTURES), help="default: recognised by the tensors' names")


def run(options: argparse.Namespace) -> None:
    """Converts, and says what was made.

    Raises:
        HfTaggerError: If the file cannot be read or is no tagger of MagnaTagATune, or if the output folder is in use.
    """
    output = new_folder(options.output)
    state = read_checkpoint(options.checkpoint)
    name = choose_architecture(options.checkpoint, state, options.architecture)
    tagger, computed = build_tagger(options.checkpoint, state, name)
    config = tagger.config
    tagger.save_pretrained(output)
    WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples).save_pretrained(output)
    seconds = f"{config.window_samples / config.sampling_rate:.3g}"
    card = _CARD.read_text(encoding="utf-8").format(
        name=name,
        checkpoint=Path(options.checkpoint).name,
        rate=config.sampling_rate,
        seconds=seconds,
        tags=", ".join(TAGS),
        # The second is Won et al. 2020, which is also the paper of its own model.
        citations="\n\n".join(dict.fromkeys([tagger.citation, MODELS["short_cnn"].citation])),
    )
    (output / "README.md").write_text(card, encoding="utf-8")
    (output / "LICENSE").write_text(_LICENSE.read_text(encoding="utf-8"), encoding="utf-8")  # as the licence asks
    if options.architecture is None:
        print(f"recognised by the names of the tensors: {name}")
    if computed:
        print(f"computed, as the file has no values of it: {', '.join(computed)}")
    print(
        f"{output}: {name} with {sum(parameter.numel() for parameter in tagger.parameters()):,} parameters, "
        f"{len(TAGS)} tags and windows of {seconds} s; nothing of the checkpoint was left out. To finetune it: "
        f"model_name_or_path: {output}"
    )


def choose_architecture(path: str, state: Mapping[str, torch.Tensor], wanted: str | None) -> str:
    """The architecture that was named or, with none named, the one that shares most modules with the file.

    Raises:
        HfTaggerError: If the file looks like another than the named one, or, with none named, like none at all.
    """
    likeness = {}
    for name, architecture in ARCHITECTURES.items():
        modules = architecture.modules.keys()
        found = {tensor if tensor in modules else tensor.rpartition(".")[0] for tensor in state}
        likeness[name] = len(found & modules) / len(found | modules)
    best = max(likeness, key=likeness.__getitem__)
    if likeness[best] < _LIKENESS and wanted is None:
        first, known = ", ".join(list(state)[:3]), ", ".join(ARCHITECTURES)
        raise HfTaggerError(f"The tensors of {path} ({first}, …) look like those of none of {known}. {_EXPECTED}")
    if likeness[best] >= _LIKENESS and wanted is not None and likeness[wanted] < likeness[best]:
        raise HfTaggerError(f"{path} is no {wanted}: this looks like a {best}; use --architecture {best}.")
    return wanted or best


def build_tagger(
    path: str, state: Mapping[str, torch.Tensor], name: str
) -> tuple[WindowedAudioClassification, list[str]]:
    """The tagger with the sizes and values of a checkpoint's tensors, in float32, and the names of those it lacked.

    Raises:
        HfTaggerError: If the tensors are not those of this architecture with MagnaTagATune's tags and 16 kHz.
    """
    architecture, model_class = ARCHITECTURES[name], MODELS[ARCHITECTURES[name].model_type]
    sizes = read_sizes(state, architecture)
    _refuse_other_datasets(path, state.get(architecture.published_name("classifier.weight")), sizes)
    labels = {"id2label": dict(enumerate(TAGS)), "label2id": {tag: number for number, tag in enumerate(TAGS)}}
    try:
        config = model_class.config_class(**sizes, **architecture.settings, **labels, problem_type=MULTI_LABEL)
    except ValueError as error:
        raise HfTaggerError(f"The sizes in {path} make no {name}: {error} {_EXPECTED}") from error
    with torch.device("meta"):  # the checkpoint's tensors take the places of the parameters: memory for one model
        tagger = model_class(config)
    ours = tagger.state_dict()
    names = {our: architecture.published_name(our) for our in ours if our not in _COMPUTED}
    found, lacking = dict(state), []
    filterbank = next((ours[our] for our, theirs in names.items() if theirs == _FILTERBANK), None)
    # Old torchaudio computed the filterbank when it was first used, and saved an empty one before.
    if filterbank is not None and (_FILTERBANK not in state or not state[_FILTERBANK].numel()):
        found[_FILTERBANK], lacking = filterbank, [_FILTERBANK]
    check_fit(path, found, {theirs: ours[our] for our, theirs in names.items()}, _EXPECTED)
    if filterbank is not None and not torch.allclose(found[_FILTERBANK].float(), filterbank, atol=1e-3):
        raise HfTaggerError(
            f"{path} has another mel filterbank ({_FILTERBANK}) than {config.num_mel_bins} bands from {config.f_min:g} "
            f"to {config.f_max:,.0f} Hz at {config.sampling_rate:,} Hz: it was trained at another sampling rate or "
            f"range. {_EXPECTED}"
        )
    values = {our: found[theirs].to(ours[our].dtype, copy=True).contiguous() for our, theirs in names.items()}
    tagger.load_state_dict({**ours, **values}, assign=True)
    return tagger.eval(), lacking


def read_sizes(state: Mapping[str, torch.Tensor], architecture: Architecture) -> dict[str, int]:
    """The configuration's fields that the tensors tell. Absent ones are left out."""
    found = {
        size: state[tensor].shape[axis]
        for size, (tensor, axis) in architecture.sizes.items()
        if tensor in state and state[tensor].ndim > axis and state[tensor].numel()
    }
    if "n_fft" in found:
        found["hop_length"] = found["n_fft"] // 2  # torchaudio's default, which the published code leaves as it is
    if "hidden_size" in found:
        found["num_hidden_layers"] = sum(tensor.startswith("layer5.weight_hh_l") for tensor in state)
    return found


def _refuse_other_datasets(path: str, head: torch.Tensor | None, sizes: Mapping[str, int]) -> None:
    if head is not None and head.ndim == 2 and len(head) != len(TAGS):
        raise HfTaggerError(f"{path} has {len(head)} outputs: they are not the 50 tags of MagnaTagATune. {_EXPECTED}")
    if sizes.items() >= _MILLION_SONG_SIZES.items():
        raise HfTaggerError(
            f"{path} has 512 back-end channels and 500 dense features: it is the musicnn of the Million Song Dataset, "
            f"whose tags are not those of MagnaTagATune. {_EXPECTED}"
        )
