"""Melody: how far pitch and voicing lie from those of the recording, and what they are where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from library_builder.voice import FRAMES_PER_SECOND, VoiceTracks, track_voice

from .aligned import Aligned, align
from .gathering import Outcome, Unmeasurable, gather
from .measured import Measured, Row, Sample
from .mel_cepstrum import HOP_SAMPLES, SAMPLE_RATE, Track

SHORTEST_VOICED = 0.1
"""Seconds of voice without which pitch is not spoken of; a stray frame is as often an error of the tracker."""
FLAT = 1e-3
"""Semitones of spread below which a contour has no shape to correlate."""

_ALONG = "Along the warping path of the mel cepstra, rests at the ends cut off."
_OWN = "Of the clip itself, no recording needed."
FIGURES = (
    Measured(
        "f0_rmse",
        "F0 error, root mean square",
        "semitones",
        "lower",
        "mean",
        {},
        note=f"{_ALONG} Where both are voiced; a wrong register counts.",
    ),
    Measured(
        "f0_correlation",
        "F0 correlation",
        "r",
        "higher",
        "mean",
        {},
        note=f"{_ALONG} Where both are voiced, clip by clip; register and range do not count.",
    ),
    Measured(
        "vuv_error",
        "Voicing error",
        "%",
        "lower",
        "ratio",
        {},
        note=f"{_ALONG} Frames voiced in only one of the two, over frames of all clips.",
    ),
    Measured("f0_median", "F0 median", "semitones above 55 Hz", "none", "mean", {}, note=_OWN),
    Measured("f0_spread", "F0 standard deviation", "semitones", "none", "mean", {}, note=_OWN),
    Measured(
        "energy",
        "Active speech level",
        "dBFS",
        "none",
        "mean",
        {},
        note=f"{_OWN} Mean power up to 8 kHz, pauses left out.",
    ),
)
_AGAINST = FIGURES[:3]


class PitchContours:
    """`f0_rmse`, `f0_correlation` and `vuv_error` against the recording; `f0_median`, `f0_spread` and `energy` without.

    Pitch is that of `library_builder.voice.track_voice`, whose octave errors are its own: a clip measured against
    itself has none, two recordings of one line may. Aligned figures see only what warping leaves: stress laid on
    another word shows, a pause does not.
    """

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Measure clips."""
        return gather(FIGURES, samples, _measure)


def _measure(sample: Sample) -> Outcome:
    try:
        against = _against(align(sample))
    except Unmeasurable as reason:
        against = {figure.name: str(reason) for figure in _AGAINST}
    return {**against, **_alone(sample)}


def _alone(sample: Sample) -> Outcome:
    tracks = _tracks(sample.wave, sample.sample_rate)
    if isinstance(tracks, str):
        return dict.fromkeys(("f0_median", "f0_spread", "energy"), tracks)
    energy = Row((float(10 * np.log10(np.mean(10 ** (tracks.level[tracks.active] / 10)))),))
    if tracks.voiced.sum() < SHORTEST_VOICED * FRAMES_PER_SECOND:
        return {**dict.fromkeys(("f0_median", "f0_spread"), _unvoiced()), "energy": energy}
    f0 = tracks.f0[tracks.voiced]
    return {"f0_median": Row((float(np.median(f0)),)), "f0_spread": Row((float(f0.std()),)), "energy": energy}


def _against(pair: Aligned) -> Outcome:
    own, other = _tracks(pair.wave, SAMPLE_RATE), _tracks(pair.reference, SAMPLE_RATE)
    if isinstance(own, str) or isinstance(other, str):
        raise Unmeasurable(own if isinstance(own, str) else f"recording: {other}")
    (f0, voiced), (sung, meant) = _along(own, pair.path[:, 0]), _along(other, pair.path[:, 1])
    wrong = Row((100.0 * float((voiced != meant).sum()), float(len(voiced))))
    both = voiced & meant
    if both.sum() * HOP_SAMPLES < SHORTEST_VOICED * SAMPLE_RATE:
        return {**dict.fromkeys(("f0_rmse", "f0_correlation"), _unvoiced()), "vuv_error": wrong}
    f0, sung = f0[both], sung[both]
    flat = min(f0.std(), sung.std()) < FLAT
    return {
        "f0_rmse": Row((float(np.sqrt(np.mean(np.square(f0 - sung)))),)),
        "f0_correlation": "a pitch that never moves" if flat else Row((float(np.corrcoef(f0, sung)[0, 1]),)),
        "vuv_error": wrong,
    }


def _along(tracks: VoiceTracks, frames: npt.NDArray[np.int64]) -> tuple[Track, npt.NDArray[np.bool_]]:
    """Pitch and voicing at frames of the mel cepstra, which lie closer than those of the tracks."""
    nearest = np.rint(frames * (HOP_SAMPLES / SAMPLE_RATE * FRAMES_PER_SECOND)).astype(np.int64)
    nearest = np.minimum(nearest, len(tracks.f0) - 1)
    return tracks.f0[nearest], tracks.voiced[nearest]


def _tracks(wave: npt.NDArray[np.floating], sample_rate: int) -> VoiceTracks | str:
    try:
        found = track_voice(wave, sample_rate)
    except ValueError as error:
        return str(error)
    return "silent, or too short to hold a sound" if found is None else found


def _unvoiced() -> str:
    return f"expected {SHORTEST_VOICED} s or more of voice, got less"
