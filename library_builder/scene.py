"""What a shot looks like, as words and a vector: hue, lightness, saturation, contrast, warmth, variety, motion, length.

A pretrained reader (a video language model) takes the light one's place by satisfying `SceneReader` with its own space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from .types import Emotion, Frame, Reading, Seconds

LIGHT_SCENE = "light-scene-v1/48"

_HUES, _LIGHTS, _CHROMAS = 12, 8, 4
_WIDTH_PIXELS = 96
"""Pictures are looked at this small: a mood is not in the detail, and motion there costs a millisecond."""
_LOOKS = 12
"""Frames taken from a shot, evenly spread; enough for a mood, and a long shot costs no more than a short one."""
_STEP: Seconds = 0.08
"""Motion is measured over this long: drawings are often held for two or three frames, and neighbours are then equal."""
_HUE_NAMES = ("red", "orange", "yellow", "green", "green", "green", "cyan", "blue", "blue", "purple", "pink", "pink")
"""One per 30 degrees, centred on red."""
_GREY = 0.06
"""Chroma below which a shot is called grey."""

Values = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]


class SceneReader(Protocol):
    """Anything that looks at a shot."""

    @property
    def space(self) -> str:
        """The space of its vectors, `<name>/<width>`."""
        ...

    def read(self, frames: Sequence[Frame]) -> Reading | None:
        """What the shot feels like; None without frames."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """The attributes of one shot. Colours in CIELAB, averaged over the shot.

    Attributes:
        hues: share of colourful pixels per 30 degrees of hue, weighted by chroma; sums to one. Shape (12,).
        lights, chromas: shares of pixels from dark to light, from grey to vivid. Shapes (8,), (4,).
        lightness, light_spread: mean and deviation over pixels, 0 black to 1 white.
        chroma, chroma_spread: the same for chroma, 0 grey to about 1 for the purest colours.
        warmth: -1 azure to 1 orange.
        redness: mean chroma towards red minus that towards cyan.
        contrast: spread of lightness in a picture, 10th to 90th percentile, 0 to 1.
        variety: entropy of the hues, 0 one hue to 1 all alike.
        sky: lightness of the upper half minus that of the lower.
        spot: lightness of the middle minus that of the rim.
        detail: share of pixels on an edge.
        motion: mean optical flow, picture widths per second.
        burst: largest motion over the mean of motion, log2.
        pan: share of the motion that all pixels have in common, 0 to 1.
        spread: share of pixels that move.
        flicker: mean change of lightness, per second.
        light_trend, warmth_trend: last third minus first third.
        seconds: length of the shot.
    """

    hues: Values
    lights: Values
    chromas: Values
    lightness: float
    light_spread: float
    chroma: float
    chroma_spread: float
    warmth: float
    redness: float
    contrast: float
    variety: float
    sky: float
    spot: float
    detail: float
    motion: float
    burst: float
    pan: float
    spread: float
    flicker: float
    light_trend: float
    warmth_trend: float
    seconds: Seconds


class LightScene:
    """Colour histograms, picture attributes and motion: the low-level attributes that scene captions are prompted with.

    Each coordinate is centred on a middling picture, so that the cosine of a cold and a warm shot can be negative.
    """

    @property
    def space(self) -> str:
        return LIGHT_SCENE

    def read(self, frames: Sequence[Frame]) -> Reading | None:
        """The vector and words such as "a dark, blue, still shot"; None without frames.

        Args:
            frames: in order of time.

        Shape:
            vector (48,).
        """
        if not frames:
            return None
        look = look_at(frames)
        vector = _vector(look)
        notes = () if len(frames) > 1 else ("scene: one frame, motion unknown and left at none",)
        return Reading(Emotion(LIGHT_SCENE, vector.astype(np.float32)), caption=describe(look), notes=notes)


def look_at(frames: Sequence[Frame]) -> Look:
    """Measure a shot.

    Raises:
        ValueError: there are no frames.
    """
    if not frames:
        raise ValueError("a shot has one frame at least, got none")
    small = _Small(frames)
    chosen = np.unique(np.linspace(0, len(frames) - 1, _LOOKS).round().astype(int)).tolist()
    stack = np.stack([_colours(small.picture(i)) for i in chosen])
    light, chroma, hue = stack[..., 0], stack[..., 1], stack[..., 2]
    # Orange is the warmest hue and azure, across the circle, the coldest; grey is neither.
    warm = chroma * np.cos(2 * np.pi * (hue - 1 / 12))
    hues, lights, chromas = _histograms(stack)
    third = max(1, len(chosen) // 3)
    height, width = light.shape[1:]
    middle = light[:, height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None].mean()
    low, high = np.percentile(light, [10, 90], axis=(1, 2))
    edges = [cv2.Canny(small.grey(i), 60, 120).mean() / 255 for i in chosen]
    motion = _motion(frames, small)
    return Look(
        hues=hues,
        lights=lights,
        chromas=chromas,
        lightness=float(light.mean()),
        light_spread=float(light.std()),
        chroma=float(chroma.mean()),
        chroma_spread=float(chroma.std()),
        warmth=float(np.tanh(4 * warm.mean())),
        redness=float((chroma * np.cos(2 * np.pi * hue)).mean()),
        contrast=float((high - low).mean()),
        variety=float(-(hues * np.log(hues + 1e-9)).sum() / np.log(_HUES)),
        sky=float(light[:, : height // 2].mean() - light[:, height // 2 :].mean()),
        spot=float(middle - light.mean()),
        detail=float(np.mean(edges)),
        **motion,
        light_trend=float(light[-third:].mean() - light[:third].mean()),
        warmth_trend=float(warm[-third:].mean() - warm[:third].mean()),
        seconds=frames[-1].time - frames[0].time,
    )


class _Small:
    """Frames at the size they are looked at, each shrunk once however often it is looked at."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._pictures: dict[int, Picture] = {}
        self._greys: dict[int, Picture] = {}

    def picture(self, index: int) -> Picture:
        if index not in self._pictures:
            image = self._frames[index].image
            size = (_WIDTH_PIXELS, max(16, round(_WIDTH_PIXELS * image.shape[0] / image.shape[1])))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            self._pictures[index] = np.asarray(small, dtype=np.uint8)
        return self._pictures[index]

    def grey(self, index: int) -> Picture:
        if index not in self._greys:
            grey = cv2.cvtColor(self.picture(index), cv2.COLOR_RGB2GRAY)
            self._greys[index] = np.asarray(grey, dtype=np.uint8)
        return self._greys[index]


