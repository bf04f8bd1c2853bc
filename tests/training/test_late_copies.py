"""The device is one batch ahead of what is fetched from it, and no number changes by that."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_trainer import WINDOW, ramp_clips, tiny_model, trainer_of

from hf_tagger.data.windows import EvaluationWindows
from hf_tagger.training.late_copies import copied_late


def test_a_result_is_handed_on_when_the_next_one_was_launched():
    launched = []

    def compute():
        for number in range(4):
            launched.append(number)
            yield number, torch.full((2,), float(number))

    seen = []
    for number, values in copied_late(compute()):
        seen.append((number, values.tolist(), len(launched)))
    assert seen == [(0, [0.0] * 2, 2), (1, [1.0] * 2, 3), (2, [2.0] * 2, 4), (3, [3.0] * 2, 4)]
    assert list(copied_late(iter([]))) == []


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
@pytest.mark.parametrize("workers", [0, 2])
def test_clips_have_the_probabilities_of_batches_fetched_at_once(tmp_path, problem_type, workers):
    single = problem_type.startswith("single")
    model, extractor = tiny_model(problem_type, 2 if single else 3)
    labels = [0, 1, 0, 1] if single else [[0], [1, 2], [], [0]]
    clips = ramp_clips([10_000, 700, 4_000, 30_000], labels)
    output = trainer_of(model, extractor, tmp_path, dataloader_num_workers=workers).predict(clips)
    windows = EvaluationWindows(clips, WINDOW, WINDOW // 2)
    sums = torch.zeros(4, 2 if single else 3, dtype=torch.float64)
    model.eval()
    for first in range(0, len(windows), 3):
        items = [windows[item] for item in range(first, min(first + 3, len(windows)))]
        with torch.no_grad():
            logits = model(torch.stack([item["input_values"] for item in items])).logits.float().double()
        probabilities = logits.softmax(dim=-1) if single else logits.sigmoid()
        sums.index_add_(0, torch.tensor([item["clip_index"] for item in items]), probabilities)
    expected = sums.numpy() / np.bincount(windows.clip_indices)[:, None]
    assert output.predictions.tobytes() == expected.tobytes()


def test_evaluation_is_told_of_every_batch(tmp_path):
    model, extractor = tiny_model()
    clips = ramp_clips([10_000, 700, 4_000])
    trainer = trainer_of(model, extractor, tmp_path)
    loader, told = trainer.get_eval_dataloader(clips), []
    trainer.evaluation.run(trainer.model, loader, lambda: told.append(1))
    assert len(told) == len(loader) > 2


@pytest.mark.parametrize("kept", [False, True])
def test_workers_of_the_evaluation_live_on_if_the_recipe_says_so(tmp_path, kept):
    model, extractor = tiny_model()
    clips, others = ramp_clips([10_000, 700, 4_000, 30_000]), ramp_clips([5_000, 9_000])
    options = {"dataloader_num_workers": 1, "dataloader_persistent_workers": kept}
    trainer = trainer_of(model, extractor, tmp_path, **options)
    loaders = [trainer.get_eval_dataloader(clips) for _ in range(2)]
    assert (loaders[0] is loaders[1]) is kept
    assert trainer.get_eval_dataloader(others).dataset.clips is others
    first, second = (trainer.predict(clips).predictions for _ in range(2))
    assert first.tobytes() == second.tobytes()
