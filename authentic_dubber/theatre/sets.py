"""Painted sets: simple places in a few washes, lit by the scene's feeling, and painted once per shot."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from .brush import Picture, Points, oval, shade
from .puppet import Colour, Controls
from .style import FilmStyle, cast_light

Place: TypeAlias = Literal["room", "forest", "street", "seaside", "attic"]
_GREY = np.array([0.3, 0.59, 0.11], dtype=np.float32)
PLACES: tuple[Place, ...] = get_args(Place)


class _Canvas:
    """A picture addressed in shares of its height: (0, 0) is the upper left corner, (aspect, 1) the lower right."""

    def __init__(self, height: int, width: int, top: Colour, bottom: Colour) -> None:
        self.height, self.aspect = height, width / height
        ramp = np.linspace(0, 1, height)[:, None]
        column = np.rint(np.array(top) + ramp * (np.array(bottom, dtype=float) - np.array(top)))
        self.picture: Picture = np.repeat(column[:, None].astype(np.uint8), width, axis=1)

    def fill(self, points: Points, colour: Colour, at: tuple[float, float] = (0.0, 0.0)) -> None:
        pixels = np.rint((points + np.array(at)) * (self.height * 16)).astype(np.int32)
        cv2.fillPoly(self.picture, [pixels], colour, cv2.LINE_AA, 4)

    def box(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        self.fill(np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]]), colour)

    def disc(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        self.fill(oval((x, y), (wide, high), 40), colour)

    def hills(self, base: float, height: float, waves: float, phase: float, colour: Colour) -> None:
        x = np.linspace(0, self.aspect, 60)
        y = base - height * (0.6 * np.sin(waves * x + phase) + 0.4 * np.sin(2.3 * waves * x + 2 * phase))
        rim = np.stack([x, y], axis=1)
        self.fill(np.concatenate([rim, [[self.aspect, 1.1], [0.0, 1.1]]]), colour)


@lru_cache(maxsize=12)
def paint_set(
    place: Place, size: tuple[int, int], light: tuple[float, float, float], style: FilmStyle, seed: int
) -> Picture:
    """One place under one light. The answer is shared and read-only.

    Args:
        size: (H, W) in pixels.
        light: the scene handles `(tint_x, tint_y, light)` of `Controls`.
        seed: arranges the furniture.

    Shape:
        () -> (H, W, 3) uint8 RGB.

    Raises:
        ValueError: unknown place.
    """
    height, width = size
    rng = np.random.default_rng([seed, 53])
    match place:
        case "room":
            canvas = _room(height, width, rng)
        case "forest":
            canvas = _forest(height, width, rng)
        case "street":
            canvas = _street(height, width, rng)
        case "seaside":
            canvas = _seaside(height, width, rng)
        case "attic":
            canvas = _attic(height, width, rng)
        case _:
            raise ValueError(f"known places are {', '.join(PLACES)}, got {place!r}")
    picture = _graded(canvas.picture, light, style)
    picture.setflags(write=False)
    return picture


def _graded(picture: Picture, light: tuple[float, float, float], style: FilmStyle) -> Picture:
    """The set as the scene's light and the film's stock show it: blur, cast, lightness, vignette."""
    height, width = picture.shape[:2]
    sigma = style.blur * height
    if sigma > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.uint8)
    tint_x, tint_y, lightness = light
    colour, share, factor = cast_light(Controls(tint_x=tint_x, tint_y=tint_y, light=lightness))
    lit: npt.NDArray[np.floating] = picture.astype(np.float32)
    grey: npt.NDArray[np.floating] = lit @ _GREY
    washed = grey[..., None] * (np.array(colour, dtype=np.float32) / 128)
    strength = 0.62 * share
    lit = (lit * (1 - strength) + washed * strength) * factor
    grey = (lit @ _GREY)[..., None]
    warm = 10 * style.warmth
    lit = (grey + style.saturation * (lit - grey) + np.array([warm, 0.2 * warm, -warm])) * style.brightness
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    lit *= (1 - style.vignette * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.5)[..., None]
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def _room(height: int, width: int, rng: np.random.Generator) -> _Canvas:
    wall: Colour = ((222, 196, 164), (176, 200, 190), (208, 178, 192))[int(rng.integers(3))]
    canvas = _Canvas(height, width, shade(wall, 0.92), shade(wall, 1.08))
    wide = canvas.aspect
    for x in np.arange(0.0, wide, 0.16):
        canvas.box(float(x), 0.0, 0.05, 0.78, shade(wall, 0.97))
    canvas.box(0.0, 0.78, wide, 0.25, (150, 104, 72))
    canvas.box(0.0, 0.76, wide, 0.035, (236, 224, 204))
    left = float(rng.uniform(0.08, 0.2))
    canvas.box(left, 0.1, 0.46, 0.5, (244, 236, 220))
    canvas.box(left + 0.03, 0.13, 0.4, 0.44, (158, 206, 232))
    canvas.disc(left + 0.3, 0.24, 0.07, 0.05, (240, 246, 250))
    canvas.disc(left + 0.22, 0.26, 0.08, 0.05, (240, 246, 250))
    canvas.box(left + 0.22, 0.13, 0.02, 0.44, (244, 236, 220))
    canvas.box(left + 0.03, 0.34, 0.4, 0.02, (244, 236, 220))
    canvas.fill(np.array([[left - 0.06, 0.06], [left + 0.1, 0.06], [left, 0.66], [left - 0.08, 0.66]]), (196, 84, 78))
    right = wide - float(rng.uniform(0.36, 0.46))
    canvas.box(right, 0.16, 0.26, 0.2, (128, 84, 58))
    canvas.box(right + 0.02, 0.18, 0.22, 0.16, (236, 214, 160))
    canvas.disc(right + 0.13, 0.28, 0.06, 0.05, (110, 150, 96))
    canvas.box(right + 0.1, 0.56, 0.016, 0.24, (92, 70, 60))
    canvas.fill(np.array([[0.03, 0.44], [0.19, 0.44], [0.23, 0.58], [-0.01, 0.58]]), (248, 214, 128), (right, 0.0))
    return canvas


def _forest(height: int, width: int, rng: np.random.Generator) -> _Canvas:
    canvas = _Canvas(height, width, (168, 214, 226), (226, 238, 196))
    wide = canvas.aspect
    canvas.disc(float(rng.uniform(0.2, wide - 0.2)), 0.18, 0.09, 0.09, (255, 240, 190))
    canvas.hills(0.5, 0.06, 5.0, float(rng.uniform(0, 6)), (150, 196, 152))
    for leaf, size, base in (((118, 172, 120), 0.8, 0.66), ((84, 142, 96), 1.15, 0.8)):
        for step in np.arange(0.05, wide, 0.21 * size):
            x = float(step + rng.uniform(-0.06, 0.06))
            tall = float(size * rng.uniform(0.42, 0.62))
            canvas.box(x - 0.016 * size, base - 0.4 * tall, 0.032 * size, 0.42 * tall, (120, 86, 64))
            for tier in range(3):
                y, half = base - tall * (0.25 + 0.26 * tier), size * (0.12 - 0.027 * tier)
                crown = np.array([[x - half, y], [x, y - 0.42 * tall], [x + half, y]])
                canvas.fill(crown, shade(leaf, 0.94 + 0.06 * tier))
        canvas.hills(base + 0.04, 0.025, 6.0, float(rng.uniform(0, 6)), shade(leaf, 1.12))
    for _ in range(14):
        x, y = float(rng.uniform(0, wide)), float(rng.uniform(0.88, 0.99))
        canvas.disc(x, y, 0.012, 0.012, ((250, 220, 110), (236, 130, 140), (250, 250, 245))[int(rng.integers(3))])
    return canvas


def _street(height: int, width: int, rng: np.random.Generator) -> _Canvas:
    canvas = _Canvas(height, width, (38, 40, 88), (120, 96, 142))
    wide = canvas.aspect
    for _ in range(30):
        canvas.disc(float(rng.uniform(0, wide)), float(rng.uniform(0, 0.4)), 0.004, 0.004, (246, 240, 214))
    moon = float(rng.uniform(0.25, wide - 0.25))
    canvas.disc(moon, 0.17, 0.085, 0.085, (250, 240, 204))
    canvas.disc(moon + 0.02, 0.15, 0.016, 0.016, (228, 214, 178))
    x = -0.05
    while x < wide:
        broad, tall = float(rng.uniform(0.2, 0.34)), float(rng.uniform(0.34, 0.66))
        wall: Colour = ((66, 58, 98), (82, 64, 96), (58, 66, 104))[int(rng.integers(3))]
        canvas.box(x, 0.86 - tall, broad, tall, wall)
        roof = np.array([[x - 0.02, 0.86 - tall], [x + broad / 2, 0.76 - tall], [x + broad + 0.02, 0.86 - tall]])
        canvas.fill(roof, shade(wall, 0.72))
        for wx in np.arange(x + 0.04, x + broad - 0.05, 0.075):
            for wy in np.arange(0.9 - tall, 0.76, 0.11):
                lit = rng.uniform() < 0.45
                canvas.box(float(wx), float(wy), 0.04, 0.055, (250, 206, 112) if lit else shade(wall, 0.8))
        x += broad
    canvas.box(0.0, 0.86, wide, 0.2, (70, 64, 88))
    lamp = float(rng.choice([0.16, wide - 0.16]))
    canvas.box(lamp - 0.008, 0.36, 0.016, 0.52, (36, 34, 52))
    for radius, glow in ((0.1, (132, 110, 128)), (0.06, (196, 160, 128)), (0.03, (255, 236, 170))):
        canvas.disc(lamp, 0.34, radius, radius, glow)
    return canvas


def _seaside(height: int, width: int, rng: np.random.Generator) -> _Canvas:
    canvas = _Canvas(height, width, (128, 196, 236), (250, 226, 196))
    wide = canvas.aspect
    canvas.disc(float(rng.uniform(0.25, wide - 0.25)), 0.24, 0.1, 0.1, (255, 236, 170))
    for _ in range(4):
        x, y = float(rng.uniform(0, wide)), float(rng.uniform(0.08, 0.36))
        for dx, dy, size in ((0.0, 0.0, 0.07), (0.07, 0.015, 0.055), (-0.07, 0.015, 0.05)):
            canvas.disc(x + dx, y + dy, size, 0.6 * size, (250, 248, 244))
    canvas.box(0.0, 0.56, wide, 0.28, (74, 148, 186))
    for y in (0.6, 0.66, 0.73):
        for x in np.arange(float(rng.uniform(0, 0.2)), wide, 0.3):
            canvas.disc(float(x), y, 0.07, 0.007, (150, 204, 222))
    canvas.hills(0.82, 0.015, 5.0, float(rng.uniform(0, 6)), (240, 218, 168))
    tower = float(rng.choice([0.2, wide - 0.2]))
    for i, colour in enumerate(((240, 238, 230), (208, 78, 72), (240, 238, 230), (208, 78, 72))):
        half, y = 0.065 - 0.007 * i, 0.78 - 0.1 * i
        stripe = np.array([[-half, y], [half, y], [half - 0.007, y - 0.1], [0.007 - half, y - 0.1]])
        canvas.fill(stripe, colour, (tower, 0.0))
    canvas.box(tower - 0.03, 0.31, 0.06, 0.07, (255, 226, 140))
    canvas.fill(np.array([[-0.05, 0.31], [0.0, 0.24], [0.05, 0.31]]), (120, 56, 60), (tower, 0.0))
    return canvas


def _attic(height: int, width: int, rng: np.random.Generator) -> _Canvas:
    canvas = _Canvas(height, width, (92, 70, 68), (150, 116, 92))
    wide = canvas.aspect
    for i, x in enumerate(np.arange(0.0, wide, 0.14)):
        canvas.box(float(x), 0.0, 0.135, 0.85, shade((134, 102, 84), 0.92 + 0.1 * (i % 2)))
    canvas.fill(np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.62]]), (84, 62, 62))
    canvas.fill(np.array([[wide, 0.0], [wide - 0.5, 0.0], [wide, 0.62]]), (84, 62, 62))
    middle = wide / 2 + float(rng.uniform(-0.35, 0.35))
    canvas.disc(middle, 0.26, 0.16, 0.16, (72, 54, 52))
    canvas.disc(middle, 0.26, 0.135, 0.135, (186, 214, 226))
    canvas.box(middle - 0.008, 0.12, 0.016, 0.28, (72, 54, 52))
    canvas.box(middle - 0.14, 0.252, 0.28, 0.016, (72, 54, 52))
    canvas.box(0.0, 0.84, wide, 0.2, (98, 72, 62))
    for x, high, colour in (
        (0.12, 0.26, (164, 122, 82)),
        (0.34, 0.17, (126, 92, 78)),
        (wide - 0.4, 0.3, (150, 96, 84)),
    ):
        broad = float(rng.uniform(0.2, 0.28))
        canvas.box(x, 0.88 - high, broad, high, colour)
        canvas.box(x, 0.88 - high, broad, 0.03, shade(colour, 1.2))
        canvas.box(x + broad / 2 - 0.02, 0.91 - high, 0.04, 0.05, (226, 190, 110))
    return canvas
