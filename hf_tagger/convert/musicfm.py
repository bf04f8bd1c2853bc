"""MusicFM as published (https://github.com/minzwon/musicfm) → a folder for ``AutoModel`` and finetuning.

Two files are needed: a checkpoint of the version with 25 frames a second (``pretrained_msd.pt``), and the mean and
deviation of its spectrogram (``msd_stats.json``). Every size is read from the shapes in the checkpoint; all its tensors
are either used or listed in ``DROPPED``.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

import torch

from ..errors import HfTaggerError
from ..models import WaveformFeatureExtractor
from ..models.configuration_musicfm import MusicFMConfig
from ..models.modeling_musicfm import MusicFMForAudioClassification, MusicFMModel
from .checkpoint import check_fit, new_folder, read_checkpoint

DESCRIPTION = "MusicFM (Won, Hung and Le 2023, 25 frames a second), from https://huggingface.co/minzwon/MusicFM"

DROPPED = {
    r"quantizer_melspec_2048_\d+\..*": "random projection and codebook, which make the targets of pretraining",
    r"linear\..*": "predicts the targets of pretraining",
    r"cls_token": "part of no computation",
    r"conformer\.pos_conv_embed\..*": "part of no computation: positions are rotary",
}
"""Published names that the encoder does not have, and why."""

RENAMED = {
    r"^preprocessor_melspec_2048\.mel_stft\.": r"spectrogram.mel.",
    r"^conv\.conv\.(\d+)\.conv1\.": r"conv.blocks.\1.first.",
    r"^conv\.conv\.(\d+)\.bn1\.": r"conv.blocks.\1.first_norm.",
    r"^conv\.conv\.(\d+)\.conv2\.": r"conv.blocks.\1.second.",
    r"^conv\.conv\.(\d+)\.bn2\.": r"conv.blocks.\1.second_norm.",
    r"^conv\.conv\.(\d+)\.conv3\.": r"conv.blocks.\1.shortcut.",
    r"^conv\.conv\.(\d+)\.bn3\.": r"conv.blocks.\1.shortcut_norm.",
}
"""Published names and ours; what is in neither table keeps its name."""

_LAYER = "conformer.layers.0."
_SIZES = {
    "n_fft": ("spectrogram.mel.spectrogram.window", 0),
    "num_mel_bins": ("spectrogram.mel.mel_scale.fb", 1),
    "conv_channels": ("conv.blocks.0.first.weight", 0),
    "hidden_size": ("conv.linear.weight", 0),
    "intermediate_size": (_LAYER + "ffn1.intermediate_dense.weight", 0),
    "conv_depthwise_kernel_size": (_LAYER + "conv_module.depthwise_conv.weight", 2),
}
_FREQUENCIES = "conformer.embed_positions.inv_freq"
_FILTERBANK = "spectrogram.mel.mel_scale.fb"
_STATISTICS = {"mel_mean": "melspec_2048_mean", "mel_std": "melspec_2048_std"}
_EXPECTED = (
    'Expected is a checkpoint of MusicFM as published (pretrained_msd.pt or pretrained_fma.pt): a "state_dict" whose '
    'names begin with "model.". It is compared under this package\'s names: see hf_tagger/convert/musicfm.py.'
)

_CARD = """---
library_name: transformers
tags: [audio, music, musicfm]
---

# MusicFM encoder

The encoder of MusicFM, a conformer pretrained on music, converted by hf_tagger from `{checkpoint}` and `{statistics}`.
**It is not finetuned**: it returns frames of features ({rate:,} Hz mono in, {frames:g} frames a second out), and a
tagger made of it has an untrained head until it is finetuned.

- Paper: Minz Won, Yun-Ning Hung, Duc Le, "A Foundation Model for Music Informatics", 2023,
  https://arxiv.org/abs/2311.03318
- Original code: https://github.com/minzwon/musicfm (MIT licence)
- Weights: by the same authors, under the terms of their publication at https://huggingface.co/minzwon/MusicFM
- Left out: the parts that only pretraining needs (quantizer, prediction layer), and those that no computation uses

```python
import hf_tagger  # registers the model; without it, trust_remote_code runs the code beside the weights
from transformers import AutoModel

encoder = AutoModel.from_pretrained("this folder").eval()
frames = encoder(waveform).last_hidden_state  # waveform [batch, samples]
```

## Citation

