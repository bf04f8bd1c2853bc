"""Kaldi's log-mel filterbank inside the model: what transformers' ``ASTFeatureExtractor`` computes clip by clip.

Definition: ``torchaudio.compliance.kaldi.fbank``, with the settings of that feature extractor and of the Audio
Spectrogram Transformer's own code (https://github.com/YuanGongND/ast, ``src/dataloader.py``). Steps for 16 kHz::

    waveform      [B, samples]
    frames        [B, frames, 400]      25 ms every 10 ms; samples after the last whole frame are left out
    - mean        each frame without its mean
    pre-emphasis  y[n] = x[n] - 0.97 x[n - 1] within the frame
    · window      symmetric Hann
    power         [B, frames, 257]      of the Fourier transform, filled with zeros to 512 points
    mel           [B, frames, bins]     triangles on Kaldi's mel scale, from 20 Hz to half the sampling rate
    log           natural, of at least 1.19e-7

The values are the stock extractor's up to the rounding of float32; the steps are ordered for speed. (In loud pure tones
the bands far from the tone hold nothing but rounding: there the two differ, each as much from the exact values.)
"""

import math

import torch
from torch import nn

# Kaldi's defaults (kaldi/src/feat: feature-window.h, mel-computations.h, feature-fbank.cc).
_FRAME_MILLISECONDS = 25.0
_SHIFT_MILLISECONDS = 10.0
_PREEMPHASIS = 0.97
_LOWEST_HERTZ = 20.0
_MEL_FACTOR = 1127.0  # mel(f) = 1127 ln(1 + f / 700)
_MEL_BREAK_HERTZ = 700.0
_FLOOR = torch.finfo(torch.float32).eps

# Mel bands computed together. A triangle touches few of the frequencies: one product with all bands would multiply
# zeros for nine tenths of its time. 16 was the fastest of 8, 16, 32, 64 and 128 (128 bands, AVX-512).
_BANDS_AT_ONCE = 16
# Frames computed together. On a CPU what lies between two steps, 2 kB a frame, has to stay in the cache: 1,024, about a
# clip of 10 s, was the fastest of 128 to 16,384. Elsewhere the more the better; 65,536 need about 0.4 GB.
_FRAMES_AT_ONCE_ON_CPU = 1_024
_FRAMES_AT_ONCE_ELSEWHERE = 65_536


def frames_of(samples: int, sampling_rate: int) -> int:
    """Number of whole frames in ``samples`` samples at ``sampling_rate`` Hz; 0 if they are shorter than one frame."""
    length, shift = _frame_samples(sampling_rate)
    return 0 if samples < length else 1 + (samples - length) // shift


def samples_of(frames: int, sampling_rate: int) -> int:
    """Fewest samples at ``sampling_rate`` Hz that have ``frames`` whole frames; 0 for no frame."""
    length, shift = _frame_samples(sampling_rate)
    return 0 if frames < 1 else (frames - 1) * shift + length


