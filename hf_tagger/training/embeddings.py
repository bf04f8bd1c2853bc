"""Embeddings of windows, computed once and kept on disk; the part of a model that comes after them.

With a frozen encoder nothing before the head changes, so encoding the same windows in every epoch is waste. Embeddings
are pooled over time: ``[hidden]`` a window, or ``[layers + 1, hidden]`` where a sum of layers is learned (pooling is a
mean, so the mean of the sum is the sum of the means).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    ASTFeatureExtractor,
    PreTrainedModel,
    SequenceFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.utils import ModelOutput

from ..data.base import MULTI_LABEL
from ..data.pcm import PreparedClips
from ..data.windows import EvaluationWindows, WindowCollator
from ..errors import HfTaggerError
from ..models import WaveformFeatureExtractor, WindowedEncoderClassification
from ..models.input_features import input_features
from .checkpoints import is_head
from .late_copies import copied_ahead, copied_late
from .precision import mixed_precision

# Their models pool by a plain mean (or AST's two tokens), because their inputs have no padding.
_WITHOUT_PADDING = (
    WaveformFeatureExtractor, ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
)  # fmt: skip
_VERSION = 1  # part of a file's name; raise it when the computation changes
# What a configuration says of labels, head and origin. Everything else may change embeddings, also with equal weights
# (strides, attention heads, where the norms are).
_NOT_OF_THE_ENCODER = (
    "id2label", "label2id", "num_labels", "problem_type", "classifier_proj_size", "head_hidden_size", "head_dropout",
    "windows_per_group", "architectures", "auto_map", "_name_or_path", "dtype",
)  # fmt: skip
_ONLY_IN_TRAINING = "masked_spec_embed"  # made anew, at random, where a published checkpoint lacks it


class EmbeddingHead(nn.Module):
    """The part of a model after the embeddings; it shares its weights with the model.

    Args:
        model: A model whose embeddings can be kept, see :func:`why_not_kept`.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.config = model.config
        self.layer_sum = getattr(model, "layer_sum", None)  # ours
        self.layer_weights = getattr(model, "layer_weights", None)  # transformers'
        self.projector = getattr(model, "projector", None)
        self.classifier = model.classifier

    def mix(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What the learned sum makes of all layers: ``[N, layers + 1, hidden]`` → ``[N, hidden]``; without such a sum
        embeddings ``[N, hidden]`` stay as they are."""
        if self.layer_sum is not None:
            return self.layer_sum(embeddings)
        if self.layer_weights is not None:
            return (embeddings * self.layer_weights.softmax(dim=0)[:, None]).sum(dim=1)
        return embeddings

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """``[N, hidden]`` or ``[N, layers + 1, hidden]`` → logits ``[N, labels]``."""
        embeddings = self.mix(embeddings)
        if self.projector is not None:
            embeddings = self.projector(embeddings)
        return self.classifier(embeddings)


def why_not_kept(model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor) -> str | None:
    """Why a model's embeddings cannot stand for its windows; None if they can."""
    if isinstance(model, WindowedEncoderClassification):
        return None if model.has_fixed_embeddings else "attention pooling is learned and comes before the embedding"
    if type(feature_extractor) not in _WITHOUT_PADDING:
        return f"a {type(feature_extractor).__name__} may pad, which the embedding would have to know"
    if not hasattr(model, "classifier"):
        return f"the head of a {type(model).__name__} is not known"
    return None


def window_embeddings(model: PreTrainedModel, features: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the head of a model hears of windows, before a learned sum of layers.

    Args:
        model: A model whose embeddings can be kept.
        features: What the model reads of ``N`` windows.

    Returns:
        ``[N, hidden]``, or ``[N, layers + 1, hidden]`` for a learned sum.
    """
    if isinstance(model, WindowedEncoderClassification):
        return model.window_embeddings(**features)
    weighted = getattr(model.config, "use_weighted_layer_sum", False)
    output = _encoder(model)(**features, output_hidden_states=weighted)
    if weighted:
        return torch.stack([state.mean(dim=1) for state in output.hidden_states], dim=1)
    return _pooled(output)


def layer_embeddings(model: PreTrainedModel, features: dict[str, torch.Tensor]) -> torch.Tensor:
    """Embeddings by every layer, whichever the head hears: ``hidden_states``, pooled as the last one is.

    The last one is the encoder's output, also where a final norm makes it differ from the last of ``hidden_states``.

    Args:
        model: A model whose embeddings can be kept.
        features: What the model reads of ``N`` windows.

    Returns:
        ``[N, layers + 1, hidden]``, the first one of the encoder's input.
    """
    if isinstance(model, WindowedEncoderClassification):
        return torch.stack([state.mean(dim=1) for state in model.hidden_states(**features, every_layer=True)], dim=1)
    output = _encoder(model)(**features, output_hidden_states=True)
    frames = slice(2) if _special_tokens(output) is not None else slice(None)
    below = [state[:, frames].mean(dim=1) for state in output.hidden_states[:-1]]
    return torch.stack([*below, _pooled(output)], dim=1)


def _encoder(model: PreTrainedModel) -> PreTrainedModel:
    return model.encoder if hasattr(model, "encoder") else model.base_model


def _pooled(output: ModelOutput) -> torch.Tensor:
    tokens = _special_tokens(output)
    return output.last_hidden_state.mean(dim=1) if tokens is None else tokens


def _special_tokens(output: ModelOutput) -> torch.Tensor | None:
    return getattr(output, "pooler_output", None)  # AST: the mean of its two special tokens, which come first


class EmbeddingStore:
    """Embeddings of all windows of clips at fixed hops, in a memory-mapped file a split.

    A file is written under a temporary name and renamed when it is whole, so that no half file is ever read.

    Args:
        model: The model, already on its device.
        feature_extractor: Its feature extractor.
        folder: Where the files lie.
        batch_size: Windows computed at once; the same as in evaluation gives the same numbers.
        num_workers: Processes that cut windows.
        mixed_precision: ``no``, ``fp16`` or ``bf16``.
        process: ``(this process, processes)``; each computes its share of the clips, into one file.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        folder: Path,
        batch_size: int = 64,
        num_workers: int = 0,
        mixed_precision: str = "no",
        process: tuple[int, int] = (0, 1),
    ):
        self.model, self.feature_extractor, self.folder = model.eval(), feature_extractor, folder
        self.batch_size, self.num_workers, self.process = batch_size, num_workers, process
        self.mixed_precision = mixed_precision
        self._features = input_features(feature_extractor)
        self._model_key = _model_key(model, feature_extractor, mixed_precision)

    def embeddings(self, clips: PreparedClips, name: str) -> np.ndarray:
        """Embeddings of a split's windows, in the order of :class:`EvaluationWindows`; computed if not yet on disk.

        Args:
            clips: The clips, at least one.
            name: The split, for the progress bar.

        Returns:
            Memory-mapped float32 ``[windows, hidden]`` or ``[windows, layers + 1, hidden]``.

        Raises:
            HfTaggerError: If the file cannot be written, or if the encoder's outputs are NaN or infinite.
        """
        key = hashlib.sha256(f"{self._model_key} {clips.fingerprint}".encode()).hexdigest()[:32]
        path = self.folder / f"embeddings-{key}.npy"
        # The first process decides for all: another run may finish the file between two looks at the disk.
        exists, partial = self._as_first_process((path.exists(), path.with_suffix(f".{uuid.uuid4().hex}.partial")))
        if not exists:
            try:
                self._compute(clips, partial, name)
                if self.process[0] == 0:
                    partial.replace(path)
            except OSError as error:
                raise HfTaggerError(
                    f"The embeddings could not be written to {self.folder}: {error}. Free some space, set cache_dir "
                    f"to another disk, or set cache_embeddings: false."
                ) from error
            finally:
                if self.process[0] == 0:
                    partial.unlink(missing_ok=True)
        self._wait()
        return np.load(path, mmap_mode="r")

    @torch.no_grad()
    def _compute(self, clips: PreparedClips, path: Path, name: str) -> None:
        extractor, (rank, _) = self.feature_extractor, self.process
        windows = EvaluationWindows(clips, extractor.window_samples, extractor.hop_samples, self.process)
        if rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            total = len(EvaluationWindows(clips, extractor.window_samples, extractor.hop_samples))
            shape = tuple(self._embed(windows[0]["input_values"][None]).shape[1:])
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(total, *shape)).flush()
        self._wait()
        start = np.load(path, mmap_mode="r").offset
        loader = DataLoader(
            windows,
            self.batch_size,
            collate_fn=WindowCollator(MULTI_LABEL, 0),
            num_workers=self.num_workers,
            pin_memory=self.model.device.type == "cuda",
        )
        computed = ((None, self._embed(batch["input_values"]).float()) for batch in loader)
        rows = iter(windows.rows.tolist())
        bar = tqdm(total=len(windows), desc=f"Embedding {name} windows", unit="window", disable=rank != 0)
        # Written, not memory-mapped: on a full disk a write is an error, a mapped page kills the process.
        with bar, open(path, "r+b") as file:
            for _, embedded in copied_late(computed):
                embedded = embedded.numpy()
                if not np.isfinite(embedded).all():
                    raise HfTaggerError("The encoder's outputs are NaN or infinite. Compute without fp16.")
                for embedding in embedded:
                    file.seek(start + next(rows) * embedding.nbytes)
                    file.write(embedding.tobytes())
                bar.update(len(embedded))
        self._wait()

    def _embed(self, windows: torch.Tensor) -> torch.Tensor:
        device = self.model.device
        features = self._features(copied_ahead(windows, device))  # outside of autocast, as in training
        with mixed_precision(device.type, self.mixed_precision):
            return window_embeddings(self.model, features)

    def _as_first_process(self, values: tuple) -> list:
        values = list(values)
        if self.process[1] > 1:
            torch.distributed.broadcast_object_list(values, src=0)
        return values

    def _wait(self) -> None:
        if self.process[1] > 1:
            torch.distributed.barrier()


def _model_key(model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor, mixed_precision: str) -> str:
    """A hash of everything that embeddings depend on, the clips aside: encoder, what is pooled, precision."""
    digest = hashlib.sha256(f"{_VERSION} {mixed_precision} {model.dtype} {type(model).__name__}".encode())
    for name, tensor in model.state_dict().items():
        if not is_head(name) and not name.endswith(_ONLY_IN_TRAINING):
            digest.update(f"\n{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_OF_THE_ENCODER}
    extractor = {key: value for key, value in feature_extractor.to_dict().items() if key != "processor_class"}
    digest.update(json.dumps([config, extractor], sort_keys=True, default=str).encode())
    return digest.hexdigest()