```bibtex
{citation}
```
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what :func:`run` reads."""
    parser.add_argument("checkpoint", help="pretrained_msd.pt or pretrained_fma.pt")
    parser.add_argument("statistics", help="msd_stats.json or fma_stats.json, of the same pretraining")
    parser.add_argument("output", help="folder to make; it must not hold anything yet")


def run(options: argparse.Namespace) -> None:
    """Converts, and says what was left out.

    Raises:
        HfTaggerError: If a file cannot be read or is not MusicFM's, or if the output folder is in use.
    """
    output = new_folder(options.output)
    statistics = read_statistics(options.statistics)
    state, dropped = rename(read_checkpoint(options.checkpoint))
    encoder = build_encoder(options.checkpoint, state, statistics)
    config = encoder.config
    # With this the tagger, too, can be loaded where this package is not installed; saving adds the encoder.
    tagger = MusicFMForAudioClassification
    config.auto_map = {"AutoModelForAudioClassification": f"{tagger.__module__.split('.')[-1]}.{tagger.__name__}"}
    encoder.save_pretrained(output)
    WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples).save_pretrained(output)
    card = _CARD.format(
        checkpoint=Path(options.checkpoint).name,
        statistics=Path(options.statistics).name,
        rate=config.sampling_rate,
        frames=config.sampling_rate / config.hop_length / 4,
        citation=tagger.citation,
    )
    (output / "README.md").write_text(card, encoding="utf-8")
    for pattern, names in dropped.items():
        print(f"left out: {', '.join(names)} ({DROPPED[pattern]})")
    print(
        f"{output}: MusicFM with {config.num_hidden_layers} layers of {config.hidden_size} features, "
        f"{sum(parameter.numel() for parameter in encoder.parameters()):,} parameters, not finetuned. To finetune it: "
        f"model_name_or_path: {output}"
    )


def read_statistics(path: str) -> dict[str, float]:
    """``mel_mean`` and ``mel_std`` in decibels.

    Raises:
        HfTaggerError: If the file is not there, is not JSON, or lacks one of the two numbers.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise HfTaggerError(f"There is no file {path}. Expected is the msd_stats.json published with the checkpoint.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no text, or no JSON
        raise HfTaggerError(f"{path} is not JSON: {error}. Is it the msd_stats.json beside the checkpoint?") from error
    found = content if isinstance(content, dict) else {}
    missing = [key for key in _STATISTICS.values() if key not in found]
    if missing:
        raise HfTaggerError(
            f"{path} lacks {' and '.join(missing)}; it has {', '.join(map(str, found)) or 'no names'}. Expected is the "
            f"msd_stats.json published with the checkpoint."
        )
    values = {field: found[key] for field, key in _STATISTICS.items()}
    wrong = [
        f"{_STATISTICS[field]} is {value!r}"
        for field, value in values.items()
        if type(value) not in (int, float) or not math.isfinite(value) or (field == "mel_std" and value <= 0)
    ]
    if wrong:
        raise HfTaggerError(f"{path}: {'; '.join(wrong)}. Both must be numbers, and the deviation greater than 0.")
    return values


def rename(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    """Published names to ours.

    Returns:
        The tensors that are kept, and the names of the others by their pattern in ``DROPPED``.
    """
    kept, dropped = {}, {}
    for name, value in state.items():
        published = name.removeprefix("model.")
        unused = next((pattern for pattern in DROPPED if re.fullmatch(pattern, published)), None)
        if unused is not None:
            dropped.setdefault(unused, []).append(published)
            continue
        for pattern, ours in RENAMED.items():
            published = re.sub(pattern, ours, published)
        kept[published] = value
    return kept, dropped


def sizes(state: dict[str, torch.Tensor]) -> dict[str, float]:
    """The configuration's fields that the tensors (under our names) tell. Absent ones are left out."""
    found = {
        field: state[name].shape[axis]
        for field, (name, axis) in _SIZES.items()
        if name in state and state[name].ndim > axis
    }
    layers = {match[1] for name in state if (match := re.match(r"conformer\.layers\.(\d+)\.", name))}
    if layers:
        found["num_hidden_layers"] = len(layers)
    frequencies = state.get(_FREQUENCIES)
    if frequencies is not None and frequencies.ndim == 1 and len(frequencies) and "hidden_size" in found:
        head = 2 * len(frequencies)
        found["num_attention_heads"] = found["hidden_size"] // head
        lowest = float(frequencies[-1])  # base ** (-(head - 2) / head)
        if head > 2 and 0 < lowest < 1:
            found["rotary_embedding_base"] = round(lowest ** (-head / (head - 2)), 1)
    return found


def build_encoder(path: str, state: dict[str, torch.Tensor], statistics: dict[str, float]) -> MusicFMModel:
    """The encoder with the sizes and the values of the tensors, in float32.

    Args:
        path: The checkpoint's path, for messages.
        state: Its tensors under our names.
        statistics: ``mel_mean`` and ``mel_std``.

    Raises:
        HfTaggerError: If the tensors are not those of a MusicFM encoder with 24 kHz.
    """
    try:
        config = MusicFMConfig(**sizes(state), **statistics)
    except ValueError as error:
        raise HfTaggerError(f"The sizes in {path} make no MusicFM: {error} {_EXPECTED}") from error
    with torch.device("meta"):  # the checkpoint's tensors take the places of the parameters: memory for one model
        encoder = MusicFMModel(config)
    check_fit(path, state, encoder.state_dict(), _EXPECTED)
    ours = encoder.spectrogram.mel.mel_scale.fb  # computed, not on the meta device
    if not torch.allclose(state[_FILTERBANK].float(), ours, atol=1e-3):
        raise HfTaggerError(
            f"{path} has another mel filterbank than {config.num_mel_bins} bands from 0 to "
            f"{config.sampling_rate // 2:,} Hz: it was trained at another sampling rate than {config.sampling_rate:,} "
            f"Hz. {_EXPECTED}"
        )
    values = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    encoder.load_state_dict(values, assign=True)
    return encoder.eval()