class KaldiFilterbank(nn.Module):
    """Normalised log-mel spectrogram: float ``[batch, samples]`` → float32 ``[batch, max_length, num_mel_bins]``.

    The drop-in for ``ASTFeatureExtractor`` with the same arguments, on the device of its input, batched and
    differentiable. It runs in float32 under mixed precision as well: power spectra leave the range of float16.

    Its constants are neither parameters nor buffers: it adds nothing to the state dict, casting a model leaves them in
    float32, and they are on whatever device the input is. Buffers outside of the state dict would not do:
    ``from_pretrained`` replaces their values by uninitialised memory.

    Args:
        sampling_rate: Rate of the waveform in Hz.
        num_mel_bins: Bands of the filterbank.
        max_length: Frames of the output. Shorter waveforms are filled up with zeros **before** normalisation, as the
            published models have seen it; of longer ones the end is left out.
        mean: Mean of a dataset's log-mel values.
        std: Standard deviation of a dataset's log-mel values.
        do_normalize: Whether to return ``(x - mean) / (2 · std)``, a deviation of 0.5 (Gong et al. 2021,
            https://arxiv.org/abs/2104.01778), or ``x``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        sampling_rate: int,
        num_mel_bins: int,
        max_length: int,
        mean: float,
        std: float,
        do_normalize: bool = True,
    ):
        super().__init__()
        if sampling_rate < 100 or num_mel_bins < 1 or max_length < 1:
            raise ValueError(
                f"sampling_rate must be at least 100 Hz (received {sampling_rate}), num_mel_bins (received "
                f"{num_mel_bins}) and max_length (received {max_length}) at least 1."
            )
        if do_normalize and not std > 0:
            raise ValueError(f"std divides the features and must be greater than 0; received {std}.")
        self.sampling_rate, self.num_mel_bins, self.max_length = sampling_rate, num_mel_bins, max_length
        self.mean, self.std, self.do_normalize = mean, std, do_normalize
        self.frame_samples, self.shift_samples = _frame_samples(sampling_rate)
        self.n_fft = 1 << (self.frame_samples - 1).bit_length()
        with torch.device("cpu"):  # `from_pretrained` builds models on the meta device
            window = torch.hann_window(self.frame_samples, periodic=False, dtype=torch.float32)
            self._constants = {window.device: (window, _grouped_bands(num_mel_bins, self.n_fft, sampling_rate))}

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """``[batch, samples]`` → ``[batch, max_length, num_mel_bins]``.

        Raises:
            ValueError: If the waveform is shorter than one frame, or not ``[batch, samples]``.
        """
        features = self._frames(waveform[..., : samples_of(self.max_length, self.sampling_rate)], self.max_length)
        return features.sub_(self.mean).div_(2 * self.std) if self.do_normalize else features

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """Log-mel values, neither filled up nor cut nor normalised: ``[batch, samples]`` → ``[batch, frames, bins]``.

        Raises:
            ValueError: If the waveform is shorter than one frame, or not ``[batch, samples]``.
        """
        return self._frames(waveform)

    def _frames(self, waveform: torch.Tensor, least: int = 0) -> torch.Tensor:
        """All frames of ``[batch, samples]``, and frames of zeros until there are ``least``."""
        if waveform.ndim != 2:
            raise ValueError(f"The waveform must be [batch, samples]; received the shape {tuple(waveform.shape)}.")
        batch, samples = waveform.shape
        total = frames_of(samples, self.sampling_rate)
        if not total:
            raise ValueError(
                f"The waveform has {samples} samples, but a frame of the filterbank has {self.frame_samples} "
                f"({_FRAME_MILLISECONDS:g} ms at {self.sampling_rate} Hz). Give it at least one frame; shorter clips "
                f"can be repeated."
            )
        features = waveform.new_zeros(batch, max(total, least), self.num_mel_bins, dtype=torch.float32)
        at_once = _FRAMES_AT_ONCE_ON_CPU if waveform.device.type == "cpu" else _FRAMES_AT_ONCE_ELSEWHERE
        clips_at_once = max(1, at_once // total)
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            if torch.compiler.is_exporting():  # blocks are for the cache; a graph would hold the number of the example
                features[:, :total] = self._log_mel(waveform[:, : samples_of(total, self.sampling_rate)].float())
                return features
            for clip in range(0, batch, clips_at_once):
                clips = slice(clip, clip + clips_at_once)
                for first in range(0, total, at_once):
                    last = min(first + at_once, total)
                    start = first * self.shift_samples
                    stop = start + samples_of(last - first, self.sampling_rate)
                    features[clips, first:last] = self._log_mel(waveform[clips, start:stop].float())
        return features

    def _log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """One block: ``[clips, samples]`` → ``[clips, frames, bins]``.

        Up to the Fourier transform every sample is rounded in the order of Kaldi and of the stock extractor: mean,
        pre-emphasis, window. In bands without any sound (a pure tone has many) the roundings are all there is, and
        another order of the same sums gives other values there. A frame's first sample, which has no predecessor in
        its frame, may be anything: the window is 0 there.
        """
        window, groups = self._constants_on(waveform.device)
        frames = waveform.unfold(-1, self.frame_samples, self.shift_samples)  # [clips, frames, frame_samples]
        frames = frames - frames.mean(dim=-1, keepdim=True)
        padded = frames.new_zeros(*frames.shape[:-1], self.n_fft)
        inner = padded[..., 1 : self.frame_samples]  # computed in place: the block stays in the cache
        if frames.requires_grad:
            inner.copy_(frames[..., 1:] - frames[..., :-1] * _PREEMPHASIS)
        else:
            torch.sub(frames[..., 1:], frames[..., :-1] * _PREEMPHASIS, out=inner)
        inner.mul_(window[1 : self.frame_samples])
        spectrum = torch.fft.rfft(padded)  # [clips, frames, n_fft / 2 + 1]
        # Squared real and imaginary parts side by side; their sum, the power, is left to the product with the bands.
        squares = torch.view_as_real(spectrum).square_().reshape(-1, self.n_fft + 2)  # [clips · frames, n_fft + 2]
        mel = torch.cat([squares[:, first:last] @ bands for first, last, bands in groups], dim=-1)
        return mel.clamp_min_(_FLOOR).log_().view(*frames.shape[:2], self.num_mel_bins)

    def _constants_on(self, device: torch.device) -> tuple[torch.Tensor, list[tuple[int, int, torch.Tensor]]]:
        if device not in self._constants:
            window, groups = self._constants[torch.device("cpu")]
            with torch.inference_mode(False):  # training may follow an evaluation
                self._constants[device] = (
                    window.to(device),
                    [(first, last, bands.to(device)) for first, last, bands in groups],
                )
        return self._constants[device]


def _frame_samples(sampling_rate: int) -> tuple[int, int]:
    """Length and shift of the frames in samples, rounded down as Kaldi does."""
    return int(sampling_rate * _FRAME_MILLISECONDS * 0.001), int(sampling_rate * _SHIFT_MILLISECONDS * 0.001)


def _grouped_bands(num_mel_bins: int, n_fft: int, sampling_rate: int) -> list[tuple[int, int, torch.Tensor]]:
    """Weights of the bands in groups of neighbours: ``(first, last, float32 [last - first, bands])``.

    ``[first:last]`` are the columns of the squared real and imaginary parts that a group needs.
    """
    groups = []
    for bands in _mel_bands(num_mel_bins, n_fft, sampling_rate).split(_BANDS_AT_ONCE):
        used = (bands > 0).any(dim=0).int()  # [n_fft / 2]; if there is none, the whole range is multiplied by 0
        first, last = int(used.argmax()), len(used) - int(used.flip(0).argmax())
        weights = bands[:, first:last].T.repeat_interleave(2, dim=0)  # a row each for the real and the imaginary part
        groups.append((2 * first, 2 * last, weights.contiguous()))
    return groups


def _mel_bands(num_mel_bins: int, n_fft: int, sampling_rate: int) -> torch.Tensor:
    """Triangles ``[bands, n_fft / 2]`` with peak 1 at equal distances on the mel scale; half the rate has no weight.

    In float32 throughout: where a triangle barely reaches a frequency its weight is a difference of rounded numbers,
    and the published models were trained with these roundings. float32 has to be named, for ``from_pretrained`` makes
    a model's own type the default while it builds the model.
    """
    low, high = (_MEL_FACTOR * math.log(1 + hertz / _MEL_BREAK_HERTZ) for hertz in (_LOWEST_HERTZ, sampling_rate / 2))
    distance = (high - low) / (num_mel_bins + 1)
    numbers = torch.arange(num_mel_bins, dtype=torch.float32).unsqueeze(1)  # [bands, 1]
    left, centre, right = (low + (numbers + offset) * distance for offset in (0.0, 1.0, 2.0))
    hertz = sampling_rate / n_fft * torch.arange(n_fft // 2, dtype=torch.float32)
    mel = _MEL_FACTOR * torch.log(1 + hertz / _MEL_BREAK_HERTZ)  # [n_fft / 2]
    return torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp_min(0)
