"""Vectors of one modality, and the exact nearest of those that are allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from .found import METRICS, Found, Metric, allowed_mask, check_queries, check_vectors, score

__all__ = ["FAISS_VERSION", "METRICS", "Found", "Metric", "VectorIndex"]

FAISS_VERSION: str = faiss.__version__
"""Recorded with what it writes: another one may not read it."""

_NORM_SLACK = 1e-6
"""Unit vectors in float32 miss length one by about this much, which euclidean distance sees and a product does not."""

_QUERIES = 256
_PRODUCTS = 1 << 22
_GATHERED = 1 << 24
"""What is held at a time: queries, products of one block, and numbers of a block that a filter gathers."""

_PREFIX = 1024
"""So many products of a first block give a bound that spares sorting the rest."""
GPU_MOST = 2048
"""Cells and candidates that a GPU takes at most."""
_SPARE = 32
"""What a GPU is asked for beyond k, so that near ties of the k-th are among it."""


class VectorIndex:
    """Unit vectors under ascending ids, searched exactly.

    A product in float32 only says where the K-th score is; everything at or above that bound is taken, and those
    candidates are scored again in float64 and ordered. NumPy makes the product, for one query as for many: one query is
    bound by memory, where FAISS is no faster, and for 64 its bundled BLAS is five times slower. The file is FAISS's.

    Args:
        width: D, the length of every vector.
    """

    def __init__(self, width: int) -> None:
        if width < 1:
            raise ValueError(f"expected a vector width of at least 1, got {width}")
        self._width = width
        self._ids = np.empty(0, dtype=np.int64)
        self._blocks: list[npt.NDArray[np.float32]] = []
        self._gpu: faiss.Index | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def width(self) -> int:
        return self._width

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
        check_vectors(vectors, len(ids), self.width)
        joined = np.concatenate([self._ids[-1:], np.asarray(ids, dtype=np.int64)])
        if (np.diff(joined) <= 0).any() or (joined < 0).any():
            raise ValueError("expected ids that are not negative and ascend, got others")
        self._blocks.append(np.array(vectors, dtype=np.float32, order="C"))
        self._ids = np.concatenate([self._ids, joined[-len(ids) :]]) if len(ids) else self._ids
        self._gpu = None

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
            ValueError: the query has another shape or is not finite, k < 1, `allowed` is too short, or the metric is
                unknown.
        """
        if query.shape != (self.width,):
            raise ValueError(f"expected a query of shape ({self.width},), got {query.shape}")
        return self.search_many(query[None], k, allowed=allowed, metric=metric)[0]

    def search_many(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        allowed: npt.NDArray[np.bool_] | None = None,
        metric: Metric = "cosine",
    ) -> list[Found]:
        """What `search` finds for each query, at the price of one matrix product.

        Args:
            queries: unit vectors, shape (B, D).
            allowed: as for `search`, the same for all queries.

        Raises:
            ValueError: as for `search`.
        """
        queries = check_queries(queries, self.width, k, metric)
        mask = allowed_mask(self._ids, allowed)
        count = len(self) if mask is None else int(np.count_nonzero(mask))
        vectors, found = self._vectors, []
        for begin in range(0, len(queries) if count else 0, _QUERIES):
            some = queries[begin : begin + _QUERIES]
            for query, places in zip(some, self._candidates(some, min(k, count), mask, count), strict=True):
                scores = score(query, vectors, metric, places)
                order = np.argsort(-scores, kind="stable")[:k]  # places and their ids ascend, so ties keep that order
                found.append(Found(self._ids[places[order]], scores[order], count))
        return found or [Found(self._ids[:0], np.empty(0), 0) for _ in queries]

    def to_gpu(self) -> None:
        """Let the first GPU make the products where no filter acts; the answers stay the same.

        Raises:
            ValueError: FAISS sees no GPU, or is a build without them.
        """
        flat = faiss.IndexFlatIP(self._width)
        flat.add(self._vectors)
        self._gpu = copy_to_gpu(flat)

    def save(self, path: Path) -> None:
        """Write the index; the caller syncs and renames the folder it lies in."""
        index = faiss.IndexIDMap(faiss.IndexFlatIP(self._width))
        index.add_with_ids(self._vectors, self._ids)
        faiss.write_index(index, str(path))

    @classmethod
    def load(cls, path: Path) -> VectorIndex:
        """An index written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no such index.
        """
        stored = read_faiss(path)
        flat: Any = faiss.downcast_index(stored.index) if isinstance(stored, faiss.IndexIDMap) else stored
        if not isinstance(flat, faiss.IndexFlatIP) or flat is stored:
            raise ValueError(f"{path}: expected a flat inner-product index with ids, got {type(stored).__name__}")
        index = cls(flat.d)
        ids = faiss.vector_to_array(cast(Any, stored).id_map).astype(np.int64)
        if len(ids) != flat.ntotal:
            raise ValueError(f"{path}: expected {flat.ntotal} ids, got {len(ids)}")
        if len(ids):
            index.add(ids, faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d))
        return index

    @property
    def _vectors(self) -> npt.NDArray[np.float32]:
        """All vectors, shape (N, D), in NumPy's memory: its large pages make a product a fifth quicker than FAISS's."""
        blocks = self._blocks
        if len(blocks) != 1:
            blocks = self._blocks = [np.concatenate([np.empty((0, self._width), dtype=np.float32), *blocks])]
        return blocks[0]

    def _candidates(
        self, queries: npt.NDArray[np.float32], k: int, mask: npt.NDArray[np.bool_] | None, count: int
    ) -> list[npt.NDArray[np.int64]]:
        """Per query, places that hold the exact best k, with all that comes within rounding of the k-th."""
        # A float32 product of unit vectors is off by at most e = D * 2^-24, in whatever order it is summed, so the k-th
        # float32 score is at most e above the true one, and a true winner's at most e below: 2 e apart. Half an e more
        # covers the comparison.
        margin = 2.5 * self.width * 2.0**-24 + _NORM_SLACK
        if self._gpu is not None and mask is None and k + _SPARE <= GPU_MOST:
            return self._gpu_candidates(queries, k, margin)
        if len(queries) == 1 and mask is None and len(self) <= _PRODUCTS:  # the bound itself, in as few steps as NumPy
            products = self._vectors @ queries[0]
            bound = np.partition(products, count - k)[count - k]
            return [np.flatnonzero(products >= bound - np.float32(margin))]
        nearest = _Nearest(len(queries), k, margin)
        for block, places in self._products(queries, mask, count):
            nearest.take(block, places)
        return nearest.places()

    def _products(
        self, queries: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None, count: int
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | int]]:
        """Blocks of products, shape (B, n), and the place of each column or of the first; -inf where not allowed."""
        rows = max(1024, _PRODUCTS // len(queries))
        if mask is not None and 4 * count < len(self):  # few are allowed: only they are multiplied
            places = np.flatnonzero(mask)
            rows = min(rows, max(1, _GATHERED // self.width))
            for begin in range(0, count, rows):
                block = places[begin : begin + rows]
                yield queries @ self._vectors[block].T, block
            return
        for begin in range(0, len(self), rows):
            products = queries @ self._vectors[begin : begin + rows].T  # (B, D), (D, n) -> (B, n)
            if mask is not None:
                products[:, ~mask[begin : begin + rows]] = -np.inf
            yield products, begin

    def _gpu_candidates(self, queries: npt.NDArray[np.float32], k: int, margin: float) -> list[npt.NDArray[np.int64]]:
        assert self._gpu is not None
        products, places = self._gpu.search(queries, min(k + _SPARE, len(self)))
        floor = products[:, k - 1] - margin
        found = []
        for row, query in enumerate(queries):
            if products.shape[1] < len(self) and products[row, -1] >= floor[row]:  # more ties than were asked for
                nearest = _Nearest(1, k, margin)
                for block, begin in self._products(query[None], None, len(self)):
                    nearest.take(block, begin)
                found += nearest.places()
            else:
                found.append(np.sort(places[row, products[row] >= floor[row]]))
        return found


class _Nearest:
    """Per query, what may be among the k best of the products seen so far. It forgets what cannot."""

    def __init__(self, queries: int, k: int, margin: float) -> None:
        self._k, self._margin = k, margin
        self._floor = np.full(queries, np.finfo(np.float32).min, dtype=np.float32)
        self._places = [np.empty(0, dtype=np.int64)] * queries
        self._held = [np.empty(0, dtype=np.float32)] * queries

    def take(self, products: npt.NDArray[np.float32], places: npt.NDArray[np.int64] | int) -> None:
        width = products.shape[1]
        prefix = min(width, max(_PREFIX, 4 * self._k))
        if not len(self._places[0]) and prefix >= self._k:
            best = np.partition(products[:, :prefix], prefix - self._k, axis=1)[:, prefix - self._k]
            # -inf stands for what is not allowed, so it never is above the floor.
            self._floor = np.maximum(self._floor, best - np.float32(self._margin))
        hits = np.flatnonzero(products >= self._floor[:, None])
        rows, columns = np.divmod(hits, width)
        ends = np.searchsorted(rows, np.arange(len(products) + 1))
        values = products.ravel()[hits]
        columns = columns + places if isinstance(places, int) else places[columns]
        for row, (begin, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
            held = np.concatenate([self._held[row], values[begin:end]])
            where = np.concatenate([self._places[row], columns[begin:end]])
            if len(held) > self._k:
                bound = np.partition(held, len(held) - self._k)[len(held) - self._k] - np.float32(self._margin)
                self._floor[row] = max(self._floor[row], bound)
                kept = held >= self._floor[row]
                held, where = held[kept], where[kept]
            self._held[row], self._places[row] = held, where

    def places(self) -> list[npt.NDArray[np.int64]]:
        return self._places


def read_faiss(path: Path, flags: int = 0) -> faiss.Index:
    """What FAISS finds in a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: FAISS does not know it, or it is cut short.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected an index at {path}, got no file")
    try:
        return faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"{path}: expected an index that FAISS {faiss.__version__} reads, got another file") from error


def gpus() -> int:
    """How many GPUs FAISS can use; none for a build without them."""
    return int(faiss.get_num_gpus())


def copy_to_gpu(index: faiss.Index) -> faiss.Index:
    """The index on the first GPU.

    Raises:
        ValueError: FAISS sees no GPU, is a build without them, or knows no such index there.
    """
    if not gpus():
        raise ValueError("expected a GPU that FAISS can use (pip install 'authentic-dubber[gpu]'), got none")
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError as error:  # cells found by a graph, say, have no counterpart there
        raise ValueError(f"expected an index that FAISS can copy to a GPU, got {type(index).__name__}") from error
