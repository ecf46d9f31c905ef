"""What the picture says of a line: its feelings, its lips, and the slot in which speech must sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from library_builder.build import BuildConfig
from library_builder.face import track_of
from library_builder.lips import LipReading, mouth_motion
from library_builder.media import probe, read_frames
from library_builder.readers import Readers
from library_builder.types import Emotion, Frame, Modality, Seconds

from .extraction import looked_at
from .types import Line, Slot

END_TOLERANCE = 0.1
"""Seconds that a cue may end after the picture: subtitles are rounded."""
SHORTEST = 0.25
"""Seconds; motion shorter than this is not a mouth speaking a line."""
LEAST_SHARE = 0.5
"""Of the cue. A mouth seen moving for less of it was turned away, cut away from, or is something else that moves; the
script's own times are then the better witness."""


class LineError(ValueError):
    """A line that cannot be spoken over its picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was read from a line's picture and words.

    Attributes:
        lips: features inside the slot, (V, L); V is 0 off-screen.
        cue: what the script says of the slot, with the features inside it; None where the slot is the cue already.
        opening: (seconds in the picture, mouth opening) per frame of the cue.
    """

    own: Mapping[Modality, Emotion]
    captions: Mapping[str, str]
    slot: Slot
    lips: npt.NDArray[np.float32]
    opening: tuple[tuple[float, float], ...]
    notes: tuple[str, ...]
    cue: tuple[Slot, npt.NDArray[np.float32]] | None = None

    def over_cue(self, *notes: str) -> Look:
        """The same picture, with the script's times in place of the mouth's.

        Args:
            notes: why, in words.
        """
        if self.cue is None:
            return self
        slot, lips = self.cue
        return replace(self, slot=slot, lips=lips, notes=(*self.notes, *notes), cue=None)


def look(line: Line, readers: Readers) -> Look:
    """Read a line's picture and words.

    Raises:
        LineError: the cue lies outside the picture, or shows fewer than two frames.
        library_builder.media.MediaError: the picture cannot be read.
    """
    if line.picture is None:
        return _off_screen(line, readers, {}, {}, Slot(line.start, line.end, "free"), ())
    config = looked_at(readers.spaces().values())
    frames = _frames(line, config)
    uneven = _uneven(frames)
    few = evenly(frames, config.frames_per_clip)
    own: dict[Modality, Emotion] = {}
    captions: dict[str, str] = {}
    # As the library was built: feelings are read from a few pictures, so that a line and a clip are measured alike.
    scene, face = readers.scene.read(few), readers.face.read(few)
    notes = [*uneven, *face.notes]
    for modality, reading in (("scene", scene), ("face", face.reading)):
        if reading is not None:
            own[modality] = reading.emotion  # type: ignore[index]
            captions[modality] = reading.caption
            notes += [note for note in reading.notes if note not in notes]
    lips = readers.lips.read(frames, track_of(readers.face, frames))
    notes += [note for note in lips.notes if note not in notes]
    cue = Slot(line.start, line.end, "cue")
    slot = mouth_slot(lips, line.start, line.end)
    if slot is None:
        notes.append("slot: no mouth moving through the line, the cue sets the length")
        return _off_screen(line, readers, own, captions, cue, tuple(notes))
    text = readers.text.read(line.text, captions)
    if text is not None:
        own["text"] = text.emotion
    inside = (lips.times >= slot.start) & (lips.times < slot.end)
    return Look(own, captions, slot, lips.features[inside], _openings(lips), tuple(notes), (cue, lips.features))


def mouth_slot(lips: LipReading, start: Seconds, end: Seconds) -> Slot | None:
    """When a mouth is seen speaking inside a cue; None where it does not move through enough of the cue.

    Args:
        lips: of the cue's pictures.
        start, end: the cue, in the seconds that `lips` counts.
    """
    motion = mouth_motion(lips)
    if motion is None or motion.offset - motion.onset < max(SHORTEST, LEAST_SHARE * (end - start)):
        return None
    return Slot(max(start, motion.onset), min(end, motion.offset), "mouth")


def _uneven(frames: Sequence[Frame]) -> list[str]:
    steps = np.diff([frame.time for frame in frames])
    if len(steps) and float(steps.max() - steps.min()) > 0.25 * float(np.median(steps)):
        return ["picture: variable frame rate, each frame counts at its own time"]
    return []


def evenly(frames: Sequence[Frame], count: int) -> list[Frame]:
    """The middle frames of `count` equal stretches, or all when there are fewer."""
    if len(frames) <= count:
        return list(frames)
    return [frames[int((i + 0.5) * len(frames) / count)] for i in range(count)]


def _off_screen(
    line: Line,
    readers: Readers,
    own: dict[Modality, Emotion],
    captions: dict[str, str],
    slot: Slot,
    notes: tuple[str, ...],
) -> Look:
    text = readers.text.read(line.text, captions)
    if text is not None:
        own = {**own, "text": text.emotion}
    from_lips = np.zeros((0, int(readers.lips.space.rpartition("/")[2])), dtype=np.float32)
    return Look(own, captions, slot, from_lips, (), notes)


def _frames(line: Line, config: BuildConfig) -> list[Frame]:
    assert line.picture is not None
    length = probe(line.picture).duration
    if line.start >= length:
        raise LineError(f"line {line.id}: starts at {line.start:.2f} s, past the picture's end at {length:.2f} s")
    if line.end > length + END_TOLERANCE:
        raise LineError(f"line {line.id}: ends at {line.end:.2f} s, past the picture's end at {length:.2f} s")
    frames = list(read_frames(line.picture, start=line.start, end=line.end, max_height=config.max_height))
    if len(frames) < 2:
        raise LineError(f"line {line.id}: expected at least two frames of picture in its cue, got {len(frames)}")
    return frames


def _openings(lips: LipReading) -> tuple[tuple[float, float], ...]:
    return tuple((float(t), float(x)) for t, x in zip(lips.times, lips.opening, strict=True))
