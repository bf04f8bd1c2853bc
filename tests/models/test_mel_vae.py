import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from hf_tagger.models.configuration_mel_vae import MelVaeConfig
from hf_tagger.models.modeling_mel_vae import MelVaeForAudioClassification

SMALL = {"num_channels": 4, "latent_size": 6, "num_labels": 3, "classifier_dropout": 0.0}
PROBLEM = "single_label_classification"


def model_of(window=16_000, **changes):
    torch.manual_seed(0)
    windows = {"window_samples": window, "hop_samples": window}
    return MelVaeForAudioClassification(MelVaeConfig(**{**SMALL, **windows, "kl_warmup_batches": 0, **changes}))


def sounds(clips=4, samples=16_000, seed=0):
    """Notes that begin and fade, with two overtones, in noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16_000
    pitches = 110 * 2 ** (torch.randint(0, 36, (clips, 1), generator=generator) / 12)
    tones = sum(torch.sin(2 * torch.pi * overtone * pitches * time) / overtone for overtone in (1, 2, 3))
    return 0.3 * tones * torch.exp(-3 * (time % 0.4)) + 0.003 * torch.randn(clips, samples, generator=generator)


def run(model, waveform, **inputs):
    """The output, and by name what the modules made of it on the way."""
    seen, hooks = {}, []
    for name in ("spectrogram_norm", "posterior", "decoder_output"):
        hooks.append(
            model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: seen.update({name: output})
            )
        )
    hooks.append(
        model.decoder_input.register_forward_hook(lambda _module, inputs, _output: seen.update(latent=inputs[0]))
    )
    output = model(waveform, **inputs)
    for hook in hooks:
        hook.remove()
    return output, seen


def terms(seen):
    """Half the squared error, and the divergence, per value of the spectrogram and clip, from torch's own."""
    target = seen["spectrogram_norm"]
    bins, frames = target.shape[2:]
    error = nn.functional.mse_loss(seen["decoder_output"][..., :bins, :frames], target) / 2
    mean, log_variance = seen["posterior"].chunk(2, dim=1)
    posterior = Normal(mean, (log_variance / 2).exp())
    divergence = kl_divergence(posterior, Normal(torch.zeros(()), torch.ones(()))).sum() / target.numel()
    return error, divergence


def test_the_defaults_have_the_shapes_and_parameters_of_the_modules_docstring():
    model = MelVaeForAudioClassification(MelVaeConfig(num_labels=20)).train()
    shapes = {}
    for name in ("spectrogram", "encoder", "posterior", "decoder_input", "decoder", "decoder_output"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    with torch.no_grad():
        assert model(torch.zeros(1, 59_049)).logits.shape == (1, 20)
    assert shapes == {
        "spectrogram": (1, 1, 128, 231),
        "encoder": (1, 256, 8, 15),
        "posterior": (1, 2 * 128, 1, 15),
        "decoder_input": (1, 256, 8, 15),
        "decoder": (1, 32, 128, 240),
        "decoder_output": (1, 1, 128, 240),  # cut to the spectrogram's frames
    }
    encoder = 9 * (32 + 32 * 64 + 64 * 128 + 128 * 256) + 3 * (32 + 64 + 128 + 256)
    middle = 256 * 256 * 8 + 256 + 128 * 256 * 8 + 256
    decoder = 9 * (256 * 128 + 128 * 64 + 64 * 32 + 32 * 32) + 3 * (128 + 64 + 32 + 32) + 9 * 32 + 1
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == encoder + middle + decoder + 128 * 20 + 20


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 4.0), (0.0, 2.0), (3.0, 0.0), (0.0, 0.0)])
def test_the_further_loss_is_the_weighted_negative_bound_per_value(weights):
    model = model_of(reconstruction_weight=weights[0], kl_weight=weights[1]).train()
    output, seen = run(model, sounds())
    error, divergence = terms(seen)
    assert error > 0.1
    assert divergence > 1e-3
    torch.testing.assert_close(output.further_loss, weights[0] * error + weights[1] * divergence)


