"""What every tagger of this package does alike: windows in, one row of logits a clip out, and the loss."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .adapter_loading import AdapterLoading

MULTI_LABEL = "multi_label_classification"

WindowOutputs = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Logits ``[N, labels]`` of windows, and further losses by name, each ``[N]``."""


@dataclass
class TaggerOutput(SequenceClassifierOutput):
    """transformers' output and, in training, what a model learns besides the labels.

    Attributes:
        further_loss: Mean over the windows of the model's further losses, weighted; None for models without.
        further_losses: Its parts by name.
    """

    further_loss: torch.Tensor | None = None
    further_losses: dict[str, torch.Tensor] | None = None


class WindowedAudioClassification(AdapterLoading, PreTrainedModel):
    """Base of models that classify windows of a waveform.

    A subclass implements :meth:`window_logits`, or :meth:`window_outputs` if it has a loss besides the labels'. This
    class folds the windows of long audio into the batch (in groups of ``config.windows_per_group``, which bounds the
    memory), averages the **probabilities** of a clip's windows and returns logits whose sigmoid (multi-label) or
    softmax (single-label) is that average.
    """

    main_input_name = "input_values"
    citation = ""
    """BibTeX of the architecture's paper, for the model card."""

    input_modalities = "audio"
    # Also matches spectrogram_norm: decibels in bfloat16 are half a decibel coarse before they are normalised.
    _keep_in_fp32_modules_strict = {"spectrogram"}  # noqa: RUF012 (transformers' own form)

    @property
    def network_dtype(self) -> torch.dtype:
        """The type of what follows the front end, which itself stays in float32."""
        own = (value.dtype for name, value in self.named_parameters() if not name.startswith("spectrogram"))
        return next(own, torch.float32)  # the copies that nn.DataParallel makes have no parameters

    def window_logits(self, input_values: torch.Tensor) -> torch.Tensor:
        """Logits of single windows: ``[N, samples]`` → ``[N, labels]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement window_logits.")

    def window_outputs(self, input_values: torch.Tensor) -> WindowOutputs:
        """Logits of single windows ``[N, labels]`` and, in training, the weighted further losses by name, each ``[N]``.

        Args:
            input_values: ``[N, samples]``.
        """
        return self.window_logits(input_values), {}

    def begin_training(self) -> None:
        """Called when a saved model is about to be trained anew: what counts the steps of training starts again."""

    def forward(
        self,
        input_values: torch.Tensor,
        window_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> TaggerOutput | tuple:
        """Classifies clips.

        Args:
            input_values: Waveforms, one window a clip ``[B, T]`` or several ``[B, W, T]``.
            window_mask: 1 for windows that exist, 0 for padding ``[B, W]``; all exist if None.
            labels: Class indices ``[B]`` (single-label) or 0/1 ``[B, C]``, NaN where unknown (multi-label).
            return_dict: False returns ``(loss, logits)`` or ``(logits,)``.
            attention_mask: 1 for samples, 0 for padding, ``[B, T]`` or ``[B, W, T]``; there is none if None. Padding
                is cut off before anything is computed, so that a padded window has the logits that it has alone.

        Returns:
            ``loss`` (if there are labels), ``logits [B, C]``, and in training the ``further_loss`` of models that have
            one; ``loss`` contains it.

        Raises:
            ValueError: If ``input_values`` is neither ``[B, T]`` nor ``[B, W, T]``, or if ``attention_mask`` has
                another shape or leaves a window empty.
        """
        if attention_mask is not None and attention_mask.shape != input_values.shape:
            raise ValueError(
                f"attention_mask must have the shape of input_values, {tuple(input_values.shape)}; received "
                f"{tuple(attention_mask.shape)}."
            )
        if input_values.ndim == 2:
            logits, further = self._masked_outputs(input_values, attention_mask)  # [B, C], [B]
        elif input_values.ndim == 3:
            logits, further = self._clip_outputs(input_values, window_mask, attention_mask)  # [B, C], [windows]
        else:
            raise ValueError(
                f"input_values must be [batch, samples] or [batch, windows, samples]; received the shape "
                f"{tuple(input_values.shape)}."
            )
        output = TaggerOutput(logits=logits)
        if further:
            output.further_losses = {name: values.mean() for name, values in further.items()}
            output.further_loss = sum(output.further_losses.values())
        if labels is not None:
            self._choose_problem(labels)
            output.loss = training_loss(output, labels, self.config)
        if return_dict is False:
            return (logits,) if output.loss is None else (output.loss, logits)
        return output

    def _masked_outputs(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> WindowOutputs:
        """``[N, T]`` → ``[N, C]`` and ``[N]``. Windows of one length are computed together, without their padding:
        norms over time (MERT's group norm, batch norm in training) would mix it into the music, and no mask could take
        it out again."""
        if attention_mask is None:
            return self._checked_outputs(input_values)
        exists = attention_mask.bool()
        lengths = exists.sum(dim=1)  # [N]
        distinct = lengths.unique().tolist()
        if distinct == [input_values.shape[1]]:
            return self._checked_outputs(input_values)
        if distinct[0] == 0:
            raise ValueError("attention_mask leaves a window without samples; every window needs at least one.")
        rows = [(lengths == length).nonzero()[:, 0] for length in distinct]
        outputs = [
            self._checked_outputs(input_values[row][exists[row]].view(-1, length))
            for row, length in zip(rows, distinct, strict=True)
        ]
        order = torch.cat(rows).argsort()  # back from the order of the lengths
        logits, further = _joined(outputs)
        return logits[order], {name: values[order] for name, values in further.items()}

    def _checked_outputs(self, input_values: torch.Tensor) -> WindowOutputs:
        shortest = getattr(self.config, "shortest_window", 1)
        if input_values.shape[1] < shortest:
            raise ValueError(
                f"A window of {input_values.shape[1]} samples is too short for this model, which needs at least "
                f"{shortest}. Shorter audio can be repeated, as the feature extractor does."
            )
        return self.window_outputs(input_values)

    def _clip_outputs(
        self, input_values: torch.Tensor, window_mask: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> WindowOutputs:
        clips, windows = input_values.shape[:2]
        if window_mask is None:
            window_mask = input_values.new_ones(clips, windows)
        exists = window_mask.bool()
        folded = input_values[exists]  # [N, T], N the windows that exist: padding is never computed
        groups = folded.split(self.config.windows_per_group)
        masks = [None] * len(groups)
        if attention_mask is not None:
            masks = attention_mask[exists].split(self.config.windows_per_group)
        logits, further = _joined(
            [self._masked_outputs(group, mask) for group, mask in zip(groups, masks, strict=True)]
        )
        logits = logits.float()  # [N, C]
        unfolded = logits.new_zeros(clips, windows, logits.shape[-1])
        unfolded[exists] = logits  # [B, W, C]
        return average_windows(unfolded, exists, self.config.problem_type), further

    def _choose_problem(self, labels: torch.Tensor) -> None:
        if self.config.problem_type is None:  # transformers' own rule, by the type of the labels
            single = labels.dtype in (torch.long, torch.int)
            self.config.problem_type = "single_label_classification" if single else MULTI_LABEL


def training_loss(
    output, labels: torch.Tensor, config, label_smoothing: float = 0.0, labels_loss: nn.Module | None = None
) -> torch.Tensor:
    """The loss of the labels and, of models that have one, the further loss.

    Args:
        output: A model's output, with ``logits`` ``[B, C]``.
        labels: 0/1 ``[B, C]`` or class indices ``[B]``.
        config: The model's configuration; its ``classification_weight`` weighs the labels' loss beside a further one.
        label_smoothing: See :func:`classification_loss`.
        labels_loss: Computes the labels' loss of logits and labels in place of :func:`classification_loss`, and does
            its own smoothing.
    """
    if labels_loss is None:
        loss = classification_loss(output.logits, labels, config.problem_type, label_smoothing)
    else:
        loss = labels_loss(output.logits, labels)
    further = getattr(output, "further_loss", None)
    if further is None:
        return loss
    return config.classification_weight * loss + further


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Mean loss in float32: binary cross-entropy of every label (multi-label) or cross-entropy (single-label).

    Args:
        logits: ``[B, C]``.
        labels: Multi-label ``[B, C]`` in 0..1, NaN where a label is not known, which is left out of the mean.
            Single-label class indices ``[B]``, or shares of the classes ``[B, C]``, where a clip with a NaN is left
            out. If nothing is known, the loss is 0.
        problem_type: transformers' ``problem_type``.
        label_smoothing: Share ε of the target that is spread evenly over the classes, or, multi-label, over 0 and 1
            (Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567).
    """
    logits = logits.float()
    if problem_type == MULTI_LABEL:
        known = ~labels.isnan()  # [B, C]
        targets = labels.float().masked_fill(~known, 0) * (1 - label_smoothing) + label_smoothing / 2
        losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    elif labels.ndim == 1:
        return nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    else:
        known = ~labels.isnan().any(dim=1)  # [B]
        targets = labels.float().masked_fill(~known[:, None], 0)
        losses = nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    return losses.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)


