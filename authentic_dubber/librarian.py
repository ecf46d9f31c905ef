"""Builds a reference library: finds videos and their cue sheets, has them read, and commits the clips."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from library_builder.build import Outcome, build_clips
from library_builder.cues import Cue, CueError, find_cues, read_cues
from library_builder.manifest import read_shard, write_shard
from library_builder.media import MediaError, probe
from library_builder.readers import Readers, build_readers
from library_builder.types import Clip
from retrieval import Change, Library, add, commit

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[str, int, int], None]

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mkv", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mxf", ".ogv"}
)
"""What is taken from a folder; a file that is named itself is taken whatever it is called."""
SHARDS = "shards"
REASONS_KEPT = 100
"""Troubles written into the library's own record; all of them are returned."""


@dataclass(frozen=True, slots=True)
class BuildJob:
    """What a library is built from.

    Attributes:
        library: its folder; made if need be.
        footage: videos, or folders that are walked for them.
        cues: sheets that do not lie beside their footage. A sheet belongs to the video of its own stem, to the films
            its rows name, or to the only video there is.
        film: the film that all the footage belongs to; by default each file is its own.
        licence: of the footage, kept in every clip.
        speaker: who speaks where a sheet names nobody.
    """

    library: Path
    footage: tuple[Path, ...]
    cues: tuple[Path, ...] = ()
    film: str | None = None
    licence: str | None = None
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What became of a build.

    Attributes:
        version: of the library, now current.
        counts: cues and stretches per outcome: ok, skipped, failed.
        troubles: each that is not in the library, and why.
        shard: the clips as they were handed over.
    """

    version: str
    counts: Mapping[str, int]
    troubles: tuple[str, ...]
    shard: Path

    @property
    def complete(self) -> bool:
        """Whether every cue and stretch became a clip."""
        return self.counts["failed"] == self.counts["skipped"] == 0


@dataclass(frozen=True, slots=True)
class FootageRead:
    """What was read of footage.

    Attributes:
        root: where the clips' media paths start from.
    """

    root: Path
    clips: tuple[Clip, ...]
    counts: Mapping[str, int]
    troubles: tuple[str, ...]

    def source(self) -> dict[str, Any]:
        """For a library's own record."""
        return {"footage": str(self.root), "counts": dict(self.counts), "troubles": list(self.troubles[:REASONS_KEPT])}


def build_library(job: BuildJob, readers: Readers | None = None, progress: Progress | None = None) -> BuildResult:
    """Read footage into a new version of a library.

    Args:
        readers: the extractors; the light ones, loaded once the footage is found, by default.

    Raises:
        FileNotFoundError: footage or a cue sheet is missing.
        ValueError: nothing readable, a sheet that belongs to no video, or not a single usable clip.
    """
    read = read_footage(job, readers, progress)
    if not read.clips:
        raise ValueError(f"expected at least one usable clip, got none: {(*read.troubles, 'no cue')[0]}")
    version, shard = _hand_over(job.library, read.clips, read.source())
    return BuildResult(version, dict(read.counts), read.troubles, shard)


def add_footage(
    job: BuildJob,
    readers: Readers | None = None,
    progress: Progress | None = None,
    *,
    replace: bool = False,
    publish: bool = True,
    onto: str | None = None,
) -> tuple[Change, FootageRead]:
    """Read more footage into a library that is there: a new version that shares with the one before.

    Args:
        replace: let a clip that was read again take the place of the one of its id.
        publish: make the version current; without it, it waits.
        onto: the version to add to; the current one by default.

    Raises:
        FileNotFoundError: footage or a cue sheet is missing, or there is no library.
        ValueError: nothing usable, or footage that does not lie where the library's other footage does.
    """
    known = Library.open(job.library, onto, verify=False).info()["source"].get("footage")
    root = Path(known) if isinstance(known, str) else None
    read = read_footage(job, readers, progress, root)
    if not read.clips:
        raise ValueError(f"expected at least one usable clip, got none: {(*read.troubles, 'no cue')[0]}")
    change = add(job.library, read.clips, source=read.source(), replace=replace, publish=publish, onto=onto)
    return change, read


