"""``--search``: trials of a recipe with other values, and the recipe with the best ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from .argument_checks import with_nested_values
from .arguments import DataArguments, ModelArguments, TaggingArguments
from .data import TaggingDatasetDict
from .data.pcm import PreparedClips
from .data.windows import TrainingWindows
from .recipe import resolved_recipe
from .recipe_values import write_recipe
from .training.build import build_model, plan_model
from .training.feature_statistics import set_feature_statistics
from .training.output_bias import starting_shares
from .training.search import SearchTrainer
from .training.trained_part import choose_trained_part

SEARCH_FILE = "search.json"
BEST_RECIPE = "best_recipe.yaml"


def search(
    dataset: TaggingDatasetDict,
    clips: dict[str, PreparedClips],
    data_arguments: DataArguments,
    model_arguments: ModelArguments,
    arguments: TaggingArguments,
) -> str:
    """Searches, and writes ``search.json`` and ``best_recipe.yaml`` into the output folder.

    Args:
        dataset: The dataset.
        clips: Its usable clips.
        data_arguments: The data arguments.
        model_arguments: The model arguments.
        arguments: The training arguments, with ``search`` and ``search_space``.

    Returns:
        The best trials, and how to train with the best values, as a text.

    Raises:
        HfTaggerError: If optuna is not installed.
    """
    shares = starting_shares(clips["train"], len(dataset.label_names), dataset.problem_type, arguments)

    def build(values: dict) -> tuple[torch.nn.Module, list]:
        own = model_arguments.with_values(values)
        plan = plan_model(own)
        set_feature_statistics(plan, clips["train"])
        return choose_trained_part(build_model(plan, dataset.label_names, dataset.problem_type, shares), own)

    extractor = plan_model(model_arguments).feature_extractor
    recipe = resolved_recipe(data_arguments, model_arguments, arguments)
    Path(arguments.output_dir).mkdir(parents=True, exist_ok=True)
    trainer = SearchTrainer(
        build,
        arguments.search_space,
        arguments,
        feature_extractor=extractor,
        train_dataset=TrainingWindows(
            clips["train"], extractor.window_samples, data_arguments.crops_per_clip, arguments.seed
        ),
        eval_dataset=clips["validation"],
        unfreeze_layers_per_epoch=model_arguments.unfreeze_layers_per_epoch,
    )
    result = trainer.search(arguments.search, arguments.seed)
    folder = Path(arguments.output_dir)
    (folder / SEARCH_FILE).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    recipe.pop("search_space")
    write_recipe(with_nested_values(recipe, result["best"]["values"]), folder / BEST_RECIPE)
    return _summary(result, folder)


def _summary(result: dict, folder: Path) -> str:
    rising = result["direction"] == "maximize"
    scored = [trial for trial in result["trials"] if trial["value"] is not None]
    scored.sort(key=lambda trial: trial["value"], reverse=rising)
    lines = [
        f"  {trial['value']:.4f}  " + ", ".join(f"{name} {_short(value)}" for name, value in trial["values"].items())
        for trial in scored[:5]
    ]
    return "\n".join(
        [
            f"\nBest of {len(result['trials'])} trials by {result['metric']} on the validation split:",
            *lines,
            f"All trials: {folder / SEARCH_FILE}",
            f"Train with the best values: accelerate launch scripts/finetune.py {folder / BEST_RECIPE} --output_dir "
            "ANOTHER_FOLDER",
        ]
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
