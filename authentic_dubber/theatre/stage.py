"""The stage: puts a puppet before a set and moves it through time, frame by frame, alike for every seed.

Every frame can be drawn on its own: movement is a function of time and seed, never of the frame before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from library_builder.types import Frame

from .brush import Pen, Picture
from .face import Figure, Pose, draw_mouth, draw_puppet, mouth_centre, puppet_mouths
from .puppet import Controls, Puppet
from .sets import PLACES, Place, paint_set
from .style import FilmStyle, paint

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Shot:
    """One puppet, one feeling, one place, from first frame to last.

    Attributes:
        opening: of the mouth per video frame, shape (V,), values in [0, 1]; its length is the shot's.
        place: the set.
        seed: of the puppet's blinks, glances, sway and place in the picture.
        set_seed: arranges the set, so that shots can share one; `seed` does if it is not given.

    Raises:
        ValueError: the opening is not (V,) with V >= 1 and values in [0, 1], or the place is unknown.
    """

    puppet: Puppet
    controls: Controls
    opening: Floats
    place: Place = "room"
    seed: int = 0
    set_seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "opening", _checked(self.opening))
        if self.place not in PLACES:
            raise ValueError(f"known places are {', '.join(PLACES)}, got {self.place!r}")


def _checked(opening: Floats) -> Floats:
    opening = np.array(opening, dtype=np.float32)
    if opening.ndim != 1 or len(opening) < 1:
        raise ValueError(f"expected a mouth opening (V,) with V >= 1, got shape {opening.shape}")
    if not (np.isfinite(opening).all() and opening.min() >= 0 and opening.max() <= 1):
        raise ValueError("expected mouth openings between 0 and 1")
    opening.setflags(write=False)
    return opening


@dataclass(frozen=True, slots=True)
class _Manner:
    """How one puppet idles in one shot."""

    phases: tuple[float, float, float, float]
    blink_every: float
    blink_at: float
    aside: float


@lru_cache(maxsize=64)
def _manner(seed: int) -> _Manner:
    rng = np.random.default_rng([seed, 71])
    one, two, three, four = rng.uniform(0, 2 * np.pi, 4).tolist()
    every = float(rng.uniform(2.2, 4.2))
    return _Manner((one, two, three, four), every, float(rng.uniform(0.3, every)), float(rng.uniform(-0.16, 0.16)))


def pose_at(controls: Controls, opening: float, t: float, seed: int) -> Pose:
    """Where head, eyes and lids are `t` seconds into a shot."""
    manner = _manner(seed)
    a, b, c, d = manner.phases
    pace = 0.35 + 1.1 * controls.motion
    reach = 0.025 + 0.07 * controls.motion
    shiver = 0.03 * controls.tremble
    x = reach * np.sin(2 * np.pi * 0.6 * pace * t + a) + shiver * np.sin(2 * np.pi * 9.3 * t + b)
    # A speaking head nods with its syllables; a hanging head hangs lower.
    y = 0.5 * reach * np.sin(2 * np.pi * pace * t + b) - 0.05 * opening * (0.4 + controls.motion)
    tilt = 0.9 * reach * np.sin(2 * np.pi * 0.45 * pace * t + c) + 0.35 * shiver * np.sin(2 * np.pi * 8.1 * t + d)
    since = (t - manner.blink_at) % manner.blink_every
    blink = max(0.0, 1 - abs(since - 0.09) / 0.09)
    glance = np.round(1.4 * np.sin(2 * np.pi * 0.23 * t + d)) * 0.45
    return Pose(
        x=float(x),
        y=float(y - 0.1 * controls.posture),
        tilt=float(tilt + 0.07 * min(0.0, controls.posture) * np.sign(manner.aside)),
        turn=float(0.7 * np.sin(2 * np.pi * 0.3 * pace * t + d) * (0.3 + controls.motion)),
        gaze_x=float(glance),
        gaze_y=float(-0.6 * min(0.0, controls.posture)),
        blink=float(blink),
        opening=float(opening),
    )


class Stage:
    """A stage of one size, rate and film.

    Args:
        size: (H, W) in pixels.
        fps: video frames per second.
        style: the film's manner.

    Raises:
        ValueError: the picture is smaller than 32 pixels, or the rate is not positive.
    """

    def __init__(self, size: tuple[int, int] = (180, 320), fps: float = 25.0, style: FilmStyle | None = None) -> None:
        height, width = size
        if min(height, width) < 32:
            raise ValueError(f"expected a stage of at least 32 x 32 pixels, got {height} x {width}")
        if fps <= 0:
            raise ValueError(f"expected fps > 0, got {fps}")
        self.size = (height, width)
        self.fps = fps
        self.style = FilmStyle() if style is None else style
        self._grain = _grain(height, width, self.style.grain)

    def scale(self, puppet: Puppet) -> float:
        """Half a puppet's head height in pixels."""
        return 0.31 * self.size[0] * puppet.size

    def centre(self, puppet: Puppet, seed: int) -> tuple[float, float]:
        """Where the head's centre rests in a shot, in pixels (x, y). Small puppets stand lower."""
        height, width = self.size
        return width * (0.5 + _manner(seed).aside), height * (0.48 + 0.12 * (1 - puppet.size))

    def draw(
        self,
        puppet: Puppet,
        controls: Controls,
        opening: float,
        t: float,
        seed: int,
        *,
        place: Place = "room",
        set_seed: int | None = None,
    ) -> Picture:
        """The picture `t` seconds into a shot.

        Args:
            opening: of the mouth, 0 to 1.
            seed: of the shot: blinks, glances and sway follow from it.
            set_seed: of the set, if it is not `seed`.

        Shape:
            () -> (H, W, 3) uint8 RGB.
        """
        light = (controls.tint_x, controls.tint_y, controls.light)
        picture = paint_set(place, self.size, light, self.style, seed if set_seed is None else set_seed).copy()
        pose = pose_at(controls, opening, t, seed)
        scale = self.scale(puppet)
        centre = self.centre(puppet, seed)
        place_of_head = (centre[0] + pose.x * scale, centre[1] + pose.y * scale)
        body = Pen(picture, (centre[0] + 0.35 * pose.x * scale, centre[1] + 0.3 * pose.y * scale), scale)
        head = Pen(picture, place_of_head, scale, pose.tilt)
        draw_puppet(body, head, Figure(puppet, controls, pose, paint(puppet, controls, self.style), self.style))
        return self._with_grain(picture, t)

    def _with_grain(self, picture: Picture, t: float) -> Picture:
        if not self.style.grain:
            return picture
        height, width = self.size
        frame = round(t * self.fps)
        # A fresh place in one large sheet of grain is as good as fresh grain, and costs no random numbers.
        y, x = (frame * 37) % 64, (frame * 23) % 64
        sheet = self._grain[y : y + height, x : x + width]
        # 128 is the sheet's zero, so that eight unsigned bits hold both signs.
        return cv2.addWeighted(picture, 1.0, sheet, 1.0, -128.0).astype(np.uint8, copy=False)


