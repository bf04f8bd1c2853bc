"""Training a head on embeddings that were computed once: epochs take seconds, and the whole model is saved."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..arguments import DataArguments, ModelArguments, TaggingArguments
from ..data.pcm import PreparedClips, store_folder
from ..data.windows import EvaluationWindows, TrainingWindows, WindowBatch
from ..models.windowed_classification import TaggerOutput
from .embeddings import EmbeddingHead, EmbeddingStore, why_not_kept
from .trained_part import choose_trained_part
from .trainer import TaggingTrainer

logger = logging.getLogger(__name__)


def build_trainer(
    model: PreTrainedModel,
    feature_extractor: SequenceFeatureExtractor,
    clips: dict[str, PreparedClips],
    data_arguments: DataArguments,
    model_arguments: ModelArguments,
    training_arguments: TaggingArguments,
) -> TaggingTrainer:
    """The trainer that a recipe asks for: of the whole model, or of its head on kept embeddings."""
    trained, frozen = choose_trained_part(model, model_arguments)
    if model_arguments.freeze == "encoder" and model_arguments.cache_embeddings:
        reason = why_not_kept(model, feature_extractor)
        if training_arguments.augmentation is not None:
            reason = "the recipe's augmentation changes every window"
        if _is_sharded(training_arguments):
            reason = "FSDP and DeepSpeed would shard the head, which then could not be saved with its encoder"
        if reason is None:
            return EmbeddingTrainer(model, training_arguments, feature_extractor, clips, store_folder(data_arguments))
        logger.warning("Embeddings are not kept, every epoch runs the encoder: %s.", reason)
    crops = TrainingWindows(
        clips["train"], feature_extractor.window_samples, data_arguments.crops_per_clip, training_arguments.seed
    )
    return TaggingTrainer(
        model=trained,
        args=training_arguments,
        feature_extractor=feature_extractor,
        train_dataset=crops,
        eval_dataset=clips["validation"],
        frozen=frozen,
        unfreeze_layers_per_epoch=model_arguments.unfreeze_layers_per_epoch,
    )


def _is_sharded(arguments: TaggingArguments) -> bool:
    """Whether the arguments or ``accelerate launch`` (by its environment) ask for FSDP or DeepSpeed."""
    launched = any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))
    return launched or bool(arguments.fsdp) or bool(arguments.deepspeed)


class EmbeddingTrainer(TaggingTrainer):
    """Trains the head of a model whose encoder is frozen on embeddings of fixed windows.

    The training split's windows are those of an evaluation (fixed hops, the whole clip), each once an epoch, instead of
    random ones. Checkpoints hold the head; :meth:`save_model` writes the whole model.

    Args:
        model: The whole model.
        args: The training arguments.
        feature_extractor: Its feature extractor.
        clips: The clips of all splits.
        folder: Where embeddings are kept.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TaggingArguments,
        feature_extractor: SequenceFeatureExtractor,
        clips: dict[str, PreparedClips],
        folder: Path,
    ):
        store = EmbeddingStore(
            model.to(args.device),
            feature_extractor,
            folder,
            args.per_device_eval_batch_size,
            args.dataloader_num_workers,
            args.mixed_precision,
            (args.process_index, args.world_size),
        )
        self._extractor = feature_extractor
        self._embeddings = {part.fingerprint: store.embeddings(part, split) for split, part in clips.items() if part}
        args.dataloader_num_workers = 0  # rows of a file: handing them between processes would take longer
        args.dataloader_persistent_workers, args.dataloader_prefetch_factor = False, None
        args.gradient_checkpointing = False  # no layer of the encoder is computed any more
        super().__init__(
            model=EmbeddingHead(model),
            args=args,
            feature_extractor=feature_extractor,
            train_dataset=self._windows(clips["train"], (0, 1)).labelled(),
            eval_dataset=clips["validation"],
        )
        self.tagger = model

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the whole model; a checkpoint (``_internal_call``) holds what is trained, the head."""
        if _internal_call:
            super().save_model(output_dir, _internal_call=True)
        elif self.args.should_save:
            folder = output_dir or self.args.output_dir
            self.tagger.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)

    def _outputs(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> TaggerOutput:
        return TaggerOutput(logits=model(inputs["input_values"]))

    def _training_outputs(self):
        return self._outputs

    def _evaluation_windows(self, clips: PreparedClips, process: int) -> Dataset:
        return self._windows(clips, (process, self.args.world_size))

    def _windows(self, clips: PreparedClips, share: tuple[int, int]) -> _EmbeddedWindows:
        extractor = self._extractor
        windows = EvaluationWindows(clips, extractor.window_samples, extractor.hop_samples, share)
        return _EmbeddedWindows(windows, self._embeddings[clips.fingerprint])


class _EmbeddedWindows(Dataset):
    """Evaluation windows with their embedding under the name of the waveform it stands for."""

    def __init__(self, windows: EvaluationWindows, embeddings: np.ndarray, positions: np.ndarray | None = None):
        self.windows, self.clips, self.embeddings = windows, windows.clips, embeddings
        self.positions = np.arange(len(windows)) if positions is None else positions
        self.with_labels = positions is not None
        self.indices = windows.clip_indices[self.positions]
        """The clip of every window."""

    def labelled(self) -> _EmbeddedWindows:
        """The windows of labelled clips, with their labels."""
        positions = np.flatnonzero(np.isin(self.windows.clip_indices, self.clips.labelled))
        return _EmbeddedWindows(self.windows, self.embeddings, positions)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, item: int) -> dict:
        """``input_values`` float32 ``[hidden]`` or ``[layers + 1, hidden]``, and labels or ``clip_index``."""
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> WindowBatch:
        """The same of several windows, in one tensor."""
        positions = self.positions[items]
        embeddings = torch.from_numpy(np.asarray(self.embeddings[self.windows.rows[positions]]))
        clips = self.windows.clip_indices[positions].tolist()
        if not self.with_labels:
            return WindowBatch(embeddings, ({"clip_index": clip} for clip in clips))
        labels, unknown = self.clips.labels, self.clips.unknown_labels
        return WindowBatch(embeddings, ({"labels": labels[clip], "unknown_labels": unknown[clip]} for clip in clips))
