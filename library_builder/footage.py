"""What is known of footage files: how they are recognised when they come again, and what reading them needs.

A file whose size and time of change are as they were is taken to be as it was; otherwise its SHA-256 decides. What was
found is kept in lines of JSON, one file per process that looked, so that jobs on many machines never write to the same.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .atomic import whole_file
from .checksum import file_digest
from .cut import CutConfig, Span, cut
from .media import MediaError, MediaInfo, probe, read_frames
from .types import Seconds

ALL = "all.jsonl"
"""What earlier runs found, put together; each running process writes a file of its own."""


@dataclass(frozen=True, slots=True)
class Footage:
    """A file as it was when it was looked at.

    Attributes:
        size, changed: bytes, and nanoseconds since 1970.
        sha256: of its bytes; `""` when they cannot be read.
        duration: seconds; 0 for what is no readable video.
        has_audio: whether it has a sound of its own.
        problem: why it is no readable video; `""` when it is one, or was looked at as sound alone.
        spans: its stretches; `None` when nobody asked to cut it.
        cut_by: the settings it was cut by.
    """

    size: int
    changed: int
    sha256: str
    duration: Seconds = 0.0
    has_audio: bool = False
    problem: str = ""
    spans: tuple[Span, ...] | None = None
    cut_by: str = ""

    def is_still(self, path: Path) -> bool:
        """Whether size and time of change are those of the file now."""
        return stamp(path) == (self.size, self.changed)


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; (-1, -1) for a file that is not there or not to be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def open_video(path: Path) -> MediaInfo:
    """What a video holds. One picture is decoded, as a header promises anything.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it is no readable video.
    """
    if stamp(path)[0] == 0:
        raise MediaError(f"{path}: expected a video, got an empty file")
    info = probe(path)
    if next(read_frames(path, max_height=16), None) is None:
        raise MediaError(f"{path}: expected pictures, found none")
    return info


def look_at_video(path: Path) -> Footage:
    """A file's checksum and what it holds."""
    size, changed = stamp(path)
    try:
        info = open_video(path)
        return Footage(size, changed, file_digest(path), info.duration, info.has_audio)
    except (MediaError, OSError) as error:
        return Footage(size, changed, _digest(path), problem=str(error))


def look_at_sound(path: Path) -> Footage:
    """The checksum of a file that is only heard; whether it can be heard shows when it is."""
    size, changed = stamp(path)
    return Footage(size, changed, _digest(path), has_audio=True)


def look_and_cut(path: Path, config: CutConfig) -> Footage:
    """A video with its stretches, for footage without cues.

    Raises:
        FileNotFoundError, MediaError: as `cut.cut`.
    """
    seen = look_at_video(path)
    if seen.problem:
        raise MediaError(seen.problem)
    return replace(seen, spans=tuple(cut(path, config)), cut_by=repr(config))


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return ""


class Register:
    """Footage by path, remembered in a folder from one run to the next. `with` it closes the file that it writes."""

    def __init__(self, folder: Path, *, trusting: bool = True) -> None:
        """
        Args:
            trusting: take files of known size and time of change for what they were; otherwise all are looked at again.
        """
        self._folder = folder
        self._known: dict[str, Footage] = {}
        self._fresh: set[str] | None = None if trusting else set()
        self._file: IO[str] | None = None
        self._read = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
        for path in self._read:
            self._known.update(_lines(path))

    def get(self, path: Path, *, broken: bool = False) -> Footage | None:
        """What is known of a file, if it still is what it was.

        Args:
            broken: also of a file that could not be read, which otherwise is to be tried again.
        """
        known = self._known.get(str(path))
        if known is None or (known.problem and not broken) or not known.is_still(path):
            return None
        return known if self._fresh is None or str(path) in self._fresh else None

    def add(self, found: Mapping[str, Footage]) -> None:
        """Remember files, by path."""
        for path, footage in found.items():
            if self._fresh is not None:
                self._fresh.add(path)
            if self._known.get(path) == footage:
                continue
            self._known[path] = footage
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
                self._read.append(self._folder / name)
                self._file = self._read[-1].open("w", encoding="utf-8")
            self._file.write(json.dumps({"path": path, **asdict(footage)}) + "\n")
            self._file.flush()  # a killed process loses nothing that it has said

    def compact(self) -> None:
        """One file instead of those that were read at the start; for whoever ends a build, when all its jobs have."""
        if not self._read or [path.name for path in self._read] == [ALL]:
            return
        self.close()
        with whole_file(self._folder / ALL) as temporary, temporary.open("w", encoding="utf-8") as file:
            for path, footage in self._known.items():
                file.write(json.dumps({"path": path, **asdict(footage)}) + "\n")
        for old in self._read:
            if old.name != ALL:
                old.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file that was written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Register:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lines(path: Path) -> dict[str, Footage]:
    """Footage by path. A last line that a killed process left torn is passed over: its file is looked at again."""
    found: dict[str, Footage] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
            name = record.pop("path")
            spans = record.pop("spans")
            found[name] = Footage(**record, spans=None if spans is None else tuple((a, b) for a, b in spans))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found
