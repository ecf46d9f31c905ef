"""How the mouth moves, frame by frame, for a synthesizer that speaks in time with it.

A pretrained reader takes the light one's place by satisfying `LipReader` with a space of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from .tracking import Boxes, FaceTrack, grey
from .types import Frame, Seconds

LIGHT_LIPS = "light-lips-v1/32"
CROP_PIXELS = 32

_USUAL_FPS = 25.0
"""Speeds are told per frame at this rate, so that films at other rates give the same numbers."""
_OPENING, _MOTION = 0, 1
"""Columns of the light features."""
_SHAPES, _SHAPE_SPEEDS = 15, 9
_LIPS = (slice(None), slice(9, 28), slice(7, 25))
"""Rows and columns of a crop where lips are; nostrils lie above and shadows of the cheeks beside."""
_SHADE = 0.75
"""Of the skin's lightness: what is darker is the open mouth, or a lip's line."""
_LEAST_OPENING = 0.02
"""Mean darkness that counts as an open mouth at least; what varies less is not stretched to a full movement."""
_FULL_MOTION = 0.012
"""Change per frame, as a share of the skin's lightness, of a mouth that speaks; less is not stretched to it."""
_LEAST_MOTION = 0.008
"""The same, from which a mouth is said to move at all: twice the tremble of a mouth at rest."""

_PLAIN_MOTION = 0.03
"""The same, from which it is no tremble and no sway, however even."""

_COMES_AND_GOES = 1.6
"""Least ratio of strong motion (90th percentile) to usual motion of a mouth that speaks. A swaying head moves its mouth
evenly, at 1.3; speech comes and goes, at 1.8 and more, measured on GRID sentences and on puppets at rest."""

_SMOOTH: Seconds = 0.04
_RISE, _HOLD = 0.6, 0.35
"""Of the way from rest to full activity: for its onset a stretch must reach the first, and lasts while above the
second."""
_LAST_RISE, _LAST_HOLD = 0.4, 0.25
"""The same for its offset. Lips part before a voice starts and must not count yet; they close when it has ended, and
the last words of a sentence are spoken smaller than its first."""
_REST = 0.15
"""Activity that counts as rest at most. A cue that holds speech from end to end shows no rest of its own: its calmest
tenth is speech as well, and must not be cut off as if it were rest."""
_GAP: Seconds = 1.0
"""Pauses shorter than this lie within a line: closures of plosives, breaths, a comma taken slowly."""
_OPENING_SHARE = 0.7
"""Weight of opening beside motion: a mouth held open is a vowel, one that moves while nearly shut a consonant."""

Crops = npt.NDArray[np.floating] | npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LipReading:
    """A mouth through a shot, at the video's own rate.

    Attributes:
        times: seconds of each frame, (V,).
        features: shape and movement in the reader's own space, (V, D).
        opening: 0 as closed as it gets here, 1 as open as it gets here; 0 throughout for a still mouth, (V,).
        motion: change per usual frame, 1 where it is strong, (V,).
        moving: whether the mouth moves at all.
        notes: what was not found, in words.
    """

    times: npt.NDArray[np.float64]
    features: Features
    opening: Features
    motion: Features
    moving: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MouthMotion:
    """When a mouth is seen moving, in seconds of the media."""

    onset: Seconds
    offset: Seconds


class LipReader(Protocol):
    """Anything that reads lips."""

    @property
    def space(self) -> str:
        """The space of its features, `<name>/<width>`."""
        ...

    @property
    def crop_pixels(self) -> int:
        """Side of the square around the mouth that it looks at."""
        ...

    def read(self, frames: Sequence[Frame], track: FaceTrack) -> LipReading:
        """The mouth of the tracked face, frame by frame."""
        ...

    def features(self, crops: npt.NDArray[np.uint8]) -> Features:
        """What it makes of grey crops at 25 frames a second: (V, P, P) -> (V, D)."""
        ...


