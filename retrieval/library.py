"""A library of clips: commit them as a version, open it, and ask which clips feel like a line."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from library_builder.manifest import check_relative
from library_builder.types import MODALITIES, QUERY_MODALITIES, Clip, Emotion, Modality, space_width

from .index import METRICS, Found, Metric, VectorIndex
from .store import RecordStore, encode, write_records
from .versions import DirtyVersion, Manifest, current_version, find_content, point, publish, read_manifest, staging

Scope: TypeAlias = Literal["any", "same", "other"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
RECORDS = "clips.lmdb"


class SpaceMismatch(ValueError):
    """Two emotions of one modality live in different spaces, where a cosine means nothing."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip that was found.

    Attributes:
        clip: what was found.
        modality: the one that asked.
        rank: 1 is the best.
        score: higher is nearer: a cosine, or minus a euclidean distance.
        emotion: the clip's own vector in the modality that asked.
        audio: how the clip sounds; `None` when it is silent.
    """

    clip: Clip
    modality: Modality
    rank: int
    score: float
    emotion: Emotion
    audio: Emotion | None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a query found, per modality that asked, best first.

    Attributes:
        hits: for each modality of the query; empty when no clip was allowed.
        notes: where fewer than k came back, and why.
    """

    hits: Mapping[Modality, tuple[Hit, ...]]
    notes: tuple[str, ...] = ()


class LeftOut(NamedTuple):
    """What a training query must not find, under the names `Library.top_k` takes: `top_k(query, **left._asdict())`."""

    without: frozenset[str]
    without_groups: frozenset[tuple[str, str]]


