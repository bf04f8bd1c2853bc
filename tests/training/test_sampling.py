import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import test_windows

from hf_tagger.data.windows import TrainingWindows
from hf_tagger.training.sampling import BalancedSampler, window_weights


def windows_of(labels, crops_per_clip=1):
    clips = test_windows.ramp_clips([50] * len(labels), labels)
    return TrainingWindows(clips, window_samples=10, crops_per_clip=crops_per_clip)


def draws(sampler, epochs):
    """The windows of many epochs, one after the other."""
    drawn = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        drawn += list(sampler)
    return np.array(drawn)


def assert_drawn_as_expected(drawn, probabilities):
    """Every count within five standard deviations of the binomial distribution."""
    counts = np.bincount(drawn, minlength=len(probabilities))
    expected = len(drawn) * probabilities
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected * (1 - probabilities))).all()


def test_every_class_is_drawn_equally_often():
    labels = [0] * 90 + [1] * 9 + [2]
    sampler = BalancedSampler(windows_of(labels), seed=3)
    classes = np.array(labels)[draws(sampler, 200)]
    assert len(classes) == 20_000
    assert_drawn_as_expected(classes, np.full(3, 1 / 3))


def test_windows_of_one_class_are_equally_likely():
    sampler = BalancedSampler(windows_of([0] * 6 + [1] * 2))
    np.testing.assert_allclose(sampler.probabilities, [1 / 12] * 6 + [1 / 4] * 2)
    assert_drawn_as_expected(draws(sampler, 1_000), sampler.probabilities)


def test_the_weight_of_a_clip_is_the_sum_of_the_inverse_frequencies_of_its_tags():
    labels = [[0], [0, 1], [0, 1, 2], [0], [1]]  # tags of 4, 3 and 1 clips
    expected = [1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3 + 1, 1 / 4, 1 / 3]
    np.testing.assert_allclose(window_weights(labels), expected)
    sampler = BalancedSampler(windows_of(labels))
    np.testing.assert_allclose(sampler.probabilities, np.array(expected) / 3)  # every tag has a total of 1
    assert_drawn_as_expected(draws(sampler, 2_000), sampler.probabilities)


def test_clips_without_tags_count_as_one_tag_more_but_are_drawn_no_more_than_at_random():
    many = window_weights([[]] * 6 + [[0], [1], [0, 1]])  # 6 of 9 clips have no tag, and each tag has 2
    np.testing.assert_allclose(many / many.sum(), [1 / 18] * 6 + [1 / 6, 1 / 6, 1 / 3])
    few = window_weights([[], [0], [1], [0, 1]])  # 1 of 4 clips: a third would be more than at random
    np.testing.assert_allclose(few / few.sum(), [1 / 4, 3 / 16, 3 / 16, 3 / 8])
    assert_drawn_as_expected(draws(BalancedSampler(windows_of([[], [0], [1], [0, 1]])), 2_000), few / few.sum())


def test_without_any_tag_all_clips_are_equally_likely():
    assert window_weights([[], [], []]).tolist() == [1, 1, 1]


def test_a_tag_that_no_clip_carries_changes_nothing():
    np.testing.assert_allclose(window_weights([[0], [0], [5]]), [1 / 2, 1 / 2, 1])


def test_clips_whose_labels_are_not_known_are_never_drawn():
    dataset = windows_of([0, None, 1, None, 1])
    sampler = BalancedSampler(dataset)
    np.testing.assert_allclose(sampler.probabilities, [1 / 2, 1 / 4, 1 / 4])
    assert {dataset[item]["labels"] for item in draws(sampler, 20)} == {0, 1}


def test_every_crop_of_a_clip_has_its_share_of_the_clip():
    one, three = (BalancedSampler(windows_of([[0], [0, 1], []], crops)) for crops in (1, 3))
    np.testing.assert_allclose(three.probabilities, np.repeat(one.probabilities, 3) / 3)
    assert len(one) == len(list(one)) == 3
    assert len(three) == len(list(three)) == 9


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    dataset = windows_of([0] * 30 + [1] * 10)

    def order(seed, epoch):
        sampler = BalancedSampler(dataset, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    first = order(1, 4)
    assert len(first) == 40
    np.random.default_rng().random(3)
    torch.manual_seed(5)
    torch_state = torch.random.get_rng_state()
    sampler = BalancedSampler(dataset, seed=1)
    draws(sampler, 3)
    sampler.set_epoch(4)
    assert list(sampler) == first
    assert list(sampler) == first
    assert order(1, 5) != first
    assert order(2, 4) != first
    assert torch.equal(torch.random.get_rng_state(), torch_state)


def test_repetitions_are_numbered_so_that_each_is_a_window_of_its_own():
    dataset = windows_of([0] * 20 + [1])
    plain, numbered = BalancedSampler(dataset), BalancedSampler(dataset, number_repeats=True)
    for epoch in range(3):
        plain.set_epoch(epoch)
        numbered.set_epoch(epoch)
        drawn, numbers = plain.draw(), numbered.draw()
        assert (numbers % len(dataset) == drawn).all()
        assert len(set(numbers.tolist())) == len(dataset)
        of_the_rare = numbers[drawn == 20] // len(dataset)
        assert len(of_the_rare) > 3
        assert of_the_rare.tolist() == list(range(len(of_the_rare)))


def prepared(sampler, process, processes):
    """The numbers of the windows in batches of 4, as Accelerate hands them to one of several processes."""
    loader = DataLoader(range(len(sampler)), batch_size=4, sampler=sampler)
    return prepare_data_loader(loader, num_processes=processes, process_index=process, put_on_device=False)


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_share_the_batches_of_one_order(processes):
    dataset = windows_of([0] * 30 + [1] * 10)
    alone = BalancedSampler(dataset, seed=7)
    alone.set_epoch(3)
    batches = np.array(list(alone)).reshape(10, 4).tolist()
    for process in range(processes):
        loader = prepared(BalancedSampler(dataset, seed=7), process, processes)
        loader.set_epoch(3)
        assert [batch.tolist() for batch in loader] == batches[process::processes]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_epoch_resumed_in_its_middle_goes_on_with_the_windows_that_are_left(processes):
    dataset = windows_of([0] * 30 + [1] * 10)
    sampler = BalancedSampler(dataset, seed=7)
    loader = prepared(sampler, 0, processes)
    loader.set_epoch(2)
    whole = [batch.tolist() for batch in loader]
    resumed = BalancedSampler(dataset, seed=7)
    rest = skip_first_batches(prepared(resumed, 0, processes), 3)
    rest.set_epoch(2)
    resumed.set_epoch(2)  # by the trainer's callback: with several processes Accelerate does not reach it here
    assert [batch.tolist() for batch in rest] == whole[3:]
