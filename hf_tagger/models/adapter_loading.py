"""Loading a LoRA adapter by ``from_pretrained``: the folder holds what was trained, the base model the rest.

transformers puts an adapter into the model that the base's configuration describes, which knows neither the labels nor
the windows and the head of the trained tagger. The folder of an adapter of this package therefore has a configuration
of its own, and the functions here read the base's weights into the model that it describes.
"""

import json
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_NAME
from transformers.utils import logging as transformers_logging
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from .stock_weights import load_stock_weights

_WHOLE_WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME)


def adapter_base(name_or_path) -> str | None:
    """The model that an adapter in a folder was trained on; None if the folder holds whole weights or no adapter.

    Args:
        name_or_path: A folder; for anything else the answer is None.
    """
    folder = Path(name_or_path)
    path = folder / ADAPTER_CONFIG_NAME
    if not path.is_file() or any((folder / name).exists() for name in _WHOLE_WEIGHTS):
        return None
    return json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]


def merge_adapter(model: PreTrainedModel, folder) -> PreTrainedModel:
    """The model with a saved adapter added to its weights, and the adapter's head.

    By peft itself: transformers' ``load_adapter`` misses the magnitudes of DoRA (seen with 5.23).

    Args:
        model: The tagger with the base's weights; its head may be made anew.
        folder: Holds the adapter.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If the adapter lacks weights, so that some of the model would be untrained.
    """
    try:  # in this form transformers does not ask for peft where no adapter is loaded
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise ImportError(f"{folder} holds a LoRA adapter; loading it needs peft: pip install peft") from error
    adapted = PeftModel(model, PeftConfig.from_pretrained(folder))
    try:
        missing = sorted(adapted.load_adapter(folder, "default").missing_keys)
    except KeyError as error:  # peft's answer to a head that is not there
        missing = [str(error.args[0])]
    if missing:
        raise ValueError(f"The adapter in {folder} lacks weights that it should have: {', '.join(missing[:3])}.")
    return adapted.merge_and_unload()


def load_adapted(load_base, folder: str, output_loading_info: bool = False):
    """A tagger with its adapter, in eval mode.

    Args:
        load_base: Called with the name of the base; returns the model without the adapter.
        folder: Holds the adapter.
        output_loading_info: Also return transformers' dictionary of missing and unexpected names.
    """
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would report the head as untrained, before the adapter brings it
    try:
        model = merge_adapter(load_base(adapter_base(folder)), folder).eval()
    finally:
        transformers_logging.set_verbosity(level)
    nothing = {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set(), "error_msgs": []}
    return (model, nothing) if output_loading_info else model


class AdapterLoading:
    """Lets ``from_pretrained`` of a tagger read folders that hold an adapter. Goes before ``PreTrainedModel``."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, adapter_kwargs=None, **kwargs):
        """As in transformers; a folder with an adapter and no whole weights is completed from the adapter's base."""
        name = pretrained_model_name_or_path
        if adapter_base(name) is None:
            return super().from_pretrained(name, *model_args, config=config, adapter_kwargs=adapter_kwargs, **kwargs)
        config = config or cls.config_class.from_pretrained(name)
        with_info = kwargs.pop("output_loading_info", False)
        kwargs = _for_the_base(kwargs, config)
        return load_adapted(lambda base: cls.from_base(base, config, **kwargs), name, with_info)

    @classmethod
    def from_base(cls, base: str, config: PreTrainedConfig, **kwargs) -> PreTrainedModel:
        """The tagger with pretrained weights and a head that is not trained.

        Args:
            base: Folder or Hub repository of the pretrained model.
            config: The tagger's configuration.
            **kwargs: For ``from_pretrained``.
        """
        return super().from_pretrained(base, config=config, ignore_mismatched_sizes=True, **kwargs)


class StockTaggerWithAdapter:
    """Loads adapters of transformers' own classes; named in the ``auto_map`` of their folders.

    What it returns is the stock model with the adapter added to its weights.
    """

    _auto_class = "AutoModelForAudioClassification"

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, adapter_kwargs=None, **kwargs):
        """The stock model that the folder's configuration describes, with the adapter."""
        name = pretrained_model_name_or_path
        config = config or AutoConfig.from_pretrained(name, trust_remote_code=False)
        model_class = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)]
        with_info = kwargs.pop("output_loading_info", False)
        kwargs = _for_the_base(kwargs, config)
        return load_adapted(lambda base: load_stock_weights(model_class, base, config, **kwargs), name, with_info)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModelForAudioClassification") -> None:
        """transformers calls it; the class is registered by its attribute."""


def _for_the_base(kwargs: dict, config: PreTrainedConfig) -> dict:
    """Those arguments of ``from_pretrained`` that hold for the base too: the revision is the adapter's."""
    dropped = ("revision", "ignore_mismatched_sizes", "trust_remote_code")
    kwargs = {name: value for name, value in kwargs.items() if name not in dropped}
    if kwargs.get("dtype", "auto") == "auto":
        kwargs["dtype"] = config.dtype or "float32"  # the type that the adapter was trained in, not the base's
    return kwargs
