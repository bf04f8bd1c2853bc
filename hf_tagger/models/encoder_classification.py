"""Taggers on a pretrained encoder: the part that they share. The choices of the head are explained in ``heads.py``."""

import torch
from torch import nn

from .heads import ATTENTION, WEIGHTED, AttentionPooling, ClassificationHead, LayerSum, MeanPooling
from .windowed_classification import WindowedAudioClassification


class WindowedEncoderClassification(WindowedAudioClassification):
    """Windows → encoder → one layer or a learned sum → pooling over time → head.

    A subclass builds its encoder under the name ``base_model_prefix``, calls :meth:`build_head`, and implements
    :meth:`hidden_states`. Its configuration has ``hidden_size``, ``num_hidden_layers``, ``layer``, ``pooling``,
    ``head_hidden_size`` and ``head_dropout``.
    """

    base_model_class = None
    """The encoder's class, registered with ``AutoModel``."""

    feature_encoder_name = ""
    """Module of the encoder that turns the waveform into frames; ``freeze: feature_encoder`` freezes it."""

    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def build_head(self) -> None:
        """Adds layer sum, pooling and head; call it after the encoder is built and before ``post_init``."""
        config = self.config
        self.layer_sum = LayerSum(config.num_hidden_layers + 1) if config.layer == WEIGHTED else None
        self.pooling = AttentionPooling(config.hidden_size) if config.pooling == ATTENTION else MeanPooling()
        self.classifier = ClassificationHead(
            config.hidden_size, config.num_labels, config.head_hidden_size, config.head_dropout
        )

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LayerSum):
            nn.init.zeros_(module.weights)
        elif isinstance(module, AttentionPooling):
            nn.init.zeros_(module.score.weight)

    def hidden_states(self, input_values: torch.Tensor, every_layer: bool) -> tuple[torch.Tensor, ...]:
        """Encodes waveforms.

        Args:
            input_values: ``[N, samples]``.
            every_layer: Return all hidden states; otherwise only the last computed one.

        Returns:
            ``layers + 1`` tensors or one tensor, each ``[N, frames, hidden]``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement hidden_states.")

    @property
    def has_fixed_embeddings(self) -> bool:
        """Whether all that is learned with a frozen encoder comes after pooling, so that embeddings can be kept."""
        return self.config.pooling != ATTENTION

    def window_embeddings(self, input_values: torch.Tensor) -> torch.Tensor:
        """Pooled output of the chosen layer: ``[N, samples]`` → ``[N, hidden]``, or of every layer
        ``[N, layers + 1, hidden]`` for a learned sum (the mean of a sum of layers is the sum of their means).

        Raises:
            ValueError: With attention pooling and a learned sum, whose pooling depends on the sum.
        """
        if self.layer_sum is None:
            return self.pooling(self.hidden_states(input_values, every_layer=False)[-1])
        if not self.has_fixed_embeddings:
            raise ValueError("Attention pooling needs the sum of the layers first: use pooling: mean for embeddings.")
        states = self.hidden_states(input_values, every_layer=True)
        return torch.stack([self.pooling(state) for state in states], dim=1)  # pooled first: a small stack

    def embedding_logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What :meth:`window_embeddings` returns → ``[N, labels]``."""
        pooled = embeddings if self.layer_sum is None else self.layer_sum(embeddings)
        return self.classifier(pooled)

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """``[N, samples]`` → ``[N, labels]``."""
        if self.layer_sum is None or self.has_fixed_embeddings:
            return self.embedding_logits(self.window_embeddings(input_values))
        states = torch.stack(self.hidden_states(input_values, every_layer=True), dim=1)  # [N, layers + 1, frames, H]
        return self.classifier(self.pooling(self.layer_sum(states)))


def normalize_windows(input_values: torch.Tensor) -> torch.Tensor:
    """Each waveform ``[N, samples]`` with mean 0 and variance 1, in float32.

    As ``zero_mean_unit_var_norm`` of transformers' ``Wav2Vec2FeatureExtractor``: biased variance, 1e-7 added to it.
    """
    waveform = input_values.float()
    variance, mean = torch.var_mean(waveform, dim=-1, correction=0, keepdim=True)
    return (waveform - mean) / (variance + 1e-7).sqrt()