class LightLips:
    """Darkness and low frequencies of a small picture of the mouth, and their change."""

    @property
    def space(self) -> str:
        return LIGHT_LIPS

    @property
    def crop_pixels(self) -> int:
        return CROP_PIXELS

    def features(self, crops: npt.NDArray[np.uint8]) -> Features:
        """See `crop_features`."""
        return crop_features(crops)

    def read(self, frames: Sequence[Frame], track: FaceTrack) -> LipReading:
        """Crop the mouth out of every frame and measure it.

        Args:
            frames: of one shot, in order of time.
            track: of the same frames.

        Shape:
            times (V,), features (V, 32), opening (V,).

        Raises:
            ValueError: the track is of another number of frames.
        """
        if len(frames) != len(track.boxes):
            raise ValueError(f"expected a track of {len(frames)} frames, got {len(track.boxes)}")
        times = np.array([frame.time for frame in frames], dtype=np.float64)
        if track.found == "none":
            still = np.zeros((len(frames), 32), dtype=np.float32)
            return LipReading(times, still, still[:, 0].copy(), still[:, 0].copy(), False, ("lips: no mouth found",))
        crops = np.stack([_crop(frame, box) for frame, box in zip(frames, track.mouths(), strict=True)])
        fps = _fps(times)
        features = crop_features(crops, fps)
        moving = mouth_moves(crops, fps)
        opening = features[:, _OPENING].copy() if moving else np.zeros(len(frames), dtype=np.float32)
        notes = () if track.found == "face" else ("lips: no face found, moving region read",)
        if not moving:
            notes = (*notes, "lips: the mouth is still")
        return LipReading(times, features, opening, features[:, _MOTION].copy(), moving, notes)


def _crop(frame: Frame, mouth: Boxes) -> npt.NDArray[np.uint8]:
    """A square around the mouth, without colour: (32, 32)."""
    left, top, width, height = mouth
    scale = CROP_PIXELS / width
    middle = CROP_PIXELS / 2
    step = np.array([[scale, 0, middle - scale * (left + width / 2)], [0, scale, middle - scale * (top + height / 2)]])
    size = (CROP_PIXELS, CROP_PIXELS)
    # A plain warp skips pixels when it shrinks, and skipped pixels flicker; blur away first what cannot be kept.
    picture = grey(frame)
    if scale < 0.8:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.4 / scale), dtype=np.uint8)
    return np.asarray(
        cv2.warpAffine(picture, step, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
    )


def _fps(times: Series) -> float:
    """Frames per second, by the usual step between frames."""
    return float(1 / np.median(np.diff(times))) if len(times) > 1 else _USUAL_FPS


def _lit(crops: Crops) -> Series:
    """Lightness as a share of the clip's own skin, a little blurred, so that neither lighting nor grain counts."""
    if crops.ndim != 3 or crops.shape[1:] != (CROP_PIXELS, CROP_PIXELS) or not len(crops):
        raise ValueError(f"expected grey crops (V, {CROP_PIXELS}, {CROP_PIXELS}), V > 0, got shape {crops.shape}")
    values = crops.astype(np.float64)
    skin = max(float(np.percentile(values, 70)), 1.0)
    return np.asarray(ndimage.gaussian_filter(values / skin, (0, 0.7, 0.7)))


def _motion(lit: Series, fps: float) -> Series:
    """Mean change around the lips per usual frame, each frame the mean of before and after: (V,)."""
    if len(lit) < 2:
        return np.zeros(len(lit))
    steps = np.abs(np.diff(lit[:, 6:30, 4:28], axis=0)).mean(axis=(1, 2)) * fps / _USUAL_FPS
    return np.asarray(np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]]))


def mouth_moves(crops: Crops, fps: float = _USUAL_FPS) -> bool:
    """Whether the mouth in the crops moves more than grain, a tracker's tremble and a swaying head do.

    Shape:
        (V, 32, 32) grey.
    """
    usual, strong = np.percentile(_motion(_lit(crops), fps), [50, 90])
    return bool(strong > _PLAIN_MOTION or strong > max(_LEAST_MOTION, _COMES_AND_GOES * usual))


def crop_features(crops: Crops, fps: float = _USUAL_FPS) -> Features:
    """Thirty-two numbers per frame from grey pictures of one clip's mouth, normalised within the clip.

    Columns: opening in [0, 1]; motion, 1 where it is strong; speed of opening; contrast; height, width and place of the
    dark; vertical edges; 15 low frequencies of the picture against the clip's usual one; the speed of the first 9.

    Args:
        crops: 0 to 255, the mouth in the middle and about two thirds of the width.
        fps: frames per second; speeds do not depend on it.

    Shape:
        (V, 32, 32) -> (V, 32).

    Raises:
        ValueError: the crops are not (V, 32, 32).
    """
    lit = _lit(crops)
    lips = lit[_LIPS]
    dark = np.clip(_SHADE - lips, 0, 1)
    mass = dark.mean(axis=(1, 2))
    opening = _opening(mass)
    motion = _motion(lit, fps)
    motion = motion / max(float(np.percentile(motion, 95)), _FULL_MOTION)
    rows, columns = np.linspace(-1, 1, lips.shape[1]), np.linspace(-1, 1, lips.shape[2])
    whole = dark.sum(axis=(1, 2)) + 1e-2
    place = dark.sum(axis=2) @ rows / whole
    height = np.sqrt(dark.sum(axis=2) @ rows**2)
    width = np.sqrt(dark.sum(axis=1) @ columns**2)
    edges = np.abs(np.diff(lips, axis=1)).mean(axis=(1, 2))
    shapes = _shapes(lit)
    speed = fps / _USUAL_FPS
    parts = [
        np.stack([opening, np.minimum(motion, 2), 3 * _change(opening) * speed], axis=1),
        _level(
            np.stack([lips.std(axis=(1, 2)), height, width, place, edges], axis=1), least=(0.01, 0.2, 0.2, 0.1, 0.005)
        ),
        shapes,
        _change(shapes[:, :_SHAPE_SPEEDS]) * speed,
    ]
    return np.clip(np.concatenate(parts, axis=1), -4, 4).astype(np.float32)


