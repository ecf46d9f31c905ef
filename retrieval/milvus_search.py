"""Exact answers out of a Milvus collection.

The server says in float32 where the K-th score is; what lies at or above that bound is scored again in float64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from library_builder.types import Modality

from .index import Metric
from .lazy_ranking import Nearest
from .milvus_rows import among, both, expression
from .milvus_server import MilvusIndex, count
from .policy import Policy
from .ranking import score_rows

MOST = 16_384
"""Hits that Milvus returns for one search."""
QUERIES = 64
"""Queries of one search."""
FETCHED = 256
"""Rows fetched at once, vectors and all."""

_NORM_SLACK = 1e-6
"""Unit vectors in float32 miss length one by about this much, which euclidean distance sees and a product does not."""

Answer: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Rows and float32 scores as the server gives them, best first."""


class Shelf:
    """One collection, read only.

    Args:
        client: of pymilvus.
        consistency: Milvus's consistency level.
        most: hits that the server returns for one search.
    """

    def __init__(
        self, client: Any, collection: str, index: MilvusIndex, consistency: str = "Strong", most: int = MOST
    ) -> None:
        self._client, self.collection, self.index = client, collection, index
        self._consistency, self.most = consistency, most

    def search(
        self, modality: Modality, vectors: Sequence[npt.NDArray[np.float32]], where: str, limit: int
    ) -> list[Answer]:
        """What the server itself finds for each of several queries."""
        answers: list[Answer] = []
        for begin in range(0, len(vectors), QUERIES):
            found = self._client.search(
                self.collection,
                list(vectors[begin : begin + QUERIES]),
                filter=both(f"has_{modality} == true", where),
                limit=limit,
                anns_field=modality,
                output_fields=["row"],
                search_params={"metric_type": "IP", "params": dict(self.index.search)},
                consistency_level=self._consistency,
            )
            for hits in found:
                rows = np.array([hit["row"] for hit in hits], dtype=np.int64)
                answers.append((rows, np.array([hit["distance"] for hit in hits], dtype=np.float64)))
        return answers

    def fetch(self, column: str, numbers: Iterable[int], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Fields of the rows whose column has one of these numbers, in no order."""
        wanted = sorted(set(numbers))
        for begin in range(0, len(wanted), FETCHED):
            yield from self._client.query(
                self.collection,
                filter=among(column, wanted[begin : begin + FETCHED]),
                output_fields=["row", *fields],
                consistency_level=self._consistency,
            )

    def count(self, where: str) -> int:
        return count(self._client, self.collection, where)


class Seen:
    """Vectors and texts of rows, fetched once for all queries of a batch."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._vectors: dict[Modality, dict[int, npt.NDArray[np.float32] | None]] = defaultdict(dict)
        self._words: dict[int, int] = {}

    def vectors(self, modality: Modality, rows: Iterable[int]) -> list[npt.NDArray[np.float32] | None]:
        """The vector of each row; None for a clip that lacks the modality."""
        wanted, known = list(rows), self._vectors[modality]
        fields = [modality, f"has_{modality}", "words"]
        for entity in self.shelf.fetch("row", (row for row in wanted if row not in known), fields):
            has = entity[f"has_{modality}"]
            known[entity["row"]] = np.asarray(entity[modality], dtype=np.float32) if has else None
            self._words[entity["row"]] = entity["words"]
        return [known[row] for row in wanted]

    def words(self, rows: Iterable[int]) -> list[int]:
        """A number per text, 0 for unknown words."""
        wanted = list(rows)
        for entity in self.shelf.fetch("row", (row for row in wanted if row not in self._words), ["words"]):
            self._words[entity["row"]] = entity["words"]
        return [self._words[row] for row in wanted]


class Asking:
    """One query under one policy: a source for `lazy_ranking.rank`."""

    def __init__(
        self, seen: Seen, query: Mapping[Modality, npt.NDArray[np.float32]], policy: Policy, metric: Metric, k: int
    ) -> None:
        self.query, self.policy, self.where = query, policy, expression(policy)
        self.seen, self.shelf, self._metric = seen, seen.shelf, metric
        self.limit = self._limit(k * (len(query) if policy.distinct else 1))
        self.first: dict[Modality, Answer] = {}

    def nearest(self, modality: Modality, wanted: int) -> Nearest:
        """At least the `wanted` nearest, exact to the last place, or all there are."""
        if modality not in self.query:  # the library has no vectors of it
            return Nearest(np.empty(0, dtype=np.int64), np.empty(0), True)
        rows, complete = self.candidates(modality, wanted)
        scores = self.scores(modality, rows)
        order = np.lexsort((rows, -scores))[: len(rows) if complete else wanted]
        return Nearest(rows[order], scores[order], complete)

    def scores(self, modality: Modality, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The score of each row in float64; NaN for those that lack the modality."""
        query = self.query.get(modality)
        if query is None:
            return np.full(len(rows), np.nan)
        vectors = self.seen.vectors(modality, rows.tolist())
        has = np.array([vector is not None for vector in vectors], dtype=np.bool_)
        scores = np.full(len(rows), np.nan)
        if has.any():
            scores[has] = score_rows(
                query, np.stack([vector for vector in vectors if vector is not None]), self._metric
            )
        return scores

    def groups(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A number per text, 0 for unknown words."""
        return np.array(self.seen.words(rows.tolist()), dtype=np.int64)

    def candidates(
        self, modality: Modality, wanted: int, between: tuple[int, int] | None = None
    ) -> tuple[npt.NDArray[np.int64], bool]:
        """Rows that contain the best `wanted`, with everything that ties with or comes within rounding of the last.

        The server returns so many hits and no more. Where that many tie, the rows are halved and asked apart.

        Args:
            between: only rows from the first to before the second; all without it.

        Returns:
            The rows, and whether they are all that may be found.
        """
        limit = self._limit(wanted) if between else max(self._limit(wanted), self.limit)
        while True:
            rows, scores = self._ask(modality, limit, between)
            if len(rows) < limit:
                if len(rows) <= wanted or not self.shelf.index.exact:
                    return rows, True
                return _above(rows, scores, scores[wanted - 1] - self._margin(modality)), False
            if not self.shelf.index.exact:
                return rows, limit == self.shelf.most  # the server gives no more, however often it is asked
            if wanted <= len(rows) and scores[-1] < (bound := scores[wanted - 1] - self._margin(modality)):
                return _above(rows, scores, bound), False
            if limit == self.shelf.most:
                return self._halves(modality, wanted, between, rows)
            limit = min(4 * limit, self.shelf.most)

    def _halves(
        self, modality: Modality, wanted: int, between: tuple[int, int] | None, some: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], bool]:
        begin, end = between or (0, 1 << 62)
        # The median of what was found lies inside, so both halves hold fewer.
        middle = int(np.median(some)) + 1
        lower, all_lower = self.candidates(modality, wanted, (begin, middle))
        upper, all_upper = self.candidates(modality, wanted, (middle, end))
        return np.concatenate([lower, upper]), all_lower and all_upper

    def _ask(self, modality: Modality, limit: int, between: tuple[int, int] | None) -> Answer:
        if between is None and limit == self.limit and modality in self.first:
            return self.first[modality]
        where = self.where if between is None else both(self.where, f"row >= {between[0]} and row < {between[1]}")
        return self.shelf.search(modality, [self.query[modality]], where, limit)[0]

    def _limit(self, wanted: int) -> int:
        least = 0 if self.shelf.index.exact else self.shelf.index.candidates
        return min(self.shelf.most, max(2 * wanted + 16, least))

    def _margin(self, modality: Modality) -> float:
        # A float32 product of unit vectors is off by at most e = D * 2^-24, so the k-th float32 score is at most e
        # above the true one, and a true winner's at most e below: 2 e apart. Half an e more covers the comparison.
        return 2.5 * len(self.query[modality]) * 2.0**-24 + _NORM_SLACK


def look_ahead(asking: Sequence[Asking], k: int) -> None:
    """The first search of many queries, those of one filter at once, and the vectors they will want."""
    groups: dict[tuple[Modality, str, int], list[Asking]] = defaultdict(list)
    for one in asking:
        for modality in one.query:
            groups[modality, one.where, one.limit].append(one)
    wanted: dict[Modality, set[int]] = defaultdict(set)
    for (modality, where, limit), several in groups.items():
        answers = several[0].shelf.search(modality, [one.query[modality] for one in several], where, limit)
        for one, answer in zip(several, answers, strict=True):
            one.first[modality] = answer
            wanted[modality].update(one.candidates(modality, k)[0].tolist())
    for modality, rows in wanted.items():
        asking[0].seen.vectors(modality, rows)


def _above(rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], bound: float) -> npt.NDArray[np.int64]:
    return rows[scores >= bound]
