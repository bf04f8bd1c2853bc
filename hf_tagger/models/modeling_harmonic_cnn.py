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

from .blocks import ConvolutionBlock, DenseBlock, ResidualPoolingBlock
from .configuration_harmonic_cnn import HarmonicCnnConfig
from .frontends import FrontEnd
from .harmonic import HarmonicSpectrogram
from .spectrogram_classification import SpectrogramClassification


class HarmonicCnnForAudioClassification(SpectrogramClassification):
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

    def build_input(self, config: HarmonicCnnConfig) -> tuple[FrontEnd, nn.Module]:
        """The harmonic filters, and a norm for each harmonic."""
        spectrogram = HarmonicSpectrogram(
            config.sampling_rate, config.n_fft, config.hop_length, config.num_harmonics, config.bins_per_semitone
        )
        return spectrogram, nn.BatchNorm2d(config.num_harmonics)

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, harmonics, pitches, frames]`` → ``[N, labels]``."""
        hidden = self.dense(self.blocks(spectrogram).amax(dim=(2, 3)))  # [N, 2c]
        return self.classifier(self.dropout(hidden))
