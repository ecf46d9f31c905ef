"""Who is on stage: the look of a drawn character, and what a feeling does to a face and to the light around it.

Standard library and NumPy only; nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Colour: TypeAlias = tuple[int, int, int]
"""RGB, 0 to 255."""
Label: TypeAlias = Literal["neutral", "happy", "sad", "angry", "fearful", "surprised"]
LABELS: tuple[Label, ...] = get_args(Label)
Kind: TypeAlias = Literal["human", "cat", "bear", "bunny"]
HeadShape: TypeAlias = Literal["round", "oval", "square", "pear", "heart", "long"]
HairStyle: TypeAlias = Literal["bob", "spiky", "curly", "bun", "quiff", "long", "beanie", "tuft"]
Nose: TypeAlias = Literal["button", "hook", "dash"]
Outfit: TypeAlias = Literal["tee", "collar", "scarf", "stripes"]


@dataclass(frozen=True, slots=True)
class Puppet:
    """A character's look. Lengths are in head heights' halves, so a puppet has no pixels of its own.

    Attributes:
        name: unique within a cast.
        skin, hair, iris, clothes, trim: colours before film style and scene light; an animal's skin is its fur.
        shape: outline of the head.
        size: 0.8 for a child to 1.1 for a bear of a man; scales the head on stage.
        timbre: 0 for the lowest voice of a cast to 1 for the highest.
    """

    name: str
    kind: Kind
    shape: HeadShape
    hair_style: HairStyle
    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    trim: Colour
    nose: Nose
    outfit: Outfit
    glasses: bool
    freckles: bool
    eye_size: float
    eye_spread: float
    brow_width: float
    mouth_width: float
    size: float
    timbre: float


@dataclass(frozen=True, slots=True)
class Controls:
    """What a feeling does, as continuous handles; `vector` lists them in this order.

    Attributes:
        brow_raise: -1 pressed down to 1 high up.
        brow_slant: -1 inner ends down (anger) to 1 inner ends up (grief).
        eye_open: 0 shut, 1 relaxed, 1.4 wide.
        pupil: size against a relaxed pupil.
        mouth_curve: -1 corners down to 1 corners up.
        mouth_width: against the puppet's own width.
        posture: -1 head hanging to 1 head held high.
        motion: 0 still to 1 lively.
        tremble: 0 to 1.
        blush: colour in the cheeks, 0 to 1.
        tint_x, tint_y: the scene's colour cast as a point of the chroma plane: angle is hue, radius is saturation.
        light: -1 dark scene to 1 bright scene.
    """

    brow_raise: float = 0.0
    brow_slant: float = 0.0
    eye_open: float = 0.92
    pupil: float = 1.0
    mouth_curve: float = 0.08
    mouth_width: float = 1.0
    posture: float = 0.0
    motion: float = 0.3
    tremble: float = 0.0
    blush: float = 0.3
    tint_x: float = 0.04
    tint_y: float = 0.03
    light: float = 0.1

    @property
    def hue(self) -> float:
        """Hue of the scene's cast in turns, 0 to 1: red 0, yellow 1/6, green 1/3, blue 2/3."""
        return float(np.arctan2(self.tint_y, self.tint_x) / (2 * np.pi) % 1)

    @property
    def saturation(self) -> float:
        """Strength of the scene's cast, 0 to 1."""
        return float(min(1.0, np.hypot(self.tint_x, self.tint_y)))

    def vector(self) -> npt.NDArray[np.float64]:
        """All handles in the order of the fields.

        Shape:
            (D,) with D = 13.
        """
        return np.array(astuple(self), dtype=np.float64)

    @classmethod
    def from_vector(cls, vector: npt.NDArray[np.float64]) -> Controls:
        """The inverse of `vector`; values are brought inside what a face can do."""
        return cls(*np.clip(vector, _LOWEST, _HIGHEST).tolist())


_LOWEST = np.array([-1, -1, 0.15, 0.5, -1, 0.6, -1, 0, 0, 0, -1, -1, -1], dtype=np.float64)
_HIGHEST = np.array([1, 1, 1.4, 1.5, 1, 1.4, 1, 1, 1, 1, 1, 1, 1], dtype=np.float64)
_SCENE = np.array([field.name in ("tint_x", "tint_y", "light") for field in fields(Controls)])


