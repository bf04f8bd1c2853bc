"""A recipe's augmentation: its mistakes, all at once, and the mapping that it becomes again."""

from dataclasses import asdict, fields, replace

import pytest

from hf_tagger.argument_checks import from_mapping
from hf_tagger.augmentation_arguments import AugmentationArguments
from hf_tagger.errors import RecipeError
from hf_tagger.training.augment import Augmentation


def parsed(mapping):
    arguments, problems = from_mapping(AugmentationArguments, mapping, "augmentation")
    assert problems == []
    return arguments


def test_a_recipe_gives_all_of_its_mistakes_at_once():
    _, problems = from_mapping(
        AugmentationArguments,
        {
            "gain": {"probability": 3, "decibels": [3, -3]},
            "noise": {"snr_decibels": "loud"},
            "nois": {},
            "polarity": True,
            "speed": {"factor": [1, 1]},
            "time_shift": {"seconds": [1]},
            "mixup": {"alpha": 0},
            "spec_augment": {"time_masks": 1.5},
        },
        "augmentation",
    )
    starts = [
        "augmentation.gain.probability: 3 is out of range; it must be at least 0 and at most 1",
        "augmentation.gain.decibels: [3, -3] is no interval; [lowest, highest] is expected, both from -80 to 80",
        "augmentation.noise.snr_decibels: 'loud' is not of type list of numbers",
        "augmentation.nois: 'nois' is not known; did you mean 'noise'?",
        "augmentation.polarity: a mapping {name: value} is expected, received True",
        "augmentation.speed.factor: 'factor' is not known; did you mean 'factors'?",
        "augmentation.time_shift.seconds: [1] is no interval",
        "augmentation.mixup.alpha: 0 is out of range; it must be more than 0",
        "augmentation.spec_augment.time_masks: 1.5 is not of type whole number",
    ]
    assert len(problems) == len(starts)
    for problem, start in zip(problems, starts, strict=True):
        assert problem.startswith(start)


def test_arguments_become_a_mapping_that_parses_again():
    arguments = parsed({"gain": {"decibels": [-1, 2.5]}, "mixup": {}, "polarity": None})
    assert parsed(asdict(arguments)) == arguments
    assert list(arguments.active()) == ["gain", "mixup"]
    assert replace(arguments, gain=None) != arguments
    assert parsed({}).active() == {}


@pytest.mark.parametrize("name", [entry.name for entry in fields(AugmentationArguments)])
def test_an_empty_mapping_takes_defaults_that_are_possible_at_16_kilohertz(name):
    arguments = parsed({name: {}})
    assert list(arguments.active()) == [name]
    assert 0 < getattr(arguments, name).probability <= 1
    assert arguments.problems_at(16_000) == []


def test_a_filter_above_half_the_models_rate_is_refused():
    arguments = parsed({"low_pass": {}, "high_pass": {"hertz": [100, 4_000]}})
    assert arguments.problems_at(16_000) == []
    with pytest.raises(RecipeError) as caught:
        Augmentation(arguments, 8_000, "single_label_classification", 4)
    assert caught.value.problems == [
        "augmentation.low_pass.hertz: 7500 Hz is too high; it must be below half the model's sampling rate, 4000 Hz",
        "augmentation.high_pass.hertz: 4000 Hz is too high; it must be below half the model's sampling rate, 4000 Hz",
    ]
