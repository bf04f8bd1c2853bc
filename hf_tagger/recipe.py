"""Recipes: one YAML file is one experiment, ``--field value`` overrides. Strict, typed, all mistakes at once.

What checks a recipe knows datasets, metrics and models, and is imported where it checks: ``--help`` needs none of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import typing
from collections.abc import Sequence
from pathlib import Path

from transformers import HfArgumentParser, TrainingArguments

from .argument_checks import plain, with_nested_value
from .arguments import TOKEN_ADVICE, DataArguments, ModelArguments, TaggingArguments
from .errors import RecipeError
from .recipe_values import ConversionError, convert, read_flag_value, read_flags, read_recipe_file
from .variants import FIELD, folder_above, form_problems, one_variant, take_variant

_ARGUMENT_CLASSES = (DataArguments, ModelArguments, TaggingArguments)
_BARE_VALUES = {"resume_from_checkpoint": "last"}  # what a text field means when its flag is given without a value
_DOTTED_KEYS = ("search_space",)  # mappings whose keys are names of fields, such as lora.rank
_SECRETS = ("hub_token",)
# Set by the machine or the moment, not by the experiment: left out of the written recipe.
_NOT_OF_THE_EXPERIMENT = (
    *_SECRETS,
    "resume_from_checkpoint",
    "overwrite_output_dir",
    "local_rank",
    "ddp_backend",
    "greater_is_better",
    "search",
)


def parse_recipe(
    argv: Sequence[str] | None = None, check_model: bool = True
) -> tuple[DataArguments, ModelArguments, TaggingArguments]:
    """Reads ``[RECIPE.yaml] [--variant NAME] [--field value …]``.

    A flag overrides the recipe. A boolean flag may stand alone (``--bf16``), and so may ``--resume_from_checkpoint``.
    One value of a mapping: ``--model_config.num_channels 32``, ``--augmentation.gain.probability 1``. ``--help`` prints
    every field.

    Args:
        argv: The command line without the program's name; default: that of this process.
        check_model: Read the recipe's model and check the fields against it; False for those who bring another model.

    Returns:
        The data, model and training arguments.

    Raises:
        RecipeError: With every unknown field, mistyped value and value out of range in one message.
        SystemExit: For ``--help``.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if any(argument in ("-h", "--help") for argument in argv):
        parser.print_help()
        raise SystemExit(0)
    path = argv.pop(0) if argv and not argv[0].startswith("--") else None
    problems: list[str] = []
    variant, argv = take_variant(argv, problems)
    content = read_recipe_file(path, problems) if path is not None else {}
    given = one_variant(content, variant, problems, path or "")
    _apply_flags(given, argv, problems)
    annotations = _annotations()
    values = {}
    for name, value in given.items():
        if name not in annotations:
            problems.append(_unknown_field(name))
            continue
        if name in _SECRETS and value is not None:  # first: other messages repeat the value
            problems.append(TOKEN_ADVICE)
            continue
        try:
            value = convert(parser, name, annotations[name], value)
        except ConversionError as error:
            problems.append(str(error))
            continue
        keys = [key for key in value if not isinstance(key, str)] if isinstance(value, dict) else []
        problems += [f"{name}: {key!r} is no name; the keys of its mapping are text" for key in keys]
        if not keys:
            values[name] = value
    arguments = {}
    for argument_class in _ARGUMENT_CLASSES:
        names = {field.name for field in dataclasses.fields(argument_class)}
        try:
            own = {name: value for name, value in values.items() if name in names}
            arguments[argument_class] = argument_class(**own)
        except RecipeError as error:
            problems += error.problems
        except (ValueError, TypeError, ImportError, OSError) as error:  # transformers' own checks of TrainingArguments
            problems.append(" ".join(str(error).split()))
    problems += _check_names(arguments, check_model)
    if problems:
        raise RecipeError(problems, path or "the command line")
    return tuple(arguments[argument_class] for argument_class in _ARGUMENT_CLASSES)


def list_variants(path: str) -> list[str]:
    """Names of the experiments in a study recipe; none for any other recipe.

    Raises:
        RecipeError: If the file cannot be read, is not a recipe, or describes its variants in another form.
    """
    problems: list[str] = []
    content = read_recipe_file(path, problems)
    if FIELD in content:
        problems += form_problems(content[FIELD])
    if problems:
        raise RecipeError(problems, path)
    return list(content.get(FIELD, ()))


def study_folder(path: str) -> str:
    """The folder above those of a study recipe's variants: its ``output_dir``, or ``runs/`` and the file's name."""
    return folder_above(read_recipe_file(path, []), path)


def resolved_recipe(data: DataArguments, model: ModelArguments, training: TaggingArguments) -> dict:
    """The experiment as one mapping that :func:`parse_recipe` reads again.

    It holds whatever differs from transformers' defaults, and our own defaults in full. Secrets, and what belongs to
    the moment instead of the experiment, are left out.
    """
    recipe = {}
    for arguments in (data, model):
        recipe |= {name: value for name, value in dataclasses.asdict(arguments).items() if value is not None}
    always = ("seed", "num_train_epochs", "optim", "lr_scheduler_type", "weight_decay", "warmup_steps")
    stock = {field.name: _default(field) for field in dataclasses.fields(TrainingArguments)}
    for field in dataclasses.fields(TaggingArguments):
        value = training.as_given[field.name]
        ours = field.name in always or field.name not in stock or _default(field) != stock[field.name]
        if field.name not in _NOT_OF_THE_EXPERIMENT and (ours or value != stock[field.name]):
            recipe[field.name] = plain(value)
    recipe["metric_for_best_model"] = training.metric_for_best_model  # chosen by the problem type if not given
    if training.mixed_precision in ("fp16", "bf16"):  # accelerate's configuration may have asked for it
        recipe[training.mixed_precision] = True
    return {name: value for name, value in recipe.items() if value is not None}


