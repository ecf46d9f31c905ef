"""Changing a library: clips committed, added and removed, a modality replaced. Each change is a new version.

Clips pass as streams: however many there are, no more than one run of them is in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from library_builder.extractors import decisive
from library_builder.manifest import check_relative
from library_builder.types import MODALITIES, UNIT_TOLERANCE, Clip, Emotion, Modality, Reading, Unread

from .choice import Budget
from .draft import MOST_CLIPS, Draft, drafting
from .segment import COLUMNS, Segment
from .spill import in_order
from .store import RecordStore, decode, encode, write_records
from .versions import Manifest, NoLibrary, check_json, current_version, point, read_manifest

Extractors: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What is said of the extractor of each modality: its name, the hash of its weights, and so on."""
NewReading: TypeAlias = Emotion | Reading | Unread | None


class SpaceMismatch(ValueError):
    """Two emotions of one modality live in different spaces, where a cosine means nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a change came to.

    Attributes:
        version: that holds its outcome; the one it began with when nothing changed.
        counts: clips that were `added`, `replaced`, `removed` or `unchanged`.
    """

    version: str
    counts: Mapping[str, int]


def commit(
    root: Path,
    clips: Iterable[Clip],
    *,
    source: Mapping[str, Any] | None = None,
    extractors: Extractors | None = None,
    seed: int = 0,
    publish: bool = True,
    most_clips: int = MOST_CLIPS,
    budget: Budget | None = None,
) -> str:
    """Write clips as a new version of the library in `root`, and make it the current one.

    The order of clips does not matter. Clips that an intact version already holds are not written again: that version
    becomes the current one, with the source it was committed with.

    Args:
        source: where the clips came from, as JSON; kept in the manifest, no part of the content.
        extractors: what read them, as JSON; kept in the manifest.
        seed: of whatever is drawn while indices are made.
        publish: without it the version is written, and the current one stays.
        most_clips: of one segment.
        budget: of the indices; changes of the library keep to it.

    Returns:
        The version's name: a number, and the first eight digits of a number of its content.

    Raises:
        BudgetMissed: an index cannot be as small and as good as wished.
        LibraryLocked: somebody else is changing the library.
        SpaceMismatch: two clips have vectors of one modality in different spaces.
        ValueError: there are no clips, an id comes twice, or a clip cannot be stored.
    """
    root, source, extractors = Path(root), source or {}, extractors or {}
    check_json("source", source)
    check_json("extractors", extractors)
    with drafting(root, "committing clips") as folder:
        draft = Draft(root, folder, _parent(root), most_clips, budget=budget, seed=seed)
        values = (value for _, value in in_order(_encoded(clips, draft.spaces), folder))
        draft.write(values)
        return draft.finish(source=source, extractors=extractors, publish=publish)


def add(
    root: Path,
    clips: Iterable[Clip],
    *,
    source: Mapping[str, Any] | None = None,
    extractors: Extractors | None = None,
    replace: bool = False,
    publish: bool = True,
    onto: str | None = None,
) -> Change:
    """Make a version that has these clips too. What it shares with the one before is shared on disk.

    Clips that are there already, equal to the last bit, change nothing: adding may be repeated.

    Args:
        source: merged into that of the version before.
        extractors: merged likewise.
        replace: let a clip take the place of another of its id.
        onto: the version to begin with; the current one by default.

    Raises:
        NoLibrary: there is nothing to add to.
        SpaceMismatch: a clip lives in other spaces, or was read by another extractor of the same space.
        ValueError: an id comes twice or belongs to another clip, or a clip cannot be stored.
    """
    root, source, extractors = Path(root), source or {}, extractors or {}
    check_json("source", source)
    check_json("extractors", extractors)
    _check_there(root)
    with drafting(root, "adding clips") as folder:
        base = read_manifest(root, onto or current_version(root), verify=False)
        _check_extractors(base, extractors)
        draft, opened = _open(root, folder, base)
        counts: Counter[str] = Counter(added=0, replaced=0, unchanged=0)
        gone: dict[str, set[int]] = {}
        fresh = _fresh(_encoded(clips, draft.spaces), opened, gone, counts, replace=replace)
        draft.write(value for _, value in in_order(fresh, folder))
        if not counts["added"] + counts["replaced"]:
            return _unchanged(root, base, counts, publish=publish)
        for segment in opened:
            _without(draft, segment, gone.get(segment.facts.name, set()))
        merged = {**base.facts.extractors, **extractors}
        version = draft.finish(source={**base.facts.source, **source}, extractors=merged, publish=publish)
        return Change(version, counts)


