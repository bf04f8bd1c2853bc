"""Training steps of three kinds: of our trainer, of the stock Trainer, and of a bare loop over one batch in place."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    SequenceFeatureExtractor,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ..arguments import TaggingArguments
from ..models.input_features import input_features
from ..models.windowed_classification import training_loss
from ..training.memory_format import match_memory_format
from ..training.optimizer import make_optimizer
from ..training.trainer import TaggingTrainer
from ._stock import stack
from ._timing import finish, forget_peak_memory, peak_memory, timed

WARM_UP = 5
"""Steps before the clock starts: workers start, caches fill, kernels are chosen."""

_MATRIX_SIZES = (256, 512, 1024, 2048, 4096, 8192)
_LONG_PRODUCT = 0.05  # seconds

_OURS = {"load_best_model_at_end": False}  # there is no evaluation that could tell


@dataclass(frozen=True)
class Conditions:
    """Under what conditions all three ways are measured.

    Attributes:
        batch_size: Windows of a step.
        steps: Steps between the two looks at the clock.
        workers: Processes of the data loader; None for the default of our training arguments.
        precision: ``fp16`` or ``bf16``; None for float32.
        compiles: Whether the model is compiled.
        device: ``cpu``, or an accelerator.
    """

    batch_size: int
    steps: int
    workers: int | None
    precision: str | None
    compiles: bool
    device: torch.device


@dataclass(frozen=True)
class Pace:
    """What was measured.

    Attributes:
        windows_per_second: Windows trained in a second.
        peak_memory: Highest memory in GiB, see :func:`~hf_tagger.benchmarks._timing.peak_memory`.
    """

    windows_per_second: float
    peak_memory: float | None


def our_pace(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, windows: Dataset, conditions: Conditions
) -> Pace:
    """Steps of :class:`~hf_tagger.training.trainer.TaggingTrainer` on windows of the store."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TaggingArguments(output_dir=folder, **_settings(conditions), **_OURS)
        trainer = TaggingTrainer(
            copy.deepcopy(model), arguments, feature_extractor=extractor, train_dataset=windows, eval_dataset=None
        )
        return _pace(trainer, conditions)


def stock_pace(model: PreTrainedModel, dataset: Dataset, conditions: Conditions) -> Pace:
    """Steps of transformers' ``Trainer`` on a data set with ``set_transform``."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            **_settings(conditions),
            remove_unused_columns=False,
        )
        trainer = Trainer(copy.deepcopy(model), arguments, data_collator=stack, train_dataset=dataset)
        return _pace(trainer, conditions)


def limit_pace(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, windows: Dataset, conditions: Conditions
) -> Pace:
    """The same steps (forward, loss, backward, clipping, optimizer) on one batch that lies on the device.

    What the model reads is computed beforehand, a spectrogram too, if the model does not compute it itself.
    """
    step = _bare_step(copy.deepcopy(model), extractor, windows, conditions)
    forget_peak_memory(conditions.device)
    for _ in range(WARM_UP):
        step()
    finish(conditions.device)
    started = time.perf_counter()
    for _ in range(conditions.steps):
        step()
    finish(conditions.device)
    return Pace(
        conditions.steps * conditions.batch_size / (time.perf_counter() - started), peak_memory(conditions.device)
    )


def operations_per_window(model: PreTrainedModel, extractor: SequenceFeatureExtractor, windows: Dataset) -> float:
    """Floating point operations of a window's forward and backward pass, by PyTorch's counter: its products only."""
    counted = copy.deepcopy(model)
    if hasattr(counted, "set_attn_implementation"):
        counted.set_attn_implementation("eager")  # PyTorch's counter knows no fused attention of a CPU
    step = _bare_step(counted, extractor, windows, Conditions(2, 1, 0, None, False, torch.device("cpu")))
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2


def best_operations_per_second(precision: str | None, device: torch.device) -> float:
    """Operations of a large matrix product in a second: what this device can do, measured instead of looked up."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, None: torch.float32}[precision]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # as CUDA computes convolutions in float32 anyway
    try:
        for size in _MATRIX_SIZES:
            left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            times = [timed(lambda a=left, b=right: a @ b, device) for _ in range(8)]
            if min(times) > _LONG_PRODUCT:  # such as in fp16 on a CPU: larger ones would take minutes
                break
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * size**3 / min(times[2:])


def _settings(conditions: Conditions) -> dict:
    return {
        "max_steps": WARM_UP + conditions.steps,
        "per_device_train_batch_size": conditions.batch_size,
        "learning_rate": 1e-5,
        "optim": "adamw_torch_fused",
        "report_to": "none",
        "logging_steps": 10,
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": conditions.device.type == "cpu",
        "torch_compile": conditions.compiles,
        **({} if conditions.workers is None else {"dataloader_num_workers": conditions.workers}),
        **({conditions.precision: True} if conditions.precision else {}),
    }


def _pace(trainer: Trainer, conditions: Conditions) -> Pace:
    clock = _Clock(conditions.device)
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    forget_peak_memory(conditions.device)
    trainer.train()
    AcceleratorState._reset_state(reset_partial_state=True)  # the next trainer may use another precision
    return Pace(conditions.steps * conditions.batch_size / (clock.end - clock.start), peak_memory(conditions.device))


class _Clock(TrainerCallback):
    def __init__(self, device: torch.device):
        self.device, self.start, self.end = device, 0.0, 0.0

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in (WARM_UP, state.max_steps):
            finish(self.device)
            self.start, self.end = self.end, time.perf_counter()
        control.should_log = control.should_log and state.global_step < state.max_steps


def _bare_step(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, windows: Dataset, conditions: Conditions
) -> Callable[[], None]:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TaggingArguments(output_dir=folder, **_settings(conditions), **_OURS)
        accelerator = Accelerator(mixed_precision=conditions.precision or "no", cpu=conditions.device.type == "cpu")
        config, tagger = model.config, model
        match_memory_format(model, accelerator.device)
        optimizer = make_optimizer(model, tagger, arguments)
        if conditions.compiles:
            model = torch.compile(model)
        model, optimizer = accelerator.prepare(model, optimizer)
    batch = stack([windows[index] for index in range(conditions.batch_size)])
    labels = batch["labels"].to(accelerator.device)
    with torch.no_grad():
        features = input_features(extractor)(batch["input_values"].to(accelerator.device))
    model.train()

    def step() -> None:
        with accelerator.autocast():
            loss = training_loss(model(**features), labels, config)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step
