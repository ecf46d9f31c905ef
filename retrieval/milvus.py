"""A published version on a Milvus server, asked as `Library` is asked and answering as it answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from library_builder.types import MODALITIES, Clip, Emotion, Modality

from . import milvus_server as server
from .found import Metric
from .lazy_ranking import rank
from .library import Hit, Library, Retrieved, SpaceMismatch
from .milvus_rows import both, clip_of, number, stored
from .milvus_search import FETCHED, Asking, Seen, Shelf, look_ahead
from .milvus_server import Header, MilvusIndex, Progress
from .policy import EVERYTHING, Policy, check_query, leave_out, one_each
from .ranking import Choice, Ranking
from .versions import DirtyVersion


class MilvusLibrary:
    """One version of a library on a Milvus server. A later load does not change what this reader holds.

    Rows are clips in ascending order of id, so order by row is order by id. Milvus says in float32 where the K-th score
    is; everything at or above that bound is fetched and scored again in float64, so hits, ranks and scores are those of
    `Library` on the same version, as long as the index is exact.

    Args:
        client: of pymilvus, see `MilvusLibrary.open`.
        collection: the collection itself, no alias.
        consistency: Milvus's consistency level. `Bounded` saves a distributed server a wait, and is right once a
            version has been served for some seconds.
    """

    def __init__(self, client: Any, collection: str, header: Header, *, consistency: str = "Strong") -> None:
        self._client, self._header = client, header
        self._shelf = Shelf(client, collection, header.settings, consistency)
        self._searched = stored(header.spaces)
        self._fields = ["record", *self._searched]

    @classmethod
    def open(
        cls,
        uri: str | Path,
        collection: str = "reference_library",
        *,
        token: str = "",
        version: str | None = None,
        spaces: Mapping[Modality, str] | None = None,
        consistency: str = "Strong",
    ) -> MilvusLibrary:
        """Open what is served under a name, or a collection itself.

        Args:
            uri: `http://host:19530`, or a file that ends in `.db` for the embedded server.
            version: refuse any other.
            spaces: refuse a library whose vectors could not be compared with these.

        Raises:
            ImportError: pymilvus is not installed, or milvus-lite for a file.
            ConnectionError: no server answers.
            NoLibrary: nothing of this name is served.
            DirtyVersion: it is half loaded, of another version or schema, or no library.
            SpaceMismatch: a modality lives in another space.
        """
        client = server.connect(str(uri), token=token)
        try:
            name = server.served(client, collection)
            header = server.read_header(client, name)
            if not header.whole:
                raise DirtyVersion(f"collection {name} is half loaded: load version {header.version} again")
            if version not in (None, header.version):
                raise DirtyVersion(f"collection {name}: expected version {version}, got {header.version}")
            library = cls(client, name, header, consistency=consistency)
            library.check_spaces(spaces or {})
        except BaseException:
            client.close()
            raise
        return library

    @classmethod
    def load(
        cls,
        library: Library,
        uri: str | Path,
        *,
        collection: str = "reference_library",
        index: MilvusIndex | None = None,
        token: str = "",
        progress: Progress | None = None,
    ) -> MilvusLibrary:
        """Copy a published version to a server and serve it.

        Each version, under each index, goes into a collection of its own; the name that readers open is turned to it
        last, in one step. Interrupted, a load goes on where it was; what is there already is only served again.

        Args:
            collection: the name to serve it under.
            progress: told what is counted, how many are done, and of how many.

        Raises:
            ValueError: a clip cannot be stored, or the name is no alias's.
            ConnectionError, ImportError: as `open`.
        """
        settings, info = index or MilvusIndex(), library.info()
        header = Header(
            schema=server.SCHEMA,
            version=library.version,
            content=library.content,
            clips=len(library),
            spaces=dict(library.spaces),
            index=asdict(settings),
            facts={key: info[key] for key in ("created", "source")},
        )
        client = server.connect(str(uri), token=token, must_exist=False)
        try:
            name = server.collection_of(collection, header)
            whole = server.fill(client, name, library.clips(), header, progress=progress)
            server.serve(client, collection, name)
        except BaseException:
            client.close()
            raise
        return cls(client, name, whole)

    def close(self) -> None:
        """Let go of the server; the reader answers nothing more."""
        self._client.close()

    def __enter__(self) -> MilvusLibrary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._header.clips

    @property
    def version(self) -> str:
        """Name of the library version that this reader holds."""
        return self._header.version

    @property
    def spaces(self) -> Mapping[Modality, str]:
        """The emotion space of each modality that any clip has."""
        return MappingProxyType({m: self._header.spaces[m] for m in MODALITIES if m in self._header.spaces})

    @property
    def index(self) -> MilvusIndex:
        """How the server indexes the vectors."""
        return self._shelf.index

    def clips(self) -> Iterator[Clip]:
        """Every clip, in order of id."""
        for begin in range(0, len(self), FETCHED):
            clips = self._records(range(begin, min(begin + FETCHED, len(self))))
            yield from (clips[row] for row in sorted(clips))

    def clip(self, id: str) -> Clip:
        """The clip of this id.

        Raises:
            ValueError: the library has no such clip.
        """
        row, _ = self._rows_of([id])[id]
        return self._records([row])[row]

    def info(self) -> dict[str, Any]:
        """Counts per modality, spaces, and the version's own data, ready for JSON."""
        return {
            "version": self.version,
            "content": self._header.content,
            "collection": self._shelf.collection,
            "clips": len(self),
            "modalities": dict(self._header.modalities),
            "spaces": dict(self.spaces),
            "index": dict(self._header.index),
            **self._header.facts,
        }

    def check_spaces(self, spaces: Mapping[Modality, str]) -> None:
        """Make sure that vectors of these spaces may be compared with this library's.

        Raises:
            SpaceMismatch: a modality lives in another space here.
        """
        for modality, space in spaces.items():
            own = self.spaces.get(modality, space)
            if own != space:
                raise SpaceMismatch(f"{modality}: library {self.version} is of space {own}, got an emotion of {space}")

    leave_out = staticmethod(leave_out)

    def top_k(
        self,
        query: Mapping[Modality, Emotion],
        k: int = 3,
        *,
        policy: Policy = EVERYTHING,
        metric: Metric = "cosine",
    ) -> Retrieved:
        """The k clips that feel nearest, for each modality of the query on its own, as `Library.top_k`.

        Raises:
            SpaceMismatch: an emotion lives in another space than the library's.
            ValueError: the query is empty or of a modality that does not ask, k < 1, a pinned clip is not there, or
                the metric is unknown.
        """
        return self.top_k_many([query], k, policies=policy, metric=metric)[0]

    def top_k_many(
        self,
        queries: Sequence[Mapping[Modality, Emotion]],
        k: int = 3,
        *,
        policies: Policy | Sequence[Policy] = EVERYTHING,
        metric: Metric = "cosine",
    ) -> list[Retrieved]:
        """`top_k` for many queries, with few messages to the server: queries of one filter are searched together.

        Args:
            policies: one for all, or one per query.

        Raises:
            ValueError: as `top_k`, or there is not one policy per query.
        """
        each = one_each(policies, queries)
        for query, policy in zip(queries, each, strict=True):
            check_query(query, k, policy, metric)
            self.check_spaces({modality: emotion.space for modality, emotion in query.items()})
        pins = self._pins(each)
        seen = Seen(self._shelf)
        asking = [
            Asking(seen, {m: query[m].vector for m in self._searched if m in query}, policy, metric, k)
            for query, policy in zip(queries, each, strict=True)
        ]
        look_ahead(asking, k)
        found = [
            rank(one, [m for m in MODALITIES if m in query], k, one.policy, pinned)
            for one, query, pinned in zip(asking, queries, pins, strict=True)
        ]
        rows = [
            {m: rankings[m].rows[list(places)] for m, places in choice.places.items()} for rankings, choice in found
        ]
        clips = self._records(row for one in rows for several in one.values() for row in several.tolist())
        return [self._retrieved(*one, asker, k, clips) for one, asker in zip(found, asking, strict=True)]

    def _retrieved(
        self, rankings: Mapping[Modality, Ranking], choice: Choice, asking: Asking, k: int, clips: Mapping[int, Clip]
    ) -> Retrieved:
        hits, notes = {}, []
        for modality, places in choice.places.items():
            ranking = rankings[modality]
            found = [(clips[int(ranking.rows[at])], float(ranking.scores[at])) for at in places]
            hits[modality] = tuple(
                Hit(clip, modality, place, score, clip.emotions[modality], clip.emotions.get("audio"))
                for place, (clip, score) in enumerate(found, start=1)
            )
            if len(places) < k:
                notes.append(self._note(modality, ranking, len(places), k, asking, modality in choice.weak))
        return Retrieved(MappingProxyType(hits), tuple(notes))

    def _note(self, modality: Modality, ranking: Ranking, found: int, k: int, asking: Asking, weak: bool) -> str:
        """Why there are fewer than k."""
        have = self._header.modalities.get(modality, 0)
        allowed = self._shelf.count(both(asking.where, f"has_{modality} == true")) if have else 0
        why = [
            f"{modality}: {found} of {k} found: {have} of {len(self)} clips have a {modality} vector",
            f"{allowed} of them allowed",
        ]
        if weak:
            why.append(f"the others score below {asking.policy.minimum:g}")
        elif found < allowed + ranking.pinned:
            if modality == "text" and not asking.policy.repeat_text:
                why.append("equal texts counted once")
            if asking.policy.distinct:
                why.append("each clip found by one modality")
        return ", ".join(why)

    def _pins(self, policies: Sequence[Policy]) -> list[npt.NDArray[np.int64]]:
        """Rows of each policy's pinned clips."""
        rows = self._rows_of(id for policy in policies for id in policy.pinned)
        for policy in policies:
            for id in policy.pinned:
                licence = rows[id][1]
                if policy.licences is not None and licence not in policy.licences:
                    allowed = ", ".join(sorted(policy.licences)) or "none"
                    raise ValueError(f"pinned clip {id} is of licence {licence or '(none)'}; allowed are {allowed}")
        return [np.array([rows[id][0] for id in policy.pinned], dtype=np.int64) for policy in policies]

    def _rows_of(self, ids: Iterable[str]) -> dict[str, tuple[int, str]]:
        """The row and the licence of each of these clips."""
        wanted = sorted(set(ids))
        rows: dict[str, tuple[int, str]] = {}
        for entity in self._shelf.fetch("name", map(number, wanted), ["record"]):
            record = json.loads(entity["record"])["record"]
            rows[record["id"]] = entity["row"], record["licence"] or ""
        for id in wanted:
            if id not in rows:
                raise ValueError(f"library {self.version} of {len(self)} clips has no clip {id!r}")
        return rows

    def _records(self, rows: Iterable[int]) -> dict[int, Clip]:
        found = self._shelf.fetch("row", rows, self._fields)
        return {entity["row"]: clip_of(entity) for entity in found}
