"""How a set is to be spoken and what is to be judged: the names, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

References: TypeAlias = Literal["nearest", "random", "shuffled-audio"]
Condition: TypeAlias = Literal["takes", "recordings", "griffin-lim", "vocoder", "wrong-text", "wrong-speaker"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
FAMILIES = ("words", "speaker", "emotion", "timing", "spectral", "pitch", "naturalness")
"""Measures that belong together, by name."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a set is spoken.

    Attributes:
        k: references per modality; 0 speaks without any.
        references: which; see `references`.
        strength: of the acting, 0 neutral, 1 as felt.
        oracle_length: every line as long as its recording; no such figure stands for dubbing.

    Raises:
        ValueError: a value is out of range.
    """

    k: int = 3
    references: References = "nearest"
    strength: float = 1.0
    seed: int = 0
    oracle_length: bool = False

    def __post_init__(self) -> None:
        if self.k < 0 or self.strength < 0:
            raise ValueError(f"expected k and strength of 0 or more, got {self.k} and {self.strength}")
        if self.references not in get_args(References):
            known = ", ".join(get_args(References))
            raise ValueError(f"known references are {known}, got {self.references!r}")


def check_names(measures: Sequence[str] = (), conditions: Sequence[str] = (), limit: int | None = None) -> None:
    """Raises ValueError for a measure or condition that is unknown, and for a limit below one case."""
    for what, names, known in (("measures", measures, FAMILIES), ("conditions", conditions, CONDITIONS)):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"known {what} are {', '.join(known)}, got {unknown[0]!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of 1 or more, got {limit}")
