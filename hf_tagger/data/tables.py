"""CSV files read as text, with messages for what can be wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DatasetError
from .base import DatasetFacts, examples


def read_csv(path: Path, facts: DatasetFacts, **options: Any) -> pd.DataFrame:
    """Reads a CSV file; every cell stays the text that it is, an empty or absent one is the empty text.

    Args:
        path: The file: UTF-8, with or without a byte order mark.
        facts: The dataset, named in errors.
        **options: More options of ``pandas.read_csv``, such as ``sep``.

    Raises:
        DatasetError: If the file cannot be read, is empty, is not UTF-8, or has rows longer than its header.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options)
    except OSError as error:
        raise DatasetError(f"{facts.title}: {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{facts.title}: {path} is not UTF-8 text ({error.reason} at byte {error.start:,}). Save it as UTF-8."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DatasetError(f"{facts.title}: {path} is empty.\n{facts.how_to_get}") from error
    except pd.errors.ParserError as error:
        raise DatasetError(
            f"{facts.title}: {path} is not a table ({error}). Quote the cells that hold a separator."
        ) from error
    if not isinstance(table.index, pd.RangeIndex):  # what pandas makes of rows that are longer than the header
        raise DatasetError(f"{facts.title}: {path}: the rows have more cells than the header names columns.")
    return table


def require_columns(columns: Sequence[str], found: Sequence[object], path: Path, facts: DatasetFacts) -> None:
    """Raises DatasetError for columns that a table lacks, naming those that it has."""
    missing = [column for column in columns if column not in found]
    if missing:
        raise DatasetError(
            f"{facts.title}: {path} lacks {'the column' if len(missing) == 1 else f'{len(missing)} columns:'} "
            f"{examples([repr(column) for column in missing])}. Its columns: {examples(list(found))}."
        )
