"""What a run leaves beside the model: numbers, predictions, pictures, reports and the model card."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import ASTFeatureExtractor, SequenceFeatureExtractor, WhisperFeatureExtractor
from transformers.trainer_utils import PredictionOutput

from . import __version__
from .convert.merge_adapter import merge
from .data.base import SkippedClip, TaggingDatasetDict
from .data.leaks import LEAKS_FILE, Leaks, find_leaks, known_leaks, write_leaks
from .data.pcm import PreparedClips, write_skipped_clips
from .energy import read_energy
from .errors import DatasetError
from .evaluation.metrics import DEFAULT_METRIC, METRIC_NAMES, METRIC_TITLES
from .evaluation.plots import plot_curves
from .evaluation.stored_fit import store_fit
from .evaluation_record import (
    EvaluatedSplits,
    data_metrics,
    evaluation_metrics,
    plain,
    reported_split,
    write_drawn_split,
    write_evaluation,
    write_metrics,
)
from .hub.card import build_model_card
from .hub.card_summary import EVERYTHING, FIRST_WINDOW, ONE_PIECE, CardSummary, TrainingFacts
from .hub.model_cards import read_model_card
from .hub.push import Target, push_run
from .hub.shared_files import COMMAND, recipe_text
from .models import MODELS
from .training.checkpoints import expanded
from .training.lora import MERGED_FOLDER
from .training.plain_run import PlainRun
from .training.stock_models import CITATIONS
from .training.trainer import TaggingTrainer

logger = logging.getLogger(__name__)

_PACKAGES = ("transformers", "datasets", "accelerate", "peft", "torch", "torchaudio")
# Numbers that differ by less are the same: float32 sums in another order, as on another machine.
_ROUNDING = 1e-5


@dataclass
class RunReport:
    """A finished run.

    Attributes:
        trainer: The trainer, or what a training loop of one's own kept, with the best model.
        dataset: The dataset with its facts and protocol.
        clips: The usable clips of every split.
        skipped: The clips left out, with reasons.
        predictions: What the trainer predicted for the evaluated splits.
        recipe: The resolved recipe.
        seconds: Time of the run in seconds, preparation of the data included.
    """

    trainer: TaggingTrainer | PlainRun
    dataset: TaggingDatasetDict
    clips: dict[str, PreparedClips]
    skipped: Sequence[SkippedClip]
    predictions: dict[str, PredictionOutput]
    recipe: dict
    seconds: float


def finish_run(report: RunReport) -> str:
    """Writes everything into the run's folder, the merged model too if the recipe asks for it, and pushes it if so.

    Returns:
        What a person wants to know at the end of a run.

    Raises:
        PushError: If the push did not succeed; everything was written and told before.
    """
    metrics = write_run(report)
    arguments = report.trainer.args
    folder, merged = arguments.output_dir, bool((report.recipe.get("lora") or {}).get("save_merged"))
    if merged:
        merge(folder, str(Path(folder) / MERGED_FOLDER))
    told = summary(metrics, report.dataset.problem_type, folder)
    if not arguments.pushes_to_hub:
        return told
    print(told)
    return push_run(
        folder, Target(arguments.hub_repository, arguments.hub_private_repo, arguments.hub_revision, merged)
    )


def write_run(report: RunReport) -> dict:
    """Writes everything into the run's folder and returns the content of ``metrics.json``."""
    folder = Path(report.trainer.args.output_dir)
    write_skipped_clips(report.skipped, folder / "skipped_clips.csv")
    write_drawn_split(report.dataset, folder)
    splits = EvaluatedSplits(report.dataset, report.clips, report.predictions)
    splits.write_predictions(folder)  # first: what follows takes minutes where clips are many
    fit = splits.fit()
    if fit is not None:
        store_fit(folder, fit, report.dataset.label_names)
    leaks = known_leaks(report.clips)
    metrics = evaluation_metrics(splits, fit) | data_metrics(report.dataset, report.clips, report.skipped, leaks)
    metrics |= _run_metrics(report)
    history = [{name: plain(value) for name, value in entry.items()} for entry in report.trainer.state.log_history]
    (folder / "history.json").write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")
    plot_curves(report.trainer.state.log_history, report.trainer.args.metric_for_best_model, folder / "curves.png")
    figures = {"Loss and validation metric over the epochs": "curves.png"}
    figures = write_evaluation(folder, folder.resolve().name, splits, metrics, figures)
    _card(report, metrics, figures, leaks).save(folder / "README.md")
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; recipe.yaml says the same in the open
    if report.recipe.get("check_leaks"):  # last: all else is there, should the machine have too little memory for it
        _listen_for_leaks(report, metrics, figures)
    return metrics


