"""A study: the runs of one recipe's variants, which of them are finished, and their numbers and costs in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from .costs import measure_costs
from .errors import HfTaggerError, RecipeError
from .evaluation.study_table import study_row, study_table
from .recipe import list_variants, parse_recipe, resolved_recipe, study_folder
from .recipe_values import load_yaml
from .run_report import device_name
from .tagging import chosen_device
from .training.build import load_saved_model

_COSTS_FILE = "costs.json"
# Where the files lie, how many processes read them and who watches: with other values the numbers are the same.
_WITHOUT_EFFECT = (
    "output_dir",
    "dataset_root",
    "cache_dir",
    "preprocessing_num_workers",
    "dataloader_num_workers",
    "report_to",
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
        return (self.folder / "metrics.json").exists()

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run left a recipe or checkpoints, finished or not."""
        return (self.folder / "recipe.yaml").exists() or any(self.folder.glob("checkpoint-*"))

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
    variants: Mapping[str, Variant], just_trained: Sequence[str], measure_again: bool
) -> tuple[list[dict], dict[str, str], dict[str, str]]:
    """The rows of all finished variants, whoever trained them.

    Args:
        variants: The study's variants.
        just_trained: Those whose folder is known to be of this recipe.
        measure_again: Measure the costs of all of them, also of those that have been measured.

    Returns:
        The rows, in the order of the recipe; the variants that are not finished, with the reason; and those whose
        numbers or model cannot be used, with the error.
    """
    rows, missing, failures = [], {}, {}
    for name, variant in variants.items():
        if not variant.is_finished:
            missing[name] = "not trained to its end yet"
            continue
        try:
            differences = [] if name in just_trained else variant.differences()
            if differences:
                missing[name] = f"{variant.folder} was trained with another recipe: {'; '.join(differences)}"
                continue
            metrics = _read_json(variant.folder / "metrics.json")
            rows.append(study_row(name, metrics, run_costs(variant.folder, measure_again)))
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
    path = folder / _COSTS_FILE
    recipe = _run_recipe(folder)
    digest = hashlib.sha256((folder / "recipe.yaml").read_bytes()).hexdigest()
    if path.exists() and not again:
        kept = _read_json(path)
        if kept.get("recipe_sha256") == digest:
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
        "recipe_sha256": digest,
    }
    measured = asdict(costs) | conditions
    path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return measured


def write_table(rows: Sequence[dict], folder: Path) -> str:
    """Writes ``study.json`` and ``study.md`` and returns the table."""
    table = study_table(rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(list(rows), indent=2) + "\n", encoding="utf-8")
    (folder / "study.md").write_text(table, encoding="utf-8")
    return table


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


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # a crash cut it off
        raise HfTaggerError(
            f"{path} is not valid JSON: {error}. Delete it: what is in it will be made again by the same command."
        ) from error
