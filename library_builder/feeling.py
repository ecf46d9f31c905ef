"""Stretches of footage as extractors see them, and what those make of them: the only place where they are asked.

They are handed pictures, sound and words, so nothing else (a corpus's emotion label, a file name, who is speaking) can
reach a vector. An extractor that has `read_all` is asked about a few stretches at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2

from .face import FaceReading
from .media import Wave
from .types import MODALITIES, Emotion, Frame, Hertz, Modality, Reading, Unread

if TYPE_CHECKING:
    from .readers import Readers

logger = logging.getLogger(__name__)

SOUND_RATE: Hertz = 16_000
"""Sample rate at which extractors hear: enough for a voice, and what speech models are trained on."""
CHOKED = (ValueError, ArithmeticError, RuntimeError, cv2.error)
"""What an extractor may raise over one clip without losing the others."""


@dataclass(frozen=True, slots=True)
class ClipEmotions:
    """What the extractors made of one clip: vectors, words about them, and what was missing."""

    emotions: Mapping[Modality, Emotion]
    captions: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a clip extractors are shown besides its words.

    Attributes:
        frames: at least two pictures, in order of time.
        wave: its sound at `SOUND_RATE`; `None` for footage without any.
    """

    frames: tuple[Frame, ...]
    wave: Wave | None


class SkipError(ValueError):
    """A stretch of footage that cannot be a clip."""


_Read: TypeAlias = "tuple[Reading | None, Sequence[str]] | Exception"
"""One extractor's reading and what is to be said besides, or what it choked on."""


def batch_of(readers: Readers) -> int:
    """How many stretches these extractors are best asked about at once; one by default."""
    return int(getattr(readers, "batch", 1))


def feel(seen: Seen, text: str, readers: Readers) -> ClipEmotions:
    """What the extractors make of a stretch.

    Raises:
        SkipError: there is nothing that any extractor could read.
        ValueError, ArithmeticError, RuntimeError, cv2.error: an extractor choked on it.
    """
    read = feel_some([seen], [text], readers)[0]
    if isinstance(read, Exception):
        raise read
    return read


def feel_some(
    seen: Sequence[Seen | Exception], texts: Sequence[str], readers: Readers
) -> list[ClipEmotions | Exception]:
    """What the extractors make of each stretch, in order; an exception, handed in or met, is its stretch's alone."""
    wrong: dict[int, Exception] = {n: one for n, one in enumerate(seen) if isinstance(one, Exception)}
    stretches = {n: one for n, one in enumerate(seen) if not isinstance(one, Exception)}
    there: dict[int, dict[Modality, Reading]] = {n: {} for n in stretches}
    notes: dict[int, list[str]] = {n: [] for n in stretches}
    captions: dict[int, dict[str, str]] = {n: {} for n in stretches}
    for modality in MODALITIES:  # the words come after the pictures, whose captions they are read with
        going = [n for n in stretches if n not in wrong]
        asked = [(stretches[n], texts[n], captions[n]) for n in going]
        for n, read in zip(going, _ask_all(modality, asked, readers), strict=True):
            if isinstance(read, Exception):
                wrong[n] = read
                continue
            reading, said = read
            notes[n] += said
            if reading is not None:
                there[n][modality] = reading
                if reading.caption:
                    captions[n][modality] = reading.caption
    nothing = SkipError("no extractor found anything to read")
    wrong |= {n: nothing for n in stretches if n not in wrong and not there[n]}
    return [wrong[n] if n in wrong else _felt(there[n], notes[n]) for n in range(len(seen))]


def feel_some_again(
    modality: Modality,
    seen: Sequence[Seen | Exception],
    texts: Sequence[str],
    captions: Sequence[Mapping[str, str]],
    readers: Readers,
) -> list[ClipEmotions | Exception]:
    """What one extractor makes of each stretch, as `feel_some` would have it; no emotion where it finds nothing.

    Args:
        seen: what that extractor is shown; the rest may be empty.
        captions: of each stretch's scene and face, which the words are read with.
    """
    felt: list[ClipEmotions | Exception] = [one if isinstance(one, Exception) else _felt({}, ()) for one in seen]
    going = [n for n, one in enumerate(seen) if not isinstance(one, Exception)]
    asked = [(one, texts[n], captions[n]) for n in going for one in [seen[n]] if not isinstance(one, Exception)]
    for n, read in zip(going, _ask_all(modality, asked, readers), strict=True):
        felt[n] = read if isinstance(read, Exception) else _felt({modality: read[0]} if read[0] else {}, read[1])
    return felt


_Asked: TypeAlias = "tuple[Seen, str, Mapping[str, str]]"


def _ask_all(modality: Modality, asked: Sequence[_Asked], readers: Readers) -> list[_Read]:
    """One extractor's readings of some stretches. If they are too much together, each is tried alone."""
    together = getattr(getattr(readers, modality), "read_all", None)
    if together is not None and modality != "audio" and len(asked) > 1:
        try:
            return _ask_together(modality, asked, together)
        except CHOKED as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            logger.warning("%s: %d stretches together failed (%s), each is read alone", modality, len(asked), reason)
    return [_ask_alone(modality, one, readers, together) for one in asked]


def _ask_alone(modality: Modality, asked: _Asked, readers: Readers, together: Callable[..., Any] | None) -> _Read:
    try:
        if together is not None and modality != "audio":
            return _ask_together(modality, [asked], together)[0]
        return _ask(modality, *asked, readers)
    except CHOKED as error:
        return error


def _ask_together(modality: Modality, asked: Sequence[_Asked], read_all: Callable[..., Any]) -> list[_Read]:
    words = modality == "text"
    read = read_all([(text, captions) if words else seen.frames for seen, text, captions in asked])
    if modality == "face":
        return [(face.reading, face.notes) for face in read]
    return [(None, one.notes) if isinstance(one, Unread) else (one, ()) for one in read]


def _ask(
    modality: Modality, seen: Seen, text: str, captions: Mapping[str, str], readers: Readers
) -> tuple[Reading | None, Sequence[str]]:
    match modality:
        case "scene":
            return readers.scene.read(seen.frames), ()
        case "face":
            face: FaceReading = readers.face.read(seen.frames)
            return face.reading, face.notes
        case "text":
            return readers.text.read(text, captions), ()
        case "audio":
            wave = seen.wave
            reading = readers.audio.read(wave, SOUND_RATE) if wave is not None and wave.size else None
            silent = "audio: the footage has no sound" if wave is None else "audio: silent"
            return reading, () if reading is not None else (silent,)


def _felt(there: Mapping[Modality, Reading], notes: Sequence[str]) -> ClipEmotions:
    said = [*notes, *(note for reading in there.values() for note in reading.notes)]
    return ClipEmotions(
        emotions={modality: reading.emotion for modality, reading in there.items()},
        captions={modality: reading.caption for modality, reading in there.items() if reading.caption},
        notes=tuple(dict.fromkeys(said)),  # a reader may repeat in its reading what it said of the track
    )