def remove(
    root: Path,
    *,
    ids: Collection[str] = (),
    speakers: Collection[str] = (),
    films: Collection[str] = (),
    licences: Collection[str] = (),
    publish: bool = True,
    onto: str | None = None,
) -> Change:
    """Make a version that lacks some clips. Their records are gone from it, and from the disk once older ones are.

    Args:
        ids: these clips; ids that the library lacks are no error.
        speakers, films, licences: clips of one of these; of several kinds, a clip must meet each that is given.
        onto: the version to begin with; the current one by default.

    Raises:
        NoLibrary: there is nothing to remove from.
        ValueError: nothing was asked for, or no clip would be left.
    """
    root = Path(root)
    asked = dict(zip(COLUMNS, (speakers, films, licences), strict=True))
    if isinstance(ids, str) or any(isinstance(names, str) for names in asked.values()):
        raise ValueError("expected collections of what to remove, got a single string")
    if not ids and not any(asked.values()):
        raise ValueError("expected ids, speakers, films or licences to remove, got none")
    _check_there(root)
    with drafting(root, "removing clips") as folder:
        base = read_manifest(root, onto or current_version(root), verify=False)
        draft, opened = _open(root, folder, base)
        gone = {segment.facts.name: _asked_for(segment, ids, asked) for segment in opened}
        removed = sum(map(len, gone.values()))
        counts = Counter(removed=removed, unchanged=base.facts.count - removed)
        if not removed:
            return _unchanged(root, base, counts, publish=publish)
        if not counts["unchanged"]:
            raise ValueError(f"expected to leave at least one clip, got all {removed} asked for")
        for segment in opened:
            _without(draft, segment, gone[segment.facts.name])
        facts = base.facts
        version = draft.finish(source=facts.source, extractors=facts.extractors, publish=publish)
        return Change(version, counts)


def replace_modality(
    root: Path,
    modality: Modality,
    readings: Iterable[tuple[str, NewReading]],
    *,
    extractor: Mapping[str, Any] | None = None,
    publish: bool = False,
    onto: str | None = None,
) -> Change:
    """Make a version whose clips have other vectors in one modality; everything else is as it was.

    Args:
        readings: one per clip of the library, in any order, all in one space. A `Reading` brings its caption and notes
            along, an `Emotion` leaves them; `Unread` and None mean that there was nothing to read.
        extractor: what read them, as JSON.
        publish: make it current at once; by default it waits to be compared.
        onto: the version to begin with; the current one by default.

    Raises:
        SpaceMismatch: two readings are of different spaces.
        ValueError: a clip has no reading, or two, or a reading has no clip.
    """
    root = Path(root)
    check_json("extractors", extractor or {})
    _check_there(root)
    with drafting(root, f"replacing {modality} vectors") as folder:
        base = read_manifest(root, onto or current_version(root), verify=False)
        draft, opened = _open(root, folder, base)
        draft.spaces.pop(modality, None)
        held = _Readings(folder, modality, readings, draft.spaces)
        same = frozenset(m for m in MODALITIES if m != modality)
        try:
            for segment in opened:
                intact = draft.open(segment.facts)
                draft.write((held.replaced(value) for value in intact.store.values()), (segment.facts, same))
            held.close(base.facts.count)
        finally:
            held.path.unlink(missing_ok=True)
        extractors = {m: facts for m, facts in base.facts.extractors.items() if m != modality}
        if extractor:
            extractors[modality] = dict(extractor)
        facts = base.facts
        version = draft.finish(source=facts.source, extractors=extractors, publish=publish)
        return Change(version, Counter(replaced=facts.count))


class _Readings:
    """New vectors of a library's clips, by id: clips of their own, on disk until they are asked for."""

    def __init__(
        self,
        folder: Path,
        modality: Modality,
        readings: Iterable[tuple[str, NewReading]],
        spaces: dict[Modality, str],
    ) -> None:
        self.path, self._modality = folder / "readings.lmdb", modality
        stream = in_order(_encoded(map(self._carrier, readings), spaces), folder)
        self._count = write_records(self.path, (value for _, value in stream), spaces)
        self._store = RecordStore.open(self.path)

    def replaced(self, value: bytes) -> bytes:
        """An encoded clip with its new vector."""
        clip = decode(value)
        row = self._store.row(clip.id)
        if row is None:
            raise ValueError(f"expected a {self._modality} reading for every clip, got none for {clip.id}")
        carrier = self._store.get_many([row])[0]
        emotions = {m: emotion for m, emotion in clip.emotions.items() if m != self._modality}
        clip = clip.with_(emotions=emotions | dict(carrier.emotions))
        if carrier.text:  # a whole reading, see `_carrier`
            captions = {m: caption for m, caption in clip.captions.items() if m != self._modality}
            others = [note for note in clip.notes if not note.startswith(f"{self._modality}:")]
            at = next((n for n, note in enumerate(clip.notes) if note not in others), len(others))
            notes = (
                *others[:at],
                *carrier.notes,
                *others[at:],
            )  # where they were: a reading of no news changes nothing
            clip = clip.with_(captions=captions | dict(carrier.captions), notes=notes)
        return encode(clip)

    def close(self, clips: int) -> None:
        """Make sure that every reading was of a clip."""
        if self._count != clips:
            raise ValueError(f"expected {clips} {self._modality} readings, one per clip, got {self._count}")

    def _carrier(self, item: tuple[str, NewReading]) -> Clip:
        id, reading = item
        match reading:
            case Reading(emotion, caption, notes):
                captions = {str(self._modality): caption} if caption else {}
                return Clip(id, "-", 0, 1, "", "whole", "", captions, {self._modality: emotion}, notes)
            case Emotion():
                return Clip(id, "-", 0, 1, emotions={self._modality: reading})
            case Unread() | None:
                return Clip(id, "-", 0, 1, "", "whole", notes=reading.notes if reading else ())


