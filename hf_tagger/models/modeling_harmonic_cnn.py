"""Harmonic CNN: learned harmonic filters, each harmonic a channel of a CNN (Won et al. 2020).

Paper: "Data-driven Harmonic Filters for Audio Representation Learning", https://doi.org/10.1109/ICASSP40776.2020.9053669;
sizes of https://arxiv.org/abs/2006.00751. Shapes for the defaults (5 s, 6 harmonics, 128 pitches, 128 channels)::

    waveform      [B, 80000]
    harmonics     [B, 6, 128, 313]      batch norm for each harmonic
    7 blocks      [B, 256, 1, 1]        pool (pitches × frames) five times 2×2, twice 2×3
    max over both [B, 256]
    head          [B, labels]           linear, batch norm, ReLU, dropout, linear
"""

import torch
from torch import nn

from .blocks import ConvolutionBlock, DenseBlock, ResidualPoolingBlock, initialize_for_relu
from .configuration_harmonic_cnn import HarmonicCnnConfig
from .harmonic import HarmonicSpectrogram
from .windowed_classification import WindowedAudioClassification


class HarmonicCnnForAudioClassification(WindowedAudioClassification):
    """Harmonic CNN with a classification head; see the module's docstring for paper and shapes."""

    config_class = HarmonicCnnConfig
    base_model_prefix = "harmonic_cnn"
    citation = """@inproceedings{won2020data,
  title = {Data-driven Harmonic Filters for Audio Representation Learning},
  author = {Won, Minz and Chun, Sanghyuk and Nieto, Oriol and Serra, Xavier},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2020}
}"""

    def __init__(self, config: HarmonicCnnConfig):
        super().__init__(config)
        self.spectrogram = HarmonicSpectrogram(
            config.sampling_rate, config.n_fft, config.hop_length, config.num_harmonics, config.bins_per_semitone
        )
        self.spectrogram_norm = nn.BatchNorm2d(config.num_harmonics)
        base, pools = config.num_channels, config.pools
        self.blocks = nn.Sequential(
            ConvolutionBlock(config.num_harmonics, base, pools[0]),
            *(ResidualPoolingBlock(base, pool) for pool in pools[1:4]),
            ConvolutionBlock(base, 2 * base, pools[4]),
            *(ResidualPoolingBlock(2 * base, pool) for pool in pools[5:]),
        )
        self.dense = DenseBlock(2 * base, 2 * base)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(2 * base, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if not initialize_for_relu(module):
            super()._init_weights(module)

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        spectrogram = self.spectrogram(input_values).to(self.spectrogram_norm.weight.dtype)  # [N, H, F, T]
        normalized = self.spectrogram_norm(spectrogram).to(self.network_dtype)
        hidden = self.blocks(normalized.contiguous(memory_format=torch.channels_last))
        hidden = self.dense(hidden.amax(dim=(2, 3)))  # [N, 2c]
        return self.classifier(self.dropout(hidden))
