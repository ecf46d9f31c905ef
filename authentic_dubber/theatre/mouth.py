"""How far a mouth opens: read from a sound, and drawn as an outline with teeth and tongue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfiltfilt

from .brush import Points

Floats = npt.NDArray[np.float32]

_BAND = (180.0, 4000.0)
"""Hertz: from above mains hum to where fricatives, spoken with a nearly closed mouth, take over."""
_GATE = 0.06
"""Below this share of the loud parts (about -24 dB) a mouth is shut."""
_SILENCE = 3e-4
"""A recording whose loud parts stay below this root mean square has no speech in it."""


def mouth_opening(wave: npt.NDArray[np.floating], sample_rate: int, fps: float) -> Floats:
    """How open a mouth is in each video frame, from the sound's energy in the speech band.

    The opening is relative to the recording's own loud parts, so it does not depend on the level; it is closed in
    silence, and smoothed over about one frame at 25 fps, since jaws cannot jump.

    Args:
        wave: mono samples.
        sample_rate: hertz.
        fps: video frames per second.

    Shape:
        (S,) -> (V,) with V = round(S / sample_rate * fps), values in [0, 1].

    Raises:
        ValueError: the wave is not (S,), is not finite, is shorter than one video frame, or a rate is not positive.
    """
    if wave.ndim != 1:
        raise ValueError(f"expected a mono wave (S,), got shape {wave.shape}")
    if fps <= 0 or sample_rate <= 2 * _BAND[0]:
        raise ValueError(f"expected fps > 0 and a sample rate above {2 * _BAND[0]:.0f} Hz, got {fps}, {sample_rate}")
    count = round(len(wave) / sample_rate * fps)
    if count < 1:
        raise ValueError(f"expected at least one video frame of sound at {fps} fps, got {len(wave)} samples")
    if not np.isfinite(wave).all():
        raise ValueError("expected finite samples, got NaN or infinity")
    high = min(_BAND[1], 0.45 * sample_rate)
    sos = butter(2, (_BAND[0], high), btype="bandpass", fs=sample_rate, output="sos")
    band = sosfiltfilt(sos, wave.astype(np.float64), padlen=min(len(wave) - 1, 200))
    # Mean power between frame borders by differences of a running sum: exact for any frame rate.
    total = np.concatenate([[0.0], np.cumsum(np.square(band))])
    borders = np.minimum(np.rint(np.arange(count + 1) * sample_rate / fps).astype(int), len(wave))
    level = np.sqrt(np.maximum(np.diff(total[borders]), 0) / np.maximum(np.diff(borders), 1))
    loud = float(np.percentile(level, 95))
    if float(level.max()) < _SILENCE:
        return np.zeros(count, dtype=np.float32)
    # A short word in a long silence leaves the percentile in the silence; the peak then says what loud is.
    loud = max(loud, 0.5 * float(level.max()))
    smooth = gaussian_filter1d(level, sigma=0.03 * fps, mode="nearest")
    opening = np.clip((smooth / loud - _GATE) / (1 - _GATE), 0, 1) ** 0.7
    return opening.astype(np.float32)


@dataclass(frozen=True, slots=True)
class MouthOutlines:
    """Outlines of the mouth in head units, one of each for every frame.

    Shape:
        rim, hole, teeth, tongue: (V, P, 2), to be filled in this order; openness (V,) is the height of the hole.
    """

    rim: Points
    hole: Points
    tongue: Points
    teeth: Points
    openness: Points


_U = np.linspace(-1, 1, 15)
_TEETH = np.linspace(-0.72, 0.72, 9)
_TONGUE = np.linspace(-0.68, 0.68, 11)
_LIP = 0.024
TEETH_FROM = 0.15
"""Height of the hole, in head units, from which teeth and tongue show. A filled sliver is at least a pixel wide, so
earlier they would make an opening mouth brighter instead of darker, above all in small crops."""

MOUTH_Y = 0.52
"""Where the mouth sits below the head's centre."""


def mouth_outlines(opening: npt.NDArray[np.floating], curve: float, width: float) -> MouthOutlines:
    """The mouth of every frame: a bent line that opens into a hole, with teeth hanging and a tongue lying in it.

    Args:
        opening: values in [0, 1].
        curve: -1 corners down to 1 corners up.
        width: 1 is an ordinary mouth.

    Shape:
        opening (V,) -> outlines (V, P, 2).
    """
    opened = np.asarray(opening, dtype=np.float64)[:, None]
    half = 0.34 * width * (1 + 0.12 * max(curve, 0.0)) * (1 - 0.14 * opened)
    gap = 0.5 * opened  # height at the middle
    bend = 0.26 * curve

    def rows(u: Points) -> tuple[Points, Points, Points]:
        middle = MOUTH_Y + bend * (0.45 - u**2)
        arch = np.sqrt(np.maximum(1 - u**2, 0))
        return half * u, middle - 0.3 * gap * arch, middle + 0.7 * gap * arch

    x, upper, lower = rows(_U)
    bite_x, bite_upper, bite_lower = rows(_TEETH)
    teeth_low = np.minimum(bite_upper + np.clip(0.1 * (gap - 0.1), 0, 0.04), bite_lower)
    tongue_x, tongue_upper, tongue_lower = rows(_TONGUE)
    dome = 1 - (_TONGUE / _TONGUE[-1]) ** 2
    tongue_high = np.maximum(tongue_lower - np.clip(0.28 * (gap - 0.1), 0, 1) * dome, tongue_upper)
    return MouthOutlines(
        # Lips are a slightly larger hole behind the hole: two fills cost a quarter of one thick line.
        rim=_closed(x * (1 + _LIP / half), upper - _LIP, lower + _LIP),
        hole=_closed(x, upper, lower),
        tongue=_closed(tongue_x, tongue_high, tongue_lower),
        teeth=_closed(bite_x, bite_upper, teeth_low),
        openness=gap[:, 0],
    )


def _closed(x: Points, upper: Points, lower: Points) -> Points:
    """An outline along the upper edge and back along the lower. (V, P) three times -> (V, 2 P, 2)."""
    return np.stack([np.concatenate([x, x[:, ::-1]], axis=1), np.concatenate([upper, lower[:, ::-1]], axis=1)], axis=-1)
