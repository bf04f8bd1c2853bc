import copy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_trainer import WINDOW, ramp_clips, tiny_model, trainer_of
from transformers import TrainerCallback

from hf_tagger import RecipeError, TaggingArguments, parse_recipe
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.errors import HfTaggerError
from hf_tagger.optimizer_arguments import OptimizerPhase
from hf_tagger.recipe import resolved_recipe
from hf_tagger.recipe_values import write_recipe
from hf_tagger.training.optimizer_phases import PhasedOptimizer, phase_schedule

ADAM = {"epochs": 2, "optimizer": "adam", "learning_rate": 1e-2, "weight_decay": 1e-3}
SGD = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-3, "momentum": 0.9, "nesterov": True}
FIELDS = {"num_train_epochs": 4, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
PHASES = [ADAM, SGD, {**SGD, "learning_rate": 1e-4}]


def weights(value=1.0):
    return nn.Parameter(torch.full((3,), value))


def follow(optimizer, values, gradients):
    for gradient in gradients:
        for value in values:
            value.grad = torch.full((3,), gradient)
        optimizer.step()


def test_every_phase_steps_as_pytorchs_own_optimizer_does():
    kept, bare = weights(), weights()
    groups = [{"params": [kept], "lr": 1e-2, "weight_decay": 1e-3}, {"params": [bare], "lr": 5e-3, "weight_decay": 0.0}]
    last = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-3}
    phased = PhasedOptimizer(groups, [OptimizerPhase(**phase) for phase in (*PHASES, last)])
    follow(phased, [kept, bare], [0.5, -0.25, 2.0])
    expected = [weights(), weights()]
    adam = torch.optim.Adam(
        [{"params": [expected[0]], "lr": 1e-2, "weight_decay": 1e-3}, {"params": [expected[1]], "lr": 5e-3}]
    )
    follow(adam, expected, [0.5, -0.25, 2.0])
    torch.testing.assert_close([kept.data, bare.data], [value.data for value in expected], rtol=0, atol=0)

    phased.enter(1)
    assert [group["lr"] for group in phased.param_groups] == pytest.approx([1e-3, 5e-4])
    follow(phased, [kept, bare], [1.0, 1.0])
    phased.enter(2)  # the same optimizer goes on, with its momentum
    follow(phased, [kept, bare], [1.0])
    phased.enter(3)  # by default without any
    follow(phased, [kept, bare], [1.0])
    sgd = torch.optim.SGD(
        [{"params": [expected[0]], "lr": 1e-3}, {"params": [expected[1]], "lr": 5e-4}], momentum=0.9, nesterov=True
    )
    follow(sgd, expected, [1.0, 1.0])
    for group, rate in zip(sgd.param_groups, (1e-4, 5e-5), strict=True):
        group["lr"] = rate
    follow(sgd, expected, [1.0])
    bare_sgd = torch.optim.SGD([{"params": expected[:1], "lr": 1e-3}, {"params": expected[1:], "lr": 5e-4}])
    follow(bare_sgd, expected, [1.0])
    torch.testing.assert_close([kept.data, bare.data], [value.data for value in expected], rtol=0, atol=0)


def test_a_saved_state_goes_on_in_its_phase_with_its_momentum():
    def begin(value):
        return PhasedOptimizer(
            [{"params": [value], "lr": 1e-2, "weight_decay": 1e-3}], [OptimizerPhase(**phase) for phase in PHASES]
        )

    undisturbed, value = weights(), weights()
    first = begin(undisturbed)
    first.enter(1)
    follow(first, [undisturbed], [1.0, 2.0])
    value.data.copy_(undisturbed.data)
    second = begin(value)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.phase == 1
    assert second.param_groups[0]["lr"] == first._current.param_groups[0]["lr"]
    for optimizer, parameter in ((first, undisturbed), (second, value)):
        follow(optimizer, [parameter], [0.5])
    assert value.equal(undisturbed)


def test_learning_rates_follow_the_phases_and_stay_in_proportion():
    groups = [
        {"params": [weights()], "lr": 1e-2, "weight_decay": 0.0},
        {"params": [weights()], "lr": 1e-1, "weight_decay": 0.0},
    ]
    optimizer = PhasedOptimizer(groups, [OptimizerPhase(**phase) for phase in PHASES])
    schedule = phase_schedule(optimizer)
    seen = []
    for step in range(12):  # three an epoch
        if step in (6, 9):
            optimizer.enter(optimizer.phase + 1)
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [[1e-2, 1e-1]] * 6 + [[1e-3, 1e-2]] * 3 + [[1e-4, 1e-3]] * 3
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected))


