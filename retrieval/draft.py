"""A version in the making: segments kept from its parent, segments written anew, small ones joined."""

from __future__ import annotations

import heapq
import math
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from library_builder.checksum import file_digest
from library_builder.types import MODALITIES, Modality

from .choice import Budget, BudgetMissed
from .index import FAISS_VERSION
from .lock import builder_lock
from .segment import Segment, index_name, write_segment
from .store import header
from .versions import (
    STAGING_PREFIX,
    DirtyVersion,
    Facts,
    Manifest,
    SegmentFacts,
    find_content,
    point,
    seal,
    share,
    staging,
)

MOST_CLIPS = 1 << 20
"""Of one segment: its index is made in memory, and removing a clip writes its segment anew."""
_SMALL, _JOIN = 1024, 4
"""Segments of like size are joined when there are so many: a search asks each of them."""


class Draft:
    """A version in the making, in a staging folder. `drafting` makes it, with the library locked.

    Args:
        parent: the version that segments are kept from.
        budget: of the indices that are made.
        seed: of whatever is drawn while they are made.
        edits: the parent's segments will be kept, or opened and written anew, so their indices count for the budget.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        parent: Manifest | None,
        most_clips: int = MOST_CLIPS,
        *,
        budget: Budget | None = None,
        seed: int = 0,
        edits: bool = False,
    ) -> None:
        self.root, self.folder, self.parent = root, folder, parent
        self.budget, self.seed = budget or Budget(), seed
        self.spaces: dict[Modality, str] = {}
        self._most = most_clips
        self._segments: list[SegmentFacts] = []
        self._awaited = {one.name: one.index_bytes for one in parent.facts.segments} if parent and edits else {}
        self._known: dict[str, str] = {}

    def keep(self, segment: SegmentFacts) -> None:
        """Take a segment of the parent as it is."""
        self._awaited.pop(segment.name, None)
        for name in self._files(segment):
            share(self._parent_folder / name, self.folder / name)
            self._known[name] = self._parent.files[name]
        self._segments.append(segment)

    def open(self, segment: SegmentFacts) -> Segment:
        """A segment of the parent, to be read and written anew: only what is intact gets new checksums.

        Raises:
            DirtyVersion: a file of it was altered.
        """
        self._awaited.pop(segment.name, None)
        for name in self._files(segment):
            if file_digest(self._parent_folder / name) != self._parent.files[name]:
                raise DirtyVersion(f"{self._parent_folder / name} was altered: go back to an intact version first")
        return Segment.open(self._parent_folder, segment, self._parent.facts.spaces)

    def write(self, values: Iterable[bytes], shared: tuple[SegmentFacts, frozenset[Modality]] | None = None) -> None:
        """Write encoded clips that ascend by id, in as many segments as they need.

        Args:
            shared: a segment of the parent with these very clips in its rows, and the modalities whose vectors did not
                change: their indices are kept.
        """
        held: dict[Modality, tuple[Path, Mapping[str, Any]]] = {}
        if shared is not None:
            old, same = shared
            held = {m: (self._parent_folder / index_name(old.name, m), old.indices[m]) for m in same if m in old.counts}
        stream = iter(values)
        for first in stream:
            part = chain([first], islice(stream, self._most - 1 if shared is None else None))
            made = write_segment(self.folder, part, self.spaces, shared=held, budget=self._left(), seed=self.seed)
            self._segments.append(made)

    def join(self) -> None:
        """Join small segments where there are many of like size."""
        for together in _joins(self._segments, self._most):
            opened = [Segment.open(self.folder, one, self._spaces_now()) for one in together]
            for one in together:  # those kept are links, whose originals were checked by nobody yet
                self._check_kept(one)
            values = heapq.merge(*(one.store.values() for one in opened), key=lambda value: str(header(value)["id"]))
            before, there = list(self._segments), set(self.folder.iterdir())
            self._segments = [one for one in self._segments if one not in together]
            try:
                self.write(values)
            except BudgetMissed:  # apart they keep to the budget, if not to the speed
                self._segments = before
                for path in set(self.folder.iterdir()) - there:
                    path.unlink()
                continue
            for one in together:
                for path in self.folder.glob(f"{one.name}*"):
                    path.unlink()
                    self._known.pop(path.name, None)

    def _left(self) -> Budget:
        """The budget without what the indices of the other segments take."""
        memory = self.budget.memory_bytes
        if memory is None:
            return self.budget
        taken = sum(self._awaited.values()) + sum(one.index_bytes for one in self._segments)
        if taken >= memory:
            raise BudgetMissed(f"expected all indices to fit {memory} bytes, got {taken} for those of other segments")
        return replace(self.budget, memory_bytes=memory - taken)

    @property
    def content(self) -> str:
        """Of the clips so far."""
        return Facts(tuple(self._segments), {}).content

    def finish(
        self,
        *,
        source: Mapping[str, Any],
        extractors: Mapping[str, Mapping[str, Any]],
        publish: bool,
    ) -> str:
        """Seal what was drafted, unless an intact version holds the same clips, and make it current if so wished.

        Returns:
            The version's name.

        Raises:
            ValueError: there are no clips.
        """
        if not self._segments:
            raise ValueError("expected at least one clip to commit, got none")
        self.join()
        version = find_content(self.root, self.content, asdict(self.budget))
        if version is None:
            ordered = tuple(sorted(self._segments, key=lambda one: (-one.count, one.name)))
            has = {m for one in ordered for m in one.counts}
            version = seal(
                self.root,
                self.folder,
                Facts(
                    segments=ordered,
                    spaces={m: self.spaces[m] for m in MODALITIES if m in has},
                    extractors={m: dict(extractors[m]) for m in MODALITIES if m in extractors and m in has},
                    source=dict(source),
                    parent=self.parent.version if self.parent else None,
                    seed=self.seed,
                    budget=asdict(self.budget),
                    tools={"faiss": FAISS_VERSION},
                ),
                self._known,
            )
        if publish:
            point(self.root, version)
        return version

    @property
    def _parent(self) -> Manifest:
        assert self.parent is not None
        return self.parent

    @property
    def _parent_folder(self) -> Path:
        return self.root / self._parent.version

    def _files(self, segment: SegmentFacts) -> list[str]:
        return [name for name in self._parent.files if name.startswith((f"{segment.name}.", f"{segment.name}_"))]

    def _check_kept(self, segment: SegmentFacts) -> None:
        for path in self.folder.glob(f"{segment.name}*"):
            known = self._known.get(path.name)
            if known is not None and file_digest(path) != known:
                raise DirtyVersion(f"{self._parent_folder / path.name} was altered: go back to an intact version first")

    def _spaces_now(self) -> dict[str, str]:
        return {str(modality): space for modality, space in self.spaces.items()}


@contextmanager
def drafting(root: Path, purpose: str) -> Iterator[Path]:
    """The library, locked, with an empty staging folder; what others left unfinished when they died is removed.

    A library's folder that was made for this is gone again if nothing came of it.
    """
    made = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    try:
        with builder_lock(root, purpose):
            sweep(root)
            with staging(root) as folder:
                yield folder
    finally:
        if made and not any(root.iterdir()):
            root.rmdir()


def leftovers(root: Path) -> list[Path]:
    """What writers left when they died, oldest name first. With a writer at work, its own things are among them."""
    return sorted(path for path in root.iterdir() if path.name.startswith(STAGING_PREFIX))


def sweep(root: Path) -> list[Path]:
    """Remove what writers left when they died; only for the one who holds the lock."""
    found = leftovers(root)
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found


def _joins(segments: list[SegmentFacts], most: int) -> list[list[SegmentFacts]]:
    """Which segments to join: four of like size become one, and four of those. Large ones stay as they are."""
    groups = [[segment] for segment in segments]
    while True:
        tiers: dict[int, list[list[SegmentFacts]]] = defaultdict(list)
        for group in groups:
            count = sum(one.count for one in group)
            if count <= most // 2:
                tiers[_tier(count)].append(group)
        full = next((tiers[tier] for tier in sorted(tiers) if len(tiers[tier]) >= _JOIN), None)
        if full is None:
            return [group for group in groups if len(group) > 1]
        groups = [group for group in groups if group not in full] + [[one for group in full for one in group]]


def _tier(count: int) -> int:
    return 0 if count < _SMALL else 1 + int(math.log(count / _SMALL, _JOIN))
