"""Footage to clips that know what they feel: look and listen, and say of every cue what became of it.

Extractors are asked in `feeling` alone, about what `see` gathers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .cues import Cue
from .cut import CutConfig
from .feeling import SOUND_RATE, ClipEmotions, Seen, SkipError, feel
from .footage import Footage
from .media import MediaError, Wave, probe, read_wave, sample_frames
from .planning import Outcome, Work, without
from .types import Clip, Frame, Seconds

if TYPE_CHECKING:
    from .readers import Readers

HEARD_FROM = "audio: heard from "
"""The note of a clip that was heard from a file of its own; the file's path follows."""

END_TOLERANCE: Seconds = 0.1
"""A cue may end this much after the footage without a note: subtitles are rounded generously."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """How clips are looked at.

    Attributes:
        frames_per_clip: most pictures shown to an extractor, evenly spread over the clip.
        max_height: pixels; taller pictures are shrunk to it.
        cut: how footage without cues is cut.

    Raises:
        ValueError: fewer than two frames, or a height below 16.
    """

    frames_per_clip: int = 12
    max_height: int = 270
    cut: CutConfig = field(default_factory=CutConfig)

    def __post_init__(self) -> None:
        if self.frames_per_clip < 2 or self.max_height < 16:
            raise ValueError(
                f"expected at least 2 frames of 16 pixels, got {self.frames_per_clip} of {self.max_height}"
            )


def read_clip(
    media: Path,
    start: Seconds,
    end: Seconds,
    text: str,
    readers: Readers,
    *,
    sound: Path | None = None,
    config: BuildConfig | None = None,
) -> ClipEmotions:
    """Vectors and captions of one stretch.

    Args:
        start, end: seconds in `media`.
        text: the words spoken; `""` when unknown.
        sound: a file whose whole sound is heard instead of the media's own.

    Raises:
        FileNotFoundError: a file is missing.
        MediaError: a file is unreadable, truncated, or lacks the stream.
        SkipError: fewer than two different pictures, or nothing that any extractor could read.
    """
    return feel(see(media, start, end, sound=sound, config=config), text, readers)


def see(
    media: Path,
    start: Seconds,
    end: Seconds,
    *,
    sound: Path | None = None,
    config: BuildConfig | None = None,
    has_audio: bool | None = None,
) -> Seen:
    """Decode what extractors are shown of one stretch.

    Args:
        has_audio: whether the footage has a sound, for those who know; otherwise it is looked up.

    Raises:
        FileNotFoundError, MediaError: as `read_clip`.
        SkipError: fewer than two different pictures.
    """
    frames = watch(media, start, end, config or BuildConfig())
    return Seen(frames, listen(media, start, end, sound=sound, has_audio=has_audio))


def watch(media: Path, start: Seconds, end: Seconds, config: BuildConfig) -> tuple[Frame, ...]:
    """The pictures of a stretch that extractors are shown.

    Raises:
        FileNotFoundError, MediaError, SkipError: as `see`.
    """
    frames = sample_frames(media, start=start, end=end, count=config.frames_per_clip, max_height=config.max_height)
    if len(frames) < 2:
        raise SkipError(f"expected at least two pictures from {start:.3f} to {end:.3f} s, got {len(frames)}")
    return frames


def listen(
    media: Path, start: Seconds, end: Seconds, *, sound: Path | None = None, has_audio: bool | None = None
) -> Wave | None:
    """The sound of a stretch at `SOUND_RATE`, or all of a file of its own; None for footage without any.

    Raises:
        FileNotFoundError, MediaError: as `see`.
    """
    if sound is not None:
        return read_wave(sound, sample_rate=SOUND_RATE)
    if not (probe(media).has_audio if has_audio is None else has_audio):
        return None
    return read_wave(media, sample_rate=SOUND_RATE, start=start, end=end)


def clip_outcome(work: Work, known: Footage, read: ClipEmotions, licence: str | None) -> Outcome:
    """The clip of a work that was read.

    Raises:
        SkipError, MediaError: as `clip_end`.
    """
    cue = work.cue
    end, late = clip_end(cue, known)
    heard = () if cue.audio is None else (f"{HEARD_FROM}{cue.audio}",)
    clip = Clip(
        id=work.id,
        media=work.media,
        start=cue.start,
        end=end,
        speaker=cue.character,
        text=cue.text,
        film=work.film,
        captions=read.captions,
        emotions=read.emotions,
        notes=(*late, *heard, *read.notes),
        label=cue.emotion,
        licence=licence,
    )
    return Outcome("ok", work.media, cue.start, cue.end, clip, id=work.id)


def gone_wrong(work: Work, error: Exception) -> Outcome:
    """The outcome of a work that met an error: skipped for its own cue's sake, failed for any other."""
    return without(work, "skipped" if isinstance(error, SkipError) else "failed", str(error) or type(error).__name__)


def clip_end(cue: Cue, known: Footage) -> tuple[Seconds, tuple[str, ...]]:
    """Where the clip ends, which is the footage's end for a cue that outlasts it, and a note on it if that is far.

    Raises:
        SkipError: the cue has no span in the footage.
        MediaError: the footage cannot be read.
    """
    if known.problem:
        raise MediaError(known.problem)
    duration = known.duration
    # Written so that NaN is refused too.
    if not 0 <= cue.start < cue.end < math.inf:
        raise SkipError(f"expected 0 <= start < end, got {cue.start:g} and {cue.end:g} s")
    if cue.start >= duration:
        raise SkipError(f"starts at {cue.start:.3f} s, past the footage's end at {duration:.3f} s")
    if cue.end <= duration + END_TOLERANCE:
        return min(cue.end, duration), ()
    return duration, (f"cue: ends at {cue.end:.3f} s, cut to the footage's end at {duration:.3f} s",)
