"""What every model over a spectrogram does alike: front end and input norm."""

import torch
from torch import nn

from .frontends import FrontEnd, build_front_end, build_input_norm
from .scratch_classification import ScratchClassification
from .scratch_config import ScratchConfig


class SpectrogramClassification(ScratchClassification):
    """Base of models that classify ``[N, channels, bins, frames]`` by :meth:`spectrogram_logits` of a subclass."""

    # Channels last: values unchanged, 1.5 times faster training on a CPU, tensor cores on a GPU.
    memory_format = torch.channels_last

    def __init__(self, config: ScratchConfig):
        super().__init__(config)
        self.spectrogram, self.spectrogram_norm = self.build_input(config)

    def build_input(self, config: ScratchConfig) -> tuple[FrontEnd, nn.Module]:
        """The front end and the norm of its output."""
        return build_front_end(config), build_input_norm(config)

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, channels, bins, frames]``, normalised → ``[N, labels]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement spectrogram_logits.")

    def normalized_spectrogram(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, channels, bins, frames]``, normalised over the data seen in training."""
        norm = self.spectrogram_norm
        scale = norm.running_mean if norm.weight is None else norm.weight
        normalized = norm(self.spectrogram(input_values).to(scale.dtype)).to(self.network_dtype)
        return normalized.contiguous(memory_format=self.memory_format)

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        return self.spectrogram_logits(self.normalized_spectrogram(input_values))
