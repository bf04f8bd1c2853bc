"""Many runs in one table and one picture, from the ``metrics.json`` that each left in its folder.

Only numbers of one protocol, one kind of problem and one set of labels stand in one table; anything else is refused.

A row is a flat mapping, a line of the CSV file as it is: ``run``; ``architecture``; every metric, None where undefined,
with its recorded interval ``<metric>_low``, ``<metric>_high`` and ``<metric>_undefined`` (share of draws left out);
``interval_level``; ``parameters``, ``trainable_parameters``, ``seconds`` and ``device``; and what the numbers are of:
``dataset``, ``protocol``, ``protocol_hash``, ``split``, ``problem_type``, ``labels`` (those that could not be scored
too), ``labels_hash`` (of their names), ``clips`` (those scored) and ``folder``. What a run did not record is None.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import HfTaggerError
from ..recipe_values import load_yaml
from .metrics import DEFAULT_METRIC, METRIC_NAMES, METRIC_TITLES
from .plots import GREY, SKY_BLUE, PathLike, house_style, save_figure
from .run_numbers import METRICS_FILE, problem_type_of, read_json

_COSTS = {
    "parameters": ("Parameters", "{:,.0f}"),
    "trainable_parameters": ("Trainable parameters", "{:,.0f}"),
    "seconds": ("Seconds", "{:,.0f}"),
    "device": ("Device", "{}"),
}
_MISSING = "–"
_PANELS_A_ROW = 3
_NAME_LENGTH = 36  # characters beside the bars


def read_runs(folders: Iterable[PathLike], split: str = "test") -> tuple[list[dict], list[Path]]:
    """Reads runs that can stand in one table; a folder that is given twice counts once.

    Args:
        folders: The runs' folders. Two of the same name are told apart by their paths.
        split: The split whose scores are compared.

    Returns:
        Rows in the order of the folders, and those of the paths that hold no ``metrics.json``.

    Raises:
        HfTaggerError: If a folder does not exist, if none holds a ``metrics.json``, if one cannot be read or has no
            scores of the split, or if the runs are of different clips, problems or labels.
    """
    given: dict[Path, Path] = {}
    for path in (Path(folder).expanduser() for folder in folders):
        given.setdefault(path.resolve(), path)
    paths = list(given.values())
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise HfTaggerError(f"These folders do not exist: {', '.join(absent)}.")
    finished = [path for path in paths if (path / METRICS_FILE).is_file()]
    if not finished:
        raise HfTaggerError(f"No {METRICS_FILE} in {', '.join(map(str, paths))}: give the folders of finished runs.")
    names = Counter(path.resolve().name for path in finished)
    rows, problems = [], []
    for path in finished:
        own = path.resolve().name
        try:
            rows.append(_read_run(own if names[own] == 1 else str(path), path, split))
        except HfTaggerError as error:
            problems.append(str(error))
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        raise HfTaggerError(f"{len(problems)} of {len(finished)} runs cannot be compared:\n{listing}")
    _check_comparable(rows)
    return rows, [path for path in paths if path not in finished]


def sort_runs(rows: Sequence[Mapping], metric: str | None = None) -> list[Mapping]:
    """The best first; runs in which the metric is undefined last.

    Args:
        rows: Rows of one problem type, at least one.
        metric: A metric of that type; None: its usual one.

    Raises:
        HfTaggerError: If the runs have no such metric.
    """
    known = METRIC_NAMES[rows[0]["problem_type"]]
    metric = metric or DEFAULT_METRIC[rows[0]["problem_type"]]
    if metric not in known:
        raise HfTaggerError(f"The runs have no metric {metric!r} to sort by; they have {', '.join(known)}.")
    return sorted(rows, key=lambda row: -math.inf if row[metric] is None else row[metric], reverse=True)


def run_table(rows: Sequence[Mapping]) -> str:
    """The rows as a Markdown table, in their order, and a paragraph with what has to be known of the numbers.

    A column stands in it if any row has a value for it.
    """
    columns = {"run": "Run", "architecture": "Architecture"}
    columns |= {name: METRIC_TITLES[name] for name in METRIC_NAMES[rows[0]["problem_type"]]}
    columns |= {name: title for name, (title, _) in _COSTS.items()}
    columns = {name: title for name, title in columns.items() if any(row.get(name) is not None for row in rows)}
    texts = ("run", "architecture", "device")
    lines = [list(columns.values()), *([_cell(row, name) for name in columns] for row in rows)]
    table = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    table.insert(1, "|" + "|".join("---" if name in texts else "---:" for name in columns) + "|")
    return "\n".join([*table, "", _conditions(rows)]) + "\n"


def write_comparison(rows: Sequence[Mapping], folder: PathLike) -> str:
    """Writes ``comparison.md``, ``comparison.csv`` (no columns without any value) and ``comparison.png``.

    Returns:
        The Markdown.
    """
    folder, table = Path(folder).expanduser(), run_table(rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.md").write_text(table, encoding="utf-8")
    frame = pd.DataFrame(rows, dtype=object)  # as objects a count beside an empty cell stays whole
    frame.dropna(axis="columns", how="all").to_csv(folder / "comparison.csv", index=False, lineterminator="\n")
    save_figure(comparison_figure(rows), folder / "comparison.png")
    return table


@house_style
def comparison_figure(rows: Sequence[Mapping]) -> Figure:
    """One axes a metric with a bar a run, from top to bottom as given, and its interval where there is one."""
    metrics = [name for name in METRIC_NAMES[rows[0]["problem_type"]] if any(row[name] is not None for row in rows)]
    columns = min(_PANELS_A_ROW, max(1, len(metrics)))
    lines = max(1, math.ceil(len(metrics) / columns))
    inches = (1.6 + 2.9 * columns, 0.3 + lines * (0.9 + 0.26 * max(len(rows), 2)))
    figure = Figure(figsize=inches, layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    for axes, metric in zip(panels, metrics, strict=False):
        _draw_bars(axes, rows, metric)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    title = f"{rows[0]['split'].capitalize()} split of {rows[0]['dataset']}, protocol {rows[0]['protocol']}"
    figure.suptitle(title if metrics else f"{title}: no metric is defined", x=0.01, ha="left", fontsize=10)
    return figure


def _draw_bars(axes: Axes, rows: Sequence[Mapping], metric: str) -> None:
    for position, row in enumerate(rows):
        value, low, high = (row.get(name) for name in (metric, f"{metric}_low", f"{metric}_high"))
        if value is None:
            axes.text(0.015, position, "undefined", va="center", fontsize=7.5, color=GREY)
            continue
        axes.barh(position, value, height=0.72, color=SKY_BLUE)
        if low is not None:
            # About its own middle: an interval of few clips need not contain the value.
            axes.errorbar((low + high) / 2, position, xerr=(high - low) / 2, fmt="none", color=GREY, capsize=2.5)
        axes.text(max(value, high or 0) + 0.02, position, f"{value:.3f}", va="center", fontsize=7.5)
    names = [row["run"] for row in rows]
    names = [name if len(name) <= _NAME_LENGTH else "…" + name[1 - _NAME_LENGTH :] for name in names]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set(xlim=(0, 1.2), ylim=(len(rows) - 0.4, -0.6))  # the first on top
    axes.set_title(METRIC_TITLES[metric])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _read_run(name: str, folder: Path, split: str) -> dict:
    path = folder / METRICS_FILE
    content = read_json(path)
    scores, protocol, training = (_mapping(content.get(key)) for key in (split, "protocol", "training"))
    problem_type = problem_type_of(scores)
    if problem_type is None:
        scored = [key for key, value in content.items() if problem_type_of(_mapping(value))]
        raise HfTaggerError(
            f"{path} has no scores of the split {split}; it has those of: {', '.join(scored) or 'none'}."
        )
    unnamed = [key for key in ("dataset", "name", "hash") if not isinstance(protocol.get(key), str)]
    if unnamed:
        raise HfTaggerError(
            f"{path} does not say of which clips its numbers are: its protocol lacks {', '.join(unnamed)}."
        )
    row = {"run": name, "architecture": _architecture(folder) or training.get("classifier")}
    intervals, bootstrap = (_mapping(_mapping(content.get(key)).get(split)) for key in ("intervals", "bootstrap"))
    for metric in METRIC_NAMES[problem_type]:
        row[metric] = scores.get(metric)
        interval = _mapping(intervals.get(metric))  # none if the metric is undefined in all draws
        row |= {f"{metric}_{key}": interval.get(key) for key in ("low", "high", "undefined")}
    counts = [value for key, value in scores.items() if key.endswith(("s_scored", "s_left_out"))]  # tags or classes
    return row | {
        "interval_level": bootstrap.get("level"),
        **{key: training.get(key) for key in _COSTS},
        "dataset": protocol["dataset"],
        "protocol": protocol["name"],
        "protocol_hash": protocol["hash"],
        "split": split,
        "problem_type": problem_type,
        "labels": sum(counts) or None,
        "labels_hash": _hash(content, split),
        "clips": _mapping(protocol.get("used")).get(split),
        "folder": str(folder),
    }


def _hash(content: Mapping, split: str) -> str | None:
    """SHA-256 of the labels' names: as many labels need not be the same ones."""
    rows = _mapping(content.get("per_label")).get(split)
    names = sorted(str(_mapping(row).get("label")) for row in rows) if isinstance(rows, list) else []
    return hashlib.sha256("\n".join(names).encode()).hexdigest() if names else None


