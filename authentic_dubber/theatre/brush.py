"""Anti-aliased drawing in head units: a pen that carries a place, a size and a tilt."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from .puppet import Colour

Points = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_SHIFT = 4
"""Fractional bits of OpenCV's fixed-point coordinates: edges move by sixteenths of a pixel, so slow sway is smooth."""


class Pen:
    """Draws on one picture in a tilted, scaled frame of its own: x to the right, y down, one unit = half a head.

    Args:
        picture: uint8 RGB, shape (H, W, 3), drawn upon in place.
        origin: pixels (x, y) of the unit frame's centre.
        scale: pixels per unit.
        angle: tilt in radians, clockwise.
    """

    __slots__ = ("_matrix", "_origin", "picture", "scale")

    def __init__(self, picture: Picture, origin: tuple[float, float], scale: float, angle: float = 0.0) -> None:
        self.picture = picture
        self.scale = scale
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        self._matrix = np.array([[cosine, sine], [-sine, cosine]]) * (1 << _SHIFT)
        self._origin = np.array(origin) * (1 << _SHIFT)

    def _pixels(self, points: Points) -> npt.NDArray[np.int32]:
        return np.rint(points @ self._matrix + self._origin).astype(np.int32)

    def fill(self, points: Points, colour: Colour, edge: Colour | None = None, width: float = 0.0) -> None:
        """A filled outline; with `edge`, drawn around in that colour, `width` units wide.

        Shape:
            points (P, 2).
        """
        pixels = self._pixels(points)
        cv2.fillPoly(self.picture, [pixels], colour, cv2.LINE_AA, _SHIFT)
        if edge is not None and width > 0:
            cv2.polylines(self.picture, [pixels], True, edge, self._thickness(width), cv2.LINE_AA, _SHIFT)

    def stroke(self, points: Points, colour: Colour, width: float) -> None:
        """An open line, `width` units wide and at least a pixel.

        Shape:
            points (P, 2).
        """
        pixels = self._pixels(points)
        cv2.polylines(self.picture, [pixels], False, colour, self._thickness(width), cv2.LINE_AA, _SHIFT)

    def oval(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        edge: Colour | None = None,
        width: float = 0.0,
    ) -> None:
        """A filled ellipse, its axes along the pen's own."""
        if edge is not None and width > 0:
            # A larger ellipse behind costs a quarter of a thick line around.
            self.fill(oval(centre, (radii[0] + width / 2, radii[1] + width / 2)), edge)
            radii = (radii[0] - width / 2, radii[1] - width / 2)
        self.fill(oval(centre, radii), colour)

    def _thickness(self, width: float) -> int:
        return max(1, round(width * self.scale))


@lru_cache(maxsize=8)
def circle(points: int = 28) -> Points:
    """Points of the unit circle, clockwise on the screen from the right.

    Shape:
        () -> (points, 2).
    """
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring.setflags(write=False)
    return ring


def oval(centre: tuple[float, float], radii: tuple[float, float], points: int = 28) -> Points:
    """Points of an ellipse.

    Shape:
        () -> (points, 2).
    """
    return circle(points) * radii + centre


def smooth(points: Points, rounds: int = 2) -> Points:
    """A closed outline with its corners cut, by Chaikin's rule: each side keeps its middle half.

    Shape:
        (P, 2) -> (P * 2 ** rounds, 2).
    """
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1).reshape(-1, 2)
    return points


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a share of `other`, 0 to 1."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """Darker below 1, lighter above, kept inside 0 to 255."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue
