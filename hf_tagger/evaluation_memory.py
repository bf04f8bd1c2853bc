"""How much memory an evaluation needs beyond its model: windows, scores, intervals, pictures and report."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, Value

from .arguments import TaggingArguments
from .data.base import MULTI_LABEL, TaggingDatasetDict
from .data.pcm import PreparedClips
from .data.synthetic import FACTS
from .errors import HfTaggerError
from .evaluation_record import EvaluatedSplits, evaluation_metrics, write_evaluation
from .models import MODELS, WaveformFeatureExtractor
from .training.trainer import TaggingTrainer

_RATE, _WINDOW = 16_000, 4_000  # Hz, samples: short windows, as their number counts and not their length
_CHANNELS = 8
_STATUS = Path("/proc/self/status")
_SECONDS_BETWEEN_LOOKS = 0.01


@dataclass(frozen=True)
class EvaluationMemory:
    """Memory of an evaluation, in GiB.

    Attributes:
        model_gib: Memory of the process once the model is there, libraries included.
        peak_gib: Highest memory until the report is written, mapped samples of the store included.
        beyond_gib: What was needed beyond the model: the rise to the peak, or, where it is higher, that of the memory
            without mapped files, which the system may drop at any time.
    """

    model_gib: float
    peak_gib: float
    beyond_gib: float


def measure_evaluation_memory(clips: int, windows: int, labels: int) -> EvaluationMemory:
    """Evaluates a small random tagger on noise in a process of its own, as at the end of a run.

    Args:
        clips: Number of clips.
        windows: Windows of each clip.
        labels: Number of labels; a clip carries each by a chance of 5 %.

    Raises:
        HfTaggerError: On other systems than Linux, for numbers below 1, or if the process was ended.
    """
    if min(clips, windows, labels) < 1:
        raise HfTaggerError(f"At least 1 clip, window and label are needed; received {clips}, {windows}, {labels}.")
    if not _STATUS.exists():
        raise HfTaggerError("The memory of an evaluation is read from /proc, which only Linux has.")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_evaluate, args=(sender, clips, windows, labels))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise HfTaggerError("The evaluation ended without a result; is there enough memory?") from None
    finally:
        process.join()


def _evaluate(sender, clips: int, windows: int, labels: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = [f"label {number}" for number in range(labels)]
        dataset, prepared = _noise(clips, windows, names, folder)
        model_class = MODELS["short_cnn"]
        config = model_class.config_class(
            window_samples=_WINDOW,
            hop_samples=_WINDOW,
            num_channels=_CHANNELS,
            id2label=dict(enumerate(names)),
            label2id={name: number for number, name in enumerate(names)},
            problem_type=MULTI_LABEL,
        )
        arguments = TaggingArguments(output_dir=folder, use_cpu=True, report_to=[])
        extractor = WaveformFeatureExtractor(_RATE, _WINDOW, _WINDOW)
        trainer = TaggingTrainer(model_class(config), arguments, extractor)
        with _Watch() as watch:
            before = _memory()
            output = trainer.predict(prepared, metric_key_prefix="test")
            splits = EvaluatedSplits(dataset, {"test": prepared}, {"test": output})
            splits.write_predictions(folder)
            write_evaluation(folder, "Memory", splits, evaluation_metrics(splits, None))
        beyond = max(watch.peak - before["VmRSS"], watch.private - _private(before))
        sender.send(EvaluationMemory(before["VmRSS"], watch.peak, beyond))
        sender.close()


def _noise(clips: int, windows: int, names: list[str], folder: str) -> tuple[TaggingDatasetDict, PreparedClips]:
    generator = np.random.default_rng(0)
    length = windows * _WINDOW

    def rows():
        for number in range(clips):
            pcm = generator.integers(-3_000, 3_000, length, dtype=np.int16).tobytes()
            own = np.flatnonzero(generator.random(len(names)) < 0.05).tolist()
            yield {"id": str(number), "labels": own, "group": str(number), "pcm": pcm}

    stored = Dataset.from_generator(rows, cache_dir=folder, writer_batch_size=16)
    stored = stored.cast_column("pcm", Value("large_binary"))
    stored = stored.add_column("scale", np.full(clips, 1 / 32_768, dtype=np.float32))
    stored = stored.add_column("num_samples", np.full(clips, length))
    table = stored.select_columns(["id", "labels", "group"]).add_column("audio", [None] * clips)
    dataset = TaggingDatasetDict({"test": table})
    dataset.facts, dataset.protocol, dataset.problem_type = FACTS, FACTS.protocols[0], MULTI_LABEL
    dataset.label_names, dataset.skipped = names, []
    return dataset, PreparedClips(table, stored, range(clips), _RATE)


class _Watch:
    """Looks at the memory of this process until it is left."""

    def __enter__(self):
        self.peak = self.private = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            now = _memory()
            self.peak = max(self.peak, now["VmRSS"])
            self.private = max(self.private, _private(now))
            if self._done.wait(_SECONDS_BETWEEN_LOOKS):
                return


def _private(memory: dict[str, float]) -> float:
    return memory["VmRSS"] - memory["RssFile"]


def _memory() -> dict[str, float]:
    """Memory of this process by kind, in GiB: proc(5)."""
    lines = (line.split() for line in _STATUS.read_text().splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(kilobytes) / 2**20 for name, kilobytes, _ in lines}
