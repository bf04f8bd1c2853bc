"""Does a tagger that was trained on one dataset generalise to another? Every model on every dataset, as a matrix.

python scripts/study.py transfer runs/short_cnn_gtzan runs/short_cnn_fma_medium runs/short_cnn_mtat

The datasets have different labels; a label map (hf_tagger/data/label_map.yaml; --label_map takes your copy) says which
of them mean the same concept. A model is scored on the concepts that it shares with the dataset it is tested on, beside
the dataset's own model on the same concepts: what is lost is what did not transfer. Compare no two columns otherwise,
as their concepts differ.

The matrix shows ROC-AUC: its chance level is 0.5 for every dataset, whatever share of the clips carries a concept.
Average precision has that share as its chance level, so it compares models on one dataset only. Accuracy (single-label
datasets only) is how often the most probable one of the shared concepts is the clip's; it asks more of the model: its
probabilities of different concepts must be comparable, which those of a multi-label model, made for tags that are more
or less frequent, need not be.

Each run's recipe.yaml says where its dataset is; flags that this study does not know override fields of all recipes.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState

from ..command_line import make_folder
from ..data.base import MULTI_LABEL, SINGLE_LABEL
from ..data.label_map import map_probabilities, map_references
from ..data.windows import labels_of
from ..errors import HfTaggerError
from ..evaluation.assessment import Predictions
from ..evaluation.matrix_plot import MatrixField, plot_transfer_matrix
from ..evaluation.metrics import METRIC_TITLES
from ..evaluation.transfer_scores import Transfer, TransferMatrix, score_transfer
from ..evaluation.transfer_table import transfer_text
from ..saved_evaluation import open_saved
from .transfer_data import Tested, read_datasets

_METRIC = "roc_auc_macro"


@dataclass(frozen=True)
class Model:
    """A model to test.

    Attributes:
        run: Folder of its run, or a repository on the Hub.
        recipe: Path of its recipe and flags that override the fields.
        home: The dataset that it was trained on.
        name: What it was trained on, and its own name.
    """

    run: str
    recipe: Sequence[str]
    home: Tested
    name: str

    def concepts(self, tested: Tested) -> dict[str, Sequence[int]]:
        """The concepts that it shares with a dataset, with the positions of the model's labels."""
        return {concept: own for concept, own in self.home.columns.items() if concept in tested.columns}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this study."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or repositories on the Hub")
    parser.add_argument(
        "--recipes", nargs="+", metavar="RECIPE", help="one for each run, in their order, instead of its recipe.yaml"
    )
    parser.add_argument(
        "--tested_on", nargs="+", default=[], metavar="RECIPE", help="further datasets, which none of the runs is of"
    )
    parser.add_argument("--label_map", metavar="FILE", help="default: hf_tagger/data/label_map.yaml")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument(
        "--output_dir", default="studies/transfer", help="folder for the results; default: studies/transfer"
    )


def run(options: argparse.Namespace, fields: list[str]) -> None:
    """Scores every model on every dataset with which it shares concepts."""
    recipes = _recipes_of_runs(options)
    folder = make_folder(options.output_dir)
    command_lines = [[recipe, *fields] for recipe in (*recipes, *options.tested_on)]
    every = read_datasets(command_lines, options.label_map)
    tested = list(dict.fromkeys(every))
    short = [Path(name).name for name in options.runs]
    names = short if len(set(short)) == len(short) else options.runs
    models = [
        Model(*parts, f"{parts[-1].name}: {name}")
        for *parts, name in zip(options.runs, command_lines, every, names, strict=False)
    ]
    _check_shared(models, tested)
    found, failures = _predict_all(models, tested, options.split)
    transfers = [[_transfer(found, models, number, own, failures) for own in tested] for number in range(len(models))]
    if any(transfer is not None for row in transfers for transfer in row) and PartialState().is_main_process:
        _write(folder, options, models, tested, transfers)
    if failures:
        raise HfTaggerError(f"{len(failures)} of the pairs could not be scored:\n" + "\n".join(failures))


