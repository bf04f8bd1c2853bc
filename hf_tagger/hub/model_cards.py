"""Reading the cards of other models: what they state, where they can be read."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError, HTTPError

from ..training.checkpoints import expanded

LICENSE_FIELDS = ("license", "license_name", "license_link")
"""What the metadata of a card say of the licence."""


def read_model_card(name_or_path: str | Path) -> ModelCard | None:
    """A model's card; None if it has none, or one that people wrote so that nobody can read its metadata.

    Nothing depends on it: a card tells the licence and the data, and who asks goes on without.

    Args:
        name_or_path: A folder, or a repository on the Hub.
    """
    folder = Path(expanded(name_or_path))
    card = folder / "README.md"
    if folder.exists() and not card.is_file():
        return None
    try:
        return ModelCard.load(card if card.is_file() else str(name_or_path), ignore_metadata_errors=True)
    except (OSError, ValueError, HTTPError, HFValidationError, yaml.YAMLError):
        return None
