"""How a voice sounds, as a vector: prosody and spectrum against those of ordinary speech.

A pretrained reader (emotion2vec) takes the light one's place by satisfying `AudioReader` with a space of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .audio_norms import SPEECH
from .types import Emotion, Reading
from .voice import MEASURES, VoiceTracks, measure_voice, track_voice

LIGHT_AUDIO = f"light-audio-v1/{len(MEASURES)}"

_LIMIT = 3.0
"""Standard deviations: one freak figure must not outweigh the other 63 in a cosine."""
_REMARKABLE = 0.7
"""Standard deviations from ordinary speech beyond which a caption speaks of it."""

_WORDS: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("high", "low", {"f0_median": 1.0}),
    # Gain alone may be the microphone's; effort also lifts the upper bands.
    ("loud", "soft", {"level": 0.5, "alpha": 0.25, "hammarberg": -0.25}),
    ("fast", "slow", {"syllable_rate": 0.6, "pause_mean": -0.2, "voiced_run": -0.2}),
    ("lively", "flat", {"f0_range": 0.5, "f0_std": 0.5}),
    ("bright", "dark", {"centroid": 0.5, "tilt": 0.5}),
    ("clear", "rough", {"hnr": 0.7, "jitter": -0.3}),
)


class AudioReader(Protocol):
    """Anything that hears a voice."""

    @property
    def space(self) -> str:
        """The space of its vectors, `<name>/<width>`."""
        ...

    def read(self, wave: npt.NDArray[np.floating], sample_rate: int) -> Reading | None:
        """What the voice feels like; None when there is no sound."""
        ...


class LightAudio:
    """Sixty-four functionals of pitch, timing, level, spectrum and voice quality, standardised and of unit length.

    The coordinates are `voice.MEASURES` in order, each in standard deviations from the average of real speech (fixed
    numbers, see `audio_norms`) and limited, so that a cosine compares how two voices differ from ordinary speech.
    One coordinate, `level`, carries recording level; the others do not change with gain.
    """

    @property
    def space(self) -> str:
        return LIGHT_AUDIO

    def read(self, wave: npt.NDArray[np.floating], sample_rate: int) -> Reading | None:
        """The vector and words such as "a high, loud, fast voice"; None for silence or less than 0.1 s of sound.

        A figure that cannot be taken, such as the pitch of a whisper, stays at the average of speech, with a note.

        Args:
            wave: samples in [-1, 1], mono.

        Shape:
            (S,) -> vector (D,), D being the space's width.

        Raises:
            ValueError: the wave is not one channel of finite samples, or the rate is not positive.
        """
        tracks = track_voice(wave, sample_rate)
        if tracks is None:
            return None
        scores = standardise(measure_voice(tracks))
        notes = () if len(scores) == len(MEASURES) else ("audio: no pitch found, pitch left at the average of speech",)
        return Reading(self._emotion(scores, tracks), caption=describe(scores), notes=notes)

    def emotion_of(self, tracks: VoiceTracks) -> Emotion:
        """The vector of a voice that was tracked already."""
        return self._emotion(standardise(measure_voice(tracks)), tracks)

    def _emotion(self, scores: Mapping[str, float], tracks: VoiceTracks) -> Emotion:
        """The unit vector of standardised figures, and of whatever else this ear takes from the tracks."""
        vector = np.array([*(scores.get(name, 0.0) for name in MEASURES), *self._more(tracks)])
        return Emotion(self.space, (vector / np.linalg.norm(vector)).astype(np.float32))

    def _more(self, tracks: VoiceTracks) -> Sequence[float]:
        """Coordinates after those of `voice.MEASURES`."""
        return ()


def standardise(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures in standard deviations from ordinary speech, limited to ±3; those not taken are left out."""
    return limited(figures, SPEECH)


def limited(figures: Mapping[str, float], norms: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Figures in standard deviations from their means, limited to ±3; those not taken are left out.

    Args:
        norms: per figure its mean and standard deviation.
    """
    scores = {}
    for name, (mean, spread) in norms.items():
        if np.isfinite(figures[name]):
            scores[name] = float(np.clip((figures[name] - mean) / spread, -_LIMIT, _LIMIT))
    return scores


def describe(scores: Mapping[str, float]) -> str:
    """Words for what is remarkable: "a high, loud, fast voice", or "an even voice" when nothing is."""
    words = []
    for more, less, weights in _WORDS:
        if not all(name in scores for name in weights):
            continue
        score = sum(weight * scores[name] for name, weight in weights.items())
        if abs(score) > _REMARKABLE:
            words.append(more if score > 0 else less)
    return f"a {', '.join(words)} voice" if words else "an even voice"
