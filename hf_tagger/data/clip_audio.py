"""``datasets.Audio`` that decodes with libsndfile, so that looking at a row needs neither torchcodec nor FFmpeg."""

from __future__ import annotations

from dataclasses import dataclass, fields

from datasets import Audio

from ..audio import load_mono, read_audio, resample, to_mono


@dataclass(eq=False)
class ClipAudio(Audio):
    """The ``audio`` column of our datasets.

    It is a ``datasets.Audio`` in every respect (type, storage, ``cast_column``, ``sampling_rate``) but the decoder: a
    row's ``audio`` is ``{"path": str | None, "array": float32 [samples], "sampling_rate": Hz}``, mono, resampled to
    ``sampling_rate``, which is also the form that transformers' pipelines take.
    """

    def __eq__(self, other: object) -> bool:
        """Equal to a plain ``Audio`` of the same settings: such columns hold the same and can be concatenated."""
        return isinstance(other, Audio) and all(
            getattr(self, entry.name) == getattr(other, entry.name) for entry in fields(self)
        )

    __hash__ = None

    def decode_example(self, value: dict, token_per_repo_id: dict | None = None) -> dict:
        """Decodes one clip to ``{"path", "array", "sampling_rate"}``.

        Raises:
            hf_tagger.errors.AudioDecodingError: If the clip cannot be read.
        """
        if not self.decode:
            raise RuntimeError("Decoding is switched off for this column; use ClipAudio(decode=True).")
        source = value["bytes"] if value["bytes"] is not None else value["path"]
        if self.sampling_rate is None:
            samples, sampling_rate = read_audio(source)
            array = resample(to_mono(samples), sampling_rate, sampling_rate)
        else:
            array, sampling_rate = load_mono(source, self.sampling_rate), self.sampling_rate
        return {"path": value["path"], "array": array, "sampling_rate": sampling_rate}