def _architecture(folder: Path) -> str | None:
    """The type in ``config.json``; without one, what the recipe says."""
    if (folder / "config.json").is_file():
        return read_json(folder / "config.json").get("model_type")
    path = folder / "recipe.yaml"
    if not path.is_file():
        return None
    try:
        recipe = _mapping(load_yaml(path.read_text(encoding="utf-8"))[0])
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise HfTaggerError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return recipe.get("model_name_or_path") or recipe.get("model_type")


def _mapping(value: object) -> Mapping:
    """The mapping, or an empty one in place of anything else: what is optional may be absent."""
    return value if isinstance(value, Mapping) else {}


def _check_comparable(rows: Sequence[Mapping]) -> None:
    """Contract 4. Labels count too: macro means over 50 and over 188 tags of the same clips do not compare."""
    clips = {(row["dataset"], row["protocol_hash"], row["problem_type"]) for row in rows}
    labels, names = ({row[key] for row in rows} - {None} for key in ("labels", "labels_hash"))
    if len(clips) == 1 and len(labels) < 2 and len(names) < 2:
        return
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(_kind(row), []).append(row["run"])
    listing = "\n".join(f"  - {kind}: {', '.join(names)}" for kind, names in kinds.items())
    raise HfTaggerError(
        f"These runs were not evaluated on the same clips and labels, so their numbers must not stand in one table:\n"
        f"{listing}\nCompare the runs of one line at a time."
    )


