"""Configuration of MERT."""

from transformers import HubertConfig

from .heads import LAST, WEIGHTED, head_problems
from .windowing import window_problems

# Modules of the code that lies beside the published weights. It breaks on transformers since 4.48, and this package's
# classes take its place.
_PUBLISHED_CODE = ("configuration_MERT.", "modeling_MERT.")


class MertConfig(HubertConfig):
    """MERT (Li et al. 2023, https://arxiv.org/abs/2306.00107): HuBERT trained on music at 24 kHz.

    The fields of transformers' ``HubertConfig`` (https://huggingface.co/docs/transformers/model_doc/hubert) with the
    values of ``m-a-p/MERT-v1-95M``, and:

    Args:
        sample_rate: Rate of the waveform in Hz, under the name that the published checkpoints use.
        attention_relax: Accepted as published (-1 or 32) and without effect: scores are divided by it, their maximum
            is subtracted and they are multiplied by it again (PB-relax, Ding et al. 2021,
            https://arxiv.org/abs/2105.13290), which changes no softmax but keeps it from overflowing in float16; SDPA
            computes that softmax in float32.
        deepnorm: Must be False (no published checkpoint uses it).
        feature_extractor_cqt: Must be False (used in pretraining only, to compute targets).
        feature_extractor_cqt_bins: Unused.
        normalize_waveform: Bring every window to mean 0 and variance 1, as the published preprocessor does.
        window_samples: Length of a window in samples; 120,000 are the 5 s of pretraining.
        hop_samples: Distance of two windows in samples when a longer clip is evaluated.
        windows_per_group: Windows of long audio that are computed at once.
        layer: Which hidden state is classified: ``last``, a number (the encoder is cut there), or ``weighted``.
        pooling: ``mean`` or ``attention`` over the frames.
        head_hidden_size: Width of the head's hidden layer; None for a linear head.
        head_dropout: Dropout before the last layer.

    Raises:
        ValueError: If a value is out of range, or an option is not supported.
    """

    model_type = "mert_model"

    layerdrop: float | int = 0.0
    sample_rate: int = 24_000
    attention_relax: float | int = -1.0
    deepnorm: bool = False
    feature_extractor_cqt: bool = False
    feature_extractor_cqt_bins: int = 336
    normalize_waveform: bool = True
    window_samples: int = 120_000
    hop_samples: int = 120_000
    windows_per_group: int = 8
    layer: int | str = LAST
    pooling: str = "mean"
    head_hidden_size: int | None = None
    head_dropout: float | int = 0.1

    def __post_init__(self, **kwargs):
        """Checks the values."""
        if kwargs.get("auto_map"):
            kwargs["auto_map"] = {
                name: reference
                for name, reference in kwargs["auto_map"].items()
                if not str(reference).split("--")[-1].startswith(_PUBLISHED_CODE)
            }
            if not kwargs["auto_map"]:
                del kwargs["auto_map"]
        super().__post_init__(**kwargs)
        if self.layer == WEIGHTED:
            self.layerdrop = 0.0  # a layer that is left out would leave a gap in the sum
        problems = [
            f"{name} {getattr(self, name)!r} is not supported; it must be false"
            for name in ("deepnorm", "feature_extractor_cqt", "conv_pos_batch_norm")
            if getattr(self, name)
        ]
        if self.feat_extract_norm not in ("group", "layer"):
            problems.append(f"feat_extract_norm {self.feat_extract_norm!r} is not known; it must be group or layer")
        if self.hidden_size % self.num_attention_heads:
            problems.append(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )
        problems += window_problems(self)
        problems += head_problems(self)
        if problems:
            raise ValueError("; ".join(problems) + ".")

    @property
    def sampling_rate(self) -> int:
        """Rate of the waveform in Hz."""
        return self.sample_rate

    @property
    def shortest_window(self) -> int:
        """Samples that the convolutions need to make one frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples
