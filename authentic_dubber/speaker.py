"""Who speaks, as a vector: GE2E (Wan et al. 2018) with Resemblyzer's published weights, which come with its package."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

SHORTEST_PROMPT = 0.5
"""Seconds. GE2E listens in windows of 1.6 s; below this there is hardly a syllable."""
SILENT_DBFS = -65.0
"""A prompt whose loudest tenth of a second is below this holds no voice. Acted corpora start near -50."""
_RATE = 16_000


class BadPrompt(ValueError):
    """A voice prompt without a voice in it."""


class SpeakerEncoder(Protocol):
    """A wave to a speaker vector."""

    @property
    def width(self) -> int: ...

    def embed(self, wave: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float32]:
        """A unit vector, (C,)."""
        ...


class GE2E:
    """256 numbers for a voice. The level of the recording does not matter: it is set before listening.

    Raises:
        ImportError: Resemblyzer is missing; the message holds the cure.
    """

    def __init__(self) -> None:
        try:
            from resemblyzer import VoiceEncoder, preprocess_wav
        except ImportError as error:
            raise ImportError(
                "the speaker encoder is missing -> pip install --no-deps resemblyzer==0.1.4"
            ) from error
        self._encoder = VoiceEncoder("cpu", verbose=False)
        self._preprocess = preprocess_wav

    @property
    def width(self) -> int:
        return 256

    def embed(self, wave: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float32]:
        """The voice in a wave.

        Shape:
            (S,) -> (256,), unit length.

        Raises:
            BadPrompt: less than half a second, or silence.
        """
        refuse_bad_prompt(wave, sample_rate)
        heard = soxr.resample(wave, sample_rate, _RATE) if sample_rate != _RATE else wave
        speech = self._preprocess(np.ascontiguousarray(heard, dtype=np.float32))
        # Its voice detector may find a hoarse or tiny voice too faint; then the whole recording is listened to.
        if len(speech) < SHORTEST_PROMPT * _RATE / 2:
            speech = heard
        vector = np.asarray(self._encoder.embed_utterance(speech), dtype=np.float32)
        return vector / np.linalg.norm(vector)


def refuse_bad_prompt(wave: npt.NDArray[np.float32], sample_rate: int) -> None:
    """Stop at a prompt that is too short or silent.

    Raises:
        BadPrompt: says what was expected and got.
    """
    seconds = len(wave) / sample_rate
    if seconds < SHORTEST_PROMPT:
        raise BadPrompt(f"a voice prompt lasts at least {SHORTEST_PROMPT} s, got {seconds:.2f} s")
    step = sample_rate // 10
    blocks = wave[: len(wave) // step * step].reshape(-1, step).astype(np.float64)
    loudest = 10 * np.log10(np.max(np.mean(np.square(blocks), axis=1)) + 1e-12)
    if loudest < SILENT_DBFS:
        raise BadPrompt(f"a voice prompt is louder than {SILENT_DBFS:.0f} dBFS, got {loudest:.0f} dBFS: silence")