def _colours(image: Picture) -> Values:
    """Lightness and chroma of CIELAB, the hue people name, each in about [0, 1]: (H, W, 3)."""
    unit = image.astype(np.float32) / 255
    lab = cv2.cvtColor(unit, cv2.COLOR_RGB2LAB).astype(np.float64)
    # CIELAB's own angle calls pure blue purple; HSV's hue has the names right, and its lightness wrong.
    hue = cv2.cvtColor(unit, cv2.COLOR_RGB2HSV)[..., 0].astype(np.float64)
    return np.stack([lab[..., 0] / 100, np.hypot(lab[..., 1], lab[..., 2]) / 100, hue / 360], axis=-1)


def _histograms(stack: Values) -> tuple[Values, Values, Values]:
    """Soft histograms: a colour between two bins counts in both, so that a slight drift does not jump."""
    light, chroma, hue = (stack[..., axis].ravel() for axis in range(3))
    hues = _soft(hue * _HUES, np.maximum(chroma - 0.05, 0), _HUES, wrap=True)
    whole = hues.sum()
    # A grey picture has no hue: all alike.
    hues = hues / whole if whole > 1e-3 * len(light) else np.full(_HUES, 1 / _HUES)
    lights = _soft(light * (_LIGHTS - 1), np.ones_like(light), _LIGHTS) / len(light)
    chromas = _soft(np.minimum(chroma / 0.6, 1) * (_CHROMAS - 1), np.ones_like(light), _CHROMAS) / len(light)
    return hues, lights, chromas


def _soft(place: Values, weight: Values, bins: int, wrap: bool = False) -> Values:
    low = np.floor(place).astype(int)
    share = place - low
    above = (low + 1) % bins if wrap else np.minimum(low + 1, bins - 1)
    below = low % bins if wrap else np.clip(low, 0, bins - 1)
    return np.asarray(
        np.bincount(below, weight * (1 - share), bins) + np.bincount(above, weight * share, bins), dtype=np.float64
    )


