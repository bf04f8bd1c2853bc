"""The floors of the house: who may import whom (and what the Hub can carry)."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hf_tagger"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODEL_FILES = sorted((PACKAGE / "models").glob("[a-z]*.py"))
# Floors from the ground up; a module may import from its own floor and those below.
FLOORS = [
    (
        "errors",
        "audio",
        "audio_files",
        "audio_input",
        "cores",
        "models",
        "evaluation.metric_inputs",
        "evaluation.metrics",
        "evaluation.plots",
        "data.base",
        "data_arguments",
        "arguments",
        "argument_checks",
        "augmentation_arguments",
        "loss_arguments",
        "lora_arguments",
        "model_arguments",
        "optimizer_arguments",
        "recipe_values",
        "variants",
    ),
    ("data",),
    ("training", "evaluation", "baselines", "convert"),
    ("hub", "recipe", "saved_tagger", "tagging", "tag_timeline", "read_ahead", "pipeline", "embedder", "explain"),
    (
        "run_report",
        "run_comparison",
        "saved_evaluation",
        "studies",
        "export",
        "baselines.report",
        "benchmarks",
        "evaluation_record",
        "embedding_table",
        "prediction_files",
        "command_line",
        "costs",
        "energy",
        "memory",
        "evaluation_memory",
        "study",
        "variant_studies",
        "search",
        "registration",
        "help",
        "",
    ),
]


def own_imports(path):
    """Dotted names below hf_tagger that a file imports, however it writes them; type-checking imports left out."""
    package = [*path.relative_to(PACKAGE).parent.parts]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    names = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names.append(".".join([*base, *(node.module or "").split(".")]).strip("."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_tagger"):
            names.append(node.module.removeprefix("hf_tagger").strip("."))
    return names


def floor(name):
    matches = [
        (len(prefix), level)
        for level, prefixes in enumerate(FLOORS)
        for prefix in prefixes
        if name == prefix or (prefix and name.startswith(prefix + "."))
    ]
    assert matches, f"{name} stands on no floor"
    return max(matches)[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_floor_and_those_below(path):
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").strip(".")
    own = floor(name)
    for imported in own_imports(path):
        if imported and imported != name:
            assert floor(imported) <= own, f"{name} imports {imported} from a floor above"


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.name)
def test_a_model_file_imports_only_what_the_hub_carries_along(path):
    """Contract 1: torch, torchaudio, transformers, numpy, the standard library and ``from .sibling import name``.

    An import that is tried is optional: transformers asks for it neither when the model is saved nor when it is loaded.
    """
    allowed = {"torch", "torchaudio", "transformers", "numpy", *sys.stdlib_module_names}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tried = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in node.body}
    for node in ast.walk(tree):
        if id(node) in tried:
            continue
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in allowed for alias in node.names), ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module.split(".")[0] in allowed, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, ast.unparse(node)
            assert node.module, ast.unparse(node)
            assert "." not in node.module, ast.unparse(node)


def test_training_and_evaluation_name_no_dataset_and_no_model():
    package = importlib.import_module("hf_tagger")
    named = {*package.list_datasets(), *package.list_models()}
    for folder in ("training", "evaluation"):
        for path in (PACKAGE / folder).glob("*.py"):
            imported = {name.split(".")[-1] for name in own_imports(path)}
            assert not imported & named, f"{path.name} imports {imported & named}"


def test_no_file_is_too_long_to_read_in_one_sitting():
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in [*MODULES, *(ROOT / "scripts").glob("*.py")]
    }
    assert {str(path): length for path, length in lengths.items() if length > 300} == {}


def test_no_pickle_and_no_remote_code_by_default():
    """Contract 8. One file reads published checkpoints, which are pickles, and only what is no code in them."""
    for path in [*MODULES, *(ROOT / "scripts").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for forbidden in ("trust_remote_code=True", "import pickle", "yaml.load("):
            assert forbidden not in text or path.name == "card.py", f"{path.name}: {forbidden}"
        calls = [
            {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
        ]
        assert all(call.get("weights_only") == "True" for call in calls), path.name
        assert not calls or path == PACKAGE / "convert" / "checkpoint.py", path.name
        assert text.count("torch.load") == len(calls), f"{path.name}: torch.load under another name"
