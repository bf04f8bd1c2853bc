"""A training step asks nothing of the device: whoever asks waits until the device has done all that was launched.

Steps are computed on PyTorch's "meta" device, whose tensors have no values: there is nothing that could be asked, and a
copy from or to the CPU shows as what it is. So the code is seen that runs on a GPU, without a GPU.
"""

import contextlib
import sys
import traceback
from pathlib import Path

import pytest
import torch
from small_models import SMALL
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_trainer import WINDOW, ramp_clips, tiny_model, trainer_of

from hf_tagger import TaggingArguments, WaveformFeatureExtractor
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.models import MODELS
from hf_tagger.training.augment import Augmentation
from hf_tagger.training.progress import LossScale
from hf_tagger.training.weight_average import WeightAverage
from hf_tagger.training.window_loss import WindowLoss

META = torch.device("meta")
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
EVERYTHING = {
    name: {"probability": 0.5}
    for name in ("speed", "time_shift", "polarity", "low_pass", "high_pass", "gain", "noise", "spec_augment")
} | {"mixup": {}, "cutmix": {}}
LOSSES = [
    {"name": name, "class_weights": weights} for name in ("cross_entropy", "focal") for weights in ("none", "balanced")
]
# Operations whose result, or the size of whose result, depends on values.
QUESTIONS = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim",
    "unique_consecutive", "bincount",
}  # fmt: skip
# Transformers' HuBERT and Wav2Vec2 mask frames in training by a mask that NumPy draws, and an assignment to what it
# selects, which has to be counted first: they wait once a forward pass, and are seen here without it.
WITHOUT_MASKS = {"mask_time_prob": 0.0}


class Operations(TorchDispatchMode):
    """Notes questions to a device, and copies between it and the CPU."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        waits = name in QUESTIONS and any(tensor.device == META for tensor in tensors)
        if name in ("index", "index_put", "index_put_"):
            chosen = [value for value in tree_leaves(args[1]) if value is not None]
            # One value for all that is selected is filled in without counting what is.
            fills = name != "index" and args[2].numel() == 1
            waits |= not fills and any(value.dtype in (torch.bool, torch.uint8) for value in chosen)
        if name in ("_to_copy", "copy_"):
            devices = {tensor.device.type for tensor in tensors}
            devices.add(torch.device((kwargs or {}).get("device") or tensors[0].device).type)
            waits |= len(devices) > 1
        if waits:
            self.found.append(f"{name} in {_caller()}")
        return func(*args, **(kwargs or {}))


class Constants(TorchFunctionMode):
    """Notes tensors that are made of Python's numbers on a device, which copies them there."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor) and result.device == META:
            self.found.append(f"{func.__name__} in {_caller()}")
        return result


@contextlib.contextmanager
def waiting():
    """What would make a GPU wait within it."""
    found = []
    with Operations(found), Constants(found):
        yield found


def _caller():
    own = {"_caller", "__torch_dispatch__", "__torch_function__"}
    stack = traceback.extract_stack()
    frame = [frame for frame in stack if "/torch/" not in frame.filename and frame.name not in own][-1]
    return f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})"


class MetaGenerator(torch.Generator):
    """PyTorch makes no generators for "meta", where nothing is drawn."""

    device = META


@pytest.fixture(autouse=True)
def on_meta(monkeypatch):
    """Lets code for any device run on "meta", which knows neither autocast nor generators."""
    autocast, is_enabled = torch.autocast, torch.is_autocast_enabled
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda device_type, *args, **kwargs: (
            contextlib.nullcontext() if device_type == "meta" else autocast(device_type, *args, **kwargs)
        ),
    )
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != "meta" and is_enabled(kind))
    monkeypatch.setattr(Augmentation, "_generator", lambda *args: MetaGenerator())


def step_of(tmp_path, model, extractor, labels=None, **options):
    """What the second training step of a model asks; the first one may bring constants to the device."""
    settings = {"use_cpu": True, "report_to": "none"} | options
    arguments = TaggingArguments(output_dir=str(tmp_path), **settings)
    multi_label = model.config.problem_type == MULTI
    clips = ramp_clips([30_000] * 4, labels=[[0], [1, 2], [], [0, 2]] if multi_label else [0, 1, 2, 0])
    window_loss = WindowLoss(model, extractor, arguments, clips)
    model.train().to(META)
    window_loss.labels_loss.to(META)
    labels = torch.empty(4, 3) if multi_label else torch.empty(4, dtype=torch.int64)
    batch = {"input_values": torch.empty(4, extractor.window_samples, device=META), "labels": labels.to(META)}
    for step in range(2):
        window_loss.begin_step(step)
        with waiting() as found:
            loss, _ = window_loss(model, batch)
            loss.backward()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad and value.numel() > 1)
    return found