def _motion(frames: Sequence[Frame], small: _Small) -> dict[str, float]:
    """Optical flow at a dozen moments, over `_STEP` seconds each."""
    times = np.array([frame.time for frame in frames])
    speeds, commons, spreads, flickers = [], [], [], []
    for first in np.unique(np.linspace(0, len(frames) - 1, _LOOKS + 1)[:-1].round().astype(int)):
        second = min(int(np.searchsorted(times, times[first] + _STEP - 1e-6)), len(frames) - 1)
        span = times[second] - times[first]
        if span <= 0:
            continue
        before, after = small.grey(int(first)), small.grey(second)
        flow = np.zeros((*before.shape, 2), dtype=np.float32)
        flow = cv2.calcOpticalFlowFarneback(before, after, flow, 0.5, 3, 13, 2, 5, 1.1, 0)
        speed = np.hypot(flow[..., 0], flow[..., 1]) / _WIDTH_PIXELS / span
        speeds.append(float(speed.mean()))
        common = float(np.linalg.norm(flow.reshape(-1, 2).mean(axis=0))) / _WIDTH_PIXELS / span
        commons.append(common / max(speeds[-1], 1e-6))
        spreads.append(float((speed > 0.05).mean()))
        flickers.append(abs(float(after.mean()) - float(before.mean())) / 255 / span)
    if not speeds:
        return {"motion": 0.0, "burst": 0.0, "pan": 0.0, "spread": 0.0, "flicker": 0.0}
    mean = float(np.mean(speeds))
    return {
        "motion": mean,
        "burst": float(np.log2(max(speeds) / mean)) if mean > 1e-3 else 0.0,
        "pan": float(np.average(commons, weights=np.array(speeds) + 1e-9)) if mean > 1e-3 else 0.0,
        "spread": float(np.mean(spreads)),
        "flicker": float(np.mean(flickers)),
    }


def _vector(look: Look) -> Values:
    """Blocks of comparable weight, each centred on a middling picture and limited, then unit length: (48,)."""
    colourful = min(1.0, look.chroma / 0.15)
    # Motion and length are felt by ratio, not by difference.
    pace = float(np.log2(look.motion + 0.01) - np.log2(0.1)) / 3
    length = float(np.log2(look.seconds + 0.25) - np.log2(3)) / 3
    scalars = [
        2 * (look.lightness - 0.45) / 0.4,
        (look.light_spread - 0.22) / 0.15,
        2 * (look.chroma - 0.18) / 0.2,
        (look.chroma_spread - 0.12) / 0.1,
        2 * look.warmth,
        2 * look.redness / 0.2,
        (look.contrast - 0.5) / 0.3,
        (look.variety - 0.6) / 0.25,
        look.sky / 0.3,
        look.spot / 0.2,
        (look.detail - 0.1) / 0.1,
        2 * pace,
        (look.burst - 0.8) / 0.8,
        (look.pan - 0.4) / 0.4,
        (look.spread - 0.3) / 0.4,
        float(np.log2(look.flicker + 0.01) - np.log2(0.04)) / 3,
        look.light_trend / 0.15,
        look.warmth_trend / 0.1,
        length,
        *(look.seconds < edge for edge in (0.8, 1.6, 3.2, 6.4)),
        look.motion * look.spread,
    ]
    parts = [
        3 * colourful * (np.sqrt(look.hues) - np.sqrt(1 / _HUES)),
        2 * (np.sqrt(look.lights) - np.sqrt(1 / _LIGHTS)),
        2 * (np.sqrt(look.chromas) - np.sqrt(1 / _CHROMAS)),
        np.clip(np.array(scalars, dtype=np.float64), -2, 2) * 0.5,
    ]
    vector = np.concatenate(parts)
    return np.asarray(vector / np.linalg.norm(vector))


def main_hue(look: Look) -> tuple[str, float, float]:
    """The commonest hue of a shot: its name, the middle of its bin in degrees, and its share of what is coloured."""
    at = int(np.argmax(look.hues))
    return ("grey" if look.chroma < _GREY else _HUE_NAMES[at]), 360 / _HUES * at, float(look.hues[at])


def describe(look: Look) -> str:
    """Words for a look, the strongest impressions only: "a dark, blue, still shot"."""
    words = []
    if look.lightness < 0.3 or look.lightness > 0.65:
        words.append("dark" if look.lightness < 0.3 else "bright")
    if look.contrast > 0.7 or look.contrast < 0.15:
        words.append("high-contrast" if look.contrast > 0.7 else "flat")
    if look.chroma < _GREY:
        words.append("grey")
    else:
        if look.chroma > 0.35 or look.chroma < 0.12:
            words.append("vivid" if look.chroma > 0.35 else "pale")
        words.append("many-coloured" if look.variety > 0.85 else main_hue(look)[0])
    if abs(look.warmth) > 0.3:
        words.append("warm" if look.warmth > 0 else "cold")
    if look.seconds > 0:
        words.append("still" if look.motion < 0.03 else "moving" if look.motion < 0.3 else "fast-moving")
        if look.seconds < 1 or look.seconds > 6:
            words.append("brief" if look.seconds < 1 else "long")
    article = "an" if words and words[0][0] in "aeiou" else "a"
    return f"{article} {', '.join(words)} shot" if words else "a middling shot"
