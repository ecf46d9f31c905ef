"""Outlines of heads, which hair and hats follow."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .brush import Points, circle
from .puppet import HeadShape

# Half width, half height, squareness (1 is an ellipse, below is squarer), and width gained towards the chin.
HEADS: dict[HeadShape, tuple[float, float, float, float]] = {
    "round": (0.94, 0.96, 1.0, 0.0),
    "oval": (0.82, 1.0, 1.0, -0.05),
    "square": (0.86, 0.94, 0.72, 0.02),
    "pear": (0.84, 0.98, 0.95, 0.16),
    "heart": (0.9, 1.0, 0.95, -0.2),
    "long": (0.76, 1.08, 0.85, -0.02),
}


@lru_cache(maxsize=16)
def head_outline(shape: HeadShape) -> Points:
    """The head's outline, clockwise on the screen from the right.

    Shape:
        () -> (40, 2).
    """
    wide, high, power, chin = HEADS[shape]
    unit = circle(40)
    x, y = np.sign(unit[:, 0]) * np.abs(unit[:, 0]) ** power, np.sign(unit[:, 1]) * np.abs(unit[:, 1]) ** power
    outline = np.stack([wide * x * (1 + chin * y), high * y], axis=1)
    outline.setflags(write=False)
    return outline