class Library:
    """One version of a library, open for reading. A later commit does not change it. `Library.open` fetches the parts.

    Rows are clips in ascending order of id, so order by row is order by id.
    """

    def __init__(self, manifest: Manifest, store: RecordStore, indices: Mapping[Modality, VectorIndex]) -> None:
        self._manifest = manifest
        self._store = store
        self._indices = dict(indices)
        records = list(store.headers())
        self._rows: dict[str, int] = {record["id"]: row for row, record in enumerate(records)}
        self._speakers = Counter(record["speaker"] for record in records)
        self._speaker_numbers = {speaker: number for number, speaker in enumerate(self._speakers)}
        self._voices = np.array([self._speaker_numbers[record["speaker"]] for record in records])
        self._films = Counter(record["film"] for record in records)
        self._groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, record in enumerate(records):
            self._groups[record["speaker"], _spoken(record["text"])].append(row)

    @classmethod
    def open(cls, root: Path, version: str | None = None, *, verify: bool = True) -> Library:
        """Open a version, the current one unless named.

        Args:
            verify: compare the checksum of every file first; workers that open a version already checked may skip it.

        Raises:
            NoLibrary: there is no library or no such version in `root`.
            DirtyVersion: the version is unfinished, altered, or of an unknown schema.
        """
        root = Path(root)
        manifest = read_manifest(root, version or current_version(root), verify=verify)
        folder = root / manifest.version
        try:
            store = RecordStore.open(folder / RECORDS)
            indices = {
                modality: VectorIndex.load(folder / _index_name(modality))
                for modality in QUERY_MODALITIES
                if modality in manifest.spaces
            }
            for modality, index in indices.items():
                expected = manifest.counts[modality], space_width(manifest.spaces[modality])
                if (len(index), index.width) != expected:
                    raise ValueError(f"expected {expected} {modality} vectors, got {(len(index), index.width)}")
            if len(store) != manifest.count:
                raise ValueError(f"expected {manifest.count} records, got {len(store)}")
        except (ValueError, FileNotFoundError, KeyError) as error:
            raise DirtyVersion(f"{folder} contradicts its manifest: {error}") from error
        return cls(manifest, store, indices)

    def __len__(self) -> int:
        return self._manifest.count

    @property
    def version(self) -> str:
        """Name of the version that this reader holds."""
        return self._manifest.version

    @property
    def spaces(self) -> Mapping[Modality, str]:
        """The emotion space of each modality that any clip has."""
        return MappingProxyType({m: self._manifest.spaces[m] for m in MODALITIES if m in self._manifest.spaces})

    def clips(self) -> Iterator[Clip]:
        """Every clip, in order of id."""
        return self._store.iterate()

    def clip(self, id: str) -> Clip:
        """The clip of this id.

        Raises:
            ValueError: the library has no such clip.
        """
        if id not in self._rows:
            raise ValueError(f"library {self.version} of {len(self)} clips has no clip {id!r}")
        return self._store.get_many([self._rows[id]])[0]

    def info(self) -> dict[str, Any]:
        """Counts per speaker, film and modality, spaces, and the version's own data, ready for JSON."""
        return {
            "version": self.version,
            "schema": self._manifest.schema,
            "created": self._manifest.created,
            "clips": len(self),
            "modalities": {m: self._manifest.counts[m] for m in self.spaces},
            "spaces": dict(self.spaces),
            "speakers": dict(sorted(self._speakers.items())),
            "films": dict(sorted(self._films.items())),
            "source": dict(self._manifest.source),
        }

    def check_spaces(self, spaces: Mapping[Modality, str]) -> None:
        """Make sure that vectors of these spaces may be compared with this library's.

        A modality that only one side has is no mismatch: there is nothing to compare.

        Raises:
            SpaceMismatch: a modality lives in another space here.
        """
        for modality, space in spaces.items():
            own = self.spaces.get(modality, space)
            if own != space:
                raise SpaceMismatch(f"{modality}: library {self.version} is of space {own}, got an emotion of {space}")

    @staticmethod
    def leave_out(clip: Clip) -> LeftOut:
        """What a training query made from `clip` must not find: itself, and other takes of its line by its speaker.

        Text is compared without case and with white space normalised. A clip whose words are unknown has no group.
        """
        text = _spoken(clip.text)
        return LeftOut(frozenset({clip.id}), frozenset({(clip.speaker, text)} if text else ()))

    def top_k(
        self,
        query: Mapping[Modality, Emotion],
        k: int = 3,
        *,
        scope: Scope = "any",
        speaker: str | None = None,
        metric: Metric = "cosine",
        without: Collection[str] = (),
        without_groups: Collection[tuple[str, str]] = (),
        repeat_text: bool = False,
    ) -> Retrieved:
        """The k clips that feel nearest, for each modality of the query on its own.

        The search is exact and filters act inside it: k clips come back whenever k allowed ones exist. Equal scores
        are ordered by clip id. Vectors are unit, so `dot` is `cosine`, and `euclidean` only rescales it. Clips of equal
        text count once when the words ask: five takes of one sentence are one answer, not five.

        Args:
            query: one emotion per modality that asks: scene, face, text.
            k: how many per modality; fewer are returned, with a note, when fewer are allowed.
            scope: whose clips: anyone's, those of `speaker`, or those of others. A clip of unknown speaker is in
                neither of the last two.
            without: ids to leave out; ids that the library lacks are no error.
            without_groups: (speaker, text) pairs to leave out, see `leave_out`.
            repeat_text: let clips of equal text come more than once when the words ask.

        Raises:
            SpaceMismatch: an emotion lives in another space than the library's.
            ValueError: the query is empty or of a modality that does not ask, k < 1, the scope lacks a speaker, or
                an option is unknown.
        """
        _check_query(query, k)
        _check_filters(scope, speaker, metric, without)
        self.check_spaces({modality: emotion.space for modality, emotion in query.items()})
        allowed = self._allowed(scope, speaker, without, without_groups)
        hits: dict[Modality, tuple[Hit, ...]] = {}
        notes = []
        for modality in QUERY_MODALITIES:
            if modality in query:
                once = modality == "text" and not repeat_text
                hits[modality], short = self._nearest(modality, query[modality], k, allowed, metric, once)
                notes += short
        return Retrieved(MappingProxyType(hits), tuple(notes))

    def _nearest(
        self, modality: Modality, asking: Emotion, k: int, allowed: npt.NDArray[np.bool_], metric: Metric, once: bool
    ) -> tuple[tuple[Hit, ...], list[str]]:
        """The k best hits of one modality, each text once if so wished, and a note when there are fewer."""
        index, wanted = self._indices.get(modality, VectorIndex(len(asking.vector))), k
        while True:
            found = index.search(asking.vector, wanted, allowed=allowed, metric=metric)
            answers = self._hits(modality, found)
            hits = (_distinct(answers) if once else answers)[:k]
            if len(hits) == k:
                return hits, []
            if wanted >= found.allowed:
                break
            wanted = min(4 * wanted, found.allowed)
        have = f"{len(index)} of {len(self)} clips have a {modality} vector"
        counted = ", equal texts counted once" if len(hits) < found.allowed else ""
        return hits, [f"{modality}: {len(hits)} of {k} found: {have}, {found.allowed} of them allowed{counted}"]

    def _allowed(
        self,
        scope: Scope,
        speaker: str | None,
        without: Collection[str],
        without_groups: Collection[tuple[str, str]],
    ) -> npt.NDArray[np.bool_]:
        """Which rows may be found, shape (N,)."""
        number, unknown = (self._speaker_numbers.get(name or "", -1) for name in (speaker, ""))
        match scope:
            case "any":
                allowed = np.ones(len(self), dtype=np.bool_)
            case "same":
                allowed = self._voices == number
            case "other":
                allowed = (self._voices != number) & (self._voices != unknown)
        rows = [self._rows[id] for id in without if id in self._rows]
        for group_speaker, text in without_groups:
            rows += self._groups.get((group_speaker, _spoken(text)), ())
        allowed[rows] = False
        return allowed

    def _hits(self, modality: Modality, found: Found) -> tuple[Hit, ...]:
        clips = self._store.get_many(found.ids.tolist())
        ranked = enumerate(zip(clips, found.scores.tolist(), strict=True), start=1)
        return tuple(
            Hit(clip, modality, rank, score, clip.emotions[modality], clip.emotions.get("audio"))
            for rank, (clip, score) in ranked
        )