class Weights(TrainerCallback):
    """Keeps the first step's weights of every epoch, and what each epoch was scored."""

    def __init__(self, model):
        self.model, self.at_begin, self.phases = model, {}, []

    def on_step_begin(self, args, state, control, optimizer, **kwargs):
        epoch = int(state.epoch)
        self.phases.append(optimizer.optimizer.phase)
        if epoch not in self.at_begin:
            self.at_begin[epoch] = self.model.classifier.weight.detach().clone()


def train(folder, resume=None, epochs=4):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000, 30_000, 5_000, 6_000, 7_000, 8_000])
    trainer = trainer_of(
        model,
        extractor,
        folder,
        train_dataset=TrainingWindows(clips, WINDOW),
        eval_dataset=clips,
        per_device_train_batch_size=4,
        save_total_limit=5,
        metric_for_best_model="loss",
        optimizer_phases=PHASES,
        **FIELDS,
    )
    watch = Weights(model)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, watch, model


def test_a_phase_starts_with_the_best_weights_so_far(tmp_path):
    trainer, watch, _ = train(tmp_path)
    assert watch.phases == [0, 0, 0, 0, 1, 1, 2, 2]
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    for epoch in (2, 3):
        best = min(range(epoch), key=lambda number: losses[number])
        saved = load_file(tmp_path / f"checkpoint-{2 * (best + 1)}" / "model.safetensors")
        assert watch.at_begin[epoch].equal(saved["classifier.weight"])


@pytest.mark.parametrize("step", [4, 6])
def test_a_run_resumed_where_a_phase_begins_equals_an_undisturbed_one(tmp_path, step):
    _, _, expected = train(tmp_path)
    _, watch, resumed = train(tmp_path, resume=str(tmp_path / f"checkpoint-{step}"))
    assert watch.phases == [0, 0, 0, 0, 1, 1, 2, 2][step:]
    assert all(value.equal(resumed.state_dict()[name]) for name, value in expected.state_dict().items())


def test_a_moved_run_goes_on_with_its_best_weights_and_says_if_they_are_gone(tmp_path):
    _, _, expected = train(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    _, _, resumed = train(tmp_path / "there", resume=str(tmp_path / "there" / "checkpoint-4"))
    assert all(value.equal(resumed.state_dict()[name]) for name, value in expected.state_dict().items())
    with pytest.raises(HfTaggerError, match=r"The best checkpoint so far, .* is gone"):
        train(tmp_path / "elsewhere", resume=str(tmp_path / "there" / "checkpoint-4"))


def test_all_mistakes_of_the_phases_come_in_one_message():
    with pytest.raises(RecipeError) as caught:
        TaggingArguments(
            optimizer_phases=[
                {"epochs": 0, "learning_rate": 1e-3},
                {"epochs": 2, "nestrov": True},
                {"epochs": 2, "learning_rate": 1e-3, "optimizer": "adm"},
            ]
        )
    message = str(caught.value)
    for part in (
        "phase 1.epochs: 0 is out of range",
        "phase 2.nestrov: 'nestrov' is not known; did you mean 'nesterov'?",
        "phase 2.learning_rate: a value is needed",
        "phase 3.optimizer: 'adm' is not of type one of adam, adamw, sgd",
    ):
        assert part in message


def test_what_a_phase_states_itself_may_not_stand_elsewhere():
    with pytest.raises(RecipeError) as caught:
        TaggingArguments(
            optimizer_phases=PHASES,
            weight_decay=0.1,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            ema_decay=0.9,
            adam_beta1=0.5,
            eval_delay=3,
        )
    message = str(caught.value)
    for part in (
        "have 4 epochs",
        "first phase, 0.01",
        "weight_decay",
        "lr_scheduler_type",
        "warmup_steps",
        "ema_decay",
        "adam_beta1",
        "eval_delay",
    ):
        assert part in message
    with pytest.raises(RecipeError, match="the list is empty"):
        TaggingArguments(optimizer_phases=[])
    with pytest.raises(RecipeError, match="belongs to sgd, not to adam"):
        TaggingArguments(optimizer_phases=[{**ADAM, "momentum": 0.9}])


def test_phases_come_from_a_recipe_or_a_flag_and_are_written_down_again(tmp_path):
    flags = ["--dataset_name", "synthetic", "--num_train_epochs", "3", "--learning_rate", "1e-4"]
    flags += ["--lr_scheduler_type", "constant", "--optimizer_phases"]
    parsed = parse_recipe([*flags, "[{epochs: 3, learning_rate: 1e-4, optimizer: adam}]"])
    assert parsed[2].optimizer_phases == [OptimizerPhase(epochs=3, learning_rate=1e-4, optimizer="adam")]
    write_recipe(resolved_recipe(*parsed), tmp_path / "again.yaml")
    assert parse_recipe([str(tmp_path / "again.yaml")])[2].optimizer_phases == parsed[2].optimizer_phases
    with pytest.raises(RecipeError, match="a list of mappings"):
        parse_recipe([*flags, "adam"])