def _check_names(arguments: dict[type, object], check_model: bool) -> list[str]:
    """Names that only datasets, models and metrics themselves know; classes that failed their own checks are absent."""
    from .data import argument_problems
    from .evaluation.metrics import METRIC_NAMES
    from .training.build import plan_model

    problems = []
    if DataArguments in arguments:
        problems += argument_problems(arguments[DataArguments])
    if ModelArguments in arguments and check_model:
        try:
            plan = plan_model(arguments[ModelArguments])
        except RecipeError as error:
            problems += error.problems
        else:
            augmentation = getattr(arguments.get(TaggingArguments), "augmentation", None)
            rate = plan.feature_extractor.sampling_rate
            problems += [f"augmentation.{text}" for text in (augmentation.problems_at(rate) if augmentation else ())]
    if TaggingArguments in arguments and arguments[TaggingArguments].metric_for_best_model is not None:
        metric = arguments[TaggingArguments].metric_for_best_model.removeprefix("eval_")
        known = sorted({"loss", *(name for names in METRIC_NAMES.values() for name in names)})
        if metric not in known:
            problems.append(f"metric_for_best_model: {metric!r} is not known; known are: {', '.join(known)}")
    if TaggingArguments in arguments and ModelArguments in arguments:
        problems += _push_problems(arguments[TaggingArguments], arguments[ModelArguments])
    if TaggingArguments in arguments and arguments[TaggingArguments].search_space:
        problems += _search_problems(arguments[TaggingArguments], arguments.get(ModelArguments))
    return problems


def _push_problems(training: TaggingArguments, model: ModelArguments) -> list[str]:
    """An adapter that would be pushed and that nobody else could load."""
    from .training.checkpoints import expanded

    base = Path(expanded(model.model_name_or_path or ""))
    if not training.pushes_to_hub or model.lora is None or model.lora.save_merged or not base.is_dir():
        return []
    return [
        f"push_to_hub: the adapter would need {base}, a folder that nobody else has; lora.save_merged: true pushes the "
        f"whole model"
    ]


def _search_problems(training: TaggingArguments, model: ModelArguments | None) -> list[str]:
    """Fields of the search space that do not exist, and values that are not possible."""
    names = {field.name for kind in (ModelArguments, TaggingArguments) for field in dataclasses.fields(kind)}
    parser, annotations, problems = _parser(), _annotations(), {}  # each problem once
    choices = {}
    for name, choice in training.search_space.items():
        field = name.partition(".")[0]
        if field not in names:
            problems[f"search_space.{name}: there is no such field of the model or of training"] = None
            continue
        values = choice if isinstance(choice, list) else [choice["low"], choice["high"]]
        try:
            for value in values:
                convert(parser, field, annotations[field], with_nested_value({}, name.split("."), value)[field])
            choices[name] = values
        except ConversionError as error:
            problems[f"search_space.{error}"] = None
    first = {name: values[0] for name, values in choices.items()}  # what one value needs another may bring
    for name, values in choices.items():
        for value in values:
            for arguments in filter(None, (training, model)):
                try:
                    arguments.with_values(first | {name: value})
                except RecipeError as error:
                    problems |= dict.fromkeys(f"search_space.{problem}" for problem in error.problems)
    return list(problems)


def _parser() -> HfArgumentParser:
    return HfArgumentParser(
        _ARGUMENT_CLASSES,
        usage="%(prog)s [RECIPE.yaml] [--variant NAME] [--field value ...]",
        description="A recipe (YAML) holds these fields; the same fields as flags override it.",
        exit_on_error=False,
        allow_abbrev=False,
    )


def _fields() -> dict[str, dataclasses.Field]:
    return {field.name: field for argument_class in _ARGUMENT_CLASSES for field in dataclasses.fields(argument_class)}


def _annotations() -> dict[str, object]:
    hints: dict[str, object] = {}
    for argument_class in _ARGUMENT_CLASSES:
        hints |= typing.get_type_hints(argument_class)
    return hints


def _default(field: dataclasses.Field) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _apply_flags(given: dict, argv: list[str], problems: list[str]) -> None:
    """Turns ``--field value …`` into entries of ``given``; texts, converted later like those of the YAML."""
    for name, values in read_flags(argv, problems, "--learning_rate 1e-4"):
        name, dot, key = name.partition(".")
        name = name.replace("-", "_")
        if name not in _fields() and name.startswith("no_") and name[3:] in _fields() and not values:
            name, values = name[3:], ["false"]
        if dot:
            mapping = given.get(name)
            if isinstance(mapping, str):
                mapping = read_flag_value(mapping, problems)
            keys = [key] if name in _DOTTED_KEYS else key.split(".")
            value = read_flag_value(" ".join(values), problems) if values else True
            given[name] = with_nested_value(mapping, keys, value)
        elif not values:
            given[name] = _BARE_VALUES.get(name, True)
        else:
            given[name] = values[0] if len(values) == 1 else values


def _unknown_field(name: str) -> str:
    close = difflib.get_close_matches(name, _fields(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "--help lists every field."
    return f"{name}: there is no such field; {hint}"