def commit(root: Path, clips: Iterable[Clip], *, source: Mapping[str, Any] | None = None) -> str:
    """Write clips as a new version of the library in `root`, and make it the current one.

    The order of clips does not matter. Clips that an intact version already holds are not written again: that version
    becomes the current one, with the source it was committed with.

    Args:
        source: where the clips came from, as JSON; kept in the manifest, no part of the version's hash.

    Returns:
        The version's name: a number, and the first eight digits of the content's SHA-256.

    Raises:
        SpaceMismatch: two clips have vectors of one modality in different spaces.
        ValueError: there are no clips, an id comes twice, or a clip cannot be stored.
    """
    root = Path(root)
    ordered = sorted(clips, key=lambda clip: clip.id)
    spaces = _check_clips(ordered)
    values = [encode(clip) for clip in ordered]
    content = _content(values)
    held = find_content(root, content)
    if held is not None:
        point(root, held)
        return held
    counts: dict[str, int] = {modality: sum(modality in clip.emotions for clip in ordered) for modality in spaces}
    with staging(root) as folder:
        write_records(folder / RECORDS, values)
        for modality in QUERY_MODALITIES:  # audio answers but never asks, so it needs no index
            if modality in spaces:
                _build_index(ordered, modality, space_width(spaces[modality])).save(folder / _index_name(modality))
        return publish(
            root,
            folder,
            content=content,
            count=len(ordered),
            counts=counts,
            spaces=dict(spaces.items()),
            source=source or {},
        )


def _build_index(clips: list[Clip], modality: Modality, width: int) -> VectorIndex:
    rows = [row for row, clip in enumerate(clips) if modality in clip.emotions]
    index = VectorIndex(width)
    index.add(np.array(rows, dtype=np.int64), np.stack([clips[row].emotions[modality].vector for row in rows]))
    return index


def _check_clips(clips: list[Clip]) -> dict[Modality, str]:
    """The space of each modality of clips that may be stored together; clips are in order of id."""
    if not clips:
        raise ValueError("expected at least one clip to commit, got none")
    spaces: dict[Modality, str] = {}
    for clip, following in zip(clips, [*clips[1:], None], strict=True):
        if following is not None and clip.id == following.id:
            raise ValueError(f"expected clip ids to be unique, got {clip.id!r} twice")
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
            if not np.isfinite(emotion.vector).all():
                raise ValueError(f"clip {clip.id}: expected a finite {modality} vector, got NaN or infinity")
    return {modality: spaces[modality] for modality in MODALITIES if modality in spaces}


def _check_query(query: Mapping[Modality, Emotion], k: int) -> None:
    if not query:
        raise ValueError(f"expected a query with an emotion of {', '.join(QUERY_MODALITIES)}, got an empty one")
    for modality in query:
        if modality not in QUERY_MODALITIES:
            raise ValueError(f"expected a query of {', '.join(QUERY_MODALITIES)}, got {modality!r}")
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")


def _check_filters(scope: str, speaker: str | None, metric: str, without: Collection[str]) -> None:
    if scope not in SCOPES:
        raise ValueError(f"expected a scope of {', '.join(SCOPES)}, got {scope!r}")
    if scope != "any" and not speaker:
        raise ValueError(f"expected a speaker with scope {scope!r}, got {speaker!r}")
    if metric not in METRICS:
        raise ValueError(f"expected a metric of {', '.join(METRICS)}, got {metric!r}")
    if isinstance(without, str):
        raise ValueError(f"expected a collection of clip ids to leave out, got the single string {without!r}")


def _distinct(hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
    """The best hit of each text, ranked anew; clips of unknown words are all kept."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(_spoken(hit.clip.text) or f"\0{hit.clip.id}", hit)
    return tuple(replace(hit, rank=rank) for rank, hit in enumerate(best.values(), start=1))


def _content(values: list[bytes]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(len(value).to_bytes(8, "little"))
        digest.update(value)
    return digest.hexdigest()


def _index_name(modality: Modality) -> str:
    return f"{modality}.faiss"


def _spoken(text: str) -> str:
    return " ".join(text.casefold().split())
