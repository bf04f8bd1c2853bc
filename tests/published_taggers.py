"""Small random taggers in the layout of Won et al. 2020, and what they say, computed straight from the published names.

A second implementation of https://arxiv.org/abs/2006.00751 in plain functions, using nothing of hf_tagger, to
compare a converted model with. Batch norm is that of evaluation; convolutions pad half their kernel.
"""

import math

import torch
import torchaudio
from torch.nn import functional

N_FFT, HOP, PITCHES, HARMONICS = 512, 256, 128, 6
C = 3  # channels of the first layer
SHORT = [1, C, C, 2 * C, 2 * C, 2 * C, 2 * C, 4 * C]
SAMPLE = [1, C, C, C, *[2 * C] * 6, 4 * C, 4 * C]
FCN_POOLS = [(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)]
CRNN_POOLS = [(2, 2), (3, 3), (4, 4), (4, 4)]


class Weights(dict):
    """A state dict that is filled with random numbers, layer by layer."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def random(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def norm(self, name, channels, mean=0.0, deviation=1.0):
        self[f"{name}.weight"] = 1 + 0.2 * self.random(channels)
        self[f"{name}.bias"] = 0.1 * self.random(channels)
        self[f"{name}.running_mean"] = mean + 0.3 * deviation * self.random(channels)
        self[f"{name}.running_var"] = deviation**2 * (0.7 + self.random(channels).abs())
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def linear(self, name, outputs, *inputs):
        """A linear layer, or a convolution if there is a kernel."""
        self[f"{name}.weight"] = self.random(outputs, *inputs) * (2 / math.prod(inputs)) ** 0.5
        self[f"{name}.bias"] = 0.1 * self.random(outputs)

    def layer(self, name, suffix, outputs, *inputs):
        self.linear(f"{name}.conv{suffix}", outputs, *inputs)
        self.norm(f"{name}.bn{suffix}", outputs)

    def residual(self, name, inputs, outputs, *kernel, shortcut):
        self.layer(name, "_1", outputs, inputs, *kernel)
        self.layer(name, "_2", outputs, outputs, *kernel)
        if shortcut:
            self.layer(name, "_3", outputs, inputs, *kernel)

    def long_head(self, features, hidden):
        self.linear("dense1", hidden, features)
        self.norm("bn", hidden)
        self.linear("dense2", 50, hidden)

    def mel(self, bands):
        """Its values are a little off the computed ones: with others than those of the file all tags change."""
        self["spec.spectrogram.window"] = torch.hann_window(N_FFT) ** 1.1
        filterbank = torchaudio.functional.melscale_fbanks(N_FFT // 2 + 1, 0.0, 8_000.0, bands, 16_000)
        self["spec.mel_scale.fb"] = filterbank + 5e-4 * self.random(*filterbank.shape).abs().clamp(max=1)
        self.norm("spec_bn", 1, -20.0, 20.0)


def random_state(architecture, seed=2):
    """A state dict as published, with few channels."""
    weights = Weights(seed)
    if architecture in ("musicnn", "fcn", "crnn"):
        weights.mel(96)
    elif architecture.startswith("short"):
        weights.mel(128)
    elif architecture == "harmonic_cnn":
        weights["hstft.bw_Q"] = torch.tensor([0.8])
        weights["hstft.spec.window"] = torch.hann_window(N_FFT) ** 1.1
        weights.norm("hstft_bn", HARMONICS, -20.0, 20.0)
    NETWORKS[architecture][0](weights)
    return dict(weights)


def _musicnn(weights):
    for number, height in enumerate((67, 38)):
        weights.layer(f"layers.{number}", "", 5, 1, height, 7)
    for number, frames in enumerate((129, 65, 33), 2):
        weights.layer(f"layers.{number}", "", 4, 1, frames)
    for number, inputs in enumerate((22, 6, 6), 1):
        weights.layer(f"layer{number}", "", 6, inputs, 7)
    weights.long_head(2 * (22 + 3 * 6), 9)


def _fcn(weights):
    channels = [1, C, 2 * C, 2 * C, 2 * C, C]
    for number in range(1, 6):
        weights.layer(f"layer{number}", "", channels[number], channels[number - 1], 3, 3)
    weights.linear("dense", 50, C)


def _crnn(weights):
    channels = [1, C, 2 * C, 2 * C, 2 * C]
    for number in range(1, 5):
        weights.layer(f"layer{number}", "", channels[number], channels[number - 1], 3, 3)
    for layer, inputs in enumerate((2 * C, 5)):
        weights[f"layer5.weight_ih_l{layer}"] = 0.2 * weights.random(15, inputs)
        weights[f"layer5.weight_hh_l{layer}"] = weights.random(15, 5)
        weights[f"layer5.bias_ih_l{layer}"] = weights.random(15)
        weights[f"layer5.bias_hh_l{layer}"] = weights.random(15)
    weights.linear("dense", 50, 5)


def _short(weights):
    for number in range(1, 8):
        weights.layer(f"layer{number}", "", SHORT[number], SHORT[number - 1], 3, 3)
    weights.long_head(4 * C, 4 * C)


def _short_residual(weights):
    for number in range(1, 8):
        weights.residual(f"layer{number}", SHORT[number - 1], SHORT[number], 3, 3, shortcut=True)
    weights.long_head(4 * C, 4 * C)


def _sample(weights):
    for number in range(1, 12):
        weights.layer(f"layer{number}", "", SAMPLE[number], SAMPLE[number - 1], 1 if number == 11 else 3)
    weights.linear("dense", 50, 4 * C)


def _sample_excited(weights):
    for number in range(1, 12):
        inputs, outputs = SAMPLE[number - 1], SAMPLE[number]
        shortcut = number == 1 or inputs != outputs
        weights.residual(f"layer{number}", inputs, outputs, 1 if number == 11 else 3, shortcut=shortcut)
        weights.linear(f"layer{number}.dense1", outputs, outputs)
        weights.linear(f"layer{number}.dense2", outputs, outputs)
    weights.long_head(4 * C, 4 * C)


def _harmonic(weights):
    weights.layer("layer1", "", C, HARMONICS, 3, 3)
    for number in (2, 3, 4):
        weights.residual(f"layer{number}", C, C, 3, 3, shortcut=False)
    weights.layer("layer5", "", 2 * C, C, 3, 3)
    for number in (6, 7):
        weights.residual(f"layer{number}", 2 * C, 2 * C, 3, 3, shortcut=False)
    weights.long_head(2 * C, 2 * C)


def logits(architecture, state, waveform):
    """What the published tagger says, before its sigmoid: ``[B, samples]`` → ``[B, 50]``."""
    pooled = NETWORKS[architecture][1](state, waveform)  # [B, features]
    if "dense1.weight" not in state:
        return dense(state, "dense", pooled)
    return dense(state, "dense2", normalized(state, "bn", dense(state, "dense1", pooled)).relu())


def normalized(state, name, values):
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return functional.batch_norm(values, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])


def dense(state, name, values):
    return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layer(state, name, values, suffix="", stride=1, padding=None):
    """Convolution and batch norm."""
    weight, bias = state[f"{name}.conv{suffix}.weight"], state[f"{name}.conv{suffix}.bias"]
    convolve = functional.conv1d if weight.ndim == 3 else functional.conv2d
    padding = [size // 2 for size in weight.shape[2:]] if padding is None else padding
    return normalized(state, f"{name}.bn{suffix}", convolve(values, weight, bias, stride=stride, padding=padding))


def residual(state, name, values, stride=1):
    return layer(state, name, layer(state, name, values, "_1", stride).relu(), "_2")


def decibels(power):
    return 10 * power.clamp(min=1e-10).log10()


def power_spectrum(window, waveform):
    """``[B, samples]`` → ``[B, 257, frames]``."""
    return torch.stft(waveform, N_FFT, HOP, window=window, center=True, return_complex=True).abs().square()


def mel_decibels(state, waveform):
    """``[B, samples]`` → ``[B, 1, bands, frames]``, normalised."""
    power = power_spectrum(state["spec.spectrogram.window"], waveform)
    bands = torch.einsum("bft,fm->bmt", power, state["spec.mel_scale.fb"])
    return normalized(state, "spec_bn", decibels(bands)[:, None])


def harmonic_decibels(state, waveform):
    """``[B, samples]`` → ``[B, 6, 128, frames]``, normalised; pitches are half semitones from C1 (MIDI 24) on."""
    power = power_spectrum(state["hstft.spec.window"], waveform)
    frequencies = torch.arange(N_FFT // 2 + 1) * 16_000 / N_FFT  # Hz
    channels = []
    for harmonic in range(1, HARMONICS + 1):
        centre = harmonic * torch.tensor([440 * 2 ** ((24 + step / 2 - 69) / 12) for step in range(PITCHES)])
        half_width = (0.1079 * centre + 24.7) / state["hstft.bw_Q"] / 2
        rising = (frequencies[:, None] - (centre - half_width)) / half_width
        falling = ((centre + half_width) - frequencies[:, None]) / half_width
        filters = torch.minimum(rising, falling).clamp(min=0)  # [257, 128]
        channels.append(decibels(torch.einsum("bft,fp->bpt", power, filters)))
    return normalized(state, "hstft_bn", torch.stack(channels, dim=1))


def musicnn(state, waveform):
    mel = mel_decibels(state, waveform)
    front = [layer(state, f"layers.{n}", mel, padding=(0, 3)).relu().amax(dim=2) for n in (0, 1)]
    front += [layer(state, f"layers.{n}", mel.mean(dim=2)).relu() for n in (2, 3, 4)]
    front = torch.cat(front, dim=1)
    first = layer(state, "layer1", front).relu()
    second = layer(state, "layer2", first).relu() + first
    third = layer(state, "layer3", second).relu() + second
    every = torch.cat([front, first, second, third], dim=1)
    return torch.cat([every.amax(dim=2), every.mean(dim=2)], dim=1)


def pooled_layers(state, values, pools):
    for number, pool in enumerate(pools, 1):
        values = functional.max_pool2d(layer(state, f"layer{number}", values).relu(), pool)
    return values


def fcn(state, waveform):
    return pooled_layers(state, mel_decibels(state, waveform), FCN_POOLS).flatten(1)


def crnn(state, waveform):
    """The recurrence is that of PyTorch's GRU: reset, update and new gate, in this order."""
    steps = pooled_layers(state, mel_decibels(state, waveform), CRNN_POOLS)[:, :, 0].unbind(dim=2)
    for number in (0, 1):
        hidden, outputs = torch.zeros(len(waveform), 5), []
        for step in steps:
            given = step @ state[f"layer5.weight_ih_l{number}"].T + state[f"layer5.bias_ih_l{number}"]
            kept = hidden @ state[f"layer5.weight_hh_l{number}"].T + state[f"layer5.bias_hh_l{number}"]
            (given_r, given_z, given_n), (kept_r, kept_z, kept_n) = given.chunk(3, dim=1), kept.chunk(3, dim=1)
            update = (given_z + kept_z).sigmoid()
            hidden = (1 - update) * (given_n + (given_r + kept_r).sigmoid() * kept_n).tanh() + update * hidden
            outputs.append(hidden)
        steps = outputs
    return steps[-1]


