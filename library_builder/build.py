"""Footage to clips that know what they feel: walk the cues, look and listen, and say of every cue what became of it.

Extractors are called in `read_clip` alone. It is handed pictures, sound and words, so nothing else (a corpus's emotion
label, a file name, who is speaking) can reach a vector.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from .cues import Cue
from .cut import CutConfig, cut
from .manifest import check_relative, write_shard
from .media import MediaError, MediaInfo, probe, read_frames, read_wave, sample_frames
from .types import Clip, Emotion, Hertz, Modality, Reading, Seconds

if TYPE_CHECKING:
    from .readers import Readers

logger = logging.getLogger(__name__)

SOUND_RATE: Hertz = 16_000
"""Sample rate at which extractors hear: enough for a voice, and what speech models are trained on."""

END_TOLERANCE: Seconds = 0.1
"""A cue may end this much after the footage without a note: subtitles are rounded generously."""

MAX_NAME = 60
"""Characters of a film's and of a character's name in an id: two of them fit a store's key in any script."""


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


@dataclass(frozen=True, slots=True)
class ClipEmotions:
    """What the extractors made of one clip: vectors, words about them, and what was missing."""

    emotions: Mapping[Modality, Emotion]
    captions: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one cue or stretch.

    Attributes:
        status: `ok` with a clip, `skipped` for a cue that is not usable, `failed` for footage that is not.
        media: the footage, relative to its root.
        start, end: seconds as the cue gives them; `None` where a whole file failed.
        reason: why there is no clip; `""` with one.
    """

    status: Literal["ok", "skipped", "failed"]
    media: str
    start: Seconds | None
    end: Seconds | None
    clip: Clip | None = None
    reason: str = ""


class SkipError(ValueError):
    """A stretch of footage that cannot be a clip."""


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
    """Vectors and captions of one stretch. The only place where the extractors see a library's footage.

    Args:
        start, end: seconds in `media`.
        text: the words spoken; `""` when unknown.
        sound: a file whose whole sound is heard instead of the media's own.

    Raises:
        FileNotFoundError: a file is missing.
        MediaError: a file is unreadable, truncated, or lacks the stream.
        SkipError: fewer than two different pictures, or nothing that any extractor could read.
    """
    config = config or BuildConfig()
    frames = sample_frames(media, start=start, end=end, count=config.frames_per_clip, max_height=config.max_height)
    if len(frames) < 2:
        raise SkipError(f"expected at least two pictures from {start:.3f} to {end:.3f} s, got {len(frames)}")
    notes: list[str] = []
    readings: dict[Modality, Reading | None] = {"scene": readers.scene.read(frames)}
    face = readers.face.read(frames)
    readings["face"] = face.reading
    notes += face.notes
    captions: dict[str, str] = {m: r.caption for m, r in readings.items() if r is not None and r.caption}
    readings["text"] = readers.text.read(text, captions)
    readings["audio"], unheard = _hear(media, (start, end), sound, readers)
    notes += unheard
    there = {modality: reading for modality, reading in readings.items() if reading is not None}
    if not there:
        raise SkipError("no extractor found anything to read")
    for reading in there.values():
        notes += reading.notes
    return ClipEmotions(
        emotions={modality: reading.emotion for modality, reading in there.items()},
        captions={modality: reading.caption for modality, reading in there.items() if reading.caption},
        notes=tuple(dict.fromkeys(notes)),  # a reader may repeat in its reading what it said of the track
    )


def _hear(
    media: Path, span: tuple[Seconds, Seconds], sound: Path | None, readers: Readers
) -> tuple[Reading | None, tuple[str, ...]]:
    if sound is None and not probe(media).has_audio:
        return None, ("audio: the footage has no sound",)
    start, end = span if sound is None else (0.0, None)
    wave = read_wave(sound or media, sample_rate=SOUND_RATE, start=start, end=end)
    reading = readers.audio.read(wave, SOUND_RATE) if wave.size else None
    return reading, () if reading is not None else ("audio: silent",)


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
    """One outcome per cue, or per stretch of footage that has no entry in `cues`, in order.

    A clip's id is `<film>/<character or "unknown">/<NNNN>`, the number counting that character's lines in the film,
    skipped ones too: an id does not change when another cue fails.

    Args:
        cues: by footage path as given in `footage`; a cue's `audio` is a path from the folder of its footage.
        root: the folder that stored paths are relative to.
        films: film by footage path; a cue's own `film` goes before it, the path below the root without suffix after.
        licence: of the footage, as its owner names it; kept in every clip.

    Raises:
        ValueError: no footage is readable video, a file lies outside the root, or cues are for footage not given.
            Raised by the call itself, before any work.
    """
    config = config or BuildConfig()
    media = {Path(path): _below(Path(path), Path(root)) for path in footage}
    given = {Path(path): sheet for path, sheet in cues.items()}
    strangers = [str(path) for path in given if path not in media]
    if strangers:
        raise ValueError(f"expected cues for the footage given, got cues for {strangers[0]}")
    infos = {path: _looked_at(path) for path in media}
    if not any(isinstance(info, MediaInfo) for info in infos.values()):
        reasons = "; ".join(str(info) for info in list(infos.values())[:1])
        raise ValueError(f"expected readable video below {root}, found none{reasons and ': '}{reasons}")
    named = {Path(path): film for path, film in (films or {}).items()}
    works = _works(media, infos, given, named, config.cut)
    return (work if isinstance(work, Outcome) else _outcome(work, readers, licence, config) for work in works)


def build_shard(folder: Path, outcomes: Iterable[Outcome], *, info: Mapping[str, Any] | None = None) -> Path:
    """Writes the clips of a build as a shard, with the number of outcomes of each kind beside them.

    Args:
        info: further facts for readers of the shard.

    Raises:
        FileExistsError: the folder is there already.
        ManifestError: no cue became a clip, or the clips contradict each other.
    """
    clips: list[Clip] = []
    counts = {"ok": 0, "skipped": 0, "failed": 0}
    for outcome in outcomes:
        counts[outcome.status] += 1
        if outcome.clip is not None:
            clips.append(outcome.clip)
    return write_shard(folder, clips, {**(info or {}), "outcomes": counts})


@dataclass(frozen=True, slots=True)
class _Work:
    """A cue ready to be read, and everything about it that no extractor sees."""

    id: str
    path: Path
    media: str
    info: MediaInfo
    cue: Cue
    film: str


def _works(
    media: Mapping[Path, str],
    infos: Mapping[Path, MediaInfo | str],
    cues: Mapping[Path, Sequence[Cue]],
    films: Mapping[Path, str],
    config: CutConfig,
) -> Iterator[_Work | Outcome]:
    """Every cue with its id, and an outcome for footage that has none."""
    lines: Counter[str] = Counter()
    for path, relative in media.items():
        info = infos[path]
        if isinstance(info, str):
            yield _without("failed", relative, None, info)
            continue
        try:
            sheet = cues[path] if path in cues else [Cue(start, end, "", "") for start, end in cut(path, config)]
        except (MediaError, FileNotFoundError) as error:
            yield _without("failed", relative, None, str(error))
            continue
        if not sheet:
            yield _without("skipped", relative, None, "no cue, and no stretch long enough for one")
        for cue in sheet:
            film = cue.film or films.get(path) or str(PurePosixPath(relative).with_suffix(""))
            who = f"{_named(film, 'film')}/{_named(cue.character.replace('/', '_'), 'unknown')}"
            lines[who] += 1
            yield _Work(f"{who}/{lines[who]:04d}", path, relative, info, cue, film)


def _outcome(work: _Work, readers: Readers, licence: str | None, config: BuildConfig) -> Outcome:
    cue = work.cue
    try:
        end, late = _end(cue, work.info.duration)
        sound = None if cue.audio is None else work.path.parent / check_relative(cue.audio)
        read = read_clip(work.path, cue.start, end, cue.text, readers, sound=sound, config=config)
    except SkipError as error:
        return _without("skipped", work.media, cue, str(error))
    except (MediaError, FileNotFoundError) as error:
        return _without("failed", work.media, cue, str(error))
    heard = () if cue.audio is None else (f"audio: heard from {cue.audio}",)
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
    return Outcome("ok", work.media, cue.start, cue.end, clip)


def _end(cue: Cue, duration: Seconds) -> tuple[Seconds, tuple[str, ...]]:
    """Where the clip ends, which is the footage's end for a cue that outlasts it, and a note on it if that is far."""
    # Written so that NaN is refused too.
    if not 0 <= cue.start < cue.end < math.inf:
        raise SkipError(f"expected 0 <= start < end, got {cue.start:g} and {cue.end:g} s")
    if cue.start >= duration:
        raise SkipError(f"starts at {cue.start:.3f} s, past the footage's end at {duration:.3f} s")
    if cue.end <= duration + END_TOLERANCE:
        return min(cue.end, duration), ()
    return duration, (f"cue: ends at {cue.end:.3f} s, cut to the footage's end at {duration:.3f} s",)


def _without(status: Literal["skipped", "failed"], media: str, cue: Cue | None, reason: str) -> Outcome:
    logger.warning("%s %s: %s", status, media, reason)
    start, end = (cue.start, cue.end) if cue else (None, None)
    return Outcome(status, media, start, end, reason=reason)


def _looked_at(path: Path) -> MediaInfo | str:
    """What a file holds, or why it is no readable video; one picture is decoded, as a header promises anything."""
    try:
        info = probe(path)
        if next(read_frames(path, max_height=16), None) is None:
            return f"{path}: expected pictures, found none"
    except (MediaError, FileNotFoundError) as error:
        return str(error)
    return info


def _below(path: Path, root: Path) -> str:
    """The path from the root, as it is stored. Links are not followed: footage may be linked in from elsewhere."""
    try:
        return check_relative(Path(os.path.abspath(path)).relative_to(os.path.abspath(root)).as_posix())
    except ValueError as error:
        raise ValueError(f"{path}: expected footage below its root {root}") from error


def _named(name: str, otherwise: str) -> str:
    """A name as a part of an id: without blanks, and short, because stores limit the length of their keys."""
    return "_".join(name.split())[:MAX_NAME] or otherwise
