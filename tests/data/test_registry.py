import importlib
import pkgutil
import re

import pytest

import hf_tagger.data
from hf_tagger import DataArguments, list_datasets, load_tagging_dataset
from hf_tagger.data import dataset_facts
from hf_tagger.data.base import MULTI_LABEL, SINGLE_LABEL, SPLITS
from hf_tagger.errors import DatasetError

DATASETS = list_datasets()
PUBLISHED = ("artist20", "fma", "gtzan", "magnatagatune")


def test_these_are_the_datasets():
    assert DATASETS == ["artist20", "fma", "folder", "gtzan", "hub", "magnatagatune", "synthetic"]


def test_every_module_with_facts_is_a_dataset_of_its_own_name():
    for info in pkgutil.iter_modules(hf_tagger.data.__path__):
        module = importlib.import_module(f"hf_tagger.data.{info.name}")
        if hasattr(module, "FACTS"):
            assert module.FACTS.name == info.name
            assert callable(module.load)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_states_what_one_has_to_know_before_using_it(name):
    facts = dataset_facts(name)
    for field in ("title", "citation", "license", "homepage", "how_to_get", "notes"):
        assert getattr(facts, field).strip(), f"{name} states no {field}"
    assert facts.homepage.startswith("https://")
    assert facts.problem_type in (SINGLE_LABEL, MULTI_LABEL, None)
    assert importlib.import_module(f"hf_tagger.data.{name}").__doc__.count("\n") > 4


@pytest.mark.parametrize("name", [*PUBLISHED, "synthetic"])
def test_a_citation_is_a_bibtex_entry(name):
    citation = dataset_facts(name).citation
    assert re.fullmatch(r"@\w+\{\w+,\n.*\n\}", citation, re.DOTALL)
    assert citation.count("{") == citation.count("}")
    for field in ("author", "title", "year"):
        assert re.search(rf"^  {field}\s*= ", citation, re.MULTILINE)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_states_its_protocols_with_source_and_sizes(name):
    protocols = dataset_facts(name).protocols
    assert protocols
    assert len({protocol.name for protocol in protocols}) == len(protocols)
    for protocol in protocols:
        assert protocol.source.strip()
        if protocol.sizes is not None:
            assert set(protocol.sizes) == set(SPLITS)
        assert name not in PUBLISHED or protocol.sizes is not None
        assert protocol.ids_hash is None or re.fullmatch("[0-9a-f]{64}", protocol.ids_hash)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_dataset_says_how_to_get_it_and_where_to_put_it(name):
    text = dataset_facts(name).how_to_get
    assert "https://" in text
    assert "dataset_root" in text


@pytest.mark.parametrize("name", [name for name in DATASETS if dataset_facts(name).needs_root])
@pytest.mark.parametrize("root", [None, "nowhere", "file", "empty"])
def test_a_root_that_is_not_given_missing_a_file_or_empty_is_explained(tmp_path, name, root):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    path = None if root is None else str(tmp_path / root)
    expected = {None: "needs dataset_root", "nowhere": "does not exist", "file": "is a file", "empty": "found"}[root]
    with pytest.raises(DatasetError) as caught:
        load_tagging_dataset(DataArguments(dataset_name=name, dataset_root=path))
    assert expected in str(caught.value)
    assert dataset_facts(name).how_to_get in str(caught.value)


@pytest.mark.parametrize("name", [name for name in DATASETS if not dataset_facts(name).needs_root])
def test_a_root_is_not_silently_ignored(tmp_path, name):
    with pytest.raises(DatasetError, match="does not read dataset_root"):
        load_tagging_dataset(DataArguments(dataset_name=name, dataset_root=str(tmp_path)))


@pytest.mark.parametrize("name", DATASETS)
def test_a_protocol_that_does_not_exist_is_an_error_that_names_those_that_do(name):
    with pytest.raises(DatasetError, match=dataset_facts(name).protocols[0].name):
        load_tagging_dataset(DataArguments(dataset_name=name, protocol="no such protocol"))


@pytest.mark.parametrize(("name", "option"), [("gtzan", {"tags": "all"}), ("folder", {"hub_id": "a/b"})])
def test_an_option_of_another_dataset_is_refused(name, option):
    with pytest.raises(DatasetError, match=next(iter(option))):
        load_tagging_dataset(DataArguments(dataset_name=name, **option))


def test_an_unknown_dataset_comes_with_a_suggestion():
    with pytest.raises(DatasetError, match="Did you mean 'gtzan'"):
        load_tagging_dataset(DataArguments(dataset_name="gtzann"))


@pytest.mark.parametrize("name", [name for name in DATASETS if name in PUBLISHED])
def test_no_path_of_a_machine_is_in_what_a_dataset_says(name):
    facts = dataset_facts(name)
    assert not re.search(r"(?<![\w/:.])/(work|tmp|home|root)\b", repr(facts))
