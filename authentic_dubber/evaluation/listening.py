"""How a clip is presented to a model of listeners, and what a panel of such ratings amounts to.

Published models of opinion move by a tenth of a point with the level of a clip, as much as two good voices differ by.
So every clip is heard at one level, and a gain changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import soxr

from authentic_dubber.speaker import SILENCE_DBFS

from .gathering import Unmeasurable, gather
from .measured import Measured, Row, Sample, Wave

LISTENING_DBFS = -26.0
"""Root mean square over the clip, pauses included; the nominal level of ITU-T P.56 listening material."""
SHORTEST = 0.25
"""Seconds; a shorter clip is less than a syllable, and nobody was ever asked to rate one."""


class Unhearable(Unmeasurable):
    """A clip that no listener could rate, with the reason."""


def presented(sample: Sample, sample_rate: int | None = None) -> Wave:
    """A clip as it is heard: at the listening level, and at the rate a model asks for.

    The level is set first, so that not even the resampler's rounding depends on the clip's own.

    Args:
        sample_rate: hertz; None leaves the clip's own.

    Shape:
        sample.wave (S,) -> (S',) float32.

    Raises:
        Unhearable: the clip is not one finite channel, too short or silent.
    """
    wave = np.asarray(sample.wave, dtype=np.float64)
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise Unhearable(f"expected a finite wave (S,), got shape {wave.shape}, or samples that are not finite")
    if sample.seconds < SHORTEST:
        raise Unhearable(f"expected {SHORTEST} s or more, got {sample.seconds:.2f} s")
    rms = float(np.sqrt(np.mean(np.square(wave))))
    if rms < 10 ** (SILENCE_DBFS / 20):
        raise Unhearable(f"silent: below {SILENCE_DBFS:.0f} dBFS")
    levelled = (wave * (10 ** (LISTENING_DBFS / 20) / rms)).astype(np.float32)
    if sample_rate is None or sample_rate == sample.sample_rate:
        return levelled
    return np.asarray(soxr.resample(levelled, sample.sample_rate, sample_rate, quality="HQ"), dtype=np.float32)


def opinions(
    samples: Sequence[Sample],
    titles: Mapping[str, str],
    rate: Callable[[Sample], Mapping[str, float]],
    note: str,
) -> list[Measured]:
    """Mean opinion scores over clips, one figure per scale; a clip that `rate` finds unhearable is missing from all.

    Args:
        titles: of the scales, by the short name of the figure.
        rate: a clip to its score on every scale.
        note: conventions behind the scores.
    """
    figures = [_scale(name, title, note) for name, title in titles.items()]
    return gather(figures, samples, lambda sample: {name: Row((score,)) for name, score in rate(sample).items()})


def no_opinion(titles: Mapping[str, str], reason: str, cure: str) -> list[Measured]:
    """What is returned when the model of listeners cannot run at all."""
    return [_scale(name, title, f"not measured: {reason}; {cure}") for name, title in titles.items()]


def _scale(name: str, title: str, note: str) -> Measured:
    return Measured(name, title, "MOS", "higher", "mean", {}, note=note)