def read_footage(
    job: BuildJob, readers: Readers | None = None, progress: Progress | None = None, root: Path | None = None
) -> FootageRead:
    """Look at and listen to all the footage of a job.

    Args:
        root: where media paths start from; by default the deepest folder that holds all the footage.
    """
    tell = progress or (lambda what, done, total: None)
    videos = find_videos(job.footage)
    root = root or _root(job.footage)
    outside = [video for video in videos if not video.is_relative_to(root)]
    if outside:
        raise ValueError(f"expected footage below {root}, where the library's other footage lies, got {outside[0]}")
    cues, problems = _cues(job, videos)
    films = {video: job.film for video in videos} if job.film else None
    readers = readers or build_readers("light")
    expected = sum(len(found) for found in cues.values()) + sum(video not in cues for video in videos)
    clips: list[Clip] = []
    troubles = list(problems)
    counts = Counter(ok=0, skipped=len(problems), failed=0)
    for done, outcome in enumerate(build_clips(videos, readers, cues, root, films=films, licence=job.licence), 1):
        counts[outcome.status] += 1
        if outcome.clip is not None:
            clips.append(outcome.clip)
        else:
            troubles.append(_trouble(outcome))
        tell(outcome.media, done, max(done, expected))
    return FootageRead(root, tuple(clips), dict(counts), tuple(troubles))


def find_videos(footage: Sequence[Path]) -> list[Path]:
    """The videos among files and below folders, in order of their paths, each once.

    Raises:
        FileNotFoundError: a path is neither.
        ValueError: there is no video at all.
    """
    found: dict[Path, None] = {}
    for path in footage:
        if path.is_dir():
            below = (p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
            found |= dict.fromkeys(sorted(p.absolute() for p in below if not p.name.startswith(".")))
        elif path.is_file():
            found[path.absolute()] = None
        else:
            raise FileNotFoundError(f"{path}: expected footage, a video or a folder of videos, there is none")
    if not found:
        raise ValueError(f"expected videos in {', '.join(map(str, footage))}, found none")
    return list(found)


def _root(footage: Sequence[Path]) -> Path:
    """The deepest folder that holds all the footage; media paths in the library start from it."""
    folders = [path if path.is_dir() else path.parent for path in (path.absolute() for path in footage)]
    return Path(os.path.commonpath(folders))


def _cues(job: BuildJob, videos: Sequence[Path]) -> tuple[dict[Path, tuple[Cue, ...]], list[str]]:
    """Cues by video, and what was wrong with rows. Sheets given by name go before those beside the footage."""
    cues: dict[Path, tuple[Cue, ...]] = {}
    problems: list[str] = []
    for sheet in job.cues:
        for video, found in _given(sheet, videos, job.speaker, problems).items():
            cues[video] = cues.get(video, ()) + found
    for video in videos:
        beside = find_cues(video) if video not in cues else None
        if beside is not None:
            cues[video] = _read(beside, video, job.speaker, problems)
    return cues, problems


def _given(sheet: Path, videos: Sequence[Path], speaker: str, problems: list[str]) -> dict[Path, tuple[Cue, ...]]:
    own = [video for video in videos if video.stem == sheet.stem] or (list(videos) if len(videos) == 1 else [])
    if len(own) == 1:
        return {own[0]: _read(sheet, own[0], speaker, problems)}
    by_film: dict[Path, tuple[Cue, ...]] = {}
    for cue in _read(sheet, None, speaker, problems):
        video = next((video for video in videos if cue.film in (video.stem, video.name)), None)
        if video is None:
            raise ValueError(
                f"{sheet}: expected a video named {sheet.stem}, or a column film that names one for every row; "
                f"got film {cue.film!r}"
            )
        by_film[video] = (*by_film.get(video, ()), cue)
    return by_film


def _read(sheet: Path, video: Path | None, speaker: str, problems: list[str]) -> tuple[Cue, ...]:
    fps = None
    if video is not None:
        try:
            fps = probe(video).fps
        except MediaError as error:  # the build says so of the video itself; its sheet needs no clock then
            logger.info("%s", error)
    try:
        read = read_cues(sheet, fps=fps, speaker=speaker)
    except CueError as error:
        raise CueError(f"{error} (move the sheet away to have the footage cut by itself)") from error
    problems += [f"{sheet.name}: {problem}" for problem in read.problems]
    return read.cues


def _trouble(outcome: Outcome) -> str:
    where = "" if outcome.start is None or outcome.end is None else f" {outcome.start:.2f} to {outcome.end:.2f} s"
    return f"{outcome.status}: {outcome.media}{where}: {outcome.reason}"


def _hand_over(library: Path, clips: Sequence[Clip], info: Mapping[str, Any]) -> tuple[str, Path]:
    """Write the shard, commit what is read back from it, and name the shard after the version."""
    shards = library / SHARDS
    shards.mkdir(parents=True, exist_ok=True)
    fresh = shards / f".new-{secrets.token_hex(4)}"
    try:
        write_shard(fresh, clips, info)
        version = commit(library, read_shard(fresh), source=info)
        final = shards / version
        if not final.exists():  # the same clips as before make the same version, and the same shard
            os.rename(fresh, final)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return version, final
