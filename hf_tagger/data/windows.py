"""Windows of prepared clips for the model: random crops to train on, fixed hops to evaluate on, and their batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from ..models.windowing import repeat_to_length, window_starts
from .base import MULTI_LABEL
from .pcm import PreparedClips


class WindowBatch(list):
    """A batch as PyTorch's loaders know it, a list of items, whose ``input_values`` are the rows of one tensor.

    Args:
        input_values: float32 ``[B, window_samples]``.
        further: What else every item holds, ``B`` dictionaries.
    """

    def __init__(self, input_values: torch.Tensor, further: Iterable[dict]):
        rows = zip(input_values.unbind(), further, strict=True)
        super().__init__({"input_values": row, **item} for row, item in rows)
        self.input_values = input_values


class TrainingWindows(Dataset):
    """Random windows, ``crops_per_clip`` of every labelled clip an epoch.

    A crop's position depends on nothing but seed, epoch and index: not on the worker process, not on how often training
    was interrupted. So a resumed run sees exactly the windows of an undisturbed one.

    Args:
        clips: The training clips.
        window_samples: Length of a window in samples.
        crops_per_clip: Windows a clip and an epoch.
        seed: Seed of the positions.
    """

    def __init__(self, clips: PreparedClips, window_samples: int, crops_per_clip: int = 1, seed: int = 0):
        self.clips, self.window_samples, self.seed = clips, window_samples, seed
        self.indices = np.repeat(np.asarray(clips.labelled, dtype=np.int64), crops_per_clip)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers have to see it change

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of every epoch; moves every crop."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> dict:
        """One window: ``input_values`` float32 ``[window_samples]``, and the clip's ``labels`` and ``unknown_labels``.

        Numbers beyond the length count on from the beginning and cut another window of the same clip.
        """
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> WindowBatch:
        """Windows as :meth:`__getitem__` gives them, cut into one tensor; PyTorch's loaders ask for batches here."""
        indices = self.indices[np.asarray(items) % len(self.indices)].tolist()
        spare = (self.clips.num_samples[indices] - self.window_samples).tolist()
        seed, epoch = self.seed, int(self._epoch)
        starts = [
            int(np.random.default_rng((seed, epoch, item)).integers(most + 1)) if most > 0 else 0
            for item, most in zip(items, spare, strict=True)
        ]
        windows = _cut(self.clips, indices, starts, self.window_samples)
        labels, unknown = self.clips.labels, self.clips.unknown_labels
        return WindowBatch(windows, ({"labels": labels[index], "unknown_labels": unknown[index]} for index in indices))


