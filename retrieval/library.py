"""A library of clips, open for reading: what it holds, and which clips feel like a line."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from library_builder.types import MODALITIES, Clip, Emotion, Modality

from .editing import SpaceMismatch, commit
from .found import Metric
from .index import FAISS_VERSION, gpus
from .policy import EVERYTHING, SCOPES, Policy, Scope, check_query, leave_out, one_each
from .search import Answer, Search, search
from .segment import COLUMNS, Segment
from .versions import DirtyVersion, Manifest, NoLibrary, current_version, read_manifest

__all__ = ["SCOPES", "Hit", "Library", "Policy", "Retrieved", "Scope", "SpaceMismatch", "commit"]


SearchDevice: TypeAlias = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip that was found.

    Attributes:
        clip: what was found.
        modality: the one that asked.
        rank: 1 is the best.
        score: higher is nearer: a cosine, or minus a euclidean distance; with weights, the weighted mean of cosines.
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


class Library:
    """One version of a library, open for reading. `Library.open` fetches the parts.

    A later commit does not change it, and it outlives its folder: all its files are open.

    Args:
        manifest: of the version.
        segments: in the manifest's order.
    """

    def __init__(self, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self._manifest = manifest
        self._segments = tuple(segments)

    @classmethod
    def open(
        cls, root: Path, version: str | None = None, *, verify: bool = True, device: SearchDevice = "auto"
    ) -> Library:
        """Open a version, the current one unless named.

        Args:
            verify: compare the checksum of every file first; workers that open a version already checked may skip it.
            device: what multiplies. `auto` takes a GPU where FAISS is a build that sees one, for the indices that can
                be there; `cuda` has all there. The answers are the same.

        Raises:
            NoLibrary: there is no library or no such version in `root`.
            DirtyVersion: the version is unfinished, altered, or of an unknown schema.
            ValueError: a GPU was asked for, and there is none or an index cannot be there.
        """
        root = Path(root)
        while True:
            name = version or current_version(root)
            try:
                opened = cls._open(root, name, verify)
                if device == "cuda" or (device == "auto" and gpus()):
                    opened._to_gpu(all_of_it=device == "cuda")
                return opened
            except (NoLibrary, DirtyVersion, FileNotFoundError):
                # It may have been collected between the pointer and its files; then another is current.
                if version is not None or current_version(root) == name:
                    raise

    @classmethod
    def _open(cls, root: Path, version: str, verify: bool) -> Library:
        manifest = read_manifest(root, version, verify=verify)
        folder, facts = root / version, manifest.facts
        try:
            segments = [Segment.open(folder, one, facts.spaces) for one in facts.segments]
        except (ValueError, FileNotFoundError, KeyError) as error:
            made, own = facts.tools.get("faiss"), FAISS_VERSION
            by = f" (its indices were written by FAISS {made}, this is FAISS {own})" if made != own else ""
            raise DirtyVersion(f"{folder} contradicts its manifest: {error}{by}") from error
        return cls(manifest, segments)

    def _to_gpu(self, *, all_of_it: bool) -> None:
        for segment in self._segments:
            for index in segment.indices.values():
                try:
                    index.to_gpu()
                except ValueError:
                    if all_of_it:
                        raise

    def __len__(self) -> int:
        return self._manifest.facts.count

    @property
    def version(self) -> str:
        """Name of the version that this reader holds."""
        return self._manifest.version

    @property
    def content(self) -> str:
        """A number of the clips alone, in hexadecimal: equal clips make equal numbers, however they are stored."""
        return self._manifest.facts.content

    @property
    def spaces(self) -> Mapping[Modality, str]:
        """The emotion space of each modality that any clip has."""
        spaces = self._manifest.facts.spaces
        return MappingProxyType({m: spaces[m] for m in MODALITIES if m in spaces})

    def clips(self) -> Iterator[Clip]:
        """Every clip, in order of id."""
        return heapq.merge(*(segment.clips() for segment in self._segments), key=lambda clip: clip.id)

    def ids(self) -> Iterator[str]:
        """Every clip's id, ascending."""
        return heapq.merge(*(segment.ids() for segment in self._segments))

    def clip(self, id: str) -> Clip:
        """The clip of this id.

        Raises:
            ValueError: the library has no such clip.
        """
        for segment in self._segments:
            row = segment.row(id)
            if row is not None:
                return segment.store.get_many([row])[0]
        raise ValueError(f"library {self.version} of {len(self)} clips has no clip {id!r}")

    def counted(self, column: str) -> dict[str, int]:
        """Clips per speaker, film or licence, by name; `""` where it is unknown."""
        if column not in COLUMNS:
            raise ValueError(f"expected a column of {', '.join(COLUMNS)}, got {column!r}")
        total: Counter[str] = Counter()
        for segment in self._segments:
            total += segment.counted(column)
        return dict(sorted(total.items()))

    def info(self) -> dict[str, Any]:
        """Counts per speaker, film, licence and modality, spaces, indices, the version's own data, for JSON."""
        facts = self._manifest.facts
        return {
            "version": self.version,
            "parent": facts.parent,
            "schema": self._manifest.schema,
            "created": self._manifest.created,
            "clips": len(self),
            "modalities": {m: facts.counts[m] for m in self.spaces},
            "spaces": dict(self.spaces),
            "extractors": {m: dict(facts.extractors[m]) for m in facts.extractors},
            "speakers": self.counted("speaker"),
            "films": self.counted("film"),
            "licences": facts.licences,
            "indices": {m: self._indices(m) for m in self.spaces},
            "segments": [segment.facts.count for segment in self._segments],
            "seed": facts.seed,
            "source": dict(facts.source),
        }

    def _indices(self, modality: Modality) -> list[dict[str, Any]]:
        """How each segment that has the modality is searched."""
        return [dict(segment.facts.indices[modality]) for segment in self._segments if modality in segment.indices]

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
    def leave_out(clip: Clip) -> Policy:
        """What a training query made from `clip` must not find, see `retrieval.policy.leave_out`."""
        return leave_out(clip)

    def top_k(
        self,
        query: Mapping[Modality, Emotion],
        k: int = 3,
        *,
        policy: Policy = EVERYTHING,
        metric: Metric = "cosine",
    ) -> Retrieved:
        """The k clips that feel nearest, for each modality of the query on its own.

        The search is exact and filters act inside it: k clips come back whenever k allowed ones exist. Equal scores
        are ordered by clip id. Vectors are unit, so `dot` is `cosine`, and `euclidean` only rescales it. Clips of equal
        text count once when the words ask: five takes of one sentence are one answer, not five.

        Args:
            query: one emotion per modality that asks.
            k: how many per modality; fewer are returned, with a note, when fewer are allowed.
            policy: what may be found, and how it ranks.

        Raises:
            SpaceMismatch: an emotion lives in another space than the library's.
            ValueError: the query is empty or of an unknown modality, k < 1, the metric is unknown, weights come with
                distances, or a pin cannot be kept.
        """
        return self.top_k_many([query], k, policies=[policy], metric=metric)[0]

    def top_k_many(
        self,
        queries: Sequence[Mapping[Modality, Emotion]],
        k: int = 3,
        *,
        policies: Policy | Sequence[Policy] = EVERYTHING,
        metric: Metric = "cosine",
    ) -> list[Retrieved]:
        """What `top_k` answers to each query, found together: all lines of an episode at once.

        Args:
            policies: one for all, or one per query.

        Raises:
            ValueError: as `top_k`, or there is not one policy per query.
        """
        each = one_each(policies, queries)
        for query, policy in zip(queries, each, strict=True):
            check_query(query, k, policy, metric)
            self.check_spaces({modality: emotion.space for modality, emotion in query.items()})
        ordered = [{m: query[m] for m in MODALITIES if m in query} for query in queries]
        searches = [Search.plan(self._segments, q, p) for q, p in zip(ordered, each, strict=True)]
        answers = search(self._segments, searches, k, metric)
        return [self._retrieved(one, answer, k) for one, answer in zip(searches, answers, strict=True)]

    def _retrieved(self, one: Search, answer: Answer, k: int) -> Retrieved:
        clips = self._fetch(answer)
        hits, notes = {}, []
        for modality in one.query:
            ranking = answer.rankings[modality]
            places = answer.choice.places[modality]
            hits[modality] = tuple(
                _hit(
                    clips[int(ranking.segments[at]), int(ranking.rows[at])],
                    modality,
                    rank,
                    float(ranking.scores[at]),
                )
                for rank, at in enumerate(places, start=1)
            )
            if len(places) < k:
                notes.append(self._note(one.policy, modality, len(places), k, answer))
        return Retrieved(MappingProxyType(hits), tuple(notes))

    def _fetch(self, answer: Answer) -> dict[tuple[int, int], Clip]:
        """Every clip of an answer, read once however many modalities brought it."""
        wanted: dict[int, set[int]] = {}
        for modality, places in answer.choice.places.items():
            ranking = answer.rankings[modality]
            for at in places:
                wanted.setdefault(int(ranking.segments[at]), set()).add(int(ranking.rows[at]))
        clips = {}
        for number, rows in wanted.items():
            for row, clip in zip(sorted(rows), self._segments[number].store.get_many(sorted(rows)), strict=True):
                clips[number, row] = clip
        return clips

    def _note(self, policy: Policy, modality: Modality, found: int, k: int, answer: Answer) -> str:
        """Why there are fewer than k."""
        ranking = answer.rankings[modality]
        have = f"{self._manifest.facts.counts.get(modality, 0)} of {len(self)} clips have a {modality} vector"
        why = [f"{modality}: {found} of {k} found: {have}", f"{ranking.allowed} of them allowed"]
        if modality in answer.choice.weak:
            why.append(f"the others score below {policy.minimum:g}")
        elif found < ranking.allowed + ranking.pinned:
            if modality == "text" and not policy.repeat_text:
                why.append("equal texts counted once")
            if policy.distinct:
                why.append("each clip found by one modality")
        return ", ".join(why)


def _hit(clip: Clip, modality: Modality, rank: int, score: float) -> Hit:
    return Hit(clip, modality, rank, score, clip.emotions[modality], clip.emotions.get("audio"))