def _recipes_of_runs(options: argparse.Namespace) -> list[str]:
    if len(options.runs) + len(options.tested_on) < 2:
        raise HfTaggerError("One run alone transfers nowhere: name a second one, or a dataset by --tested_on RECIPE.")
    if options.recipes is not None:
        if len(options.recipes) != len(options.runs):
            raise HfTaggerError(
                f"--recipes takes one recipe for each run, in their order: received {len(options.recipes)} for "
                f"{len(options.runs)} runs."
            )
        return options.recipes
    recipes = [Path(name).expanduser() / "recipe.yaml" for name in options.runs]
    lacking = [name for name, path in zip(options.runs, recipes, strict=True) if not path.is_file()]
    if lacking:
        raise HfTaggerError(
            f"No recipe.yaml in {', '.join(lacking)}, which would say what the model was trained on. Give one recipe "
            f"for each run, in their order: --recipes {' '.join(['RECIPE'] * len(options.runs))}"
        )
    return [str(path) for path in recipes]


def _check_shared(models: Sequence[Model], tested: Sequence[Tested]) -> None:
    if any(model.concepts(own) for model in models for own in tested if own is not model.home):
        return
    if len(tested) == 1:
        raise HfTaggerError(
            f"All runs are of {tested[0].name}: there is nothing to transfer to. Name a run of another dataset, or a "
            f"dataset by --tested_on RECIPE; scripts/compare.py compares two runs on the same clips."
        )
    listing = "\n".join(f"  {own.name}: {', '.join(own.columns) or 'none'}" for own in tested)
    raise HfTaggerError(
        f"The label map gives no model a concept in common with another dataset:\n{listing}\nCopy "
        f"hf_tagger/data/label_map.yaml, add what the datasets' labels have in common, and pass it by --label_map."
    )


def _predict_all(
    models: Sequence[Model], tested: Sequence[Tested], split: str
) -> tuple[dict[tuple[int, str], Predictions], list[str]]:
    """What every model says of every dataset, by number and name, and a line for each pair that failed."""
    unlabelled = [own.name for own in tested if all(label is None for label in own.dataset[split]["labels"][:])]
    if unlabelled:
        raise HfTaggerError(f"No labelled {split} clips in {', '.join(unlabelled)}; choose another split by --split.")
    found, failures = {}, []
    for number, model in enumerate(models):
        # Its own dataset first: that says at once if the model is not the recipe's, and then no other tells anything.
        for own in sorted(tested, key=lambda own: own is not model.home):
            if not model.concepts(own):
                continue
            try:
                found[number, own.name] = _predict(model, own, split)
            except HfTaggerError as error:
                failures.append(f"  - {model.name} on {own.name}: {error}")
                if own is model.home:
                    break
    return found, failures


def _predict(model: Model, tested: Tested, split: str) -> Predictions:
    """The model's probabilities of the concepts that it shares with a dataset, on the labelled clips of a split."""
    columns = model.concepts(tested)
    with open_saved(model.run, model.recipe, None if tested is model.home else tested.recipe) as saved:
        clips, dataset = saved.labelled_clips(split), saved.dataset
        only_heard = copy.copy(clips)  # the labels would be taken for the model's
        only_heard.labels = [None] * len(clips)
        found = saved.predict(only_heard, split).predictions[clips.labelled]
        if not np.isfinite(found).all():
            raise HfTaggerError(f"The outputs of {model.run} are NaN or infinite: its training has diverged.")
        references = labels_of(clips, dataset.problem_type, len(dataset.label_names))
        return Predictions(
            ids=[clips.ids[index] for index in clips.labelled],
            groups=[clips.groups[index] for index in clips.labelled],
            probabilities=map_probabilities(found, saved.trainer.tagger.config.problem_type, columns),
            references=map_references(
                references, dataset.problem_type, {name: tested.columns[name] for name in columns}
            ),
            label_names=list(columns),
            problem_type=MULTI_LABEL,
        )


