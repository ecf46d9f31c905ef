"""Hair and hats: one part behind the head, one part over the brow."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .brush import Pen, Points, smooth
from .head import HEADS, head_outline
from .puppet import HeadShape, Puppet
from .style import FilmStyle, Paint

_WAVE = smooth(
    np.array([[-0.75, -0.62], [-0.86, -1.1], [-0.3, -1.3], [0.2, -1.52], [0.86, -1.3], [0.8, -0.98], [0.45, -0.66]])
)
_HALF_FALL = np.array([[0.3, -1.1], [1.05, -0.9], [1.2, -0.2], [1.3, 0.8], [1.35, 1.75], [0.3, 1.7]])
_FALL = smooth(np.concatenate([_HALF_FALL, _HALF_FALL[::-1] * (-1, 1)]))


@lru_cache(maxsize=64)
def _cap(shape: HeadShape, down: float, fringe: float, part: float) -> Points:
    """Hair over the top of a head: along the outline outside, back along a fringe.

    Args:
        down: y where the hair ends at the temples.
        fringe: y of the fringe's middle.
        part: sideways place of the fringe's highest point, in half widths.
    """
    wide, high = HEADS[shape][:2]
    outline = head_outline(shape) * 1.07
    top = outline[outline[:, 1] < down]
    # Angles counted from the chin, so that the order runs from the left temple over the top to the right one.
    top = top[np.argsort((np.arctan2(top[:, 1], top[:, 0]) - np.pi / 2) % (2 * np.pi))]
    u = np.linspace(1, -1, 13)
    low = fringe * high + (down - fringe * high) * np.abs(u - part) ** 2.2 / (1 + abs(part)) ** 2.2
    return np.concatenate([top, np.stack([wide * 0.99 * u, low], axis=1)])


def back_hair(pen: Pen, puppet: Puppet, paint: Paint, style: FilmStyle) -> None:
    """The hair that hangs behind the head and body."""
    wide = HEADS[puppet.shape][0]
    match puppet.hair_style:
        case "bob":
            pen.oval((0.0, -0.02), (wide + 0.22, 1.02), paint.hair_back, paint.hair_edge, style.ink)
        case "long":
            pen.fill(_FALL * (wide, 1.0), paint.hair_back, paint.hair_edge, style.ink)
        case "bun":
            pen.oval((0.0, -1.24), (0.36, 0.33), paint.hair, paint.hair_edge, style.ink)
        case "curly":
            for angle in np.linspace(np.pi * 0.92, np.pi * 2.08, 8):
                centre = (float(1.04 * wide * np.cos(angle)), float(-0.1 + 0.92 * np.sin(angle)))
                pen.oval(centre, (0.33, 0.33), paint.hair_back, paint.hair_edge, style.ink)


def front_hair(pen: Pen, puppet: Puppet, paint: Paint, style: FilmStyle) -> None:
    """The hair, or hat, over the brow."""
    wide, high = HEADS[puppet.shape][:2]
    match puppet.hair_style:
        case "bob":
            pen.fill(_cap(puppet.shape, 0.1, -0.62, 0.0), paint.hair, paint.hair_edge, style.ink)
        case "long":
            pen.fill(_cap(puppet.shape, 0.22, -0.82, 0.25), paint.hair, paint.hair_edge, style.ink)
        case "bun":
            pen.fill(_cap(puppet.shape, -0.25, -0.7, -0.3), paint.hair, paint.hair_edge, style.ink)
        case "curly":
            for angle in np.linspace(np.pi * 1.14, np.pi * 1.86, 6):
                centre = (float(0.8 * wide * np.cos(angle)), float(0.98 * high * np.sin(angle)))
                pen.oval(centre, (0.27, 0.25), paint.hair)
        case "quiff":
            pen.fill(_cap(puppet.shape, -0.2, -0.72, 0.3), paint.hair, paint.hair_edge, style.ink)
            pen.fill(_WAVE * (wide, high), paint.hair, paint.hair_edge, style.ink)
        case "spiky":
            angles = np.linspace(np.pi * 1.02, np.pi * 1.98, 15)
            reach = np.where(np.arange(15) % 2 == 1, 1.36, 1.04)
            spikes = np.stack([wide * reach * np.cos(angles), high * reach * np.sin(angles)], axis=1)
            fringe = np.stack([np.linspace(0.95, -0.95, 9) * wide, np.resize([-0.3, -0.78], 9) * high], axis=1)
            fringe[1:-1:2, 1], fringe[2:-1:2, 1] = -0.78 * high, -0.6 * high
            pen.fill(np.concatenate([spikes, fringe]), paint.hair, paint.hair_edge, style.ink)
        case "beanie":
            pen.oval((0.0, -1.3 * high), (0.17, 0.17), paint.trim, paint.clothes_edge, style.ink)
            pen.fill(_cap(puppet.shape, -0.35, -0.62, 0.0), paint.clothes, paint.clothes_edge, style.ink)
            u = np.linspace(-1, 1, 9)
            band = np.stack([1.0 * wide * u, -0.7 * high + 0.26 * u**2], axis=1)
            pen.stroke(band, paint.trim, 0.17)
        case "tuft":
            for lean in (-0.22, 0.0, 0.22):
                root, tip = 0.5 * lean, 1.4 * lean
                strand = np.array([[root - 0.1, -0.86], [tip, -1.22], [root + 0.1, -0.84]])
                pen.fill(strand * (1.0, high), paint.hair)
