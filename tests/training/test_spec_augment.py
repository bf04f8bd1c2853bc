"""SpecAugment: how wide its masks are, what fills them, and that models are masked in training only."""

import copy

import pytest
import torch
from small_models import SMALL
from tiny_encoders import build_tagger, save_encoder

from hf_tagger.augmentation_arguments import AugmentationArguments, SpecAugmentArguments
from hf_tagger.models import MODELS
from hf_tagger.training.augment import Augmentation
from hf_tagger.training.spec_augment import draw_masks

MULTI = "multi_label_classification"


def make(**values):
    return Augmentation(AugmentationArguments(spec_augment=SpecAugmentArguments(**values)), 16_000, MULTI, 3)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(name, number=0):
    torch.manual_seed(0)
    model_class = MODELS[name]
    labels = {0: "drums", 1: "bass", 2: "strings"}
    return model_class(model_class.config_class(**SMALL[name][number], id2label=labels, problem_type=MULTI))


def seen_by(module, model, windows):
    """What a module is given while a model computes windows."""
    seen = []
    handle = module.register_forward_pre_hook(
        lambda _, inputs, features: seen.append(next(iter([*inputs, *features.values()]))), with_kwargs=True
    )
    with torch.no_grad():
        model(windows)
    handle.remove()
    return seen[0]


def test_a_mask_has_every_width_up_to_the_greatest_and_lies_anywhere():
    masks = draw_masks(3_000, 1, 4, 10, torch.Generator().manual_seed(0))  # [clips, length]
    widths = masks.sum(dim=1)
    assert [float((widths == width).float().mean()) for width in range(5)] == pytest.approx([0.2] * 5, abs=0.03)
    edges = (masks[:, 1:] != masks[:, :-1]).sum(dim=1)
    assert edges.max() == 2  # one stretch
    full = masks[widths == 4]
    starts = full.int().argmax(dim=1)
    assert [float((starts == start).float().mean()) for start in range(7)] == pytest.approx([1 / 7] * 7, abs=0.05)


def test_several_masks_may_overlap_and_none_is_wider_than_the_spectrogram():
    masks = draw_masks(500, 3, 5, 40, torch.Generator().manual_seed(0))
    assert masks.sum(dim=1).max() <= 15
    stretches = (masks.int().diff(dim=1, prepend=torch.zeros(500, 1, dtype=torch.int)) == 1).sum(dim=1)
    assert set(stretches.tolist()) == {0, 1, 2, 3}
    assert draw_masks(500, 1, 100, 7, torch.Generator().manual_seed(0)).sum(dim=1).max() == 7
    assert not draw_masks(5, 0, 5, 7, torch.Generator().manual_seed(0)).any()


def test_masked_bins_and_frames_hold_the_mean_and_the_rest_is_untouched():
    augmentation, before = make(time_width=8, frequency_width=6), noise(16, 1, 24, 60)
    after = augmentation.spectrogram(before)
    drawn = augmentation.last_draws["spec_augment"]
    masked = (drawn["bins"].unsqueeze(2) | drawn["frames"].unsqueeze(1)).unsqueeze(1)
    assert masked.any()
    assert torch.equal(after[~masked], before[~masked])
    means = before.mean(dim=(2, 3), keepdim=True).expand_as(before)
    torch.testing.assert_close(after[masked], means[masked], atol=1e-6, rtol=0)
    assert drawn["frames"].sum(dim=1).max() <= 16
    assert drawn["bins"].sum(dim=1).max() <= 12
    assert len({tuple(row) for row in drawn["frames"].tolist()}) > 10  # every clip its own


def test_a_share_of_short_windows_bounds_the_time_masks():
    augmentation = make(time_masks=1, time_width=40, time_share=0.1)
    augmentation.spectrogram(noise(300, 4, 50))
    assert augmentation.last_draws["spec_augment"]["frames"].sum(dim=1).max() == 5


def test_channels_share_their_masks_and_have_a_mean_each():
    augmentation, before = make(), noise(8, 3, 24, 60) + torch.tensor([0.0, 5, -5]).view(3, 1, 1)
    after = augmentation.spectrogram(before)
    changed = after != before
    assert changed.any()
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])
    for channel, mean in enumerate([0.0, 5, -5]):
        assert (after[:, channel][changed[:, channel]] - mean).abs().max() < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_type_stay(dtype):
    for shape in ((20, 30), (4, 20, 30), (4, 2, 20, 30)):
        after = make().spectrogram(noise(*shape).to(dtype))
        assert (after.shape, after.dtype) == (shape, dtype)


def test_gradients_flow_through_what_is_not_masked():
    augmentation, before = make(), noise(4, 1, 24, 60).requires_grad_()
    after = augmentation.spectrogram(before)
    after.sum().backward()
    assert torch.equal(before.grad, (after == before).float())
    assert set(before.grad.unique().tolist()) == {0.0, 1.0}


