"""When a clip sounds of speech, told by WebRTC's voice activity detector, by which nothing in the engine is timed."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from authentic_dubber.levels import TARGET_DBFS, level_dbfs, trimmed_span
from library_builder.voice import SILENCE_DBFS

from .gathering import Unmeasurable

Mask: TypeAlias = npt.NDArray[np.bool_]

FRAME_SECONDS = 0.01
"""The shortest frame the detector takes: edges are known to 10 ms at best."""
AGGRESSIVENESS = 2
"""0 to 3; at 3 soft consonants at the edges count as silence, at 0 the fade after a vowel counts as speech."""

_RATE = 16_000
_STEP = round(FRAME_SECONDS * _RATE)
_SETTLE = 30
"""Frames of silence before either end: the detector adapts to what comes before speech."""


class SpeechDetector(Protocol):
    """Tells speech from the rest."""

    def __call__(self, wave: npt.NDArray[np.floating], sample_rate: int) -> Mask:
        """Which frames of `FRAME_SECONDS` from the beginning of the wave hold speech; none may."""
        ...


class WebRtcDetector:
    """WebRTC's detector, heard both ways.

    It holds on for about a tenth of a second after speech, by design. So the wave is heard backwards as well, where
    that delay lies before speech, and a frame counts when both say so.

    Raises:
        ImportError: the package is absent.
    """

    def __init__(self) -> None:
        try:
            from webrtcvad import Vad
        except ImportError as error:
            raise ImportError(f"no voice activity detector ({error}); pip install webrtcvad-wheels") from error
        self._new = Vad

    def __call__(self, wave: npt.NDArray[np.floating], sample_rate: int) -> Mask:
        """Which frames hold speech. The level is set first, since the detector's answer depends on it.

        Shape:
            (S,) -> (ceil(S / sample_rate / FRAME_SECONDS),).

        Raises:
            Unmeasurable: the wave is not mono, not finite, or shorter than a frame.
        """
        if wave.ndim != 1 or not np.isfinite(wave).all():
            raise Unmeasurable(f"expected a finite mono wave (S,), got shape {wave.shape}, or samples not finite")
        if len(wave) < FRAME_SECONDS * sample_rate:
            raise Unmeasurable(f"expected {FRAME_SECONDS} s or more, got {len(wave) / sample_rate:.3f} s")
        count = int(np.ceil(round(len(wave) / sample_rate / FRAME_SECONDS, 6)))
        if float(np.abs(wave).max()) < 10 ** (SILENCE_DBFS / 20):
            return np.zeros(count, dtype=np.bool_)
        pcm = _levelled(wave, sample_rate)
        # Both ways have to cut at the same places, so the last frame is filled up.
        pcm = np.pad(pcm, (0, max(0, count * _STEP - len(pcm))))[: count * _STEP]
        return self._heard(pcm) & self._heard(pcm[::-1])[::-1]

    def _heard(self, pcm: npt.NDArray[np.int16]) -> Mask:
        detector = self._new(AGGRESSIVENESS)
        frames = np.pad(pcm, (_SETTLE * _STEP, 0)).reshape(-1, _STEP)
        return np.array([detector.is_speech(frame.tobytes(), _RATE) for frame in frames], dtype=np.bool_)[_SETTLE:]


def _levelled(wave: npt.NDArray[np.floating], sample_rate: int) -> npt.NDArray[np.int16]:
    sound = np.asarray(wave, dtype=np.float64)
    first, last = trimmed_span((sound / np.abs(sound).max()).astype(np.float32), sample_rate)
    gain = 10 ** ((TARGET_DBFS - level_dbfs(sound[first:last].astype(np.float32))) / 20)
    sound = soxr.resample(sound * gain, sample_rate, _RATE)
    return np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2")
