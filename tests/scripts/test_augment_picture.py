"""The picture of a recipe's augmentation: its panels, its titles, and what it says without one."""

import numpy as np
import pytest
import torch
from fake_datasets import write_tone
from PIL import Image
from script_runner import load_script

from hf_tagger.argument_checks import from_mapping
from hf_tagger.augmentation_arguments import AugmentationArguments
from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.augmentation_plot import augmentation_figure, augmentation_panels

RATE = 16_000


def panels(seed=0, **mapping):
    arguments, problems = from_mapping(AugmentationArguments, mapping, "augmentation")
    assert problems == []
    generator = torch.Generator().manual_seed(0)
    window, other = 0.1 * torch.randn(2, RATE, generator=generator)
    return augmentation_panels(arguments, window, other, RATE, seed)


def test_there_is_a_panel_before_one_for_each_augmentation_and_one_for_all():
    drawn = panels(gain={"probability": 0, "decibels": [6, 6]}, noise={"snr_decibels": [20, 20]}, spec_augment={})
    assert [panel.title.split(":")[0] for panel in drawn] == ["before", "gain", "noise", "spec_augment", "all together"]
    before, gain, noise, masked, _ = (panel.decibels for panel in drawn)
    assert before.shape == (128, RATE // 256 + 1)
    np.testing.assert_allclose(gain[1:], before[1:] + 6, atol=1e-3)  # the lowest band hears nothing
    assert drawn[1].title == "gain: +6.0 dB"
    assert drawn[2].title == "noise: SNR 20.0 dB"
    assert 0 < np.abs(noise - before).mean() < 1
    changed = masked != before
    frames, bins = int(changed.all(axis=0).sum()), int(changed.all(axis=1).sum())
    assert drawn[3].title == f"spec_augment: {frames} frames, {bins} bins"


def test_values_are_the_same_alone_and_together():
    (_, alone), (*_, together) = panels(gain={}), panels(gain={}, polarity={})
    np.testing.assert_allclose(together.decibels, alone.decibels, atol=1e-3)
    assert panels(gain={}, seed=1)[1].title != alone.title


def test_all_panels_have_the_colours_of_the_first():
    figure = augmentation_figure(panels(gain={"decibels": [-40, -40]}, time_shift={}, polarity={}), RATE, "a song")
    spectrograms = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title(loc="left").split(":")[0] for axes in spectrograms]
    assert titles == ["before", "time_shift", "polarity", "gain", "all together"]
    assert {image.get_clim() for axes in spectrograms for image in axes.images} == {(-80.0, 0.0)}
    assert spectrograms[0].images[0].get_array().max() == 0
    assert spectrograms[3].images[0].get_array().max() == pytest.approx(-40, abs=1e-3)


def test_a_tone_lies_at_its_frequency():
    tone = torch.sin(2 * torch.pi * 1_000 * torch.arange(RATE) / RATE)
    before = augmentation_panels(AugmentationArguments(), tone, tone, RATE)
    axes = augmentation_figure(before, RATE).axes[0]
    ticks = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert before[0].decibels.mean(axis=1).argmax() == pytest.approx(ticks["1,000"], abs=1)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model_type: short_cnn\naugmentation:\n  gain: {}\n  mixup: {alpha: 1}\n", encoding="utf-8")
    return str(path)


def test_the_script_writes_the_picture(recipe, tmp_path, capsys):
    song = write_tone(tmp_path / "song.wav", seconds=0.5)  # shorter than a window: it is repeated
    picture = tmp_path / "pictures" / "augmentation.png"
    load_script("augment").main([recipe, str(song), str(picture), "--augmentation.polarity", "{}"])
    assert capsys.readouterr().out == f"5 panels written to {picture}\n"
    image = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert image.shape[1] > 1_000
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100  # the colours of spectrograms


@pytest.mark.parametrize("flags", [["--augmentation", "null"], ["--augmentation", "{}"]])
def test_a_recipe_without_augmentation_is_told_so(recipe, tmp_path, flags):
    with pytest.raises(HfTaggerError, match=r"recipe\.yaml has no augmentation to draw"):
        load_script("augment").main([recipe, str(tmp_path / "song.wav"), str(tmp_path / "picture.png"), *flags])
