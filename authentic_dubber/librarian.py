"""Builds a reference library out of footage that was read, and adds to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library_builder.atomic import whole_file
from retrieval import Change, Library, add, commit
from retrieval.choice import Budget
from retrieval.lock import builder_lock
from retrieval.versions import current_version, read_manifest

from .extraction import looked_at
from .footage_job import BuildJob, find_videos
from .reading import WORK, BuildOptions, FootageRead, Progress, light_readers, read_footage, readers_like, working

if TYPE_CHECKING:  # these bring torch
    from library_builder.pretrained.places import ModelPlaces
    from library_builder.readers import Readers

__all__ = ["BuildJob", "BuildOptions", "BuildResult", "add_footage", "build_library", "find_videos"]

HANDED = "handed-over.json"
"""In the work folder: which shards the version was made of that a build committed last."""
REASONS_KEPT = 100
"""Troubles written into the library's own record; all of them are returned."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What became of a build.

    Attributes:
        version: of the library, now current; `""` when a part was made alone.
        counts: cues and stretches per outcome: ok, skipped, failed.
        troubles: each that is not in the library, and why.
        read: clips that extractors were shown; the others were there already.
        shards: of the plan, or of the part.
    """

    version: str
    counts: Mapping[str, int]
    troubles: tuple[str, ...]
    read: int
    shards: int

    @property
    def complete(self) -> bool:
        """Whether every cue and stretch became a clip."""
        return self.counts["failed"] == self.counts["skipped"] == 0

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "version": self.version,
            "counts": dict(self.counts),
            "read": self.read,
            "shards": self.shards,
            "troubles": list(self.troubles),
        }


def build_library(
    job: BuildJob,
    readers: Readers | None = None,
    progress: Progress | None = None,
    options: BuildOptions | None = None,
    *,
    budget: Budget | None = None,
) -> BuildResult:
    """Read footage into a new version of a library. Killed and run again, it goes on with the shard it was at.

    Args:
        readers: the extractors for this very process; the light ones, loaded once the footage is found, by default.
        budget: of the indices, which changes of the library keep to.

    Raises:
        FileNotFoundError: footage or a cue sheet is missing.
        ValueError: nothing readable, a sheet that belongs to no video, or not a single usable clip.
        OSError: the library's folder cannot be written; what was read stays there.
    """
    options = options or BuildOptions()
    read = read_footage(job, readers, progress, options)
    troubles = tuple(read.troubles())
    if options.part is not None:
        return BuildResult("", read.counts, troubles, read.read, len(read.keys))
    _check_usable(read)
    version = _hand_over(job.library, read, budget or Budget())
    return BuildResult(version, read.counts, troubles, read.read, len(read.keys))


def add_footage(
    job: BuildJob,
    readers: Readers | None = None,
    progress: Progress | None = None,
    options: BuildOptions | None = None,
    *,
    models: ModelPlaces | None = None,
    replaced: bool = False,
    publish: bool = True,
    onto: str | None = None,
) -> tuple[Change, FootageRead]:
    """Read more footage into a library that is there: a new version that shares with the one before.

    Args:
        readers: those of the library's own spaces by default.
        models: where those find their models, if they are made of models.
        replaced: let a clip that was read again take the place of the one of its id.
        publish: make the version current; without it, it waits.
        onto: the version to add to; the current one by default.

    Raises:
        FileNotFoundError: footage or a cue sheet is missing, or there is no library.
        ValueError: nothing usable, or footage that does not lie where the library's other footage does.
    """
    opened, options = Library.open(job.library, onto, verify=False), options or BuildOptions()
    if options.load is light_readers:  # a modality may have been read again by another extractor since the build
        options = _as_read({str(m): space for m, space in opened.spaces.items()}, options, models)
    known = opened.info()["source"].get("footage")
    if isinstance(known, str):
        root = Path(known)
        outside = [video for video in find_videos(job.footage) if not video.is_relative_to(root)]
        if outside:
            raise ValueError(f"expected footage below {root}, where the library's other footage lies, got {outside[0]}")
        job = replace(job, root=root)
    read = read_footage(job, readers, progress, options)
    _check_usable(read)
    change = add(
        job.library,
        read.clips(),
        source={"footage": str(read.root)},  # counts and troubles are those of what was built first
        extractors=read.extractors,
        replace=replaced,
        publish=publish,
        onto=onto,
    )
    return change, read


def _as_read(spaces: Mapping[str, str], options: BuildOptions, models: ModelPlaces | None) -> BuildOptions:
    """The options, with what reads as these spaces were read, and looks at clips so."""
    options = replace(options, load=partial(readers_like, spaces, models))
    return options if models is None else replace(options, config=looked_at(spaces.values()))


def clear_work(library: Path, *, dry: bool = False) -> int:
    """Remove what builds keep of footage, clips that are in no version any more included; returns its bytes.

    Raises:
        LibraryLocked: somebody is changing the library.
        ValueError: a build is reading footage.
    """
    work = library / WORK
    if not work.is_dir():
        return 0
    size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    if not dry:
        with builder_lock(library, "clearing what builds keep"), working(work, alone=True):
            shutil.rmtree(work)
    return size


def _check_usable(read: FootageRead) -> None:
    if not read.counts["ok"]:
        raise ValueError(f"expected at least one usable clip, got none: {next(read.troubles(), 'no cue')}")


def _source(read: FootageRead) -> dict[str, Any]:
    """For a library's own record."""
    return {
        "footage": str(read.root),
        "counts": dict(read.counts),
        "troubles": list(islice(read.troubles(), REASONS_KEPT)),
    }


def _hand_over(library: Path, read: FootageRead, budget: Budget) -> str:
    """Commit what was read, unless the current version was made of the very same shards and is whole."""
    note = library / WORK / HANDED
    handed = {"shards": read.digest, "budget": asdict(budget)}
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        current = current_version(library)
        if known == {**handed, "version": current} and read_manifest(library, current).version == current:
            return current
    except (FileNotFoundError, ValueError):  # nothing was handed over yet, or what was is not whole
        pass
    version = commit(library, read.clips(), source=_source(read), extractors=read.extractors, budget=budget)
    with whole_file(note) as part:
        part.write_text(json.dumps({**handed, "version": version}) + "\n", encoding="utf-8")
    return version
