"""What a benchmark has measured, as a table and as JSON, with what is needed to repeat and to understand it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..cores import usable_cores

_PACKAGES = ("torch", "torchaudio", "transformers", "datasets", "accelerate")


@dataclass
class Results:
    """Results of one benchmark.

    Attributes:
        title: What was measured, with its conditions; the line above the table.
        rows: Values by column, a row a way.
        notes: Sentences below the table.
    """

    title: str
    rows: list[dict[str, object]]
    notes: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Title, rows as a Markdown table, and notes."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        texts = [[_text(row.get(name)) for name in columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
        is_number = [any(isinstance(row.get(name), int | float) for row in self.rows) for name in columns]
        lines = [
            _line(columns, widths, is_number),
            "|"
            + "|".join(
                "-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, is_number, strict=True)
            )
            + "|",
            *(_line(row, widths, is_number) for row in texts),
        ]
        return "\n".join([self.title, "", *lines, *([""] if self.notes else []), *self.notes])

    def write(self, path: Path, command: list[str]) -> None:
        """Writes the results as JSON.

        Args:
            path: The file; folders above it are made.
            command: The command line that measured them.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "command": " ".join(command),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "machine": machine(),
            "title": self.title,
            "rows": self.rows,
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, object]:
    """Processor, cores, accelerator and versions of what the numbers depend on; nothing that names the machine."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if accelerator and accelerator.type == "cuda" else str(accelerator),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}"


def _line(texts: list[str], widths: list[int], is_number: list[bool]) -> str:
    cells = [
        text.rjust(width) if right else text.ljust(width)
        for text, width, right in zip(texts, widths, is_number, strict=True)
    ]
    return "| " + " | ".join(cells) + " |"
