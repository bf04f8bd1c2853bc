"""The energy of a training, as codecarbon estimated it: ``report_to: codecarbon`` in a recipe.

transformers starts and stops codecarbon around the training; it leaves ``emissions.csv`` in the run's folder, one row
for every start (https://docs.codecarbon.io).
"""

from __future__ import annotations

import csv
import logging
from pathlib import Path

from .hub.card_summary import EnergyEstimate

logger = logging.getLogger(__name__)

EMISSIONS_FILE = "emissions.csv"


def read_energy(folder: str | Path) -> EnergyEstimate | None:
    """What the training of a run took; None if nobody estimated it.

    Parts of a training that was cut off and resumed are added up. A part that was killed left no row.

    Args:
        folder: The run's folder.
    """
    path = Path(folder) / EMISSIONS_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return None
        return EnergyEstimate(
            kilowatt_hours=sum(float(row["energy_consumed"]) for row in rows),
            co2_grams=1000 * sum(float(row["emissions"]) for row in rows),
            source=f"codecarbon {rows[-1]['codecarbon_version']}",
            place=rows[-1]["country_name"],
        )
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is not what codecarbon writes (%r): the card says nothing of energy.", path, error)
        return None
