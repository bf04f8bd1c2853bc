"""Variational encoder: a convolutional VAE over the mel spectrogram, classified by its posterior mean.

Kingma and Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114. The latent variables are a
sequence, so that audio of any length is encoded. Shapes for the defaults (59,049 samples, 128 mel bins)::

    waveform        [B, 59049]
    mel_db          [B, 1, 128, 231]      batch norm without learned scale: the decoder's target
    encoder         [B, 256, 8, 15]       4 strided convolutions; 32, 64, 128, 256 channels
    posterior       2 × [B, 128, 15]      mean and log variance
    classifier      [B, labels]           mean over time of the posterior mean, dropout, linear
    decoder         [B, 1, 128, 231]      training only: a sample of the posterior, 4 times upsampled
"""

from itertools import pairwise

import torch
from torch import nn

from .configuration_mel_vae import MelVaeConfig
from .frontends import FrontEnd, build_front_end, build_input_norm
from .spectrogram_classification import SpectrogramClassification
from .windowed_classification import WindowOutputs

_LARGEST_LOG_VARIANCE = 8.0  # e^8 ≈ 3,000: no trained posterior comes near, an untrained one must not overflow


class MelVaeForAudioClassification(SpectrogramClassification):
    """Variational encoder with a classification head; see the module's docstring for paper and shapes.

    In training, ``further_loss`` of the output is the sum of the weighted ``reconstruction_loss`` and ``kl_loss``.
    """

    config_class = MelVaeConfig
    base_model_prefix = "mel_vae"
    citation = """@inproceedings{kingma2014auto,
  title = {Auto-Encoding Variational {Bayes}},
  author = {Kingma, Diederik P. and Welling, Max},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2014}
}"""

    def __init__(self, config: MelVaeConfig):
        super().__init__(config)
        channels = [1] + [config.num_channels * 2**block for block in range(config.num_blocks)]
        bins = config.num_bins
        for _ in range(config.num_blocks):
            bins = -(-bins // 2)
        self.encoder = nn.Sequential(
            *(_halving(*pair) for pair in pairwise(channels)),
        )
        self.posterior = nn.Conv2d(channels[-1], 2 * config.latent_size, kernel_size=(bins, 1))
        self.decoder_input = nn.ConvTranspose2d(config.latent_size, channels[-1], kernel_size=(bins, 1))
        decoded = [*channels[:0:-1], channels[1]]
        self.decoder = nn.Sequential(*(_doubling(*pair) for pair in pairwise(decoded)))
        self.decoder_output = nn.Conv2d(channels[1], 1, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.latent_size, config.num_labels)
        self.register_buffer("training_batches", torch.zeros((), dtype=torch.long))  # counts the warm-up
        self.post_init()

    def build_input(self, config: MelVaeConfig) -> tuple[FrontEnd, nn.Module]:
        """With a learned scale of the norm the decoder's target could shrink to what is easy to decode."""
        return build_front_end(config), build_input_norm(config, affine=False)

    def begin_training(self) -> None:
        """Starts the warm-up again."""
        self.training_batches.zero_()

    def encode(self, spectrogram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised ``[N, 1, bins, frames]`` → the posterior's mean and log variance, each ``[N, latent, steps]``."""
        mean, log_variance = self.posterior(self.encoder(spectrogram)).squeeze(2).chunk(2, dim=1)
        return mean, log_variance.clamp(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)

    def decode(self, latent: torch.Tensor, bins: int, frames: int) -> torch.Tensor:
        """``[N, latent, steps]`` → normalised spectrogram ``[N, 1, bins, frames]``."""
        hidden = torch.relu(self.decoder_input(latent.unsqueeze(2)))
        return self.decoder_output(self.decoder(hidden))[..., :bins, :frames]

    def window_outputs(self, input_values: torch.Tensor) -> WindowOutputs:
        """``[N, samples]`` → ``[N, labels]``, and in training the terms of the bound, each ``[N]``."""
        spectrogram = self.normalized_spectrogram(input_values)
        mean, log_variance = self.encode(spectrogram)
        logits = self.classifier(self.dropout(mean.mean(dim=2)))
        if not self.training:
            return logits, {}
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        decoded = self.decode(latent, *spectrogram.shape[2:])
        return logits, self._bound(spectrogram, decoded, mean, log_variance)

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        return self.window_outputs(input_values)[0]

    def _bound(
        self, spectrogram: torch.Tensor, decoded: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Weighted terms of the negative evidence lower bound per value of the spectrogram, ``[N]``, in float32.

        KL = ½ Σ (μ² + σ² − log σ² − 1), Kingma and Welling 2014, appendix B.
        """
        config, values = self.config, spectrogram[0].numel()
        error = (decoded.float() - spectrogram.float()).square().flatten(1).mean(dim=1) / 2
        mean, log_variance = mean.float(), log_variance.float()
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).flatten(1).sum(dim=1) / 2 / values
        self.training_batches += 1
        warmth = (self.training_batches / max(config.kl_warmup_batches, 1)).clamp(max=1)
        return {
            "reconstruction_loss": config.reconstruction_weight * error,
            "kl_loss": config.kl_weight * warmth * divergence,
        }


def _halving(in_channels: int, out_channels: int) -> nn.Sequential:
    """``[B, C_in, F, T]`` → ``[B, C_out, ⌈F/2⌉, ⌈T/2⌉]``."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def _doubling(in_channels: int, out_channels: int) -> nn.Sequential:
    """``[B, C_in, F, T]`` → ``[B, C_out, 2F, 2T]``; upsampled and then convolved, which leaves no chequered pattern
    (Odena et al. 2016, https://doi.org/10.23915/distill.00003)."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
