"""How much memory a training step needs at its peak, by what is trained of the model."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from dataclasses import dataclass

import torch

from .arguments import ModelArguments
from .models import MODELS
from .training.precision import mixed_precision
from .training.trained_part import choose_trained_part

_GIBIBYTE = 2**30
_STEPS = 2  # the second one has the optimizer's state
_LABELS = 50

PUBLISHED = {
    "MERT-v1-95M": ("mert_model", {}),
    "MERT-v1-330M": (
        "mert_model",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "do_stable_layer_norm": True,
            "attention_relax": 32.0,
        },
    ),
    "MusicFM": ("musicfm", {}),
}
"""Published sizes: model type and what differs from its defaults. Their configurations lie beside the weights:
https://huggingface.co/m-a-p/MERT-v1-95M, https://huggingface.co/m-a-p/MERT-v1-330M,
https://huggingface.co/minzwon/MusicFM."""

WAYS = {
    "all weights": {},
    "all weights, checkpointing": {"checkpointing": True},
    "LoRA": {"lora": {"rank": 8}},
    "LoRA, checkpointing": {"lora": {"rank": 8}, "checkpointing": True},
    "head alone": {"freeze": "encoder"},
}
"""What is trained, and whether activations are computed again in the backward pass instead of kept."""


@dataclass(frozen=True)
class Memory:
    """Memory of a training step.

    Attributes:
        trainable: Number of weights that are trained.
        model_gib: Memory of the model before the first step, in GiB.
        peak_gib: Highest memory during the steps, in GiB: of the process on a CPU, of PyTorch's tensors on a GPU.
    """

    trainable: int
    model_gib: float
    peak_gib: float


def measure_training_memory(
    size: str, way: str, batch_size: int, window_seconds: float, precision: str | None = None, device: str = "cpu"
) -> Memory:
    """Trains a model with random weights for two steps on noise, in a process of its own.

    Args:
        size: One of :data:`PUBLISHED`.
        way: One of :data:`WAYS`.
        batch_size: Windows of a step.
        window_seconds: Their length.
        precision: Mixed precision, ``fp16`` or ``bf16``; None for float32.
        device: Where to train.

    Raises:
        RuntimeError: If the process was ended, as it is for want of memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(sender, size, way, batch_size, window_seconds, precision, device))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"{size}, {way}: the process ended without a result; is there enough memory?") from None
    finally:
        process.join()


def _train(sender, size, way, batch_size, window_seconds, precision, device) -> None:
    torch.manual_seed(0)
    model_type, changes = PUBLISHED[size]
    options = dict(WAYS[way])
    config = MODELS[model_type].config_class(**changes, num_labels=_LABELS, problem_type="multi_label_classification")
    model = MODELS[model_type](config).to(device)
    checkpointing = options.pop("checkpointing", False)
    trained, frozen = choose_trained_part(model, ModelArguments(model_name_or_path=size, **options))
    if checkpointing:
        trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained.train()
    for module in frozen:
        module.eval()
    parameters = [value for value in trained.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    windows = 0.1 * torch.randn(batch_size, round(window_seconds * config.sampling_rate), device=device)
    labels = torch.zeros(batch_size, _LABELS, device=device)
    before = _now(device)
    for _ in range(_STEPS):
        with mixed_precision(device, precision):
            loss = trained(windows, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    sender.send(Memory(sum(value.numel() for value in parameters), before / _GIBIBYTE, _peak(device) / _GIBIBYTE))
    sender.close()


def _now(device: str) -> float:
    return torch.cuda.memory_allocated() if device == "cuda" else _peak(device)


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kilobytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
