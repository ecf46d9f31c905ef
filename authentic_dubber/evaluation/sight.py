"""What a dubber sees of the lines of a set: vectors, lips and mouth, read as the clips of a library are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from authentic_dubber.extraction import looked_at
from authentic_dubber.looking import Looked, look_at_lines
from authentic_dubber.slot import evenly
from library_builder.face import track_of
from library_builder.feeling import batch_of
from library_builder.media import read_frames
from library_builder.readers import Readers
from library_builder.types import QUERY_MODALITIES, Frame, space_width

from .film_line import FilmLine

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a dubber sees of a line: vectors by modality (zeros where there is none), lips (V, L), mouth (V,)."""

    own: Mapping[str, Wave]
    lips: Wave
    mouth: Wave


Seen: TypeAlias = "tuple[FilmLine, Sight | Exception]"


def look_at(lines: Sequence[FilmLine], readers: Readers) -> Iterator[Seen]:
    """Every line in order with what is seen of it, or why nothing is; as many are asked about at once as readers like.

    Raises:
        RuntimeError, ArithmeticError, cv2.error: a reader choked on a line.
    """
    for first in range(0, len(lines), batch_of(readers)):
        yield from _together(lines[first : first + batch_of(readers)], readers)


def _together(lines: Sequence[FilmLine], readers: Readers) -> list[Seen]:
    found: dict[str, Sight | Exception] = {}
    shown: dict[str, list[Frame]] = {}
    for line in lines:
        try:
            shown[line.id] = _pictures(line, readers)
        except (ValueError, FileNotFoundError) as error:
            found[line.id] = error
    there = [line for line in lines if line.id in shown]
    try:
        found |= _sights(there, shown, readers)
    except ValueError as error:  # one of them would cost the others theirs
        for line in there:
            try:
                found |= _sights([line], shown, readers) if len(there) > 1 else {line.id: error}
            except ValueError as own:
                found[line.id] = own
    return [(line, found[line.id]) for line in lines]


def _pictures(line: FilmLine, readers: Readers) -> list[Frame]:
    """Raises ValueError (MediaError is one): fewer than two pictures, or the film cannot be read."""
    config = looked_at(readers.spaces().values())
    frames = list(read_frames(line.media, start=line.start, end=line.end, max_height=config.max_height))
    if len(frames) < 2:
        raise ValueError(f"expected two pictures or more in its cue, got {len(frames)}")
    return frames


def _sights(lines: Sequence[FilmLine], shown: Mapping[str, Sequence[Frame]], readers: Readers) -> dict[str, Sight]:
    few = looked_at(readers.spaces().values()).frames_per_clip
    pictures = [evenly(shown[line.id], few) for line in lines]
    felt = look_at_lines(pictures, readers, [line.text for line in lines], describe=False)
    return {line.id: _sight(shown[line.id], one, readers) for line, one in zip(lines, felt, strict=True)}


def _sight(frames: Sequence[Frame], felt: Looked, readers: Readers) -> Sight:
    own: dict[str, Wave] = {
        m: np.asarray(felt.emotions[m].vector, np.float32)
        if m in felt.emotions
        else np.zeros(space_width(getattr(readers, m).space), np.float32)
        for m in QUERY_MODALITIES
    }
    lips = readers.lips.read(frames, track_of(readers.face, frames))
    return Sight(own, lips.features.astype(np.float32), lips.opening.astype(np.float32))
