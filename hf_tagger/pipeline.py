"""The pipeline ``"music-tagging"``: tags of recordings of any kind and length by any tagger.

    from transformers import pipeline
    import hf_tagger  # registers it

    tagger = pipeline("music-tagging", model="runs/short_cnn_mtat")
    tagger("song.mp3")                                       # [{"label": "guitar", "score": 0.93}, …]
    tagger(["a.mp3", "b.ogg"], threshold="fitted")           # a list for each
    tagger("concert.flac", aggregate="max", timeline=True)   # {"tags": […], "timeline": […]}

transformers' own ``"audio-classification"`` hears the first window only of a stock model, mixes no channels, and calls
the program ffmpeg for every file.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Pipeline, PreTrainedModel, SequenceFeatureExtractor
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from .audio_input import KINDS, is_recording, to_waveform
from .errors import AudioDecodingError, HfTaggerError
from .evaluation.aggregation import AGGREGATIONS
from .read_ahead import read_ahead
from .saved_tagger import SavedTagger, feature_extractor_of
from .tag_timeline import TimelineWindows
from .tagging import Tagger

logger = logging.get_logger(__name__)

TASK = "music-tagging"
FITTED = "fitted"
_TOP_K = 5  # as in transformers' audio-classification
_FROM_TRANSFORMERS = ("num_workers", "local_files_only")  # handed over by transformers.pipeline, without effect here


@dataclass(frozen=True)
class TaggingOptions:
    """What the pipeline may be asked for, when it is made or when it is called.

    Attributes:
        top_k: Labels at most; None for no limit. Default: 5, or no limit if there is a threshold.
        threshold: ``"fitted"``, the labels that reach the thresholds which were fitted on validation clips (by the
            mean: another rule gives other numbers of labels); a number from 0 to 1, those that reach it; None, all.
        aggregate: How the probabilities of windows become those of the recording, a name of
            :data:`~hf_tagger.evaluation.aggregation.AGGREGATIONS`: ``"mean"`` (how much of it sounds like a label, what
            every evaluation does), ``"max"`` (whether any window does) or ``"attention"`` (between them, for every
            label as it was fitted by ``scripts/study.py long-audio --store``, else alike for all by softmax pooling).
        timeline: Whether to tell when the labels sound: True for every second, a number for as many seconds. It costs
            a window for every cell, as :mod:`hf_tagger.tag_timeline` draws.
        progress: Whether every recording shows a bar; None: those of more than ten minutes, on a terminal.

    Raises:
        HfTaggerError: For values that are not as described.
    """

    top_k: int | None = None
    threshold: str | float | None = None
    aggregate: str = "mean"
    timeline: bool | float = False
    progress: bool | None = None

    def __post_init__(self):
        problems = []
        if self.top_k is not None and not (_is_whole(self.top_k) and self.top_k >= 1):
            problems.append(f"top_k {self.top_k!r}: a whole number of at least 1, or None for no limit")
        if not (self.threshold in (None, FITTED) or (_is_number(self.threshold) and 0 <= self.threshold <= 1)):
            problems.append(f"threshold {self.threshold!r}: {FITTED!r}, a number from 0 to 1, or None")
        if self.aggregate not in list(AGGREGATIONS):
            problems.append(f"aggregate {self.aggregate!r}: one of {', '.join(map(repr, AGGREGATIONS))}")
        if not isinstance(self.timeline, bool) and not (_is_number(self.timeline) and 0 < self.timeline < math.inf):
            problems.append(f"timeline {self.timeline!r}: True, False, or a number of seconds greater than 0")
        if self.progress not in (None, True, False):
            problems.append(f"progress {self.progress!r}: True, False or None")
        if problems:
            raise HfTaggerError("The music-tagging pipeline cannot be asked for " + "; ".join(problems) + ".")

    @classmethod
    def of(cls, given: dict[str, Any]) -> TaggingOptions:
        """The options with defaults for those that are not given."""
        return cls(**({"top_k": _TOP_K} if given.get("threshold") is None else {}) | given)


class MusicTaggingPipeline(Pipeline):
    """Tags recordings; registered with transformers as ``"music-tagging"``.

    Made by ``transformers.pipeline("music-tagging", model=…)`` or by :meth:`from_pretrained`. Files are read by
    :mod:`hf_tagger.audio`, whatever a model's family its windows hear a recording from its start to its end, and no
    code of a repository is run.

    Args:
        model: A finetuned model.
        feature_extractor: Its feature extractor, with ``sampling_rate``, ``window_samples`` and ``hop_samples``; not
            needed for models that the pipeline itself has loaded.
        **kwargs: ``device``, ``batch_size`` (see :meth:`__call__`) and the fields of :class:`TaggingOptions`, which
            hold for every call that does not give its own.

    Raises:
        HfTaggerError: For options that are not possible, or not with this model.
    """

    _load_processor = _load_image_processor = _load_video_processor = _load_tokenizer = False
    _load_feature_extractor = False  # comes with the model, by SavedTagger: stock ones state no windows

    def __init__(
        self, model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor | None = None, **kwargs: Any
    ):
        feature_extractor = feature_extractor_of(model) if feature_extractor is None else feature_extractor
        if not hasattr(feature_extractor, "window_samples"):
            raise HfTaggerError(
                f"The music-tagging pipeline needs a feature extractor with window_samples; received "
                f"{type(feature_extractor).__name__}. Give the model by its folder or its name on the Hub."
            )
        super().__init__(model=model, feature_extractor=feature_extractor, **{"task": TASK, **kwargs})
        self.tagger = Tagger(model, feature_extractor, self.device)
        self._check(TaggingOptions.of(self._postprocess_params), self._batch_size)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        token: str | bool | None = None,
        **kwargs: Any,
    ) -> MusicTaggingPipeline:
        """The pipeline of a run's folder or a Hub repository; ``**kwargs`` as for the class.

        Raises:
            HfTaggerError: If it cannot be read, or has no trained head.
        """
        return cls(SavedTagger.from_pretrained(str(name_or_path), revision=revision, token=token), **kwargs)

    def __call__(self, inputs: Any, batch_size: int | None = None, **options: Any) -> Any:
        """Tags one recording, or several.

        Args:
            inputs: One recording (:data:`hf_tagger.audio_input.KINDS`: paths, URLs, bytes, arrays and tensors
                ``[samples]``, ``[channels, samples]`` or ``[samples, channels]``, dictionaries, an ``AudioDecoder``);
                a list or tuple of them, which gives a list; or anything else to iterate over (a generator, a column of
                a dataset), which gives an iterator that takes the next recording when its result is asked for.
            batch_size: Windows computed at once, across recordings: short ones then share a batch, for which an
                iterator takes as many in advance. Default: as many as the model's configuration says or, of stock
                models, 40 seconds of audio; and of an iterator each recording by itself.
            **options: Fields of :class:`TaggingOptions`.

        Returns:
            Of each recording a list of ``{"label", "score"}``, best first, with ``"given"``, whether the label's fitted
            threshold is reached, if the model has thresholds. With ``timeline``: ``{"tags": that list, "timeline":
            [{"start", "end", "scores"}, …]}``, times in seconds, scores by label of the listed tags.

        Raises:
            AudioDecodingError: If a recording cannot be used.
            HfTaggerError: For options that are not possible, or not with this model.
        """
        _, _, options = self._sanitize_parameters(**options)
        options = TaggingOptions.of(self._postprocess_params | options)
        batch_size = self._batch_size if batch_size is None else batch_size
        self._check(options, batch_size)
        if is_recording(inputs):
            (result,) = self._results([inputs], options, batch_size, is_single=True)
            return result
        if isinstance(inputs, list | tuple):
            return list(self._results(inputs, options, batch_size or self.tagger.batch_size))
        if isinstance(inputs, torch.utils.data.Dataset) and not hasattr(inputs, "__iter__"):
            inputs = (inputs[index] for index in range(len(inputs)))  # not all of them end by an IndexError
        if not isinstance(inputs, Iterable):
            raise AudioDecodingError(f"a recording is {KINDS}; received {type(inputs).__name__}")
        return self._results(inputs, options, batch_size)

    def preprocess(self, inputs: Any) -> np.ndarray:
        """One recording → mono samples float32 ``[samples]`` at the model's sampling rate."""
        return to_waveform(inputs, self.tagger.sampling_rate)

    def postprocess(self, model_outputs: np.ndarray, num_samples: int, options: TaggingOptions) -> list | dict:
        """Probabilities of one recording's windows ``[windows, labels]`` → what :meth:`__call__` returns of it."""
        if not options.timeline:
            return self._tags(model_outputs, options)
        timeline = self._timeline(num_samples, options)
        tags = self._tags(timeline.of_tags(model_outputs), options)
        labels = [tag["label"] for tag in tags]
        columns = [self.tagger.label_names.index(label) for label in labels]
        times = pairwise(edge / self.tagger.sampling_rate for edge in timeline.cell_edges)
        rows = timeline.of_cells(model_outputs)[:, columns].tolist()
        cells = [
            {"start": start, "end": end, "scores": dict(zip(labels, row, strict=True))}
            for (start, end), row in zip(times, rows, strict=True)
        ]
        return {"tags": tags, "timeline": cells}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and feature extractor; the pipeline itself is in this package, and needs no code beside them."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory, **kwargs)

    def _forward(self, input_tensors: Any) -> Any:
        """transformers asks for it; here :meth:`Tagger.window_probabilities` takes its place."""
        raise NotImplementedError("Windows are computed in batches across recordings: call the pipeline.")

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        known = [field.name for field in fields(TaggingOptions)]
        unknown = sorted(set(options) - {*known, *_FROM_TRANSFORMERS})
        if unknown:
            raise HfTaggerError(
                f"The music-tagging pipeline knows no {', '.join(unknown)}; its options are {', '.join(known)}, "
                f"batch_size and device."
            )
        return {}, {}, {name: value for name, value in options.items() if name in known}

    def _check(self, options: TaggingOptions, batch_size: int | None) -> None:
        """Raises HfTaggerError for what this model has not, or no model."""
        if batch_size is not None and not (_is_whole(batch_size) and batch_size >= 1):
            raise HfTaggerError(f"batch_size {batch_size!r} is not a whole number of windows of at least 1.")
        if options.threshold == FITTED and self.tagger.thresholds is None:
            raise HfTaggerError(
                "threshold='fitted': this model has no thresholds. They are fitted when a model with several labels a "
                "clip is trained by this package with labelled validation clips. Give a number from 0 to 1, or top_k."
            )
        if AGGREGATIONS[options.aggregate].needs_sharpness and self.tagger.sharpness is None:
            logger.warning_once(
                f"aggregate={options.aggregate!r}: no sharpness was fitted for this model, so softmax pooling is used "
                f"for all labels. To fit it: python scripts/study.py long-audio RUN RECIPE --store"
            )

    def _results(
        self, inputs: Iterable, options: TaggingOptions, batch_size: int | None, is_single: bool = False
    ) -> Iterator[list | dict]:
        """Results in the order of the inputs, which are taken when they are needed."""
        lengths: deque[int] = deque()
        starts = (lambda length: self._timeline(length, options).starts) if options.timeline else None

        def waveforms() -> Iterator[np.ndarray]:
            for number, read in enumerate(self._readers(inputs)):
                try:
                    waveform = read()
                except AudioDecodingError as error:
                    if is_single:
                        raise
                    raise AudioDecodingError(f"recording {number}: {error}") from error
                lengths.append(len(waveform))
                yield waveform

        together = [waveforms()] if batch_size else ([waveform] for waveform in waveforms())
        for group in together:
            for windows in self.tagger.window_probabilities(group, batch_size, starts, options.progress):
                yield self.postprocess(windows, lengths.popleft(), options)

    def _readers(self, inputs: Iterable) -> Iterator[Callable[[], np.ndarray]]:
        """What gives the samples of each recording. Files of a list are read ahead, while others are computed; a list
        is there as a whole, and files are nobody else's, as a decoder's state may be."""
        if isinstance(inputs, list | tuple) and all(isinstance(one, str | os.PathLike | bytes) for one in inputs):
            return (future.result for future in read_ahead(self.preprocess, inputs))
        return (partial(self.preprocess, recording) for recording in inputs)

    def _timeline(self, num_samples: int, options: TaggingOptions) -> TimelineWindows:
        step = max(round(float(options.timeline) * self.tagger.sampling_rate), 1)
        own_starts = self.tagger.window_starts(num_samples)
        return TimelineWindows.of(num_samples, own_starts, self.feature_extractor.window_samples, step)

    def _tags(self, windows: np.ndarray, options: TaggingOptions) -> list[dict]:
        threshold = self.tagger.thresholds if options.threshold == FITTED else options.threshold
        return self.tagger.tags(self.tagger.scores(windows, options.aggregate), options.top_k, threshold)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=MusicTaggingPipeline, pt_model=SavedTagger, type="audio")