def _tint(hue: float, strength: float) -> tuple[float, float]:
    return strength * float(np.cos(2 * np.pi * hue)), strength * float(np.sin(2 * np.pi * hue))


# Full-strength faces, after Ekman's action units in words: happy AU6+12, sad AU1+15, angry AU4+7+23,
# fearful AU1+2+4+5+20, surprised AU1+2+5+26. Scene colours are the colour-script habits of animated films.
_FULL: Mapping[Label, Controls] = MappingProxyType(
    {
        "neutral": Controls(),
        "happy": Controls(0.3, 0.1, 0.8, 1.1, 0.95, 1.2, 0.5, 0.7, 0.0, 0.8, *_tint(0.13, 0.45), 0.55),
        "sad": Controls(-0.1, 0.85, 0.6, 1.05, -0.75, 0.85, -0.85, 0.1, 0.05, 0.1, *_tint(0.6, 0.5), -0.4),
        "angry": Controls(-0.75, -0.95, 0.7, 0.7, -0.6, 1.05, 0.15, 0.9, 0.15, 0.75, *_tint(0.0, 0.6), -0.15),
        "fearful": Controls(0.5, 0.75, 1.3, 0.6, -0.4, 1.12, -0.35, 0.45, 0.95, 0.0, *_tint(0.42, 0.4), -0.65),
        "surprised": Controls(0.95, 0.05, 1.35, 0.85, 0.1, 0.72, 0.75, 0.6, 0.05, 0.4, *_tint(0.85, 0.35), 0.35),
    }
)
_SPREAD = np.stack([controls.vector() for controls in _FULL.values()]).std(axis=0)


@dataclass(frozen=True, slots=True)
class Feeling:
    """A label and how strongly it is felt: 0 is neutral, 1 the full face, up to 1.3 for caricature.

    Raises:
        ValueError: the label is not one of the six, or the intensity lies outside 0 to 1.3.
    """

    label: Label
    intensity: float = 1.0

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise ValueError(f"known feelings are {', '.join(LABELS)}, got {self.label!r}")
        if not 0 <= self.intensity <= 1.3:
            raise ValueError(f"expected an intensity from 0 to 1.3, got {self.intensity}")

    def controls(self) -> Controls:
        """The handles without noise: a straight line from the neutral face to the full one."""
        rest = _FULL["neutral"].vector()
        return Controls.from_vector(rest + self.intensity * (_FULL[self.label].vector() - rest))


def feeling_controls(
    label: Label, intensity: float = 1.0, noise: float = 0.0, rng: np.random.Generator | None = None
) -> Controls:
    """The handles of a feeling, seen through noise, so that labels cannot be read perfectly from pictures.

    Two things blur: every handle trembles on its own, and the face and the scene each slide towards some other
    feeling. Face and scene slide independently, so the two may contradict each other, as they do in films.

    Args:
        noise: 0 is exact; at 1 the face and the scene each slide up to the whole way to another feeling.
        rng: needed unless `noise` is 0.

    Raises:
        ValueError: unknown label, intensity out of range, negative noise, or noise without a generator.
    """
    exact = Feeling(label, intensity).controls()
    if noise < 0:
        raise ValueError(f"expected noise >= 0, got {noise}")
    if noise == 0:
        return exact
    if rng is None:
        raise ValueError("noise above 0 needs a random generator, got none")
    vector = exact.vector()
    others = [Feeling(other, intensity).controls().vector() for other in LABELS if other != label]
    for part in (~_SCENE, _SCENE):
        towards = others[int(rng.integers(len(others)))]
        slide = min(1.0, noise * float(rng.uniform()))
        vector[part] += slide * (towards - vector)[part]
    vector += noise * _SPREAD * rng.standard_normal(len(vector))
    return Controls.from_vector(vector)