def build(name, settings):
    model_class = MODELS[name]
    config = model_class.config_class(**settings, num_labels=3, problem_type=MULTI)
    extractor = WaveformFeatureExtractor(config.sampling_rate, config.window_samples, config.hop_samples)
    return model_class(config), extractor


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, variants in SMALL.items() for number in range(len(variants))]
)
def test_a_step_of_any_model_asks_nothing_of_the_device(tmp_path, name, number):
    settings = SMALL[name][number]
    if name == "mert_model":
        settings = settings | WITHOUT_MASKS
    elif settings.get("encoder", {}).get("model_type") == "wav2vec2":
        settings = settings | {"encoder": settings["encoder"] | WITHOUT_MASKS}
    assert step_of(tmp_path, *build(name, settings)) == []


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
@pytest.mark.parametrize("loss", [*LOSSES, {"name": "asymmetric"}], ids=str)
@pytest.mark.parametrize("augmentation", [None, {"mixup": {}}, {"cutmix": {}}], ids=str)
def test_no_loss_asks_anything_with_hard_labels_or_soft_ones(tmp_path, problem_type, loss, augmentation):
    if loss["name"] == "asymmetric" and problem_type == SINGLE:
        pytest.skip("an asymmetric loss is for any number of labels")
    model, extractor = tiny_model(problem_type, 3)
    options = {"loss": loss, "augmentation": augmentation, "label_smoothing_factor": 0.1}
    assert step_of(tmp_path, model, extractor, **options) == []


@pytest.mark.parametrize("name", [*EVERYTHING, None])
def test_no_augmentation_asks_anything(tmp_path, name):
    model, extractor = tiny_model(MULTI, 3)
    augmentation = EVERYTHING if name is None else {name: EVERYTHING[name]}
    assert step_of(tmp_path, model, extractor, augmentation=augmentation) == []


def test_a_stock_model_with_features_of_ours_asks_nothing(tmp_path):
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_length=100,
        num_labels=3, problem_type=MULTI,
    )  # fmt: skip
    extractor = ASTFeatureExtractor(max_length=100)
    extractor.window_samples = 16_240
    assert step_of(tmp_path, ASTForAudioClassification(config), extractor, augmentation={"spec_augment": {}}) == []


@pytest.mark.parametrize(
    "question",
    [
        lambda values: values.sum().item(),
        lambda values: values[values > 0],
        lambda values: bool((values > 0).any()),
        lambda values: values.cpu(),
        lambda values: torch.ones(3).to(values.device),
        lambda values: torch.tensor([1.0, 2.0], device=values.device),
        lambda values: (values > 0).nonzero(),
    ],
)
def test_questions_and_copies_are_seen(question):
    with waiting() as found, contextlib.suppress(NotImplementedError, RuntimeError):
        question(torch.ones(3, device=META))
    assert len(found) == 1
    assert "<lambda> (test_no_waiting.py:" in found[0]


def test_the_average_of_the_weights_asks_nothing():
    model, _ = tiny_model()
    average = WeightAverage(model.to(META), 0.9)
    with waiting() as found:
        average.update(1)
        average.swap()
    assert found == []


class Questions(TorchDispatchMode):
    """Counts the values that are asked for, on the CPU; those in shared memory are not on the way to a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select"):
            self.count += not args[0].is_shared()
        return func(*args, **(kwargs or {}))


def questions_of_a_run(folder, steps, scaler=None, **options):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000, 30_000, 5_000, 6_000, 7_000, 8_000])
    trainer = trainer_of(
        model, extractor, folder, train_dataset=TrainingWindows(clips, WINDOW, crops_per_clip=16), max_steps=steps,
        per_device_train_batch_size=4, logging_strategy="no", save_strategy="no", load_best_model_at_end=False,
        eval_strategy="no", ema_decay=0.9, augmentation={"gain": {"probability": 0.5}}, **options,
    )  # fmt: skip
    trainer.accelerator.scaler = scaler
    with Questions() as questions:
        trainer.train()
    assert trainer.state.global_step == steps
    return questions.count


def test_the_trainer_asks_no_more_in_a_long_run_than_in_a_short_one(tmp_path):
    few, many = (questions_of_a_run(tmp_path, steps) for steps in (3, 13))
    assert few == many


def test_with_a_scaled_loss_the_trainer_asks_no_more_either(tmp_path):
    few, many = (
        questions_of_a_run(tmp_path, steps, torch.amp.GradScaler("cpu"), max_grad_norm=0.0) for steps in (3, 13)
    )
    assert few == many


def test_overflows_are_counted_with_their_steps_when_they_are_asked_for(caplog):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    watch = LossScale()
    watch.begin(scaler)
    for step in range(1, 251):
        scaler.scale(weight.sum()).backward()
        if step in (2, 100, 101, 250):
            weight.grad[0] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        watch.note(step)
        if step == 101:
            assert watch.overflowed_steps == 2  # the last hundred was asked for by itself
    assert watch.overflowed_steps == 3
    assert watch.read() == scaler.get_scale()
    assert watch.overflowed_steps == 4
    told = [record.getMessage() for record in caplog.records if "was skipped" in record.getMessage()]
    assert [int(message.split()[1]) for message in told] == [2, 100, 101, 250]
    assert told[0].endswith("the loss scale is now 512.")
