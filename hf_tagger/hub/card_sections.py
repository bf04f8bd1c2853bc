"""Parts of a model card that are measured after training: what a study of a run adds to the run's card.

``model_card.md.j2`` keeps a place for each, between two comments that no reader of the page sees.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import HfTaggerError
from .shared_files import CARD


def set_section(run: str | Path, name: str, text: str) -> None:
    """Replaces one part of a run's card.

    Args:
        run: The run's folder.
        name: The part, as the template calls it: ``short_clips`` or ``robustness``.
        text: Markdown; the part's title stays.

    Raises:
        HfTaggerError: If there is no card, or none with such a part.
    """
    path = Path(run) / CARD
    content, begin, end = _read(path, name)
    path.write_text(f"{content[:begin]}\n{text.strip()}\n{content[end:]}", encoding="utf-8")


def check_section(run: str | Path, name: str) -> None:
    """Raises what :func:`set_section` would raise, before anything is measured."""
    _read(Path(run) / CARD, name)


def _read(path: Path, name: str) -> tuple[str, int, int]:
    """The card, and where the part's text begins and ends."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HfTaggerError(
            f"--add_to_card: {path} cannot be read ({error.strerror}). It takes the folder of a finished run."
        ) from error
    found = list(re.finditer(rf"<!-- {name} -->(.*?)<!-- end of {name} -->", content, re.DOTALL))
    if len(found) != 1:
        raise HfTaggerError(
            f"--add_to_card: {path} has {len(found) or 'no'} places for it, one was expected. Write these two lines "
            f"where it shall stand:\n<!-- {name} -->\n<!-- end of {name} -->"
        )
    return content, *found[0].span(1)
