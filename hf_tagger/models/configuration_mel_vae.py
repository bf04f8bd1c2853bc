"""Configuration of the variational encoder."""

from .config_checks import is_number
from .spectrogram_config import SpectrogramConfig

_WEIGHTS = ("classification_weight", "reconstruction_weight", "kl_weight")


class MelVaeConfig(SpectrogramConfig):
    """Convolutional variational autoencoder over a spectrogram, with a classifier on its posterior mean (Kingma and
    Welling 2014, https://arxiv.org/abs/1312.6114). The sizes are this package's choice.

    Its loss is the weighted sum of the labels' loss and of the two terms of the negative evidence lower bound, both
    per value of the spectrogram. With equal weights of the two it is the bound of a decoder with unit variance.

    Args:
        num_channels: Channels of the first block; every block doubles them.
        num_blocks: Blocks of the encoder, and of the decoder; each halves (doubles) bins and frames.
        latent_size: Latent variables of a step; a step is 2^num_blocks frames.
        classification_weight: Weight of the labels' loss.
        reconstruction_weight: Weight of half the squared error of the decoded, normalised spectrogram.
        kl_weight: Weight of the Kullback-Leibler divergence of the posterior from N(0, 1); β of Higgins et al. 2017
            (https://openreview.net/forum?id=Sy2fzU9gl).
        kl_warmup_batches: Training batches over which ``kl_weight`` grows from 0, so that the latent variables are not
            given up before the decoder can use them (Bowman et al. 2016, https://arxiv.org/abs/1511.06349, section
            3.1); 0 for none. Of a batch that is computed in groups, every group counts.
        **kwargs: Windows and front end, see :class:`SpectrogramConfig`; ``waveform`` is impossible, as a filterbank
            that is learned would be its own target.

    Raises:
        ValueError: If a value is out of range.
    """

    model_type = "mel_vae"
    front_ends = ("mel_db", "log_mel", "mfcc", "cqt")
    adjustable_fields = (*SpectrogramConfig.adjustable_fields, *_WEIGHTS, "kl_warmup_batches")

    num_channels: int = 32
    num_blocks: int = 4
    latent_size: int = 128
    classification_weight: float = 1.0
    reconstruction_weight: float = 1.0
    kl_weight: float = 1.0
    kl_warmup_batches: int = 1_000

    def counts(self) -> tuple[str, ...]:
        """Fields that must be positive whole numbers."""
        return (*super().counts(), "num_channels", "num_blocks", "latent_size")

    def value_problems(self) -> list[str]:
        """What is wrong with single values."""
        problems = super().value_problems()
        problems += [
            f"{name} must be a number of at least 0, received {getattr(self, name)!r}"
            for name in _WEIGHTS
            if not is_number(getattr(self, name)) or getattr(self, name) < 0
        ]
        if type(self.kl_warmup_batches) is not int or self.kl_warmup_batches < 0:
            problems.append(
                f"kl_warmup_batches must be a whole number of at least 0, received {self.kl_warmup_batches!r}"
            )
        return problems
