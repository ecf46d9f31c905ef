"""One spoken line of a film, as corpora of films list them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FilmLine:
    """One spoken line of a film.

    Attributes:
        id: as the corpus has it.
        emotion: the corpus's label, or None.
        start, end: seconds in `media`.
    """

    id: str
    film: str
    speaker: str
    text: str
    emotion: str | None
    media: Path
    start: float
    end: float