def test_a_posterior_of_mean_0_and_variance_1_costs_nothing():
    model = model_of(reconstruction_weight=0.0).train()
    nn.init.zeros_(model.posterior.weight)
    assert model(sounds()).further_loss.item() == pytest.approx(0, abs=1e-7)


def test_what_is_decoded_is_a_sample_of_the_posterior():
    model = model_of().train()
    draws = torch.stack([run(model, sounds())[1]["latent"].squeeze(2) for _ in range(60)])
    mean, log_variance = run(model, sounds())[1]["posterior"].squeeze(2).chunk(2, dim=1)
    noise = (draws - mean) / (log_variance / 2).exp()
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert noise.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("steps", "warmth"), [(4, [0.25, 0.5, 0.75, 1, 1, 1]), (0, [1, 1]), (1, [1, 1])])
def test_the_weight_of_the_divergence_grows_linearly_over_the_warm_up(steps, warmth):
    model = model_of(kl_warmup_batches=steps, reconstruction_weight=0.0, kl_weight=2.0).train()
    for expected in warmth:
        output, seen = run(model, sounds())
        torch.testing.assert_close(output.further_loss, 2 * expected * terms(seen)[1])


def test_the_warm_up_is_saved_with_the_model_and_not_counted_in_evaluation(tmp_path):
    model = model_of(kl_warmup_batches=10, reconstruction_weight=0.0).train()
    for _ in range(3):
        model(sounds())
    model.eval()
    model(sounds())
    assert model.training_batches.item() == 3
    assert "training_batches" not in dict(model.named_parameters())
    model.save_pretrained(tmp_path)
    loaded = MelVaeForAudioClassification.from_pretrained(tmp_path)
    assert loaded.training_batches.item() == 3
    output, seen = run(loaded.train(), sounds())
    torch.testing.assert_close(output.further_loss, 0.4 * terms(seen)[1])
    assert loaded.to(torch.bfloat16).training_batches.dtype == torch.int64


def test_evaluation_has_no_further_loss_and_decodes_nothing():
    model = model_of().eval()
    output, seen = run(model, sounds(), labels=torch.arange(4) % 3)
    assert output.further_loss is None
    assert set(seen) == {"spectrogram_norm", "posterior"}
    expected = nn.functional.cross_entropy(output.logits, torch.arange(4) % 3)
    torch.testing.assert_close(output.loss, expected)


def test_the_mean_over_time_of_the_posteriors_mean_is_classified():
    for model in (model_of().eval(), model_of().train()):
        output, seen = run(model, sounds())
        mean = seen["posterior"][:, :6, 0]
        assert mean.shape == (4, 6, 4)
        torch.testing.assert_close(output.logits, model.classifier(sum(mean.unbind(dim=2)) / 4))
    model = model.eval()
    assert torch.equal(model(sounds()).logits, model(sounds()).logits)


@pytest.mark.parametrize("problem", [PROBLEM, "multi_label_classification"])
@pytest.mark.parametrize("weight", [1.0, 2.5, 0.0])
def test_the_loss_in_training_is_the_weighted_labels_loss_and_the_further_loss(weight, problem):
    model = model_of(classification_weight=weight, problem_type=problem).train()
    labels = torch.arange(4) % 3
    if problem == PROBLEM:
        criterion = nn.functional.cross_entropy
    else:
        labels, criterion = nn.functional.one_hot(labels, 3).float(), nn.functional.binary_cross_entropy_with_logits
    output = model(sounds(), labels=labels)
    torch.testing.assert_close(output.loss, weight * criterion(output.logits, labels) + output.further_loss)


