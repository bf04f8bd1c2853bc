"""What is imported when: ``--help`` and ``import hf_tagger`` wait for nothing that they do not need."""

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from script_runner import ROOT, environment

import hf_tagger
from hf_tagger import DataArguments, ModelArguments, TaggingArguments

# What takes seconds to import, or brings what does.
HEAVY = {
    "datasets",
    "evaluate",
    "librosa",
    "matplotlib",
    "pandas",
    "peft",
    "pyarrow",
    "scipy",
    "sklearn",
    "torch._dynamo",
    "torchaudio",
    "transformers.modeling_utils",
}
# A user's first lines: a model and the pipeline asked for after hf_tagger was imported, and before.
ASK = """
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
config = AutoConfig.for_model("fcn")
assert type(config).__module__ == "hf_tagger.models.configuration_fcn", type(config)
assert FEATURE_EXTRACTOR_MAPPING[type(config)].__name__ == "WaveformFeatureExtractor"
model = AutoModelForAudioClassification.from_config(config)
assert type(model).__name__ == "FcnForAudioClassification", type(model)
"""
ASK_FOR_PIPELINE = """
from transformers.pipelines import PIPELINE_REGISTRY
assert PIPELINE_REGISTRY.check_task("music-tagging")[1]["impl"].__name__ == "MusicTaggingPipeline"
"""
ORDERS = {
    "hf_tagger first": f"import hf_tagger\n{ASK}{ASK_FOR_PIPELINE}",
    # Half-way through this module transformers imports its Auto classes.
    "hf_tagger first, then the base class of all models": f"import hf_tagger, transformers.modeling_utils\n{ASK}",
    # Half-way through this library it imports transformers' pipelines.
    "hf_tagger first, then the library of its metrics": f"import hf_tagger, evaluate, peft\n{ASK_FOR_PIPELINE}{ASK}",
    "transformers first": f"from transformers import AutoModel, pipeline\nimport hf_tagger\n{ASK_FOR_PIPELINE}{ASK}",
}


def run(*arguments):
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished


def test_help_names_every_field_of_a_recipe_and_waits_for_none_of_the_heavy_imports():
    finished = run("-X", "importtime", "scripts/finetune.py", "--help")
    words = set(finished.stdout.replace(",", " ").split())
    for arguments in (DataArguments, ModelArguments, TaggingArguments):
        assert {f"--{field.name}" for field in fields(arguments) if field.init} <= words
    imported = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
    assert "hf_tagger.recipe" in imported
    assert imported & HEAVY == set()


def test_importing_the_package_imports_neither_pytorch_nor_transformers():
    loaded = set(run("-c", "import sys, hf_tagger; print(*sys.modules)").stdout.split())
    assert "hf_tagger" in loaded
    assert loaded & {*HEAVY, "torch", "transformers", "numpy"} == set()


@pytest.mark.parametrize("lines", ORDERS.values(), ids=ORDERS)
def test_models_and_pipeline_are_registered_whoever_is_imported_first(lines):
    run("-c", lines)


def test_editors_see_the_public_names_where_they_are_imported_from():
    """The names stand in ``__init__.py`` as imports too, which only editors read."""
    tree = ast.parse(Path(hf_tagger.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: f".{node.module}" for node in block.body for alias in node.names}
    assert seen == hf_tagger._MODULE_OF
    assert sorted(seen) == sorted(hf_tagger.__all__)


@pytest.mark.parametrize("name", hf_tagger.__all__)
def test_every_public_name_is_there(name):
    assert getattr(hf_tagger, name).__name__ == name
    assert name in dir(hf_tagger)


def test_a_module_of_the_package_is_there_without_an_import_of_its_own():
    assert hf_tagger.models.list_models is hf_tagger.list_models


def test_an_unknown_name_is_an_attribute_error_that_lets_python_suggest_another():
    with pytest.raises(AttributeError, match="module 'hf_tagger' has no attribute 'parse_recipes'") as caught:
        _ = hf_tagger.parse_recipes
    assert (caught.value.name, caught.value.obj) == ("parse_recipes", hf_tagger)
    with pytest.raises(ImportError, match="parse_recipes"):
        from hf_tagger import parse_recipes  # noqa: F401
