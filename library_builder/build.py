"""Footage to clips that know what they feel: look and listen, and say of every cue what became of it.

Extractors are asked in `feeling` alone, about what `see` gathers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .cues import Cue
from .cut import CutConfig, cut
from .feeling import SOUND_RATE, ClipEmotions, Seen, SkipError, feel
from .footage import Footage, look_at_video
from .media import MediaError, Wave, probe, read_wave, sample_frames
from .planning import Outcome, Work, below, plan_works, without
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


def build_clips(
    footage: Sequence[Path],
    readers: Readers,
    cues: Mapping[Path, Sequence[Cue]],
    root: Path,
    *,
    films: Mapping[Path, str] | None = None,
    licence: str | None = None,
    config: BuildConfig | None = None,
) -> Iterator[Outcome]:
    """One outcome per cue, or per stretch of footage that has no entry in `cues`, in order, with nothing kept on disk.

    Ids are those of `planning.plan_works`. A build that keeps what it did is made of `shards.make_shard`.

    Args:
        cues: by footage path as given in `footage`; a cue's `audio` is a path from the folder of its footage.
        root: the folder that stored paths are relative to.
        films: film by footage path.
        licence: of the footage, as its owner names it; kept in every clip.

    Raises:
        ValueError: no footage is readable video, a file lies outside the root, or cues are for footage not given.
            Raised by the call itself, before any work.
    """
    config = config or BuildConfig()
    paths = [Path(path) for path in footage]
    given = {Path(path): sheet for path, sheet in cues.items()}
    strangers = [str(path) for path in given if path not in paths]
    if strangers:
        raise ValueError(f"expected cues for the footage given, got cues for {strangers[0]}")
    for path in paths:
        below(path, root)
    known = {path: look_at_video(path) for path in paths}
    if all(seen.problem for seen in known.values()):
        reasons = "; ".join(seen.problem for seen in list(known.values())[:1])
        raise ValueError(f"expected readable video below {root}, found none{reasons and ': '}{reasons}")
    films = {Path(path): film for path, film in (films or {}).items()}
    works = plan_works(paths, root, lambda path: given[path] if path in given else stretches(path, config.cut), films)
    return (
        work if isinstance(work, Outcome) else _outcome(work, known[work.path], readers, licence, config)
        for work in works
    )


def stretches(path: Path, config: CutConfig) -> list[Cue]:
    """Footage without a sheet as cues that nobody speaks.

    Raises:
        FileNotFoundError, MediaError: as `cut.cut`.
    """
    return [Cue(start, end, "", "") for start, end in cut(path, config)]


def _outcome(work: Work, known: Footage, readers: Readers, licence: str | None, config: BuildConfig) -> Outcome:
    try:
        end, _ = clip_end(work.cue, known)
        read = read_clip(work.path, work.cue.start, end, work.cue.text, readers, sound=work.sound, config=config)
        return clip_outcome(work, known, read, licence)
    except (ValueError, FileNotFoundError) as error:
        return gone_wrong(work, error)


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