def test_weights_of_0_switch_gradients_off():
    switched_off = {"classification_weight": "classifier", "reconstruction_weight": "decoder_output"}
    for weight, name in switched_off.items():
        model = model_of(**{weight: 0.0}).train()
        model(sounds(), labels=torch.arange(4) % 3).loss.backward()
        norms = {key: model.get_submodule(key).weight.grad.abs().max() for key in switched_off.values()}
        assert norms.pop(name) == 0
        assert all(norm > 0 for norm in norms.values())
        assert model.posterior.weight.grad.abs().max() > 0


@pytest.mark.parametrize("front_end", ["mel_db", "log_mel", "mfcc", "cqt"])
@pytest.mark.parametrize(("num_blocks", "samples"), [(4, 16_000), (3, 11_111), (1, 777), (6, 40_000)])
def test_the_decoded_spectrogram_has_the_size_of_the_spectrogram(front_end, num_blocks, samples):
    model = model_of(num_blocks=num_blocks, num_channels=2, front_end=front_end, num_mel_bins=45, num_mfcc=13).eval()
    bins, frames = model.config.num_bins, samples // 256 + 1
    with torch.no_grad():
        spectrogram = model.normalized_spectrogram(sounds(2, samples))
        mean, log_variance = model.encode(spectrogram)
        assert spectrogram.shape == (2, 1, bins, frames)
        assert mean.shape == log_variance.shape == (2, 6, -(-frames // 2**num_blocks))
        assert model.decode(mean, bins, frames).shape == spectrogram.shape


@pytest.mark.parametrize("samples", [257, 4_000, 16_001, 100_000])
def test_audio_of_other_lengths_than_a_window_is_encoded_and_decoded(samples):
    model = model_of()
    with torch.no_grad():
        assert model.eval()(sounds(2, samples)).logits.isfinite().all()
        assert model.train()(sounds(2, samples)).further_loss.isfinite()


def test_each_step_of_the_latent_variables_hears_its_own_time():
    model = model_of().eval()
    waveform = sounds(1, 100_000)
    changed = waveform.clone()
    changed[:, :8_000] = 0
    with torch.no_grad():
        means = [model.encode(model.normalized_spectrogram(clip))[0][0] for clip in (waveform, changed)]
    differences = (means[0] - means[1]).abs().amax(dim=0)
    assert differences[0] > 0.01
    assert differences[6:].max() == 0


def test_the_target_has_no_learned_scale():
    model = model_of()
    assert not list(model.spectrogram_norm.parameters())
    _, seen = run(model.train(), sounds())
    assert seen["spectrogram_norm"].mean().item() == pytest.approx(0, abs=1e-3)
    assert seen["spectrogram_norm"].std().item() == pytest.approx(1, abs=1e-2)


def test_an_untrained_variance_does_not_overflow():
    model = model_of().train()
    nn.init.constant_(model.posterior.bias, 1e4)
    assert model(sounds()).further_loss.isfinite()
    _, log_variance = model.encode(model.normalized_spectrogram(sounds()))
    assert log_variance.unique().tolist() == [8.0]


def test_training_on_a_fixed_batch_decodes_it_better_and_better():
    model = model_of(num_channels=8, latent_size=16, kl_weight=0.01).train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    errors = []
    for _ in range(60):
        output, seen = run(model, sounds(), labels=torch.arange(4) % 3)
        errors.append(terms(seen)[0].item())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert errors[-1] < 0.3 * errors[0]
    assert errors[-1] < 0.25  # half the variance is 0.5: better than the mean


def test_every_impossible_weight_is_named():
    with pytest.raises(ValueError) as raised:
        MelVaeConfig(
            classification_weight=-1, reconstruction_weight="1", kl_weight=float("nan"), kl_warmup_batches=2.5, n_fft=0
        )
    for field in ("classification_weight", "reconstruction_weight", "kl_weight"):
        assert f"{field} must be a number of at least 0, received" in str(raised.value)
    assert "kl_warmup_batches must be a whole number of at least 0, received 2.5" in str(raised.value)
    assert "n_fft must be a positive whole number, received 0" in str(raised.value)