def average_windows(logits: torch.Tensor, exists: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Logits whose probabilities are the mean of the windows' probabilities.

    With p̄ the mean over a clip's windows: multi-label log p̄ − log(1 − p̄), single-label log p̄; both computed as
    log-sum-exp of log probabilities, so that certain windows do not overflow.

    Args:
        logits: ``[B, W, C]``.
        exists: Which windows count, boolean ``[B, W]``; at least one a clip.
        problem_type: transformers' ``problem_type``.

    Returns:
        ``[B, C]``.
    """
    weights = exists.unsqueeze(-1)  # [B, W, 1]

    def log_sum(log_probabilities: torch.Tensor) -> torch.Tensor:
        return log_probabilities.masked_fill(~weights, -torch.inf).logsumexp(dim=1)  # [B, C]

    if problem_type == MULTI_LABEL:
        return log_sum(nn.functional.logsigmoid(logits)) - log_sum(nn.functional.logsigmoid(-logits))
    return log_sum(logits.log_softmax(dim=-1)) - exists.sum(dim=1, keepdim=True).log()


def _joined(outputs: list[WindowOutputs]) -> WindowOutputs:
    logits, further = zip(*outputs, strict=True)
    return torch.cat(logits), {name: torch.cat([part[name] for part in further]) for name in further[0]}
