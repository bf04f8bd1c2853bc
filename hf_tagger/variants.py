"""Several experiments in one recipe: what they share, and by name what each of them changes.

A study recipe is a recipe with one more field::

    dataset_name: gtzan
    output_dir: runs/study
    variants:
      crnn: {model_type: crnn}
      short_cnn_cqt: {model_type: short_cnn, model_config: {front_end: cqt}}

``--variant crnn`` makes it the recipe of one experiment, in ``runs/study/crnn``. Without ``output_dir`` the study's
folder is ``runs/`` and the name of the recipe's file: ``gtzan_study.yaml`` → ``runs/gtzan_study/crnn``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

FIELD, FLAG = "variants", "--variant"


def take_variant(argv: Sequence[str], problems: list[str]) -> tuple[str | None, list[str]]:
    """The value of ``--variant``, and the command line without it."""
    rest, chosen, position = [], [], 0
    while position < len(argv):
        flag, equals, value = argv[position].partition("=")
        position += 1
        if flag != FLAG:
            rest.append(argv[position - 1])
        elif equals:
            chosen.append(value)
        elif position < len(argv) and not argv[position].startswith("--"):
            chosen.append(argv[position])
            position += 1
        else:
            problems.append(f"{FLAG}: the name of a variant is needed after it")
    if len(chosen) > 1:
        problems.append(f"{FLAG}: given {len(chosen)} times ({', '.join(chosen)}); a run is one variant")
    return (chosen[0] if chosen else None), rest


def folder_above(given: Mapping, path: str) -> str:
    """The folder above those of the variants.

    Args:
        given: The study recipe's content.
        path: The recipe's file.
    """
    folder = given.get("output_dir")
    return f"runs/{Path(path).stem}" if folder is None else str(folder)


def one_variant(given: dict, name: str | None, problems: list[str], path: str = "recipe.yaml") -> dict:
    """A study recipe's content as that of one experiment; any other recipe's as it is.

    A variant's values take the place of the common ones; mappings (``model_config``) are joined.

    Args:
        given: The recipe's content.
        name: The variant to take, or None.
        problems: Receives what is wrong.
        path: The recipe's file, whose name is that of the study's folder if no ``output_dir`` is given.
    """
    if FIELD not in given:
        if name is not None:
            problems.append(f"{FLAG} {name}: the recipe has no {FIELD}")
        return given
    common = {field: value for field, value in given.items() if field != FIELD}
    variants = given[FIELD]
    wrong = form_problems(variants)
    if wrong:
        problems += wrong
        return common
    if name not in variants:
        received = f"there is no variant {name!r}" if name else "the recipe holds several experiments"
        problems.append(
            f"{FIELD}: {received}; choose one with {FLAG}: {', '.join(variants)}. All of them, one after the other: "
            f"python scripts/study.py variants RECIPE"
        )
        return common
    chosen = dict(common)
    for field, value in (variants[name] or {}).items():
        both = isinstance(value, Mapping) and isinstance(common.get(field), Mapping)
        chosen[field] = {**common[field], **value} if both else value
    # Of a wrong form it is left as it is: the field's own check explains it.
    whole = common.get("output_dir") != "" and not isinstance(common.get("output_dir"), bool | list | Mapping)
    if "output_dir" not in (variants[name] or {}) and whole:
        chosen["output_dir"] = f"{folder_above(common, path).rstrip('/')}/{name}"
    return chosen


def form_problems(variants: object) -> list[str]:
    """What is wrong with a recipe's ``variants``, the fields' values left out."""
    if not isinstance(variants, Mapping) or not variants:
        return [f"{FIELD}: a mapping {{name: {{field: value}}}} is expected, received {variants!r}"]
    problems = []
    for name, value in variants.items():
        if not _is_name(name):
            problems.append(
                f"{FIELD}: {name!r} cannot be the name of a variant, which is a folder's name too: text is expected "
                f"(numbers in quotation marks), not empty, not . or .., without / and \\, without - or a space before "
                f"it and without a space after it"
            )
        elif value is not None and not isinstance(value, Mapping):
            problems.append(f"{FIELD}.{name}: a mapping {{field: value}} is expected, received {value!r}")
        else:
            problems += [
                f"{FIELD}.{name}: {field!r} is no field; a field's name is text, such as model_type"
                for field in value or {}
                if not isinstance(field, str)
            ]
    return problems


def _is_name(name: object) -> bool:
    """Whether it can be one component of a path and the value of a flag."""
    return (
        isinstance(name, str)
        and name.strip() == name
        and name not in ("", ".", "..")
        and not name.startswith("-")
        and not set(name) & set("/\\\0")
    )