def _opening(mass: Series) -> Series:
    """Darkness between the clip's least and most; the ends are percentiles, so that one odd frame is no measure."""
    low, high = np.percentile(mass, [5, 97])
    return np.clip((mass - low) / max(float(high - low), _LEAST_OPENING), 0, 1)


def _change(values: Series) -> Series:
    """Difference per frame, taken over both neighbours: same shape."""
    return np.asarray(np.gradient(values, axis=0)) if len(values) > 1 else np.zeros_like(values)


def _level(values: Series, least: Sequence[float]) -> Series:
    """Columns against their median in units of their spread, `least` at least."""
    away = values - np.median(values, axis=0)
    return np.asarray(away / np.maximum(away.std(axis=0), least))


def _shapes(lit: Series) -> Series:
    """Low spatial frequencies of what differs from the clip's usual picture, by rising frequency: (V, 15)."""
    away = lit - np.median(lit, axis=0)
    spectrum = fft.dctn(away, axes=(1, 2), norm="ortho")
    grid = sorted(((i, j) for i in range(6) for j in range(6) if i + j > 0), key=lambda ij: (ij[0] + ij[1], ij))
    chosen = np.stack([spectrum[:, i, j] for i, j in grid[:_SHAPES]], axis=1)
    spread = chosen.std(axis=0)
    # Frequencies that hardly vary carry noise: they are lifted half-way only.
    return np.asarray(chosen / np.maximum(spread, max(0.3 * float(spread.max()), 0.1)))


def mouth_motion(reading: LipReading) -> MouthMotion | None:
    """When the mouth is seen moving; None when it does not move.

    Activity, motion with some opening, must rise clearly and lasts until it has nearly sunk (hysteresis); the strongest
    stretch takes in its neighbours across short pauses. Lips may part well before the voice starts. Measured by
    `recipes/mouths.py` against speech that is known: with half a second around GRID's sentences the onset is off by
    0.08 s in the median, the offset by 0.03 s; inside a cue as tight as a subtitle 3 of 100 slots lose a quarter.
    """
    if not reading.moving or len(reading.times) < 2:
        return None
    fps = _fps(reading.times)
    columns = ndimage.gaussian_filter1d(
        np.stack([reading.motion, reading.opening], axis=1).astype(np.float64), _SMOOTH * fps, axis=0
    )
    activity = columns[:, 0] + _OPENING_SHARE * columns[:, 1]
    calm, full = np.percentile(activity, [10, 95])
    rest = min(float(calm), _REST)
    share = (activity - rest) / max(float(full) - rest, 1e-9)
    begun = _stretch(share, reading.times)
    if begun is None:
        return None
    last = _last(share, reading.times, begun[1])
    return MouthMotion(float(reading.times[begun[0]]), float(reading.times[last]))


def _stretches(activity: Series, rise: float, hold: float) -> list[tuple[int, int]]:
    """First and last frame of every stretch above `hold` that reaches `rise`, in order."""
    labels, count = ndimage.label(activity > hold)
    inside = [np.flatnonzero(labels == label) for label in range(1, count + 1)]
    return [(int(frames[0]), int(frames[-1])) for frames in inside if activity[frames].max() > rise]


def _stretch(activity: Series, times: Series) -> tuple[int, int] | None:
    """First and last frame of the strongest stretch, with its neighbours across short pauses."""
    stretches = _stretches(activity, _RISE, _HOLD)
    if not stretches:
        return None
    strongest = max(range(len(stretches)), key=lambda i: activity[stretches[i][0] : stretches[i][1] + 1].sum())
    first, last = stretches[strongest]
    for start, end in reversed(stretches[:strongest]):
        if times[first] - times[end] < _GAP:
            first = start
    for start, end in stretches[strongest + 1 :]:
        if times[start] - times[last] < _GAP:
            last = end
    return first, last


def _last(activity: Series, times: Series, last: int) -> int:
    """The frame at which speech that is clear until `last` ends: what is smaller goes on across pauses."""
    for start, end in _stretches(activity, _LAST_RISE, _LAST_HOLD):
        if end > last and times[start] - times[last] < _GAP:
            last = end
    return last
