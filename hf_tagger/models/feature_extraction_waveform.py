"""The feature extractor of every model that computes its spectrogram itself: waveform in, windows out."""

import numpy as np
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from .windowing import cut_windows


class WaveformFeatureExtractor(SequenceFeatureExtractor):
    """Turns waveforms of any length into windows ``[clips, windows, samples]`` with a validity mask.

    ``pipeline("audio-classification")`` calls it with one waveform and passes its output to the model, which folds the
    windows, averages their probabilities and returns one row of logits a clip. See ``windowing.py`` for the arithmetic
    and for what happens to clips shorter than a window.

    Args:
        sampling_rate: Rate in Hz that the model expects.
        window_samples: Length of a window in samples.
        hop_samples: Distance of two windows in samples.
        feature_size: Channels; 1.
        padding_value: Fills the windows that a shorter clip of a batch does not have; they are masked out.
        **kwargs: Passed on to transformers.

    Raises:
        ValueError: If a length is not positive, or if windows would leave gaps (``hop_samples > window_samples``).
    """

    model_input_names = ["input_values", "window_mask"]  # noqa: RUF012 (transformers' own form)

    def __init__(
        self,
        sampling_rate: int = 16_000,
        window_samples: int = 59_049,
        hop_samples: int = 59_049,
        feature_size: int = 1,
        padding_value: float = 0.0,
        **kwargs,
    ):
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        if min(sampling_rate, window_samples, hop_samples) <= 0 or hop_samples > window_samples:
            raise ValueError(
                f"sampling_rate {sampling_rate}, window_samples {window_samples} and hop_samples {hop_samples} must be "
                f"positive, and hop_samples at most window_samples, so that the windows leave no gap."
            )
        self.window_samples = window_samples
        self.hop_samples = hop_samples

    def __call__(self, raw_speech, sampling_rate: int | None = None, return_tensors: str | None = None, **kwargs):
        """Cuts one waveform or several into windows.

        Args:
            raw_speech: One mono waveform ``[samples]`` (array, tensor or list of floats), or a list of them.
            sampling_rate: Rate in Hz of the waveforms. Give it: a wrong rate is an error instead of wrong tags.
            return_tensors: ``"pt"`` or ``"np"``; default ``"np"``.
            **kwargs: ``padding`` and the like of other extractors; clips are always padded to the most windows.

        Returns:
            ``BatchFeature`` with ``input_values`` float32 ``[clips, windows, window_samples]`` and ``window_mask``
            int64 ``[clips, windows]``, 1 for windows that a clip really has.

        Raises:
            ValueError: For another sampling rate, several channels, whole numbers instead of floating point ones, no
                samples, or NaN or infinite samples.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The audio has {sampling_rate} Hz, the model expects {self.sampling_rate} Hz. Resample it first, or "
                f"give the pipeline a dictionary with 'array' and 'sampling_rate'."
            )
        windows = [
            cut_windows(_as_waveform(clip), self.window_samples, self.hop_samples) for clip in _as_list(raw_speech)
        ]
        most = max(clip.shape[0] for clip in windows)
        input_values = torch.full((len(windows), most, self.window_samples), float(self.padding_value))
        window_mask = torch.zeros(len(windows), most, dtype=torch.int64)
        for row, clip in enumerate(windows):
            input_values[row, : clip.shape[0]] = clip
            window_mask[row, : clip.shape[0]] = 1
        data = {"input_values": input_values, "window_mask": window_mask}
        if return_tensors != "pt":
            data = {name: tensor.numpy() for name, tensor in data.items()}
        return BatchFeature(data)


def _as_list(raw_speech) -> list:
    if isinstance(raw_speech, np.ndarray | torch.Tensor):
        return [raw_speech]
    if not len(raw_speech):
        raise ValueError("The audio holds no samples; at least one is expected.")
    return [raw_speech] if np.isscalar(raw_speech[0]) else list(raw_speech)


def _as_waveform(clip) -> torch.Tensor:
    array = clip.detach().cpu().numpy() if isinstance(clip, torch.Tensor) else np.asarray(clip)
    if array.ndim != 1:
        raise ValueError(
            f"One channel is expected, [samples]; received the shape {array.shape}. Mix the channels first (their "
            f"mean); give several clips as a list."
        )
    if array.dtype.kind in "iu":
        raise ValueError(
            f"Samples are expected as floating point numbers within ±1; received {array.dtype}. Divide them by their "
            f"full scale (32768 for int16)."
        )
    # Writable, or PyTorch would warn: transformers' pipelines read files into arrays that are not.
    waveform = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
    if not torch.isfinite(waveform).all():
        raise ValueError("The audio holds NaN or infinite samples.")
    return waveform
