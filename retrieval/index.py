"""Vectors of one modality, and the exact nearest of those that are allowed. The only importer of FAISS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import faiss
import numpy as np
import numpy.typing as npt

Metric: TypeAlias = Literal["cosine", "dot", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""Vectors are unit, so cosine and dot are the same number, and all three give the same order."""
FAISS_VERSION: str = faiss.__version__
"""Recorded with what it writes: another one may not read it."""

_NORM_SLACK = 1e-6
"""Unit vectors in float32 miss length one by about this much, which euclidean distance sees and a product does not."""


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest vectors, best first; equal scores by ascending id.

    Attributes:
        ids: int64, shape (K,).
        scores: float64, shape (K,), higher is nearer: a cosine, or minus a distance.
        allowed: how many vectors the filter let through; K is the smaller of it and what was asked.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    allowed: int


class VectorIndex:
    """Unit vectors under ascending ids, searched exactly.

    FAISS scans in float32 with the filter inside the scan. Its rounding depends on where a vector lies, and among
    equal scores it keeps an arbitrary few; so it only says where the K-th score is, everything at or above that
    bound is taken, and those candidates are scored again in float64 and ordered.

    Args:
        width: D, the length of every vector.
    """

    def __init__(self, width: int) -> None:
        if width < 1:
            raise ValueError(f"expected a vector width of at least 1, got {width}")
        self._index = faiss.IndexIDMap(faiss.IndexFlatIP(width))
        self._flat = faiss.downcast_index(self._index.index)
        self._ids = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def width(self) -> int:
        return int(self._index.d)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids that have a vector, ascending, shape (N,)."""
        return self._ids

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Append vectors under ids that ascend past those already held.

        Args:
            ids: shape (N,), not negative.
            vectors: unit vectors, shape (N, D).

        Raises:
            ValueError: shapes disagree, a value is not finite, or ids do not ascend.
        """
        if vectors.shape != (len(ids), self.width):
            raise ValueError(f"expected vectors of shape {(len(ids), self.width)}, got {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("expected finite vectors, got NaN or infinity")
        joined = np.concatenate([self._ids, np.asarray(ids, dtype=np.int64)])
        if (np.diff(joined) <= 0).any() or (joined < 0).any():
            raise ValueError("expected ids that are not negative and ascend, got others")
        self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), joined[len(self._ids) :])
        self._ids = joined

    def search(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        *,
        allowed: npt.NDArray[np.bool_] | None = None,
        metric: Metric = "cosine",
    ) -> Found:
        """The k allowed vectors nearest the query; fewer only when fewer are allowed.

        Args:
            query: unit vector, shape (D,).
            allowed: per id whether it may be found, longer than the largest id; all may without it.

        Raises:
            ValueError: the query has another shape, k < 1, `allowed` is too short, or the metric is unknown.
        """
        if query.shape != (self.width,):
            raise ValueError(f"expected a query of shape ({self.width},), got {query.shape}")
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        if allowed is None:
            allowed = np.ones(int(self._ids[-1]) + 1 if len(self) else 0, dtype=np.bool_)
        elif len(self) and len(allowed) <= self._ids[-1]:
            raise ValueError(f"expected a filter over more than {self._ids[-1]} ids, got {len(allowed)}")
        count = int(np.count_nonzero(allowed[self._ids]))
        candidates = self._candidates(query, min(k, count), allowed) if count else self._ids[:0]
        scores = _score(query, self._vectors(candidates), metric)
        order = np.lexsort((candidates, -scores))[:k]
        return Found(candidates[order], scores[order], count)

    def save(self, path: Path) -> None:
        """Write the index; the caller syncs and renames the folder it lies in."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path) -> VectorIndex:
        """An index written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no such index.
        """
        if not path.is_file():
            raise FileNotFoundError(f"expected an index at {path}, got no file")
        try:
            stored = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path}: expected a FAISS index, got another file") from error
        if not isinstance(stored, faiss.IndexIDMap) or not isinstance(
            faiss.downcast_index(stored.index), faiss.IndexFlatIP
        ):
            raise ValueError(f"{path}: expected a flat inner-product index with ids, got {type(stored).__name__}")
        index = cls(stored.d)
        index._index, index._flat = stored, faiss.downcast_index(stored.index)
        index._ids = faiss.vector_to_array(stored.id_map).astype(np.int64)
        return index

    def _candidates(
        self, query: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Ids that contain the exact best k, with everything that ties with or comes within rounding of the k-th."""
        bits = np.packbits(allowed, bitorder="little")  # held here: the selector only borrows it
        # The wheel's type stubs know only the C++ constructors.
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg,arg-type]
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        queries = np.ascontiguousarray(query[None], dtype=np.float32)  # (D,) -> (1, D)
        products, _ = self._index.search(queries, k, params=parameters)
        # A float32 product of unit vectors is off by at most e = D * 2^-24, so the k-th float32 score is at most e
        # above the true one, and a true winner's at most e below: 2 e apart. Half an e more covers the comparison.
        margin = 2.5 * self.width * 2.0**-24 + _NORM_SLACK
        _, _, ids = self._index.range_search(queries, float(products[0, k - 1]) - margin, params=parameters)
        return np.asarray(ids, dtype=np.int64)

    def _vectors(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if not len(ids):
            return np.empty((0, self.width), dtype=np.float32)
        positions = np.searchsorted(self._ids, ids)
        return np.asarray(self._flat.reconstruct_batch(positions), dtype=np.float32)


def _score(query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], metric: Metric) -> npt.NDArray[np.float64]:
    """Scores in float64, row by row, so that equal vectors score equally to the last bit wherever they lie.

    Shape:
        (D,), (N, D) -> (N,)
    """
    wide, rows = query.astype(np.float64), vectors.astype(np.float64)
    match metric:
        case "cosine" | "dot":
            # Not a matrix product: BLAS sums the last rows of a block in another order than the first.
            return (rows * wide).sum(axis=1)
        case "euclidean":
            return 0.0 - np.sqrt(np.square(rows - wide).sum(axis=1))
        case _:
            raise ValueError(f"expected a metric of {', '.join(METRICS)}, got {metric!r}")