def summary(metrics: Mapping, problem_type: str, folder: str) -> str:
    """What a person wants to know at the end of a run: the numbers, where everything is, how to use it."""
    split = "test" if metrics.get("test", {}).get(DEFAULT_METRIC[problem_type]) is not None else "validation"
    numbers = {name: metrics.get(split, {}).get(name) for name in METRIC_NAMES[problem_type]}
    lines = [f"  {METRIC_TITLES[name]:<40} {value:.4f}" for name, value in numbers.items() if value is not None]
    skipped = f", {metrics['skipped_clips']} clips skipped (skipped_clips.csv)" if metrics["skipped_clips"] else ""
    return "\n".join(
        [
            f"\nResults on the {split} split ({metrics['protocol']['used'][split]} clips{skipped}):",
            *lines,
            f"Model, card, numbers and pictures: {folder}",
            f"Tag with it: python scripts/predict.py {folder} FILE",
        ]
    )


def count_parameters(model: torch.nn.Module, trainable: bool = False) -> int:
    """Number of a model's weights, or of those that are trained."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad or not trainable)


def trained_share(model: torch.nn.Module) -> str:
    """How many of a model's weights are trained, as a sentence."""
    trained, total = count_parameters(model, trainable=True), count_parameters(model)
    return f"Trainable parameters: {trained:,} of {total:,} ({trained / total:.2%})"


def compare_with_run(folder: str, split: str, result: Mapping) -> str:
    """A sentence that says whether numbers repeat those in the run's ``metrics.json``."""
    path = Path(folder) / "metrics.json"
    if not path.exists():
        return f"No metrics.json in {folder} to compare with."
    recorded = json.loads(path.read_text(encoding="utf-8"))
    if recorded["protocol"]["hash"] != result["protocol"]["hash"]:
        return "These clips are not those of the run (another protocol hash): the numbers must not be compared."
    if split not in recorded:
        return f"The run has no {split} numbers of its own to compare with."
    if recorded[split] == result[split]:
        return f"Equal to the run's own {split} numbers."
    difference = _largest_difference(recorded[split], result[split])
    if difference <= _ROUNDING:
        return f"Equal to the run's own {split} numbers but for rounding (largest difference {difference:.1g})."
    return f"Different from the run's own {split} numbers: {json.dumps(recorded[split])}"


def _largest_difference(recorded: Mapping, result: Mapping) -> float:
    if recorded.keys() != result.keys() or any((recorded[name] is None) != (result[name] is None) for name in result):
        return math.inf
    return max((abs(recorded[name] - result[name]) for name in result if result[name] is not None), default=0.0)


def _run_metrics(report: RunReport) -> dict:
    state, energy = report.trainer.state, read_energy(report.trainer.args.output_dir)
    return {
        "training": {
            "epochs": plain(state.epoch),
            "steps": state.global_step,
            "best_step": state.best_global_step,
            "best_metric": {report.trainer.args.metric_for_best_model: plain(state.best_metric)},
            "seconds": round(report.seconds, 1),
            "parameters": count_parameters(report.trainer.tagger),
            "trainable_parameters": count_parameters(report.trainer.tagger, trainable=True),
            "device": device_name(report.trainer.args.device),
            "processes": report.trainer.args.world_size,
            "packages": {"hf_tagger": __version__}
            | {package: importlib.metadata.version(package) for package in _PACKAGES},
            "python": platform.python_version(),
            **({"energy": asdict(energy)} if energy else {}),
        },
    }


