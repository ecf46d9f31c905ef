"""What a library is to be made of: which videos, which sheet belongs to which, and where paths start."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library_builder.cues import Cue, CueError, CueSheet, find_cues, read_cues
from library_builder.edition import check_edition
from library_builder.media import MediaError, probe

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mkv", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mxf", ".ogv"}
)
"""What is taken from a folder; a file that is named itself is taken whatever it is called."""
TABLES = frozenset({".csv", ".tsv"})
"""Sheets whose times may count frames, which takes the footage's clock to read."""


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
        root: the folder that media paths start from; by default the deepest one that holds all the footage.
    """

    library: Path
    footage: tuple[Path, ...]
    cues: tuple[Path, ...] = ()
    film: str | None = None
    licence: str | None = None
    speaker: str = ""
    root: Path | None = None


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


def root_of(job: BuildJob) -> Path:
    """The folder that media paths in the library start from."""
    if job.root is not None:
        return job.root.absolute()
    folders = [path if path.is_dir() else path.parent for path in (path.absolute() for path in job.footage)]
    return Path(os.path.commonpath(folders))


class Sheets:
    """The cues of each video. Sheets given by name are read at once and go before those beside the footage, which are
    read when they are asked for.

    Attributes:
        problems: what was wrong with rows of the sheets read so far.

    Raises:
        FileNotFoundError: a sheet is missing.
        ValueError: a given sheet belongs to no video, or cannot be read.
    """

    def __init__(self, job: BuildJob, videos: Sequence[Path]) -> None:
        self.problems: list[str] = []
        self._speaker = job.speaker
        self._given: dict[Path, tuple[Cue, ...]] = {}
        for sheet in job.cues:
            for video, found in self._split(sheet, videos).items():
                self._given[video] = self._given.get(video, ()) + found

    def of(self, video: Path) -> tuple[Cue, ...] | None:
        """The cues of a video; `None` when no sheet is its own.

        Raises:
            ValueError: its sheet cannot be read.
        """
        if video in self._given:
            return self._given[video]
        beside = find_cues(video)
        return None if beside is None else self._read(beside, video)

    def _split(self, sheet: Path, videos: Sequence[Path]) -> dict[Path, tuple[Cue, ...]]:
        own = [video for video in videos if video.stem == sheet.stem] or (list(videos) if len(videos) == 1 else [])
        if len(own) == 1:
            return {own[0]: self._read(sheet, own[0])}
        by_name = {name: video for video in reversed(videos) for name in (video.stem, video.name)}
        by_film: dict[Path, list[Cue]] = {}
        for cue in self._read(sheet, None):
            if cue.film not in by_name:
                raise ValueError(
                    f"{sheet}: expected a video named {sheet.stem}, or a column film that names one for every row; "
                    f"got film {cue.film!r}"
                )
            by_film.setdefault(by_name[cue.film], []).append(cue)
        return {video: tuple(cues) for video, cues in by_film.items()}

    def _read(self, sheet: Path, video: Path | None) -> tuple[Cue, ...]:
        try:
            read = self._parse(sheet, video)
        except CueError as error:
            raise CueError(f"{error} (move the sheet away to have the footage cut by itself)") from error
        if video is not None:
            check_edition(sheet, read.cues, video)
        self.problems += [f"{sheet.name}: {problem}" for problem in read.problems]
        return read.cues

    def _parse(self, sheet: Path, video: Path | None) -> CueSheet:
        """The footage is opened only where rows cannot be understood without its clock."""
        clocked = video is not None and sheet.suffix.lower() in TABLES
        try:
            read = read_cues(sheet, speaker=self._speaker)
            if not (read.problems and clocked):
                return read
        except CueError:
            if not clocked:
                raise
        fps = None
        try:
            fps = probe(video).fps if video is not None else None
        except MediaError as error:  # the build says so of the video itself; its sheet needs no clock then
            logger.info("%s", error)
        return read_cues(sheet, fps=fps, speaker=self._speaker)
