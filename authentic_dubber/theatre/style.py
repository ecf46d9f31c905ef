"""A film's own palette and drawing manner, and the light that a feeling throws on colours."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .brush import mix, shade
from .puppet import Colour, Controls, Puppet

_INK: Colour = (46, 28, 40)


@dataclass(frozen=True, slots=True)
class FilmStyle:
    """How one film draws. Two films of the same puppets in the same feelings differ by this.

    Attributes:
        name: for captions and file names.
        ink: outline width in head units.
        contour: 0 outlines in the fill's own darker tone, 1 outlines in ink.
        saturation, brightness: factors on every colour, near 1.
        warmth: -1 a cold print to 1 a warm one.
        shading: a soft shadow on one side of faces.
        blur: background blur, in shares of the picture's height.
        grain: standard deviation of film grain in grey levels.
        vignette: darkening of the corners, 0 to 1.

    Raises:
        ValueError: a width, blur, grain or factor is negative.
    """

    name: str = "plain"
    ink: float = 0.035
    contour: float = 0.5
    saturation: float = 1.0
    brightness: float = 1.0
    warmth: float = 0.0
    shading: bool = True
    blur: float = 0.008
    grain: float = 2.0
    vignette: float = 0.35

    def __post_init__(self) -> None:
        numbers = (self.ink, self.contour, self.saturation, self.brightness, self.blur, self.grain, self.vignette)
        if min(numbers) < 0:
            raise ValueError(f"a film style has no negative amounts, got {self}")

    @classmethod
    def of_film(cls, seed: int) -> FilmStyle:
        """The manner of film number `seed`."""
        rng = np.random.default_rng([seed, 31])
        return cls(
            name=f"film-{seed}",
            ink=float(rng.uniform(0.02, 0.055)),
            contour=float(rng.uniform(0.15, 1.0)),
            saturation=float(rng.uniform(0.75, 1.2)),
            brightness=float(rng.uniform(0.92, 1.06)),
            warmth=float(rng.uniform(-0.5, 0.5)),
            shading=bool(rng.uniform() < 0.75),
            blur=float(rng.uniform(0.0, 0.016)),
            grain=float(rng.uniform(0.0, 5.0)),
            vignette=float(rng.uniform(0.1, 0.5)),
        )

    def print(self, colour: Colour) -> Colour:
        """A colour as this film's stock shows it."""
        red, green, blue = colour
        grey = 0.3 * red + 0.59 * green + 0.11 * blue
        warm = 10 * self.warmth
        return shade(
            (
                round(grey + self.saturation * (red - grey) + warm),
                round(grey + self.saturation * (green - grey) + 0.2 * warm),
                round(grey + self.saturation * (blue - grey) - warm),
            ),
            self.brightness,
        )


def cast_light(controls: Controls) -> tuple[Colour, float, float]:
    """The scene's light: its colour, how much of it mixes in (0 to 1), and the factor on lightness."""
    red, green, blue = colorsys.hls_to_rgb(controls.hue, 0.56, 0.85)
    colour = (round(255 * red), round(255 * green), round(255 * blue))
    return colour, controls.saturation, 1 + 0.34 * controls.light


@dataclass(frozen=True, slots=True)
class Paint:
    """A puppet's colours, ready for the picture: printed by the film and lit by the scene."""

    skin: Colour
    skin_edge: Colour
    skin_shadow: Colour
    lid: Colour
    muzzle: Colour
    cheek: Colour
    hair: Colour
    hair_edge: Colour
    hair_back: Colour
    brow: Colour
    white: Colour
    iris: Colour
    ink: Colour
    nose: Colour
    lips: Colour
    hole: Colour
    teeth: Colour
    tongue: Colour
    clothes: Colour
    clothes_edge: Colour
    trim: Colour


@lru_cache(maxsize=256)
def paint(puppet: Puppet, controls: Controls, style: FilmStyle) -> Paint:
    """The colours of one puppet in one feeling and film. The figure takes less of the scene's light than the set."""
    light, share, factor = cast_light(controls)

    def lit(colour: Colour, strength: float = 0.3) -> Colour:
        return style.print(shade(mix(colour, light, strength * share), 0.5 + 0.5 * factor))

    def edge(colour: Colour) -> Colour:
        return lit(mix(shade(colour, 0.55), _INK, style.contour))

    skin, hair = puppet.skin, puppet.hair
    animal = puppet.kind != "human"
    brow = shade(skin, 0.5) if animal else mix(shade(hair, 0.72), _INK, 0.25)
    face = mix(skin, (255, 246, 232), 0.62) if animal else skin
    return Paint(
        skin=lit(skin),
        skin_edge=edge(skin),
        skin_shadow=lit(mix(shade(skin, 0.86), (150, 70, 110), 0.1)),
        lid=lit(shade(mix(skin, (190, 90, 90), 0.16), 0.9)),
        muzzle=lit(face),
        cheek=lit(mix(skin, (236, 92, 92), 0.12 + 0.42 * controls.blush)),
        hair=lit(hair),
        hair_edge=edge(hair),
        hair_back=lit(shade(hair, 0.72)),
        brow=lit(brow),
        white=lit((252, 250, 246), 0.18),
        iris=lit(puppet.iris, 0.15),
        ink=lit(_INK, 0.1),
        nose=lit((92, 52, 60)) if animal else lit(mix(shade(skin, 0.84), (214, 92, 84), 0.28)),
        lips=lit(mix(shade(face, 0.5), (150, 40, 54), 0.4)),
        hole=lit((40, 8, 20), 0.05),
        teeth=lit((232, 226, 216), 0.12),
        tongue=lit((166, 54, 70), 0.1),
        clothes=lit(puppet.clothes),
        clothes_edge=edge(puppet.clothes),
        trim=lit(puppet.trim),
    )