def _transfer(
    found: Mapping[tuple[int, str], Predictions],
    models: Sequence[Model],
    number: int,
    tested: Tested,
    failures: list[str],
) -> Transfer | None:
    """Scores one model on one dataset; the dataset's own model is the first one that was trained on it."""
    predictions = found.get((number, tested.name))
    if predictions is None:
        return None
    own = None
    if models[number].home is not tested:
        at_home = [found.get((index, tested.name)) for index, model in enumerate(models) if model.home is tested]
        own = next((predictions for predictions in at_home if predictions is not None), None)
    try:
        return score_transfer(predictions, own, tested.dataset.problem_type == SINGLE_LABEL)
    except HfTaggerError as error:
        failures.append(f"  - {models[number].name} on {tested.name}: {error}")
        return None


def _heard(model: Model, tested: Tested, split: str) -> int:
    """Clips of a split that the model may know from training: another protocol of one dataset may have them there."""
    if model.home.origin != tested.origin:
        return 0
    return len(set(model.home.dataset["train"]["id"][:]) & set(tested.dataset[split]["id"][:]))


def _sizes(tested: Sequence[Tested], split: str) -> list[str]:
    """Sentences about splits that are not of their protocol's size."""
    notes = []
    for own in tested:
        size, expected = len(own.dataset[split]), (own.dataset.protocol.sizes or {}).get(split)
        if expected is not None and size != expected:
            notes.append(
                f"{own.name} has {size:,} {split} clips here instead of {expected:,}: do not compare its numbers with "
                f"published ones."
            )
    return notes


def _write(
    folder: Path,
    options: argparse.Namespace,
    models: Sequence[Model],
    tested: Sequence[Tested],
    transfers: Sequence[Sequence[Transfer | None]],
) -> None:
    """Writes ``transfer.md``, ``transfer.json`` and ``transfer.png``, and prints the text."""
    concepts = dict.fromkeys(concept for own in tested for concept in own.columns)
    matrix = TransferMatrix(
        models=[model.name for model in models],
        datasets=[own.name for own in tested],
        homes=[tested.index(model.home) for model in models],
        transfers=transfers,
        training_clips=[[_heard(model, own, options.split) for own in tested] for model in models],
        labels={concept: {own.name: own.labels(concept) for own in tested} for concept in concepts},
    )
    record = {
        "split": options.split,
        "models": [{"name": model.name, "run": model.run, "trained_on": model.home.name} for model in models],
        "datasets": [{"name": own.name, "protocol": own.dataset.protocol_record()} for own in tested],
        **matrix.as_dict(),
    }
    (folder / "transfer.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    source = options.label_map or "hf_tagger/data/label_map.yaml"
    text = transfer_text(matrix, _METRIC, options.split, source, _sizes(tested, options.split))
    (folder / "transfer.md").write_text(text + "\n", encoding="utf-8")
    fields = [
        [_matrix_field(transfer, own is model.home) for own, transfer in zip(tested, row, strict=True)]
        for model, row in zip(models, transfers, strict=True)
    ]
    rows = [name.replace(": ", "\n", 1) for name in matrix.models]
    columns = [name.replace(" (", "\n(", 1) for name in matrix.datasets]
    plot_transfer_matrix(rows, columns, fields, METRIC_TITLES[_METRIC], folder / "transfer.png")
    print(f"{text}\n\nWritten to {folder / 'transfer'}.md, .json and .png")


def _matrix_field(transfer: Transfer | None, is_own: bool) -> MatrixField | None:
    if transfer is None:
        return None
    score, own = transfer.scores[_METRIC], transfer.own.get(_METRIC)
    count = len(transfer.concepts) if score is None else transfer.scored
    bounds = (None, None, None) if score is None else (score.value, score.low, score.high)
    return MatrixField(*bounds, concepts=count, reference=own and own.value, is_own=is_own)