def test_frames_before_bins_are_masked_through_transposition():
    before = noise(4, 60, 24)  # as AST reads
    after = make(frequency_masks=0).spectrogram(before.mT).mT
    whole_frames = (after != before).all(dim=2) | (after == before).all(dim=2)
    assert whole_frames.all()
    assert (after != before).any()


CASES = [("short_cnn", 0), ("short_cnn", 4), ("crnn", 1), ("harmonic_cnn", 0), ("mel_vae", 0), ("musicnn", 1)]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_spectrogram_model_reads_masks_in_training_only(name, number):
    model = build(name, number)
    windows = 0.1 * noise(3, model.config.window_samples)
    augmentation = make(time_width=10, time_share=0.2)
    model.eval()
    with torch.no_grad():
        plain = model(windows).logits
    reads = {}
    for masked in (False, True):
        model.train()
        handle = augmentation.attach(model) if masked else None
        with torch.no_grad():
            reads[masked] = model.normalized_spectrogram(windows)
    drawn = augmentation.last_draws["spec_augment"]
    expected = (drawn["bins"].unsqueeze(2) | drawn["frames"].unsqueeze(1)).unsqueeze(1).expand_as(reads[True])
    assert expected.any()
    assert torch.equal((reads[True] != reads[False]) & expected, reads[True] != reads[False])
    assert (reads[True] != reads[False])[expected].float().mean() > 0.99
    fresh = build(name, number).eval()
    fresh.load_state_dict(model.state_dict())
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(windows).logits, fresh(windows).logits)
        assert not torch.equal(fresh(windows).logits, plain)  # the norm has learned meanwhile, from music without masks
    handle.remove()
    assert not handle.attached
    model.train()
    before = augmentation.last_draws
    model(windows)
    assert augmentation.last_draws is before


def test_the_input_norm_learns_from_spectrograms_without_masks():
    windows, statistics = 0.1 * noise(3, 59_049), []
    for masked in (False, True):
        model = build("short_cnn").train()
        if masked:
            assert make().attach(model).attached
        with torch.no_grad():
            model(windows)
        statistics.append(model.spectrogram_norm.running_var)
    assert torch.equal(*statistics)


def test_musicfm_reads_masks_even_when_its_encoder_is_frozen():
    model = build("musicfm").train()
    model.musicfm.eval()
    windows = 0.1 * noise(2, model.config.window_samples)
    before = seen_by(model.musicfm.conv, model, windows)
    augmentation = make(time_width=10)
    assert augmentation.attach(model).attached
    after = seen_by(model.musicfm.conv, model, windows)
    drawn = augmentation.last_draws["spec_augment"]
    expected = (drawn["bins"].unsqueeze(2) | drawn["frames"].unsqueeze(1))[:, None, :, :-1]
    assert torch.equal(after != before, expected)
    model.eval()
    assert torch.equal(seen_by(model.musicfm.conv, model, windows), before)


def test_an_ast_with_our_head_reads_masks_over_its_frames():
    model = build("audio_encoder", 1).train()
    windows = 0.1 * noise(2, model.config.window_samples)
    before = seen_by(model.audio_encoder.embeddings, model, windows)  # [B, frames, bins]
    augmentation = make(frequency_masks=0)
    assert augmentation.attach(model).attached
    after = seen_by(model.audio_encoder.embeddings, model, windows)
    frames = augmentation.last_draws["spec_augment"]["frames"]
    assert frames.shape == before.shape[:2]
    assert torch.equal(after != before, frames.unsqueeze(2).expand_as(before))
    model.eval()
    assert torch.equal(seen_by(model.audio_encoder.embeddings, model, windows), before)


@pytest.mark.parametrize("name", ["sample_cnn", "mert_model", "audio_encoder"])
def test_models_of_waveforms_stay_as_they_are(name):
    handle = make().attach(build(name))
    assert not handle.attached
    handle.remove()


def test_stock_models_stay_as_they_are_and_so_does_everything_without_spec_augment(tmp_path):
    stock, _ = build_tagger(save_encoder("ast", tmp_path))
    assert not make().attach(stock).attached
    assert not Augmentation(AugmentationArguments(), 16_000, MULTI, 3).attach(build("short_cnn")).attached


def test_a_wrapped_model_is_masked_too():
    wrapped = torch.nn.Sequential(build("short_cnn")).train()
    windows = 0.1 * noise(2, 59_049)
    before = seen_by(wrapped[0].blocks, wrapped, windows)
    make().attach(wrapped)
    assert not torch.equal(seen_by(wrapped[0].blocks, wrapped, windows), before)


def test_a_copy_of_a_masked_model_is_masked_in_its_own_training_mode():
    model = build("short_cnn").eval()
    make().attach(model)
    twin = copy.deepcopy(model).train()
    windows = 0.1 * noise(2, 59_049)
    assert torch.equal(seen_by(model.blocks, model, windows), seen_by(model.blocks, model, windows))
    assert not torch.equal(seen_by(twin.blocks, twin, windows), seen_by(twin.blocks, twin, windows))
