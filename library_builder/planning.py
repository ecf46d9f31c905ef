"""What is to be read: every cue of the footage as a piece of work with its id, in portions that a worker takes at once.

A plan is made from cue sheets and names alone. It opens no footage but that without a sheet, which has to be cut.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .cue import Cue, CueError
from .manifest import check_relative
from .media import MediaError
from .types import Clip, Seconds

MAX_NAME = 60
"""Characters of a film's and of a character's name in an id: two of them fit a store's key in any script."""

Status = Literal["ok", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Work:
    """A cue ready to be read, and everything about it that no extractor sees.

    Attributes:
        id: of the clip it becomes.
        path: the footage.
        media: the footage, relative to its root.
        film: the film that the clip belongs to.
    """

    id: str
    path: Path
    media: str
    cue: Cue
    film: str

    @property
    def sound(self) -> Path | None:
        """The file that is heard instead of the footage's own sound.

        Raises:
            ValueError: the cue's path climbs out of the footage's folder.
        """
        return None if self.cue.audio is None else self.path.parent / check_relative(self.cue.audio)

    def record(self) -> dict[str, Any]:
        """As JSON can hold it; `from_record` is its inverse."""
        return {"id": self.id, "path": str(self.path), "media": self.media, "film": self.film, "cue": asdict(self.cue)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Work:
        """The work of `record()`."""
        return cls(**{**record, "path": Path(record["path"]), "cue": Cue(**record["cue"])})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one cue or stretch.

    Attributes:
        status: `ok` with a clip, `skipped` for a cue that is not usable, `failed` for footage that is not.
        media: the footage, relative to its root.
        start, end: seconds as the cue gives them; `None` where a whole file failed.
        reason: why there is no clip; `""` with one.
        id: the clip's, or what it would have been; `""` where a whole file failed.
    """

    status: Status
    media: str
    start: Seconds | None
    end: Seconds | None
    clip: Clip | None = None
    reason: str = ""
    id: str = ""

    def told(self) -> str:
        """In one line, for people."""
        where = "" if self.start is None or self.end is None else f" {self.start:.2f} to {self.end:.2f} s"
        return f"{self.status}: {self.media}{where}: {self.reason}"

    def record(self) -> dict[str, Any]:
        """Everything but the clip, as JSON can hold it."""
        return {
            "id": self.id,
            "status": self.status,
            "media": self.media,
            "start": self.start,
            "end": self.end,
            "reason": self.reason,
        }


def without(work: Work, status: Status, reason: str) -> Outcome:
    """The outcome of a work that became no clip."""
    return Outcome(status, work.media, work.cue.start, work.cue.end, reason=reason, id=work.id)


def plan_works(
    footage: Iterable[Path],
    root: Path,
    sheet: Callable[[Path], Sequence[Cue]],
    films: Mapping[Path, str] | None = None,
) -> Iterator[Work | Outcome]:
    """Every cue with its id, and an outcome for footage that has none, in order; one file's cues are held at a time.

    A clip's id is `<film>/<character or "unknown">/<NNNN>`, the number counting that character's lines in the film,
    unusable ones too: an id does not change when another cue, or another file, fails.

    Args:
        root: the folder that stored paths are relative to.
        sheet: the cues of a file. Where it raises a MediaError, CueError or FileNotFoundError, the file has failed.
        films: film by footage path; a cue's own `film` goes before it, the path below the root without suffix after.

    Raises:
        ValueError: a file lies outside the root.
    """
    lines: Counter[str] = Counter()
    named = films or {}
    for path in footage:
        media = below(path, root)
        try:
            cues = sheet(path)
        except (MediaError, CueError, FileNotFoundError) as error:
            yield Outcome("failed", media, None, None, reason=str(error))
            continue
        if not cues:
            yield Outcome("skipped", media, None, None, reason="no cue, and no stretch long enough for one")
        for cue in cues:
            film = cue.film or named.get(path) or str(PurePosixPath(media).with_suffix(""))
            who = f"{_named(film, 'film')}/{_named(cue.character.replace('/', '_'), 'unknown')}"
            lines[who] += 1
            yield Work(f"{who}/{lines[who]:04d}", path, media, cue, film)


def portions(works: Iterable[Work], most: int) -> Iterator[tuple[Work, ...]]:
    """Works in order, at most `most` together.

    A portion also ends after a file whose name says so, about every `most` files: footage that joins or leaves
    then changes the portion it is in, and not every portion after it.

    Raises:
        ValueError: `most` is below one.
    """
    if most < 1:
        raise ValueError(f"expected at least one clip per shard, got {most}")
    held: list[Work] = []
    for work in works:
        if held and (len(held) == most or (held[-1].media != work.media and _ends(held[-1].media, most))):
            yield tuple(held)
            held = []
        held.append(work)
    if held:
        yield tuple(held)


def _ends(media: str, most: int) -> bool:
    return int.from_bytes(hashlib.sha256(media.encode()).digest()[:8], "big") % most == 0


def below(path: Path, root: Path) -> str:
    """The path from the root, as it is stored. Links are not followed: footage may be linked in from elsewhere.

    Raises:
        ValueError: it lies elsewhere.
    """
    try:
        return check_relative(Path(os.path.abspath(path)).relative_to(os.path.abspath(root)).as_posix())
    except ValueError as error:
        raise ValueError(f"{path}: expected footage below its root {root}") from error


def _named(name: str, otherwise: str) -> str:
    """A name as a part of an id: without blanks, and short, because stores limit the length of their keys."""
    return "_".join(name.split())[:MAX_NAME] or otherwise