class EvaluationWindows(Dataset):
    """All windows of some clips at fixed hops, clip after clip.

    Args:
        clips: The clips of a split.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples.
        share: ``(process, processes)``: this process evaluates the clips ``process, process + processes, …``, every
            clip whole, so that no clip is computed twice.
    """

    def __init__(self, clips: PreparedClips, window_samples: int, hop_samples: int, share: tuple[int, int] = (0, 1)):
        self.clips, self.window_samples, self.hop_samples = clips, window_samples, hop_samples
        indices = np.arange(share[0], len(clips), share[1])
        counts_of_all = np.array(
            [len(window_starts(int(length), window_samples, hop_samples)) for length in clips.num_samples],
            dtype=np.int64,
        )
        counts = counts_of_all[indices]
        self.clip_indices = np.repeat(indices, counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self._numbers = np.arange(len(self.clip_indices)) - first  # number of the window within its clip
        self.rows = (np.cumsum(counts_of_all) - counts_of_all)[self.clip_indices] + self._numbers
        """Positions of these windows among those of all clips."""

    def __len__(self) -> int:
        return len(self.clip_indices)

    def __getitem__(self, item: int) -> dict:
        """One window: ``input_values`` float32 ``[window_samples]``, and ``clip_index``, its clip's position."""
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> WindowBatch:
        """Windows as :meth:`__getitem__` gives them, cut into one tensor; PyTorch's loaders ask for batches here."""
        indices = self.clip_indices[items]
        last = np.maximum(self.clips.num_samples[indices] - self.window_samples, 0)
        starts = np.minimum(self._numbers[items] * self.hop_samples, last)  # the last window ends with the clip
        indices = indices.tolist()
        windows = _cut(self.clips, indices, starts.tolist(), self.window_samples)
        return WindowBatch(windows, ({"clip_index": index} for index in indices))


class WindowCollator:
    """Stacks windows to ``{"input_values": [B, T], "labels": [B] or [B, C]}`` (``clip_index [B]`` in evaluation).

    Args:
        problem_type: transformers' ``problem_type``; multi-label rows become 0/1 vectors, NaN where a label is unknown.
        num_labels: C.
    """

    def __init__(self, problem_type: str, num_labels: int):
        self.problem_type, self.num_labels = problem_type, num_labels

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Makes a batch of window dictionaries; the tensor of a :class:`WindowBatch` is taken as it is."""
        if isinstance(items, WindowBatch):
            batch = {"input_values": items.input_values}
        else:
            batch = {"input_values": torch.stack([item["input_values"] for item in items])}
        if "labels" in items[0]:
            labels = [item["labels"] for item in items]
            unknown = [item.get("unknown_labels", ()) for item in items]
            batch["labels"] = torch.from_numpy(encode_labels(labels, self.problem_type, self.num_labels, unknown))
        if "clip_index" in items[0]:
            batch["clip_index"] = torch.tensor([item["clip_index"] for item in items])
        return batch


def encode_labels(
    labels: list, problem_type: str, num_labels: int, unknown_labels: Sequence[Sequence[int]] = ()
) -> np.ndarray:
    """Class indices int64 ``[N]``, or 0/1 float32 ``[N, C]`` for multi-label data, NaN where a label is unknown.

    Args:
        labels: Of every clip its class index, or the list of its labels' indices.
        problem_type: transformers' ``problem_type``.
        num_labels: C.
        unknown_labels: Multi-label only: of every clip the indices of the labels that are unknown; none are, if empty.
    """
    if problem_type != MULTI_LABEL:
        return np.asarray(labels, dtype=np.int64)
    encoded = np.zeros((len(labels), num_labels), dtype=np.float32)
    for row, indices in enumerate(labels):
        encoded[row, indices] = 1.0
    for row, indices in enumerate(unknown_labels):
        if len(indices):  # most rows of most data have none
            encoded[row, indices] = np.nan
    return encoded


def labels_of(clips: PreparedClips, problem_type: str, num_labels: int) -> np.ndarray:
    """The labels of a split's labelled clips, in their order, as :func:`encode_labels` encodes them."""
    labels = [clips.labels[index] for index in clips.labelled]
    unknown = [clips.unknown_labels[index] for index in clips.labelled]
    return encode_labels(labels, problem_type, num_labels, unknown)


def _empty_batch(*shape: int) -> torch.Tensor:
    """A float32 tensor for a batch. In a loader's worker process it lies in memory that the main process shares, as of
    PyTorch's own collation: what is written there need not be copied again to be handed over."""
    batch = torch.empty(shape)
    return batch if get_worker_info() is None else batch.share_memory_()


def _cut(clips: PreparedClips, indices: Sequence[int], starts: Sequence[int], length: int) -> torch.Tensor:
    """Windows of ``length`` samples, float32 ``[B, length]``; clips that end too soon are repeated."""
    windows = _empty_batch(len(indices), length)
    for window, index, start in zip(windows.numpy(), indices, starts, strict=True):
        samples = _read_into(clips, index, start, window)
        if samples < length:
            window[:] = repeat_to_length(torch.from_numpy(window[:samples]), length)
    return windows


def _read_into(clips: PreparedClips, index: int, start: int, window: np.ndarray) -> int:
    """Reads samples ``[start : start + len(window)]`` of a clip into a window; returns how many there are."""
    stop = start + len(window)
    if isinstance(clips, PreparedClips):
        return len(clips.read(index, start, stop, out=window))
    samples = clips.read(index, start, stop)  # a view of clips makes its samples itself
    window[: len(samples)] = samples
    return len(samples)
