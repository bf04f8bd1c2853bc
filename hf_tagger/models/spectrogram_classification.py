"""What every model over a spectrogram does alike: front end, input norm, initialisation."""

import torch
from torch import nn

from .blocks import initialize_for_relu
from .frontends import build_front_end, build_input_norm
from .spectrogram_config import SpectrogramConfig
from .windowed_classification import WindowedAudioClassification


class SpectrogramClassification(WindowedAudioClassification):
    """Base of models that classify ``[N, 1, bins, frames]``; a subclass implements :meth:`spectrogram_logits`."""

    # Channels last: values unchanged, 1.5 times faster training on a CPU, tensor cores on a GPU.
    memory_format = torch.channels_last

    def __init__(self, config: SpectrogramConfig):
        super().__init__(config)
        self.spectrogram = build_front_end(config)
        self.spectrogram_norm = build_input_norm(config)

    def _init_weights(self, module: nn.Module) -> None:
        if not initialize_for_relu(module):
            super()._init_weights(module)

    def spectrogram_logits(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """``[N, 1, bins, frames]``, normalised → ``[N, labels]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement spectrogram_logits.")

    def normalized_spectrogram(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, 1, bins, frames]``, normalised over the data seen in training."""
        norm = self.spectrogram_norm
        scale = norm.running_mean if norm.weight is None else norm.weight
        normalized = norm(self.spectrogram(input_values).to(scale.dtype)).to(self.network_dtype)
        return normalized.contiguous(memory_format=self.memory_format)

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        return self.spectrogram_logits(self.normalized_spectrogram(input_values))