@lru_cache(maxsize=16)
def _grain(height: int, width: int, deviation: float) -> Picture:
    rng = np.random.default_rng([height, width, 83])
    sheet = np.rint(128 + deviation * rng.standard_normal((height + 64, width + 64, 1)))
    return np.repeat(np.clip(sheet, 0, 255).astype(np.uint8), 3, axis=2)


def render(shot: Shot, stage: Stage, start: int = 0) -> Iterator[Picture]:
    """The shot's pictures, one per video frame.

    Args:
        start: first frame, for going on with a shot.

    Shape:
        V - start pictures (H, W, 3) uint8 RGB.
    """
    for frame in range(start, len(shot.opening)):
        opening, t = float(shot.opening[frame]), frame / stage.fps
        yield stage.draw(shot.puppet, shot.controls, opening, t, shot.seed, place=shot.place, set_seed=shot.set_seed)


def sample_pictures(
    puppet: Puppet,
    controls: Controls,
    opening: Floats,
    fps: float,
    count: int,
    *,
    size: tuple[int, int],
    style: FilmStyle,
    seed: int,
    place: Place = "room",
) -> list[Frame]:
    """`count` evenly spaced pictures of a shot, the very ones `render` gives, without drawing the others.

    Args:
        opening: of the mouth per video frame, (V,), values in [0, 1].
        count: how many; a shorter shot gives all it has.

    Shape:
        min(count, V) frames (H, W, 3).

    Raises:
        ValueError: count < 1, or the opening is not as said.
    """
    if count < 1:
        raise ValueError(f"expected at least one picture, got {count}")
    opening = _checked(opening)
    stage = Stage(size, fps, style)
    count = min(count, len(opening))
    # The middle of each of `count` equal stretches: the first frame of a shot is no better than the last.
    chosen = ((np.arange(count) + 0.5) * len(opening) / count).astype(int)
    return [Frame(i / fps, stage.draw(puppet, controls, float(opening[i]), i / fps, seed, place=place)) for i in chosen]


