"""Does speech lie where the picture wants it: edges against the slot, speed, open mouths, length of the recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .gathering import Outcome, Unmeasurable, gather
from .measured import Measured, Row, Sample
from .speech_activity import FRAME_SECONDS, Mask, SpeechDetector, WebRtcDetector

TOLERANCE = 0.04
"""Seconds: one frame of film. Viewers notice a lag of about twice as much."""
OPEN_SHARE = 0.25
"""Of the way from the most closed to the widest mouth of a clip, beyond which it counts as open."""
LEAST_RANGE = 0.02
"""Of an opening in [0, 1]; a mouth that moves less is still, or not seen."""

_VAD = "Edges as WebRTC's detector hears them, to 10 ms at best."
_SIGNED = f"{_VAD} Positive is late."
_SLOT = "Against the slot; a clip without any speech is missing, not out of it."
_MOUTH = (
    "Speech frames against frames of an open mouth, per clip. Closed lips are part of speech, so the recording itself "
    "stays well below 100: read it beside that."
)
FIGURES = (
    Measured("onset_error", "Onset error", "ms", "lower", "mean", {}, note=f"{_VAD} {_SLOT}"),
    Measured("offset_error", "Offset error", "ms", "lower", "mean", {}, note=f"{_VAD} {_SLOT}"),
    Measured("onset_lag", "Onset lag", "ms", "none", "mean", {}, note=f"{_SIGNED} {_SLOT}"),
    Measured("offset_lag", "Offset lag", "ms", "none", "mean", {}, note=f"{_SIGNED} {_SLOT}"),
    Measured(
        "in_slot",
        f"Clips within {TOLERANCE * 1000:.0f} ms of both edges",
        "%",
        "higher",
        "mean",
        {},
        note=f"{_VAD} {_SLOT}",
    ),
    Measured(
        "rate",
        "Speed",
        "letters/s",
        "none",
        "ratio",
        {},
        note="Letters of the text per second that sounds, pauses left out; digits and signs are not counted. "
        "Compares within one language and script.",
    ),
    Measured("mouth_iou", "Speech over open mouth, intersection over union", "%", "higher", "mean", {}, note=_MOUTH),
    Measured(
        "duration_correlation",
        "Correlation of duration with the recording's",
        "r",
        "higher",
        "correlation",
        {},
        note="Seconds from the beginning to the end of speech; needs three clips or more.",
    ),
)
_OF_SLOT = ("onset_error", "offset_error", "onset_lag", "offset_lag", "in_slot")


class Synchrony:
    """Eight figures of timing.

    `onset_error` and `offset_error` are absolute, `onset_lag` and `offset_lag` signed, against `Sample.slot`. `rate` is
    the speed that is heard. `mouth_iou` needs `Sample.mouth`, `duration_correlation` a recording.

    Args:
        detector: tells speech from the rest; None for WebRTC's.
    """

    def __init__(self, detector: SpeechDetector | None = None) -> None:
        self._detector = detector

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Measure clips."""
        if self._detector is None:
            try:
                self._detector = WebRtcDetector()
            except ImportError as error:
                return [replace(figure, note=f"not measured: {error}") for figure in FIGURES]
        detector = self._detector
        return gather(FIGURES, samples, lambda sample: _measure(sample, detector))


def _measure(sample: Sample, detector: SpeechDetector) -> Outcome:
    speech = detector(sample.wave, sample.sample_rate)
    first, last = span(speech)
    return {
        **_against_slot(sample, first, last),
        "rate": _rate(sample, float(speech.sum()) * FRAME_SECONDS),
        "mouth_iou": _mouth(sample, speech),
        "duration_correlation": _duration(sample, last - first, detector),
    }


def span(speech: Mask) -> tuple[float, float]:
    """First and last moment of speech, in seconds.

    Raises:
        Unmeasurable: there is none.
    """
    frames = np.flatnonzero(speech)
    if not len(frames):
        raise Unmeasurable("no speech heard")
    return float(frames[0]) * FRAME_SECONDS, float(frames[-1] + 1) * FRAME_SECONDS


def _against_slot(sample: Sample, first: float, last: float) -> Outcome:
    if sample.slot is None:
        return dict.fromkeys(_OF_SLOT, "no slot")
    onset, offset = first - sample.slot[0], last - sample.slot[1]
    # Frames are counted in hundredths that floats cannot hold; a lag of the tolerance itself is within.
    inside = max(abs(onset), abs(offset)) <= TOLERANCE + 1e-9
    values = (1000 * abs(onset), 1000 * abs(offset), 1000 * onset, 1000 * offset, 100.0 * inside)
    return {name: Row((value,)) for name, value in zip(_OF_SLOT, values, strict=True)}


def _rate(sample: Sample, seconds: float) -> Row | str:
    letters = sum(character.isalpha() for character in sample.text)
    return Row((float(letters), seconds)) if letters else "no letters in the text"


def _duration(sample: Sample, seconds: float, detector: SpeechDetector) -> Row | str:
    if sample.reference is None:
        return "no recording of the same text by the same voice"
    try:
        first, last = span(detector(sample.reference, sample.sample_rate))
    except Unmeasurable as reason:
        return f"recording: {reason}"
    return Row((seconds, last - first))


def _mouth(sample: Sample, speech: Mask) -> Row | str:
    """Over all frames of the longer of wave and picture; frames in which no mouth was found are left out."""
    if sample.mouth is None or not np.isfinite(sample.mouth).any():
        return "no mouth seen"
    low, high = float(np.nanmin(sample.mouth)), float(np.nanmax(sample.mouth))
    if high - low < LEAST_RANGE:
        return "the mouth does not move"
    count = max(len(speech), round(len(sample.mouth) / sample.mouth_fps / FRAME_SECONDS))
    # The picture in force at the middle of each frame; a picture that has ended shows no open mouth.
    shown = ((np.arange(count) + 0.5) * FRAME_SECONDS * sample.mouth_fps).astype(np.int64)
    mouth = np.append(sample.mouth, low)[np.minimum(shown, len(sample.mouth))]
    wide = mouth > low + OPEN_SHARE * (high - low)
    said = np.pad(speech, (0, count - len(speech)))
    known = np.isfinite(mouth)
    union = int(((wide | said) & known).sum())
    return Row((100.0 * int((wide & said & known).sum()) / union,)) if union else "no mouth seen while speech is heard"