def _parent(root: Path) -> Manifest | None:
    """The version a commit comes after; one that cannot be read is nobody's parent."""
    try:
        return read_manifest(root, current_version(root), verify=False)
    except (NoLibrary, ValueError):
        return None


def _check_there(root: Path) -> None:
    if not root.is_dir():
        raise NoLibrary(f"expected a library in {root}, there is no such folder")


def _open(root: Path, folder: Path, base: Manifest) -> tuple[Draft, list[Segment]]:
    draft = Draft(root, folder, base, budget=Budget(**base.facts.budget), seed=base.facts.seed, edits=True)
    draft.spaces.update({m: base.facts.spaces[m] for m in MODALITIES if m in base.facts.spaces})
    return draft, [Segment.open(root / base.version, one, base.facts.spaces) for one in base.facts.segments]


def _unchanged(root: Path, base: Manifest, counts: Counter[str], *, publish: bool) -> Change:
    if publish:
        point(root, base.version)
    return Change(base.version, counts)


def _fresh(
    encoded: Iterable[tuple[str, bytes]],
    opened: list[Segment],
    gone: dict[str, set[int]],
    counts: Counter[str],
    *,
    replace: bool,
) -> Iterator[tuple[str, bytes]]:
    """The clips that are not in these segments already; rows whose place they take are noted as gone."""
    for id, value in encoded:
        for segment in opened:
            row = segment.row(id)
            if row is not None:
                break
        else:
            counts["added"] += 1
            yield id, value
            continue
        if segment.store.encoded(row) == value:
            counts["unchanged"] += 1
            continue
        if not replace:
            raise ValueError(f"clip {id}: expected an id that is free, {segment.told_apart(row, value)}")
        segment.check_replaceable(row, value)
        rows = gone.setdefault(segment.facts.name, set())
        if row in rows:
            raise ValueError(f"expected clip ids to be unique, got {id!r} twice")
        rows.add(row)
        counts["replaced"] += 1
        yield id, value


def _asked_for(segment: Segment, ids: Collection[str], asked: Mapping[str, Collection[str]]) -> set[int]:
    """Rows that meet everything that was asked."""
    sets = [segment.rows_where(column, names) for column, names in asked.items() if names]
    rows = [set(found.tolist()) for found in sets]
    if ids:
        rows.append({row for id in ids if (row := segment.row(id)) is not None})
    return set.intersection(*rows)


def _without(draft: Draft, segment: Segment, gone: set[int]) -> None:
    """A segment as it is, or what is left of it."""
    if not gone:
        draft.keep(segment.facts)
    elif len(gone) < len(segment):
        intact = draft.open(segment.facts)
        draft.write(value for row, value in enumerate(intact.store.values()) if row not in gone)


def _check_extractors(base: Manifest, extractors: Extractors) -> None:
    """Two extractors may not share a space: their vectors would be compared."""
    for modality, facts in extractors.items():
        known = decisive(base.facts.extractors.get(modality, {}))
        for key in (key for key in known.keys() & facts.keys() if known[key] != facts[key]):
            raise SpaceMismatch(
                f"{modality}: library {base.version} was read by {key} {known[key]!r}, got {facts[key]!r}: "
                "read the library's own footage again with it, or read this with the same"
            )


def _encoded(clips: Iterable[Clip], spaces: dict[Modality, str]) -> Iterator[tuple[str, bytes]]:
    """Clips that may be stored together, with their ids; the space of each modality is noted.

    Raises:
        SpaceMismatch: two have vectors of one modality in different spaces.
        ValueError: a clip cannot be stored.
    """
    for clip in clips:
        if not math.isfinite(clip.end):
            raise ValueError(f"clip {clip.id}: expected a finite end, got {clip.end}")
        try:
            check_relative(clip.media)
        except ValueError as error:
            raise ValueError(f"clip {clip.id}, media: {error}") from error
        for modality, emotion in clip.emotions.items():
            if modality not in MODALITIES:
                raise ValueError(f"clip {clip.id}: expected modalities of {', '.join(MODALITIES)}, got {modality!r}")
            if spaces.setdefault(modality, emotion.space) != emotion.space:
                raise SpaceMismatch(
                    f"clip {clip.id}: expected a {modality} vector of space {spaces[modality]}, got {emotion.space}"
                )
            _check_vector(clip.id, modality, emotion)
        yield clip.id, encode(clip)


def _check_vector(id: str, modality: Modality, emotion: Emotion) -> None:
    """An emotion is a finite unit vector when it is made; one that is mapped from a file may have changed since."""
    if not np.isfinite(emotion.vector).all():
        raise ValueError(f"clip {id}: expected a finite {modality} vector, got NaN or infinity")
    norm = float(np.linalg.norm(emotion.vector))
    if abs(norm - 1) > UNIT_TOLERANCE:
        raise ValueError(f"clip {id}: expected a {modality} vector of length 1, got {norm:.4g}")
