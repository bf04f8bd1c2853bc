"""A study: the runs of one recipe's variants, which of them are finished, and their numbers and costs in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from .costs import measure_costs
from .errors import HfTaggerError, RecipeError
from .evaluation.run_numbers import METRICS_FILE, read_json
from .evaluation.study_table import study_row
from .recipe import list_variants, parse_recipe, resolved_recipe, study_folder
from .recipe_values import load_yaml
from .run_report import device_name
from .tagging import chosen_device
from .training.build import load_saved_model

_COSTS_FILE = "costs.json"
_MAKE_AGAIN = "Delete it: what is in it will be made again by the same command."
# Where the files lie, how many processes read them and who watches: with other values the numbers are the same.
_WITHOUT_EFFECT = (
    "output_dir",
    "dataset_root",
    "cache_dir",
    "store_format",
    "preprocessing_num_workers",
    "dataloader_num_workers",
    "report_to",
    "check_leaks",
    "push_to_hub",
    "hub_model_id",
    "hub_private_repo",
    "hub_revision",
    "disable_tqdm",
)


@dataclass(frozen=True)
class Variant:
    """One run of a study.

    Attributes:
        name: Its name in the recipe.
        folder: Where it is trained.
        recipe: Its resolved recipe.
        command_line: What makes the study recipe that of this run, as ``scripts/finetune.py`` takes it.
        overwrite: Train it again even if it is finished.
    """

    name: str
    folder: Path
    recipe: dict
    command_line: tuple[str, ...]
    overwrite: bool

    @property
    def is_finished(self) -> bool:
        """Whether its numbers exist; they are written last."""
        return (self.folder / METRICS_FILE).exists()

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run left a recipe or checkpoints, finished or not."""
        return (self.folder / "recipe.yaml").exists() or any(self.folder.glob("checkpoint-*"))

    @property
    def recipe_without_seed(self) -> str:
        """Equal for variants that repeat each other with another seed."""
        ignored = ("seed", *_WITHOUT_EFFECT)
        return json.dumps({field: self.recipe[field] for field in sorted(self.recipe) if field not in ignored})

    def training_command_line(self) -> list[str]:
        """The command line that trains it: anew, or on from its last checkpoint if it has one.

        Both flags stand last, where they override what recipe and command line say of them.
        """
        goes_on = self.is_begun and not self.overwrite
        flags = ("--overwrite_output_dir", str(self.overwrite).lower())
        return [*self.command_line, *flags, "--resume_from_checkpoint", "last" if goes_on else "null"]

    def differences(self) -> list[str]:
        """What its folder was trained with, where the study says something else: ``field before → now``."""
        before = _run_recipe(self.folder)
        # Through YAML, as the run's own: numbers and texts come back in the same form.
        now = load_yaml(yaml.safe_dump(self.recipe))[0]
        ignored = set(_WITHOUT_EFFECT)
        if "metric_for_best_model" not in now:  # the run chose it by the dataset
            ignored.add("metric_for_best_model")
        return [
            f"{field} {_shown(before, field)} → {_shown(now, field)}"
            for field in {**before, **now}
            if field not in ignored and before.get(field) != now.get(field)
        ]


def read_variants(
    path: str, fields: Sequence[str], only: Sequence[str] | None, folder: str | None
) -> tuple[dict[str, Variant], dict[str, str]]:
    """Reads every variant of a study recipe before the first one is trained.

    Args:
        path: The study recipe.
        fields: Flags that hold for all variants.
        only: The variants to train; None for all.
        folder: The study's folder instead of the recipe's, above one folder a variant.

    Returns:
        The variants by name, in the order of the recipe; and those that ``only`` leaves out and that cannot be read,
        with the reason.

    Raises:
        HfTaggerError: If there are no variants, if ``only`` names others, if a variant to train has mistakes or was
            trained with another recipe, or if two variants have the same folder.
    """
    names = list_variants(path)
    if not names:
        raise HfTaggerError(f"{path} has no variants; scripts/finetune.py runs it.")
    unknown = sorted(set(only or []) - set(names))
    if unknown:
        raise HfTaggerError(f"--only: there is no variant {', '.join(unknown)}; there are {', '.join(names)}.")
    variants, unreadable = {}, {}
    for name in names:
        try:
            variants[name] = _read_variant(path, name, fields, folder)
        except RecipeError as error:
            if not only or name in only:
                raise
            unreadable[name] = str(error)
    _check_folders(list(variants.values()))
    _check_recipes([variant for name, variant in variants.items() if not only or name in only])
    return variants, unreadable


def default_folder(path: str) -> Path:
    """The study's folder according to its recipe."""
    return Path(study_folder(path)).expanduser()