CROP_WIDTH = 1.1
"""Side of a mouth crop in head units: from beside the nose to under the chin."""


_STILL = Pose(x=0.0, y=0.0, tilt=0.0, turn=0.0, gaze_x=0.0, gaze_y=0.0, blink=0.0, opening=0.0)


def mouth_crops(
    opening: Floats,
    puppet: Puppet,
    seed: int,
    size: int = 48,
    *,
    controls: Controls | None = None,
    style: FilmStyle | None = None,
) -> Picture:
    """Only the mouth of every frame, as a crop of the full picture shows it once the head is held still.

    The crops drift by a pixel or so, since no tracker holds a head quite still.

    Args:
        opening: of the mouth per video frame, (V,), values in [0, 1].
        seed: of the drift and the grain.
        size: side in pixels, 16 to 256.
        controls: the feeling; neutral if not given.
        style: the film; the plain one if not given.

    Shape:
        (V,) -> (V, size, size, 3) uint8 RGB.

    Raises:
        ValueError: the size or the opening is not as said.
    """
    if not 16 <= size <= 256:
        raise ValueError(f"expected a crop of 16 to 256 pixels, got {size}")
    opening = _checked(opening)
    controls = Controls() if controls is None else controls
    style = FilmStyle() if style is None else style
    rng = np.random.default_rng([seed, 97])
    scale = size / CROP_WIDTH
    x, y = mouth_centre()
    origin = (size / 2 - x * scale, size / 2 - y * scale)
    colours = paint(puppet, controls, style)
    # Behind the chin a crop shows a corner of the set, of which no more than a colour remains.
    wall = paint_set("room", (64, 64), (controls.tint_x, controls.tint_y, controls.light), style, 0)
    back = np.empty((size, size, 3), dtype=np.uint8)
    back[:] = np.rint(wall.mean(axis=(0, 1)))
    pen = Pen(back, origin, scale)
    draw_puppet(pen, pen, Figure(puppet, controls, _STILL, colours, style), mouth=False)
    mouths = puppet_mouths(puppet, controls, opening.astype(np.float64))
    drift = 0.02 * np.sin(0.21 * np.arange(len(opening))[:, None] + rng.uniform(0, 2 * np.pi, 2))
    crops = np.repeat(back[None], len(opening), axis=0)
    for frame, picture in enumerate(crops):
        draw_mouth(Pen(picture, origin, scale), mouths, frame, colours, drift[frame])
    if style.grain:
        _add_grain(crops, style.grain, rng)
    return crops


def _add_grain(crops: Picture, deviation: float, rng: np.random.Generator) -> None:
    size = crops.shape[1]
    sheet, places = _grain(size, size, deviation), rng.integers(0, 64, (len(crops), 2))
    for picture, (down, right) in zip(crops, places, strict=True):
        cv2.addWeighted(picture, 1.0, sheet[down : down + size, right : right + size], 1.0, -128.0, dst=picture)
