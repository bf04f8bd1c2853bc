"""fp16's overflows are told, bfloat16 trains, and a compiled model is the same model."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_trainer import WINDOW, ramp_clips, tiny_model, trainer_of

from hf_tagger.data.windows import TrainingWindows

AUGMENTATION = {"gain": {"probability": 0.5}, "spec_augment": {"time_width": 4, "frequency_width": 4}, "mixup": {}}


def make_trainer(folder, **options):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000, 30_000, 5_000, 6_000, 7_000, 8_000])
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "logging_strategy": "steps"}
    return model, trainer_of(
        model,
        extractor,
        folder,
        train_dataset=TrainingWindows(clips, WINDOW),
        eval_dataset=clips,
        **(settings | {"logging_steps": 1} | options),
    )


class Overflow(TrainerCallback):
    """Makes the gradients of one step infinite, and keeps the weights before and after it."""

    def __init__(self, model, step):
        self.model, self.step, self.kept = model, step, []

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.kept.append(self.model.classifier.weight.detach().clone())

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.model.classifier.weight.grad[0, 0] = torch.inf

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in (self.step + 1, self.step + 2):
            self.kept.append(self.model.classifier.weight.detach().clone())


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_torch"])
def test_an_overflow_is_logged_with_the_loss_scale_and_the_step_is_skipped(tmp_path, caplog, optim):
    model, trainer = make_trainer(tmp_path, max_grad_norm=0, optim=optim)
    # PyTorch's own gradient scaler; accelerate makes one for fp16 only where there is a GPU.
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    overflow = Overflow(model, step=2)
    trainer.add_callback(overflow)
    with caplog.at_level(logging.WARNING, "hf_tagger"):
        trainer.train()
    before, after, later = overflow.kept
    assert before.equal(after)
    assert not later.equal(after)
    assert "Step 3 was skipped: gradients overflowed in fp16; the loss scale is now 512." in caplog.text
    logged = [entry for entry in trainer.state.log_history if "loss_scale" in entry]
    assert [entry["overflowed_steps"] for entry in logged] == [0, 0, 1, 1, 1, 1]
    assert [entry["loss_scale"] for entry in logged] == [1024.0] * 2 + [512.0] * 4


def test_bf16_trains_float32_weights_close_to_float32(tmp_path):
    losses = {}
    for bf16 in (False, True):
        model, trainer = make_trainer(tmp_path / str(bf16), bf16=bf16)
        trainer.train()
        losses[bf16] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert all(value.dtype == torch.float32 for value in model.parameters())
    assert losses[True] != losses[False]
    np.testing.assert_allclose(losses[True], losses[False], rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_model_has_the_losses_and_the_weights_of_the_model(tmp_path, monkeypatch, backend):
    if backend == "inductor":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            pytest.skip("PyTorch's compiler needs a C++ compiler on a CPU")
    torch._dynamo.utils.counters.clear()
    losses, weights = [], []
    for compiled in (False, True):
        if compiled:  # transformers asks for compilation in the environment
            for name in ("BACKEND", "MODE"):
                monkeypatch.setenv(f"ACCELERATE_DYNAMO_{name}", "")  # so that it is taken back
                monkeypatch.delenv(f"ACCELERATE_DYNAMO_{name}")
        options = {"torch_compile": True, "torch_compile_backend": backend} if compiled else {}
        _, trainer = make_trainer(tmp_path / str(compiled), augmentation=AUGMENTATION, ema_decay=0.5, **options)
        trainer.train()
        trainer.save_model()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        weights.append(load_file(tmp_path / str(compiled) / "model.safetensors"))
        assert (torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0) is compiled
    torch._dynamo.reset()
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3)