def _kind(row: Mapping) -> str:
    problem = row["problem_type"].removesuffix("_classification").replace("_", "-")
    labels = f", {row['labels']} labels" if row["labels"] is not None else ""
    if row["labels_hash"] is not None:
        labels += f" (names {row['labels_hash'][:8]})"
    return f"{row['dataset']}, protocol {row['protocol']} (hash {row['protocol_hash'][:12]}), {problem}{labels}"


def _cell(row: Mapping, name: str) -> str:
    value, low = row.get(name), row.get(f"{name}_low")
    if value is None:
        return _MISSING
    if name not in METRIC_TITLES:
        return _COSTS[name][1].format(value) if name in _COSTS else value
    return f"{value:.4f}" + (f" [{low:.4f}, {row[f'{name}_high']:.4f}]" if low is not None else "")


def _conditions(rows: Sequence[Mapping]) -> str:
    """What the numbers are of, and which of them do not compare."""
    notes = [f"Split {rows[0]['split']} of {_kind(rows[0])}."]
    clips = {row["run"]: row["clips"] for row in rows if row["clips"] is not None}
    if len(set(clips.values())) == 1:
        notes.append(f"{next(iter(clips.values())):,} clips.")
    elif clips:
        listing = ", ".join(f"{name} {count:,}" for name, count in clips.items())
        notes.append(f"Not all runs could read all of its clips: {listing}.")
    if any(row.get(f"{name}_low") is not None for row in rows for name in METRIC_TITLES):
        levels = sorted({f"{row['interval_level']:.0%}" for row in rows if row["interval_level"] is not None})
        notes.append(" ".join(filter(None, ["In brackets:", " and ".join(levels), "bootstrap intervals."])))
    left_out = max(row.get(f"{name}_undefined") or 0 for row in rows for name in METRIC_TITLES)
    if left_out:
        notes.append(f"Up to {left_out:.1%} of the draws are not in them, where a metric was undefined.")
    if len({row["device"] for row in rows} - {None}) > 1:
        notes.append("Seconds on different devices do not compare.")
    return " ".join(notes)
