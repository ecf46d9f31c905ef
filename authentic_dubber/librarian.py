"""Builds a reference library out of footage that was read, and asks it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from library_builder.readers import Readers
from library_builder.types import Emotion, Modality
from retrieval.library import Library, Retrieved, Scope, commit
from retrieval.versions import current_version, read_manifest

from .footage_job import BuildJob, find_videos
from .reading import BuildOptions, FootageRead, Progress, read_footage

__all__ = ["BuildJob", "BuildOptions", "BuildResult", "build_library", "find_videos"]

logger = logging.getLogger(__name__)

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
) -> BuildResult:
    """Read footage into a new version of a library. Killed and run again, it goes on with the shard it was at.

    Args:
        readers: the extractors for this very process; the light ones, loaded once the footage is found, by default.

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
    if not read.counts["ok"]:
        raise ValueError(f"expected at least one usable clip, got none: {troubles[0] if troubles else 'no cue'}")
    return BuildResult(_hand_over(job.library, read), read.counts, troubles, read.read, len(read.keys))


def _hand_over(library: Path, read: FootageRead) -> str:
    """Commit what was read, unless the current version was made of the very same shards and is whole."""
    try:
        current = read_manifest(library, current_version(library))
        if current.source.get("shards") == read.digest:
            return current.version
    except (FileNotFoundError, ValueError):  # there is none yet, or none that can be kept
        pass
    source = {
        "footage": str(read.root),
        "counts": dict(read.counts),
        "troubles": list(islice(read.troubles(), REASONS_KEPT)),
        "shards": read.digest,
    }
    return commit(library, read.clips(), source=source)


def search_like_clip(library: Library, id: str, *, k: int, scope: Scope, speaker: str | None) -> Retrieved:
    """Clips that feel like one of the library's own, which is left out; `same` and `other` go by its speaker.

    Raises:
        ValueError: no such clip, or k < 1.
    """
    clip = library.clip(id)
    query: dict[Modality, Emotion] = {m: emotion for m, emotion in clip.emotions.items() if m != "audio"}
    who = (speaker or clip.speaker) if scope != "any" else None
    return library.top_k(query, k, scope=scope, speaker=who, without={id})


def search_like_text(
    library: Library, words: str, readers: Readers, *, k: int, scope: Scope, speaker: str | None
) -> Retrieved:
    """Clips whose words feel like these.

    Raises:
        ValueError: there are no words, another emotion space, k < 1, or a scope without a speaker.
    """
    reading = readers.text.read(words, {})
    if reading is None:
        raise ValueError(f"expected words to search for, got {words!r}")
    return library.top_k({"text": reading.emotion}, k, scope=scope, speaker=speaker)
