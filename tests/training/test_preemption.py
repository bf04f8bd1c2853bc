"""A run that is asked to stop saves a whole checkpoint, claims nothing, and goes on as if nothing had happened."""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_trainer import TINY, WINDOW, ramp_clips, trainer_of

from hf_tagger import WaveformFeatureExtractor, command_line
from hf_tagger.data.windows import TrainingWindows
from hf_tagger.errors import HfTaggerError, Interrupted
from hf_tagger.models.configuration_short_cnn import ShortCnnConfig
from hf_tagger.models.modeling_short_cnn import ShortCnnForAudioClassification
from hf_tagger.training.preemption import STOP_SIGNALS, StopSignal
from hf_tagger.training.run_folder import last_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
STEPS_PER_EPOCH, EPOCHS = 3, 3
LAST = STEPS_PER_EPOCH * EPOCHS
IN_STEPS = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2, "save_total_limit": 9}


class SignalIn(TrainerCallback):
    """Lets a signal come while a step is computed, and notes after which steps checkpoints are saved."""

    def __init__(self, step, number):
        self.step, self.number, self.saved = step, number, []

    def on_save(self, args, state, control, **kwargs):
        self.saved.append(state.global_step)

    def on_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            signal.raise_signal(self.number)


def make_trainer(folder, **options):
    torch.manual_seed(0)
    config = ShortCnnConfig(
        **TINY, problem_type="single_label_classification", num_labels=2, classifier_dropout=0.3
    )  # dropout: the state of the random numbers matters
    extractor = WaveformFeatureExtractor(16_000, WINDOW, WINDOW // 2)
    settings = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": 4, "disable_tqdm": True}
    return trainer_of(
        ShortCnnForAudioClassification(config),
        extractor,
        folder,
        train_dataset=TrainingWindows(ramp_clips([9_000] * 12), WINDOW),
        eval_dataset=ramp_clips([4_000, 7_000, 9_000, 5_000]),
        **(settings | options),
    )


def interrupt(folder, step, number=signal.SIGUSR1, **options):
    trainer = make_trainer(folder, **options)
    trainer.add_callback(callback := SignalIn(step, number))
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    assert len(callback.saved) == len(set(callback.saved))  # a kill while one is overwritten would damage it
    return trainer, str(caught.value)


def finish(folder, resume=None, **options):
    trainer = make_trainer(folder, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def assert_the_same(resumed, undisturbed):
    expected, found = undisturbed.model.state_dict(), resumed.model.state_dict()
    assert all(expected[name].equal(found[name]) for name in expected)
    evaluations = [
        [
            {name: value for name, value in entry.items() if not name.endswith(("runtime", "_per_second"))}
            for entry in trainer.state.log_history
            if "eval_loss" in entry
        ]
        for trainer in (resumed, undisturbed)
    ]
    assert evaluations[0] == evaluations[1]
    assert evaluations[0]
    assert resumed.state.best_metric == undisturbed.state.best_metric
    assert resumed.state.best_global_step == undisturbed.state.best_global_step


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("step", [1, 5, 6], ids=["first", "within an epoch", "end of an epoch"])
def test_the_step_is_finished_and_the_resumed_run_ends_like_an_undisturbed_one(tmp_path, step, number):
    trainer, message = interrupt(tmp_path / "stopped", step, number)
    assert trainer.state.global_step == step
    checkpoint = last_checkpoint(tmp_path / "stopped")
    assert Path(checkpoint).name == f"checkpoint-{step}"
    for part in (number.name, f"step {step} of {LAST}", checkpoint, "--resume_from_checkpoint"):
        assert part in message
    resumed = finish(tmp_path / "stopped", checkpoint)
    assert_the_same(resumed, finish(tmp_path / "undisturbed"))


@pytest.mark.parametrize("step", [4, 5, 6], ids=["evaluation due", "none due", "also the end of an epoch"])
def test_an_evaluation_that_is_due_is_done_before_the_stop_and_no_other(tmp_path, step):
    trainer, _ = interrupt(tmp_path / "stopped", step, **IN_STEPS)
    evaluated = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert evaluated == list(range(2, step + 1, 2))
    assert trainer.state.global_step == step
    resumed = finish(tmp_path / "stopped", last_checkpoint(tmp_path / "stopped"), **IN_STEPS)
    assert_the_same(resumed, finish(tmp_path / "undisturbed", **IN_STEPS))


def test_a_run_whose_epochs_have_one_step_stops_too(tmp_path):
    trainer, _ = interrupt(tmp_path, 2, per_device_train_batch_size=12)
    assert trainer.state.global_step == 2
    assert last_checkpoint(tmp_path).endswith("checkpoint-2")


@pytest.mark.parametrize("strategy", ["no", "best"])
def test_a_run_that_saves_nothing_or_only_the_best_saves_when_it_is_stopped(tmp_path, strategy):
    options = {"save_strategy": strategy, "load_best_model_at_end": strategy == "best"}
    interrupt(tmp_path, 5, **options)
    assert last_checkpoint(tmp_path).endswith("checkpoint-5")


def test_the_checkpoint_stays_beside_the_best_one_where_only_one_is_kept(tmp_path):
    """transformers deletes all but the best at the end of training; the stop is not that end."""
    options = {"save_total_limit": 1, "learning_rate": 1e-12}  # the first evaluation stays the best
    interrupt(tmp_path, 5, **options)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-5"]


def test_the_loss_of_the_steps_before_the_stop_is_logged(tmp_path):
    interrupt(tmp_path, 5)
    resumed = finish(tmp_path, last_checkpoint(tmp_path))
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [3, 5, 6, 9]


def test_nothing_of_a_finished_run_is_written(tmp_path):
    interrupt(tmp_path, 5)
    assert all(path.name.startswith("checkpoint-") for path in tmp_path.iterdir())


def test_a_signal_in_the_last_step_stops_the_run_before_its_evaluation(tmp_path):
    trainer, message = interrupt(tmp_path / "stopped", LAST)
    assert trainer.state.global_step == LAST
    assert "when training was over" in message
    resumed = finish(tmp_path / "stopped", last_checkpoint(tmp_path / "stopped"))
    assert_the_same(resumed, finish(tmp_path / "undisturbed"))


def test_signals_have_their_usual_effect_before_and_after_training(tmp_path):
    def handlers():
        return [signal.getsignal(number) for number in STOP_SIGNALS]

    usual = handlers()
    trainer = make_trainer(tmp_path / "a")
    assert handlers() == usual
    trainer.train()
    assert handlers() == usual
    interrupt(tmp_path / "b", 2)
    assert handlers() == usual


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_signals_have_their_usual_effect_after_a_training_that_failed(tmp_path, error):
    class Failing(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            assert all(signal.getsignal(number) != usual[number] for number in STOP_SIGNALS)
            raise error("in the middle")

    usual = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    trainer = make_trainer(tmp_path)
    trainer.add_callback(Failing())
    with pytest.raises(error, match="in the middle"):
        trainer.train()
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == usual


def test_a_process_stops_for_a_signal_that_only_another_one_received(monkeypatch):
    """What the other one answers is made up here; tests/scripts/test_two_processes.py has two real ones."""
    seen = []

    def all_reduce(tensor, op):
        seen.append((int(tensor), op))
        tensor.fill_(max(int(tensor), signal.SIGUSR1))

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    asked = StopSignal()
    assert asked.agreed(torch.device("cpu"), world_size=1) == 0
    assert seen == []  # one process asks nobody
    assert asked.agreed(torch.device("cpu"), world_size=2) == signal.SIGUSR1
    assert seen == [(0, torch.distributed.ReduceOp.MAX)]


def test_in_a_thread_training_leaves_signals_alone():
    usual = signal.getsignal(signal.SIGTERM)
    asked = StopSignal()
    thread = threading.Thread(target=asked.listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == usual
    asked.close()
    assert signal.getsignal(signal.SIGTERM) == usual


def _note_the_group(queue):
    queue.put((os.getpid(), os.getpgrp()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_that_load_data_are_out_of_the_reach_of_a_signal_to_the_group():
    def child():
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=_note_the_group, args=(queue,))
        process.start()
        process.join()
        return queue.get()

    asked = StopSignal()
    asked.listen()
    try:
        pid, group = child()
        assert group == pid
    finally:
        asked.close()
    pid, group = child()
    assert group == os.getpgrp()


def test_the_exit_status_says_that_a_run_can_go_on(capsys, monkeypatch):
    def ends(error):
        def main(argv):
            raise error

        with pytest.raises(SystemExit) as ended:
            command_line.run_script(main)
        return ended.value.code

    monkeypatch.setattr(command_line, "logging", MagicMock())  # levels are the process's, and other tests read logs
    monkeypatch.setattr(command_line, "keep_freed_memory", lambda: None)
    assert ends(Interrupted("stopped after step 5")) == 75
    assert capsys.readouterr().err == "interrupted: stopped after step 5\n"
    assert ends(HfTaggerError("no such file")) == 2
    monkeypatch.setenv("RANK", "1")
    assert ends(Interrupted("stopped after step 5")) == 75
    assert capsys.readouterr().err.count("interrupted") == 0  # one process says it
