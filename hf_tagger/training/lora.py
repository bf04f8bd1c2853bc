"""LoRA by the library peft: adapters in the encoder, the head trained as a whole, and both in one small file."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from peft import LoraConfig, PeftModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save

from ..errors import RecipeError
from ..lora_arguments import LoraArguments
from ..models.adapter_loading import StockTaggerWithAdapter
from .checkpoints import HEAD_MODULES, expanded, is_head
from .freezing import has_encoder

logger = logging.getLogger(__name__)

MERGED_FOLDER = "merged"
"""Where in a run's folder the model lies whose weights contain the adapter."""

# Queries and values of an attention, as the families of transformers name them, the most usual names first.
_QUERIES_AND_VALUES = (("q_proj", "v_proj"), ("query", "value"), ("linear_q", "linear_v"))
_SOURCE = "the model arguments"


class AdaptedModel(PeftModel):
    """peft's model that writes a folder from which the tagger loads: adapter, head, configuration and code.

    It has no ``task_type``: those of peft are for language models, and would hand ``input_ids`` to the model.
    """

    def save_pretrained(self, save_directory: str, is_main_process: bool = True, **kwargs) -> None:
        """Writes the adapter with the head, and the configuration that the base's weights are read into.

        Args:
            save_directory: The folder.
            is_main_process: Whether this process writes.
            **kwargs: For peft.
        """
        # By default peft compares the vocabulary with that of the base on the Hub; there is none in audio.
        super().save_pretrained(
            save_directory, is_main_process=is_main_process, **{**kwargs, "save_embedding_layers": False}
        )
        if is_main_process:
            _write_config(self.get_base_model(), save_directory)

    def create_or_update_model_card(self, output_dir: str) -> None:
        """Nothing: a run writes its own card."""


def _write_config(model: PreTrainedModel, folder: str) -> None:
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = model.dtype
    own = model.is_remote_code()  # marked for its code to be saved beside the weights
    custom_object_save(model if own else StockTaggerWithAdapter(), folder, config=config)
    config.save_pretrained(folder)


def add_lora(model: PreTrainedModel, arguments: LoraArguments, base: str) -> AdaptedModel:
    """Puts adapters into the encoder and takes everything else but the head out of training.

    Args:
        model: The tagger.
        arguments: The recipe's ``lora``.
        base: Where the pretrained weights come from; loading the adapter reads them again.

    Raises:
        RecipeError: If the model has no pretrained encoder or no linear layers of those names.
    """
    targets = _target_modules(model, arguments.target_modules)
    config = LoraConfig(
        r=arguments.rank,
        lora_alpha=arguments.rank if arguments.alpha is None else arguments.alpha,
        lora_dropout=arguments.dropout,
        target_modules=targets,
        modules_to_save=[name for name, _ in model.named_children() if name in HEAD_MODULES],
        use_dora=arguments.use_dora,
        use_rslora=arguments.use_rslora,
    )
    adapted = AdaptedModel(model, config)
    path = Path(expanded(base))
    adapted.peft_config["default"].base_model_name_or_path = str(path.resolve()) if path.exists() else base
    return adapted


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Batch norms of the frozen part. In training they would change their statistics, which no adapter holds."""
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and not any(id(value) in trained for value in module.parameters())
    ]


def _target_modules(model: PreTrainedModel, wanted: list[str] | None) -> list[str]:
    if not has_encoder(model):
        raise RecipeError(
            [f"lora: {type(model).__name__} is trained as a whole and has no pretrained encoder; leave lora out"],
            _SOURCE,
        )
    if isinstance(getattr(model, "layer_weights", None), nn.Parameter):
        raise RecipeError(
            ["lora: the weights of this model's sum of layers would not be saved; choose one layer (layer: last)"],
            _SOURCE,
        )
    names = {
        name.split(".")[-1]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d) and getattr(module, "groups", 1) == 1 and not is_head(name)
    }
    usual = next((list(pair) for pair in _QUERIES_AND_VALUES if set(pair) <= names), None)
    targets = wanted or usual
    unknown = sorted(set(targets or ()) - names)
    if targets is None or unknown:
        received = f"no layer is called {', '.join(unknown)}" if unknown else "name the layers to adapt"
        raise RecipeError(
            [f"lora.target_modules: {received}; those of {type(model).__name__} are {', '.join(sorted(names))}"],
            _SOURCE,
        )
    return targets