def short(state, waveform):
    return pooled_layers(state, mel_decibels(state, waveform), [(2, 2)] * 7).amax(dim=(2, 3))


def short_residual(state, waveform):
    values = mel_decibels(state, waveform)
    for number in range(1, 8):
        name = f"layer{number}"
        values = (residual(state, name, values, stride=2) + layer(state, name, values, "_3", stride=2)).relu()
    return values.amax(dim=(2, 3))


def sample(state, waveform):
    values = layer(state, "layer1", waveform[:, None], stride=3).relu()
    for number in range(2, 11):
        values = functional.max_pool1d(layer(state, f"layer{number}", values).relu(), 3)
    return layer(state, "layer11", values).relu().flatten(1)


def sample_excited(state, waveform):
    values = waveform[:, None]
    for number in range(1, 12):
        name, stride = f"layer{number}", 3 if number == 1 else 1
        rest = residual(state, name, values, stride)
        gate = dense(state, f"{name}.dense2", dense(state, f"{name}.dense1", rest.mean(dim=2)).relu()).sigmoid()
        if f"{name}.conv_3.weight" in state:
            values = layer(state, name, values, "_3", stride)
        values = functional.max_pool1d((gate[:, :, None] * rest + values).relu(), 3 if 2 <= number <= 10 else 1)
    return values.flatten(1)


def harmonic(state, waveform):
    values = functional.max_pool2d(layer(state, "layer1", harmonic_decibels(state, waveform)).relu(), 2)
    for number, pool in ((2, 2), (3, 2), (4, 2), (5, 2), (6, (2, 3)), (7, (2, 3))):
        name = f"layer{number}"
        after = layer(state, name, values) if number == 5 else values + residual(state, name, values)
        values = functional.max_pool2d(after.relu(), pool)
    return values.amax(dim=(2, 3))


NETWORKS = {  # how its layers are made, what goes into its head, and the samples of its window at 16 kHz
    "musicnn": (_musicnn, musicnn, 48_000),
    "fcn": (_fcn, fcn, 464_000),
    "crnn": (_crnn, crnn, 464_000),
    "short_cnn": (_short, short, 59_049),
    "short_cnn_res": (_short_residual, short_residual, 59_049),
    "sample_cnn": (_sample, sample, 59_049),
    "sample_cnn_se": (_sample_excited, sample_excited, 59_049),
    "harmonic_cnn": (_harmonic, harmonic, 80_000),
}
