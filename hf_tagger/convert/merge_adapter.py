"""A LoRA adapter and the model it was trained on → one model that needs neither peft nor the other repository."""

from __future__ import annotations

import argparse
from pathlib import Path

from huggingface_hub import ModelCard

from ..errors import HfTaggerError
from ..models.adapter_loading import adapter_base
from ..training.build import load_saved_model
from ..training.checkpoints import expanded
from .checkpoint import new_folder

DESCRIPTION = "a LoRA adapter that this package trained, added to the weights of the model it was trained on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-command's arguments."""
    parser.add_argument("adapter", help="folder of the run, with adapter_model.safetensors")
    parser.add_argument("output", help="folder for the model, new or empty")


def run(options: argparse.Namespace) -> None:
    """Merges; see :func:`merge`."""
    merge(options.adapter, options.output)
    print(f"Merged model: {options.output}")


def merge(adapter: str, output: str) -> None:
    """Writes the merged model, its feature extractor and, where there is one, the adapter's card.

    Args:
        adapter: Folder of the adapter.
        output: Folder for the model, new or empty.

    Raises:
        HfTaggerError: If there is no adapter, if it does not fit, or if the folder for the model holds files.
    """
    source = Path(expanded(adapter))
    if adapter_base(source) is None:
        raise HfTaggerError(
            f"{adapter} holds no adapter, which is adapter_config.json and adapter_model.safetensors without other "
            f"weights."
        )
    folder = new_folder(output)
    model, feature_extractor = load_saved_model(str(source))
    model.save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    card = source / "README.md"
    if card.exists():
        text = card.read_text(encoding="utf-8").replace(str(source.resolve()), str(folder.resolve()))  # its snippet
        merged = ModelCard(text)
        merged.data.library_name = "transformers"
        merged.save(folder / "README.md")