def collect_rows(
    variants: Mapping[str, Variant], just_trained: Sequence[str], costs_of: Callable[[Path], dict]
) -> tuple[list[dict], dict[str, str], dict[str, str]]:
    """The rows of all finished variants, whoever trained them.

    Args:
        variants: The study's variants.
        just_trained: Those whose folder is known to be of this recipe.
        costs_of: What tells the costs of a run: :func:`run_costs` or :func:`kept_costs`.

    Returns:
        The rows, in the order of the recipe (:func:`~hf_tagger.evaluation.study_table.study_row`, with ``seed`` and
        ``repeats``, the first variant that differs from this one in its seed only); the variants that are not finished,
        with the reason; and those whose numbers or model cannot be used, with the error.
    """
    rows, missing, failures = [], {}, {}
    first_of: dict[str, str] = {}
    for name, variant in variants.items():
        first = first_of.setdefault(variant.recipe_without_seed, name)
        if not variant.is_finished:
            missing[name] = "not trained to its end yet"
            continue
        try:
            differences = [] if name in just_trained else variant.differences()
            if differences:
                missing[name] = f"{variant.folder} was trained with another recipe: {'; '.join(differences)}"
                continue
            metrics = read_json(variant.folder / METRICS_FILE, dict, _MAKE_AGAIN)
            row = study_row(name, metrics, costs_of(variant.folder), _training_seconds(variant.folder))
            rows.append(row | {"seed": variant.recipe["seed"], "repeats": first})
        except (HfTaggerError, OSError, RuntimeError) as error:  # RuntimeError: no memory for the measurement
            failures[name] = str(error)
    return rows, missing, failures


def run_costs(folder: Path, again: bool = False) -> dict:
    """What a run's model costs under the run's own conditions, measured once and kept in its ``costs.json``.

    Device (``use_cpu``), mixed precision, batch size and what is frozen are those of the run's ``recipe.yaml``; with
    another recipe there the kept numbers are not used.

    Args:
        folder: The folder of a finished run.
        again: Measure even if there are numbers, for example because the machine was busy then.

    Returns:
        The values of :class:`hf_tagger.costs.Costs` and the conditions.
    """
    recipe = _run_recipe(folder)
    kept = {} if again else kept_costs(folder)
    if kept:
        return kept
    model, feature_extractor = load_saved_model(str(folder))
    device = chosen_device("cpu" if recipe.get("use_cpu") else None)
    precision = next((name for name in ("fp16", "bf16") if recipe.get(name)), None)
    batch_size, frozen = recipe["per_device_train_batch_size"], recipe.get("freeze", "none")
    costs = measure_costs(model, feature_extractor, batch_size, device, precision, frozen)
    conditions = {
        "device": device_name(device),
        "precision": precision or "float32",
        "batch_size": batch_size,
        "frozen": frozen,
        "recipe_sha256": _digest(folder),
    }
    measured = asdict(costs) | conditions
    (folder / _COSTS_FILE).write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return measured


def kept_costs(folder: Path) -> dict:
    """The same without measuring anything; empty if nothing was measured with the run's recipe yet."""
    path = folder / _COSTS_FILE
    kept = read_json(path, dict, _MAKE_AGAIN) if path.exists() else {}
    return kept if kept.get("recipe_sha256") == _digest(folder) else {}


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "recipe.yaml").read_bytes()).hexdigest()


def _training_seconds(folder: Path) -> float | None:
    """What transformers' ``Trainer`` took for the steps and validations of a run, or of its last part if it was cut
    off; None if another loop trained it.

    The whole time of a run would not compare: the first one decodes the clips for all others, too.
    """
    path = folder / "history.json"
    history = read_json(path, list, "Delete it: only the time of this training will be lost.") if path.exists() else []
    return next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None)


def _read_variant(path: str, name: str, fields: Sequence[str], folder: str | None) -> Variant:
    command_line = [path, "--variant", name, *fields]
    if folder is not None:
        command_line += ["--output_dir", str(Path(folder) / name)]
    data, model, training = parse_recipe(command_line)
    if training.resume_from_checkpoint not in (None, "last"):
        raise HfTaggerError(
            f"resume_from_checkpoint: {training.resume_from_checkpoint} is one checkpoint, but each variant of a study "
            f"goes on from its own last one. Leave it out, or finetune one variant: scripts/finetune.py {path} "
            f"--variant {name}."
        )
    return Variant(
        name=name,
        folder=Path(training.output_dir).expanduser(),
        recipe=resolved_recipe(data, model, training),
        command_line=tuple(command_line),
        overwrite=training.overwrite_output_dir,
    )


def _check_folders(variants: Sequence[Variant]) -> None:
    owners: dict[Path, str] = {}
    for variant in variants:
        other = owners.setdefault(variant.folder.resolve(), variant.name)
        if other != variant.name:
            raise HfTaggerError(
                f"The variants {other} and {variant.name} have the same output_dir {variant.folder}, but each needs "
                f"its own. Leave output_dir out of them: the study's folder gets one folder a variant."
            )


def _check_recipes(variants: Sequence[Variant]) -> None:
    """Refuses to pass a folder's model off as that of another recipe, or to go on with it."""
    problems = []
    for variant in variants:
        if variant.overwrite or not (variant.is_begun or variant.is_finished):
            continue
        differences = variant.differences()
        if differences:
            problems.append(f"  - {variant.name} ({variant.folder}): {'; '.join(differences)}")
    if problems:
        listing = "\n".join(problems)
        raise HfTaggerError(
            f"These variants were trained with another recipe than they have now (field before → now):\n{listing}\n"
            f"Give the study the values of before, train them again by --overwrite_output_dir (with --only VARIANT for "
            f"some), or choose another folder by --output_dir."
        )


def _shown(recipe: Mapping, field: str) -> str:
    return repr(recipe[field]) if field in recipe else "(default)"  # a recipe is written without these


def _run_recipe(folder: Path) -> dict:
    path = folder / "recipe.yaml"
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))[0]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise HfTaggerError(
            f"{path}, which says how the run there was trained, cannot be read: {reason}. Train it again by "
            f"--overwrite_output_dir, or choose another folder by --output_dir."
        ) from error
    return content if isinstance(content, dict) else {}
