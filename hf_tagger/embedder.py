"""Embeddings of audio of any length by the encoder of any saved model; its head is not used and need not be trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from transformers import ASTPreTrainedModel, PreTrainedModel, SequenceFeatureExtractor

from .arguments import ModelArguments
from .errors import HfTaggerError
from .models import MODELS, WindowedEncoderClassification
from .models.heads import WEIGHTED, layers_kept
from .models.input_features import input_features
from .models.windowing import repeat_to_length, window_starts
from .tagging import chosen_device
from .training.build import build_model, plan_model
from .training.checkpoints import saved_config
from .training.embeddings import EmbeddingHead, layer_embeddings, why_not_kept, window_embeddings
from .training.late_copies import copied_ahead, copied_late
from .training.stock_models import is_stock

Name = TypeVar("Name")


class Embedder:
    """Turns windows into vectors: the mean over time of one layer's output (AST: the mean of its two special tokens).

    Args:
        model: A model with an encoder and a head; with attention pooling in its head it is refused.
        feature_extractor: Its feature extractor, with ``sampling_rate``, ``window_samples`` and ``hop_samples``.
        all_layers: Whether to give the outputs of all layers, the encoder's input first, instead of the one that the
            model's head hears (or their learned sum).
        device: Where to run; default: the first accelerator, or the CPU.

    Raises:
        HfTaggerError: If the model's windows cannot be represented by such vectors.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        all_layers: bool = False,
        device: str | None = None,
    ):
        reason = why_not_kept(model, feature_extractor)
        if reason is not None:
            raise HfTaggerError(f"A {type(model).__name__} gives no embeddings: {reason}.")
        self.device, self.all_layers = chosen_device(device), all_layers
        self.model, self.feature_extractor = model.to(self.device, torch.float32).eval(), feature_extractor
        self.sampling_rate: int = feature_extractor.sampling_rate
        self.window_samples: int = feature_extractor.window_samples
        self.hop_samples: int = feature_extractor.hop_samples
        self._features, self._head = input_features(feature_extractor), EmbeddingHead(model)
        self._copies_late = self.device.type != "cpu"  # a CPU computes a batch while it is asked for

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        layer: str | int | None = None,
        all_layers: bool = False,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        device: str | None = None,
    ) -> Embedder:
        """The embedder of a folder or Hub repository: a finetuned model, or a pretrained encoder.

        Args:
            name_or_path: Folder or Hub repository.
            layer: ``last`` or the number of a layer; default: what the head of a finetuned model hears, else the last.
            all_layers: As in the class; leave ``layer`` out then.
            window_seconds: Length of a window; default: the model's own.
            hop_seconds: Distance of two windows; default: that of the saved model, or one window.
            device: As in the class.

        Raises:
            HfTaggerError: If the model cannot be read or has no encoder.
            RecipeError: If layer, window or hop do not suit the model.
        """
        if layer == "weighted":
            raise HfTaggerError(
                "layer: a weighted sum is learned in finetuning. Leave layer out for a model that was finetuned with "
                "it; of other models take all layers, last, or the number of a layer."
            )
        config = saved_config(name_or_path)
        model_class = MODELS.get(config.model_type)
        if model_class is not None and not issubclass(model_class, WindowedEncoderClassification):
            raise HfTaggerError(
                f"{name_or_path} holds a {config.model_type}, which is trained as a whole and has no encoder to take "
                f"embeddings from. Name a pretrained encoder, or a model that was finetuned from one."
            )
        arguments = ModelArguments(
            model_name_or_path=name_or_path,
            layer=layer,
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
            pooling=None if model_class is None else "mean",  # ours: attention is a part of the head, and of its task
        )
        plan = plan_model(arguments)
        labels = [plan.config.id2label[index] for index in range(plan.config.num_labels)]
        model = build_model(plan, labels, plan.config.problem_type)
        return cls(model, plan.feature_extractor, all_layers, device)

    @property
    def layer(self) -> str:
        """Whose output the vectors are: the number of a layer, ``weighted`` (a learned sum of all) or ``all``."""
        config = self.model.config
        if self.all_layers:
            return "all"
        if getattr(config, "layer", None) == WEIGHTED or getattr(config, "use_weighted_layer_sum", False):
            return "weighted"
        return str(config.num_hidden_layers if is_stock(config) else layers_kept(config))

    @property
    def pooling(self) -> str:
        """How the frames of a window become one vector, in words."""
        return "mean of the two special tokens" if isinstance(self.model, ASTPreTrainedModel) else "mean over time"

    def embed_clips(
        self, clips: Iterable[tuple[Name, np.ndarray]], batch_size: int = 16
    ) -> Iterator[tuple[Name, ClipEmbeddings]]:
        """Embeddings of clips, in their order; windows of several clips share a batch.

        Args:
            clips: Whatever names a clip, and its waveform at ``sampling_rate``, float32 ``[samples]``. They are read as
                they are needed.
            batch_size: Windows computed at once.

        Raises:
            HfTaggerError: If the encoder's outputs are NaN or infinite.
        """
        windows = self._windows(clips)
        computed = self._computed(_batches(windows, batch_size))
        fetched = copied_late(computed) if self._copies_late else computed
        embedded = (pair for batch, vectors in fetched for pair in zip(batch, _checked(vectors), strict=True))
        for _, pairs in groupby(embedded, key=lambda pair: pair[0].clip):
            of_clip, vectors = zip(*pairs, strict=True)
            starts = np.array([window.start for window in of_clip]) / self.sampling_rate
            stops = np.array([window.stop for window in of_clip]) / self.sampling_rate
            yield of_clip[0].name, ClipEmbeddings(starts, stops, np.stack(vectors))

    def _windows(self, clips: Iterable[tuple[Name, np.ndarray]]) -> Iterator[_Window]:
        length = self.window_samples
        for clip, (name, waveform) in enumerate(clips):
            samples = repeat_to_length(torch.from_numpy(waveform), length)
            for start in window_starts(len(samples), length, self.hop_samples):
                stop = min(start + length, len(waveform))  # of a clip that is repeated: where it ends
                yield _Window(clip, name, start, stop, samples[start : start + length])

    def _computed(self, batches: Iterable[list[_Window]]) -> Iterator[tuple[list[_Window], torch.Tensor]]:
        """Each batch, without its samples, and its embeddings on the device."""
        for batch in batches:
            vectors = self._on_device(torch.stack([window.samples for window in batch]))
            yield [window._replace(samples=None) for window in batch], vectors

    @torch.no_grad()
    def _on_device(self, windows: torch.Tensor) -> torch.Tensor:
        """Embeddings of windows ``[N, window_samples]``, float32 ``[N, hidden]`` or ``[N, layers + 1, hidden]``."""
        features = self._features(copied_ahead(windows, self.device))
        if self.all_layers:
            return layer_embeddings(self.model, features).float()
        return self._head.mix(window_embeddings(self.model, features)).float()


class ClipEmbeddings(NamedTuple):
    """The embeddings of one clip's windows.

    Attributes:
        starts: Where each window starts, in seconds, float64 ``[windows]``.
        stops: Where each window ends.
        vectors: float32 ``[windows, hidden]`` or ``[windows, layers + 1, hidden]``.
    """

    starts: np.ndarray
    stops: np.ndarray
    vectors: np.ndarray


class _Window(NamedTuple):
    clip: int  # counted from 0: names may be the same
    name: object
    start: int  # samples
    stop: int
    samples: torch.Tensor | None


def _checked(embeddings: torch.Tensor) -> np.ndarray:
    if not embeddings.isfinite().all():
        raise HfTaggerError("The encoder's outputs are NaN or infinite: its weights are damaged, or do not suit it.")
    return embeddings.numpy()


def _batches(windows: Iterator[_Window], size: int) -> Iterator[list[_Window]]:
    while batch := list(islice(windows, size)):
        yield batch
