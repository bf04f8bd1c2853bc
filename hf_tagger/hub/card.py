"""The model card: README.md with the metadata that the Hub reads and the facts that a person needs.

What it says comes as a :class:`~hf_tagger.hub.card_summary.CardSummary`; the wording stands in ``model_card.md.j2``
beside this file; here values become text and tables.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..data.base import MULTI_LABEL, SPLITS
from ..data.leaks import LEAKS_FILE, Leaks
from ..evaluation.metrics import METRIC_NAMES, METRIC_TITLES
from ..evaluation.rare_classes import label_groups
from .card_summary import CardSummary
from .templates import fill_template

_TEMPLATE = Path(__file__).with_name("model_card.md.j2")
_PIPELINE_TAG = "audio-classification"
_TAGS = ("music", "music-tagging", _PIPELINE_TAG, "hf_tagger")
_LONG_TABLE = 20  # rows; longer tables are folded
_SKIPPED_SHOWN = 50
_LABELS_IN_TEXT = 60
# Columns of the table of labels that not every table has.
_DECISIONS = {"threshold": "Threshold", "precision": "Precision", "recall": "Recall", "f1": "F1"}
# Clips a protocol may lack and still be called the published one: a few files are damaged in every copy of a dataset.
_LACK_TOLERATED = 0.01
_NOT_COMMERCIAL = re.compile(r"\bnon-?\s?commercial|\bNC\b|\bresearch\b.{0,20}\bonly\b", re.IGNORECASE)


def build_model_card(summary: CardSummary) -> ModelCard:
    """Makes the model card; ``.save(folder / "README.md")`` writes it.

    Args:
        summary: What the card says.

    Returns:
        A card whose metadata the Hub accepts. Undefined metrics are left out of its ``model-index``.
    """
    return ModelCard(
        fill_template(
            _TEMPLATE,
            {"text": _text, "fenced": _fenced, "duration": _duration, "quantity": _quantity},
            metadata=card_data(summary).to_yaml(),
            summary=summary,
            is_multi_label=summary.problem_type == MULTI_LABEL,
            base_model_id=_hub_id(summary.base_model),
            base_model_name=re.split(r"[\\/]", (summary.base_model or "").rstrip("\\/"))[-1],
            labels_in_text=_LABELS_IN_TEXT,
            long_table=_LONG_TABLE,
            skipped_shown=_SKIPPED_SHOWN,
            is_not_commercial=bool(_NOT_COMMERCIAL.search(summary.facts.license)),
            size_rows=_size_rows(summary),
            is_other_protocol=_is_other_protocol(summary),
            result_splits=_result_splits(summary),
            result_rows=_result_rows(summary),
            left_out=_left_out(summary),
            per_label_header=_per_label_header(summary),
            per_label_rows=_per_label_rows(summary),
            rare_rows=_rare_rows(summary),
            has_unknown=_has_unknown(summary),
            has_thresholds=_has(summary, "threshold") and summary.thresholds_are_fitted,
            bootstrap=summary.bootstrap.get(summary.reported_split),
            has_empty_interval=_has_empty_interval(summary),
            calibration=summary.calibration.get(summary.reported_split),
            leaks_text=_leaks_text(summary.leaks),
            skipped_reasons=Counter(clip.reason for clip in summary.skipped).most_common(),
        )
    )


def card_data(summary: CardSummary) -> ModelCardData:
    """The metadata of the card, which the Hub reads."""
    dataset_id = _hub_id(summary.facts.hub_id) or summary.facts.name
    split = summary.reported_split
    # Numbers on other clips must not look like the protocol's on a leaderboard.
    reservation = " (not the published clips)" if _is_other_protocol(summary) else ""
    results = [
        EvalResult(
            task_type=_PIPELINE_TAG,
            task_name="Music tagging" if summary.problem_type == MULTI_LABEL else "Music classification",
            dataset_type=dataset_id,
            dataset_name=summary.facts.title + reservation,
            dataset_config=summary.protocol["name"] + reservation,
            dataset_split=split,
            dataset_args={"ids_sha256": summary.protocol["hash"], "clips": _used(summary)[split]},
            metric_type=name,
            metric_name=METRIC_TITLES[name],
            metric_value=value,
        )
        for name, value in (summary.defined(split) if split else {}).items()
    ]
    families = [re.sub("_(macro|micro)$", "", name) for name in METRIC_NAMES[summary.problem_type]]
    return ModelCardData(
        license=summary.license,
        library_name="peft" if summary.is_adapter else "transformers",
        pipeline_tag=_PIPELINE_TAG,
        tags=[*_TAGS, summary.architecture, *(["lora"] if summary.is_adapter else []), *summary.tags],
        datasets=[dataset_id],
        metrics=list(dict.fromkeys(families)),
        base_model=_hub_id(summary.base_model),
        model_name=summary.name if results else None,
        eval_results=results or None,
        **({"co2_eq_emissions": co2} if (co2 := _co2(summary)) else {}),
    )


def _hub_id(name: str | None) -> str | None:
    """``name`` if it can be a repository on the Hub, so that no path of a machine gets into the metadata."""
    if not name:
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _used(summary: CardSummary) -> Mapping[str, int]:
    return summary.protocol.get("used", summary.protocol["sizes"])


def _size_rows(summary: CardSummary) -> list[dict[str, Any]]:
    expected, skipped = summary.protocol["sizes_expected"], Counter(clip.split for clip in summary.skipped)
    return [
        {"split": split, "used": used, "expected": (expected or {}).get(split), "skipped": skipped[split]}
        for split, used in _used(summary).items()
    ]


def _leaks_text(leaks: Leaks | None) -> str:
    """What the splits have in common, in sentences."""
    if leaks is None:
        return ""
    if not leaks.groups_are_known:
        groups = "Recordings, songs, albums and artists of these clips are not known, so they may be in several splits."
    else:
        torn = len(leaks.torn_groups)
        groups = (
            f"{torn or 'None'} of the known groups (recordings, songs, albums or artists) "
            f"{'is' if torn < 2 else 'are'} in more than one split."
        )
    if leaks.pairs is None:
        return f"{groups} Nobody listened for copies of recordings across the splits (`check_leaks: true` does)."
    across = leaks.pairs_across
    equal = sum(pair.is_exact for pair in across)
    if not across:
        return f"{groups} No two clips of different splits were found to be the same recording."
    return (
        f"{groups} **{len(across)} pair{'s' if len(across) > 1 else ''} of clips in different splits "
        f"{'are' if len(across) > 1 else 'is'} the same recording**, {equal or 'none'} of them to the last sample "
        f"(`{LEAKS_FILE}`): numbers on them say less."
    )


def _is_other_protocol(summary: CardSummary) -> bool:
    """Whether sizes differ by more than the few unusable clips that are listed."""
    return any(
        not 0 <= row["expected"] - row["used"] <= min(row["skipped"], math.ceil(_LACK_TOLERATED * row["expected"]))
        for row in _size_rows(summary)
        if row["expected"] is not None
    )


def _result_splits(summary: CardSummary) -> list[str]:
    return [split for split in SPLITS if summary.defined(split)]


def _result_rows(summary: CardSummary) -> list[tuple[str, list[str]]]:
    of_splits = [summary.defined(split) for split in _result_splits(summary)]
    names = dict.fromkeys(name for results in of_splits for name in results)
    return [
        (f"{METRIC_TITLES[name]} (`{name}`)", [_result(summary, split, name) for split in _result_splits(summary)])
        for name in names
    ]


def _result(summary: CardSummary, split: str, name: str) -> str:
    """The value, that of the reported split with its interval: others chose the checkpoint, or were trained on."""
    value = _number(summary.defined(split).get(name))
    interval = summary.intervals.get(split, {}).get(name) if split == summary.reported_split else None
    return f"{value} ({_number(interval['low'])} to {_number(interval['high'])})" if interval else value


def _has_empty_interval(summary: CardSummary) -> bool:
    intervals = summary.intervals.get(summary.reported_split or "", {})
    return any(own and own["low"] == own["high"] for own in intervals.values())


def _left_out(summary: CardSummary) -> dict[str, tuple[int, int]]:
    """Split → (labels that take no part in macro means, all labels), where there are such."""
    counts = {
        split: results.get("tags_left_out") or results.get("classes_left_out") or 0
        for split, results in summary.metrics.items()
    }
    return {split: (count, len(summary.label_names)) for split, count in counts.items() if count}


def _per_label_header(summary: CardSummary) -> list[str]:
    header = ["Label", "Clips", *(["Known in"] if _has_unknown(summary) else []), "Average precision", "ROC-AUC"]
    return [*header, *(title for name, title in _DECISIONS.items() if _has(summary, name))]


def _per_label_rows(summary: CardSummary) -> list[list[str]]:
    """Best label first, labels that could not be scored last."""
    names = ["ap", "roc_auc", *(name for name in _DECISIONS if _has(summary, name))]
    rows = sorted(summary.per_label, key=lambda row: -math.inf if row["ap"] is None else row["ap"], reverse=True)
    counts = ["support", *(["known"] if _has_unknown(summary) else [])]
    return [
        [_text(row["label"]), *(f"{row[name]:,}" for name in counts), *(_number(row.get(name), 3) for name in names)]
        for row in rows
    ]


def _rare_rows(summary: CardSummary) -> list[list[str]]:
    """Groups of labels by their training clips, the rarest first; none where all labels are equally frequent."""
    scores = {row["label"]: row["ap"] for row in summary.per_label if row["ap"] is not None}
    groups = label_groups({name: count for name, count in summary.training_support.items() if name in scores})
    if len(groups) < 2:
        return []
    return [
        [
            f"{group.name} ({len(group.labels)})",
            f"{group.fewest:,} to {group.most:,}" if group.fewest < group.most else f"{group.most:,}",
            _number(math.fsum(scores[label] for label in group.labels) / len(group.labels), 3),
        ]
        for group in groups
    ]


def _co2(summary: CardSummary) -> dict[str, Any] | None:
    """``co2_eq_emissions`` as the Hub reads it (https://huggingface.co/docs/hub/model-cards-co2)."""
    energy = summary.training.energy
    if energy is None:
        return None
    return {
        "emissions": energy.co2_grams,
        "source": energy.source,
        "training_type": "fine-tuning" if summary.base_model else "pre-training",
        "geographical_location": energy.place,
        "hardware_used": summary.training.device,
    }


def _has_unknown(summary: CardSummary) -> bool:
    """Whether the table says of how many clips a label is known, because it is not known of all."""
    return _has(summary, "known")


def _has(summary: CardSummary, name: str) -> bool:
    return any(name in row for row in summary.per_label)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _quantity(value: float) -> str:
    if value >= 99.5:
        return f"{value:,.0f}"
    return f"{float(f'{value:.2g}'):.9f}".rstrip("0").rstrip(".") if value >= 1e-9 else "0"


def _text(value: object) -> str:
    """Plain text in one line of Markdown, safe in a table cell and beside raw HTML."""
    text = re.sub(r"([\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(str(value).split()))
    return re.sub(r"^([#+\-]|\d+[.)])", r"\\\1", text)


def _fenced(content: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks within."""
    longest = max(map(len, re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content.strip()}\n{fence}"