_NAMES = (
    *("Pip", "Mara", "Otto", "Juno", "Wren", "Bruno", "Tilda", "Felix", "Olive", "Hugo", "Nell", "Casper"),
    *("Ivy", "Rufus", "Dora", "Milo", "Greta", "Basil", "Luna", "Edgar", "Poppy", "Silas", "Agnes", "Toby"),
)
_SKINS: tuple[Colour, ...] = (
    *((255, 219, 190), (156, 106, 78), (240, 188, 148), (198, 138, 98), (255, 205, 178), (168, 112, 80)),
)
_FURS: tuple[Colour, ...] = ((232, 158, 88), (176, 134, 104), (214, 206, 212), (150, 160, 178), (240, 206, 150))
_HAIRS: tuple[Colour, ...] = (
    *((92, 52, 36), (232, 178, 72), (46, 40, 58), (190, 78, 44), (86, 108, 178), (206, 202, 210), (214, 104, 150)),
)
_IRISES: tuple[Colour, ...] = ((74, 122, 178), (94, 62, 40), (70, 132, 84), (120, 92, 160), (150, 110, 40))
_CLOTHES: tuple[Colour, ...] = (
    *((214, 72, 70), (62, 122, 178), (92, 156, 92), (240, 176, 60), (128, 92, 164), (70, 150, 154), (226, 128, 92)),
)
_KINDS: tuple[Kind, ...] = ("human", "human", "cat", "human", "bear", "human", "bunny", "human")
_HUMAN_HAIR: tuple[HairStyle, ...] = ("bob", "spiky", "curly", "bun", "quiff", "long", "beanie")


def _dealt(rng: np.random.Generator, n: int, choices: Sequence[object]) -> list[int]:
    """Indices of `choices` dealt like cards: no choice comes again before all have come."""
    rounds = -(-n // len(choices))
    return [int(i) for _ in range(rounds) for i in rng.permutation(len(choices))][:n]


def cast(seed: int, n: int) -> tuple[Puppet, ...]:
    """`n` characters with distinct looks. A larger cast of the same seed starts with the same faces; voices and sizes,
    which spread over the cast, differ.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"a cast has at least one character, got {n}")
    decks = (_NAMES, _KINDS, get_args(HeadShape), _HUMAN_HAIR, _SKINS, _FURS, _HAIRS, _IRISES, _CLOTHES)
    # One generator per deck, so that a longer deal of one never disturbs another.
    hands = [_dealt(np.random.default_rng([seed, 17, i]), n, deck) for i, deck in enumerate(decks)]
    timbres = (np.random.default_rng([seed, 18]).permutation(n) + 0.5) / n
    return tuple(_puppet(i, [hand[i] for hand in hands], float(timbres[i]), seed) for i in range(n))


def _puppet(i: int, hand: Sequence[int], timbre: float, seed: int) -> Puppet:
    name, kind_at, shape, style, skin, fur, hair, iris, clothes = hand
    rng = np.random.default_rng([seed, 19, i])
    kind = _KINDS[kind_at]
    human = kind == "human"
    again = i // len(_NAMES)
    return Puppet(
        name=_NAMES[name] + (f" {again + 1}" if again else ""),
        kind=kind,
        shape=get_args(HeadShape)[shape],
        hair_style=_HUMAN_HAIR[style] if human else "tuft",
        skin=_SKINS[skin] if human else _FURS[fur],
        hair=_HAIRS[hair],
        iris=_IRISES[iris],
        clothes=_CLOTHES[clothes],
        trim=_CLOTHES[(clothes + 3) % len(_CLOTHES)],
        nose=get_args(Nose)[int(rng.integers(3))],
        outfit=get_args(Outfit)[int(rng.integers(4))],
        glasses=human and bool(rng.uniform() < 0.25),
        freckles=human and bool(rng.uniform() < 0.3),
        eye_size=float(rng.uniform(0.9, 1.15)),
        eye_spread=float(rng.uniform(0.9, 1.1)),
        brow_width=float(rng.uniform(0.75, 1.35)),
        mouth_width=float(rng.uniform(0.9, 1.15)),
        # Small heads carry high voices.
        size=float(1.08 - 0.22 * timbre + rng.uniform(-0.03, 0.03)),
        timbre=timbre,
    )