def _listen_for_leaks(report: RunReport, metrics: dict, figures: Mapping[str, str]) -> None:
    """Searches the splits for the same recordings: all of it in ``leaks.json``, a summary in numbers and card."""
    folder = Path(report.trainer.args.output_dir)
    try:
        leaks = find_leaks(report.clips, report.recipe.get("preprocessing_num_workers"))
    except DatasetError as error:
        logger.warning("check_leaks: nothing was found out about copies of recordings. %s", error)
        return
    write_leaks(folder / LEAKS_FILE, metrics["protocol"], leaks)
    metrics["leaks"] = leaks.counts()
    write_metrics(folder, metrics)
    _card(report, metrics, figures, leaks).save(folder / "README.md")


def _card(report: RunReport, metrics: Mapping, figures: Mapping[str, str], leaks: Leaks) -> ModelCard:
    trainer, dataset, config = report.trainer, report.dataset, report.trainer.tagger.config
    extractor, base_model = trainer.processing_class, report.recipe.get("model_name_or_path")
    training, is_adapter = metrics["training"], isinstance(trainer.model, PeftModel)
    best = [entry["epoch"] for entry in trainer.state.log_history if entry["step"] == training["best_step"]]
    chosen = bool(best) and trainer.args.load_best_model_at_end
    on_this_machine = base_model is not None and Path(expanded(base_model)).exists()
    summary = CardSummary(
        # The run's folder, so that the snippet runs as printed, until hub_model_id says where the model will live.
        model_id=trainer.args.hub_model_id or str(Path(trainer.args.output_dir).resolve()),
        command=COMMAND,
        recipe_text=recipe_text(report.recipe),
        architecture=config.model_type,
        parameters=training["parameters"],
        license=_license(base_model),
        base_model=str(Path(expanded(base_model)).resolve()) if on_this_machine else base_model,
        needs_remote_code=config.model_type in MODELS or is_adapter,
        is_adapter=is_adapter,
        hears=_what_is_heard(config.model_type, extractor),
        sampling_rate=extractor.sampling_rate,
        window_seconds=extractor.window_samples / extractor.sampling_rate,
        hop_seconds=extractor.hop_samples / extractor.sampling_rate,
        problem_type=dataset.problem_type,
        label_names=dataset.label_names,
        facts=dataset.facts,
        protocol=metrics["protocol"],
        metrics={split: metrics[split] for split in report.predictions},
        per_label=metrics["per_label"].get(reported_split(metrics["per_label"]), ()),
        training_support=metrics.get("training_support", {}),
        intervals=metrics.get("intervals", {}),
        bootstrap=metrics.get("bootstrap", {}),
        calibration=metrics.get("calibration", {}),
        thresholds_are_fitted=any("f1_macro_at_thresholds" in own for own in metrics.get("decisions", {}).values()),
        skipped=report.skipped,
        leaks=leaks,
        training=TrainingFacts(
            epochs=training["epochs"],
            steps=training["steps"],
            seconds=training["seconds"],
            device=training["device"],
            packages=training["packages"] | {"python": training["python"]},
            best_epoch=best[0] if chosen else None,
            selected_by=trainer.args.metric_for_best_model if chosen else None,
            trainable_parameters=training["trainable_parameters"],
            energy=read_energy(trainer.args.output_dir),
        ),
        figures=figures,
        architecture_citation=getattr(type(trainer.tagger), "citation", CITATIONS.get(config.model_type, "")),
    )
    return build_model_card(summary)


def _what_is_heard(model_type: str, feature_extractor: SequenceFeatureExtractor) -> str:
    """What transformers' own pipeline hears of a long recording."""
    if model_type in MODELS:
        return EVERYTHING
    return FIRST_WINDOW if isinstance(feature_extractor, ASTFeatureExtractor | WhisperFeatureExtractor) else ONE_PIECE


def _license(base_model: str | None) -> str:
    """Licence of the finetuned weights: that of the weights they started from, which bind them; ours from scratch."""
    if base_model is None:
        return "apache-2.0"
    card = read_model_card(base_model)
    return (card and card.data.get("license")) or "other"


def device_name(device: torch.device) -> str:
    """The accelerator's name, or ``cpu`` with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
