"""Search for the values of a recipe that score best on the validation split, by Trainer's search and optuna."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers.trainer_utils import SaveStrategy

from ..arguments import TaggingArguments
from ..errors import HfTaggerError
from .memory_format import match_memory_format
from .trainer import TaggingTrainer


def suggest(trial, space: dict) -> dict:
    """Draws a value for every field of a search space.

    Args:
        trial: optuna's trial.
        space: Field → ``{low, high, log}`` or a list of values, as a recipe's ``search_space``.
    """
    values = {}
    for name, choice in space.items():
        if isinstance(choice, list):
            values[name] = trial.suggest_categorical(name, choice)
        else:
            whole = all(isinstance(choice[end], int) for end in ("low", "high"))
            draw = trial.suggest_int if whole else trial.suggest_float
            values[name] = draw(name, choice["low"], choice["high"], log=choice.get("log", False))
    return values


class SearchTrainer(TaggingTrainer):
    """Trains one model a trial, each made anew with the trial's values. Nothing but the results is kept.

    Args:
        build: Called with the values of a trial; returns the model to train and the modules to keep in eval mode.
        space: The recipe's ``search_space``.
        args: The training arguments; the trial's values are written into them.
        **kwargs: For :class:`~hf_tagger.training.trainer.TaggingTrainer`.
    """

    def __init__(
        self, build: Callable[[dict], tuple[torch.nn.Module, list]], space: dict, args: TaggingArguments, **kwargs
    ):
        args.save_strategy, args.load_best_model_at_end = SaveStrategy.NO, False
        self._build, self._space = build, space
        model, frozen = build({})
        super().__init__(model=model, args=args, frozen=frozen, **kwargs)
        self.model_init = lambda trial: model

    def call_model_init(self, trial=None) -> torch.nn.Module:
        """A new model for a trial, whose values are taken over before anything is made of them."""
        values = suggest(trial, self._space)
        self.args.set_values(values)
        model, frozen = self._build(values)
        match_memory_format(model.to(self.args.device), self.args.device)
        self.adopt(model, frozen)
        return model

    def search(self, trials: int, seed: int) -> dict:
        """Runs the trials.

        Returns:
            ``best`` (number, value and values of the best trial), ``metric``, and all ``trials``.

        Raises:
            HfTaggerError: If optuna is not installed, or if no trial has a value.
        """
        try:
            import optuna
        except ImportError as error:
            raise HfTaggerError("--search needs optuna: pip install optuna") from error
        metric = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
        direction = "maximize" if self.args.greater_is_better else "minimize"
        storage = f"sqlite:///{Path(self.args.output_dir).resolve()}/search.db"

        def objective(metrics: dict) -> float:
            better = max if self.args.greater_is_better else min
            earlier = [entry[metric] for entry in self.state.log_history if metric in entry]
            return better([metrics[metric], *earlier])

        best = self.hyperparameter_search(
            hp_space=lambda trial: {},  # transformers knows no mappings; the values are taken over with the model
            compute_objective=objective,
            n_trials=trials,
            direction=direction,
            backend="optuna",
            sampler=optuna.samplers.TPESampler(seed=seed),
            storage=storage,
            study_name="search",
        )
        finished = optuna.load_study(study_name="search", storage=storage).trials
        return {
            "metric": metric.removeprefix("eval_"),
            "direction": direction,
            "best": {"number": int(best.run_id), "value": best.objective, "values": best.hyperparameters},
            "trials": [{"number": trial.number, "value": trial.value, "values": trial.params} for trial in finished],
        }
