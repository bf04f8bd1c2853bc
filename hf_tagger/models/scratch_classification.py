"""What all models that are trained from scratch do alike."""

from torch import nn

from .blocks import initialize_for_relu
from .windowed_classification import WindowedAudioClassification


class ScratchClassification(WindowedAudioClassification):
    """Base of models of convolutions, batch norms and ReLU."""

    def _init_weights(self, module: nn.Module) -> None:
        if not initialize_for_relu(module):
            super()._init_weights(module)
