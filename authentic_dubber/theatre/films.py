"""Films, each with its own palette and its own drawing code for feelings.

What a look means is a film's convention: one draws fear with wide eyes in green light, another with a frown in blue. So
the look of a line alone does not tell its feeling to someone who never saw that film; the look together with other
clips of that film, which can be heard, does. That is what a reference library is for, and what the films teach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .puppet import LABELS, Controls, Label, Puppet, cast, feeling_controls
from .sets import PLACES, Place
from .style import FilmStyle

CAST = 2
"""Puppets in a film. Few faces, many lines, as in a series."""


@dataclass(frozen=True, slots=True)
class Film:
    """One film's conventions.

    Attributes:
        style: palette and manner of drawing.
        faces: which of the theatre's faces this film draws for a feeling.
        lights: which of the theatre's scene lights it puts a feeling in.
        turn: how far its palette is turned around the colour circle, in turns.
        puppets: its cast.
        place: its set.
    """

    number: int
    style: FilmStyle
    faces: Mapping[Label, Label]
    lights: Mapping[Label, Label]
    turn: float
    puppets: tuple[Puppet, ...]
    place: Place

    @property
    def name(self) -> str:
        return f"film-{self.number:02d}"

    def controls(self, label: Label, noise: float, rng: np.random.Generator) -> Controls:
        """How this film draws a feeling, through noise: the face by its own code, the light by another."""
        face = feeling_controls(self.faces[label], 1.0, noise, rng)
        light = feeling_controls(self.lights[label], 1.0, noise, rng)
        angle = 2 * np.pi * self.turn
        x, y = light.tint_x, light.tint_y
        return replace(
            face,
            tint_x=float(np.cos(angle) * x - np.sin(angle) * y),
            tint_y=float(np.sin(angle) * x + np.cos(angle) * y),
            light=light.light,
        )


def make_film(number: int, *, natural: bool = False) -> Film:
    """Film `number`, the same every time.

    Args:
        natural: draw feelings with the faces people make; light and palette stay the film's own.
    """
    rng = np.random.default_rng([number, 53])
    faces = LABELS if natural else _shuffled(rng)
    return Film(
        number=number,
        style=FilmStyle.of_film(number),
        faces=MappingProxyType(dict(zip(LABELS, faces, strict=True))),
        lights=MappingProxyType(dict(zip(LABELS, _shuffled(rng), strict=True))),
        turn=float(rng.uniform()),
        puppets=cast(1000 + number, CAST),
        place=PLACES[number % len(PLACES)],
    )


def _shuffled(rng: np.random.Generator) -> tuple[Label, ...]:
    return tuple(LABELS[int(i)] for i in rng.permutation(len(LABELS)))
