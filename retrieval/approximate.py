"""An index for more vectors than are scanned in full: cells of short codes, mapped from disk, re-ranked exactly."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from .found import Fetch, Found, Metric, allowed_mask, best_of, check_queries, check_vectors, score
from .index import GPU_MOST, VectorIndex, copy_to_gpu, read_faiss
from .recipe import RECALL_AT, Recipe

_MAGIC = b"ADindex1"
_TAIL = struct.Struct("<QQ8s")
"""Ends the file: bytes of FAISS's part, bytes of the recipe behind it as JSON, and who wrote them."""

_FEW = 1000
"""So few allowed vectors are scored outright: that many reads cost less than visiting cells in vain."""
_BLOCK = 16_384
"""Vectors held at a time by a scan in full."""
_TOGETHER = 16
"""Queries FAISS gets at once. From 20 on it finds their cells by another product, which rounds otherwise."""


class ApproximateIndex:
    """Unit vectors under ascending ids, found through cells and codes, scored by the vectors themselves.

    FAISS visits the `nprobe` cells nearest the query and keeps the best `candidates` by their codes, with the filter
    inside. Those are fetched whole, scored in float64 and ordered as an exact index does. With a filter that lets a
    share f through, nprobe / f cells are visited, which costs as many code products as without one; where that is not
    enough, or few vectors are allowed, they are scanned in full. So k allowed vectors come back whenever they exist.

    Args:
        index: an inverted file of inner products, with or without vectors.
        fetch: reads whole vectors by id.
        recipe: how it was made, how many cells and candidates a search takes.
    """

    def __init__(self, index: faiss.Index, fetch: Fetch, recipe: Recipe) -> None:
        self._index = index
        self._lists: Any = faiss.extract_index_ivf(index)
        self._fetch = fetch
        self._gpu: faiss.Index | None = None
        self.recipe = recipe
        self._last: int | None = -1

    @classmethod
    def train(cls, factory: str, sample: npt.NDArray[np.float32], fetch: Fetch, seed: int) -> ApproximateIndex:
        """An empty index whose cells and codes fit a sample; one thread, so that a seed gives one index.

        Args:
            factory: FAISS's name of an inverted file.
            sample: unit vectors, shape (S, D).

        Raises:
            ValueError: FAISS knows no inverted file of this name, or the sample is too small for it.
        """
        width = sample.shape[1]
        try:
            index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
            cells: Any = faiss.extract_index_ivf(index)
            cells.cp.seed = seed
            with one_thread():
                index.train(np.ascontiguousarray(sample, dtype=np.float32))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(
                f"expected an inverted file that {len(sample)} vectors train, got {factory}: {reason}"
            ) from error
        return cls(index, fetch, Recipe("approximate", factory, width, 0, seed, len(sample)))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        return int(self._index.d)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self._lists.nlist)

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector's code."""
        return int(self._lists.code_size)

    @cached_property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids that have a vector, ascending, shape (N,); gathered from the cells when a filter first asks."""
        lists = self._lists.invlists
        sizes = [lists.list_size(cell) for cell in range(self.cells)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(cell), size).copy() for cell, size in enumerate(sizes) if size]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Append vectors under ids that ascend past those already held.

        Raises:
            ValueError: shapes disagree, a value is not finite, ids do not ascend, or the index is mapped from a file.
        """
        if self._last is None:
            raise ValueError("expected an index under construction, got one mapped from a file, which does not grow")
        check_vectors(vectors, len(ids), self.width)
        joined = np.concatenate([np.array([self._last], dtype=np.int64), np.asarray(ids, dtype=np.int64)])
        if (np.diff(joined) <= 0).any():
            raise ValueError("expected ids that are not negative and ascend, got others")
        with one_thread():
            self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), joined[1:])
        self.__dict__.pop("ids", None)
        self._last = int(joined[-1])

    def search(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        *,
        allowed: npt.NDArray[np.bool_] | None = None,
        metric: Metric = "cosine",
    ) -> Found:
        """The k allowed vectors nearest the query, with the recall of the recipe; fewer only when fewer are allowed.

        Args, raises: as `VectorIndex.search`.
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
        """What `search` finds for each query; a vector that several queries re-rank is read once.

        Args, raises: as `VectorIndex.search_many`.
        """
        queries = check_queries(queries, self.width, k, metric)
        mask = None if allowed is None else allowed_mask(self.ids, allowed)
        count = len(self) if mask is None else int(np.count_nonzero(mask))
        if count <= max(_FEW, k):
            return scan(self._fetch, self.ids if mask is None else self.ids[mask], queries, k, metric)
        found = []
        for begin in range(0, len(queries), _TOGETHER):
            some = queries[begin : begin + _TOGETHER]
            found += self._rank(some, k, None if mask is None else allowed, count, metric)
        return found

    def coarse(
        self,
        queries: npt.NDArray[np.float32],
        want: int,
        nprobe: int,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Ids by their codes alone, best first, shape (B, want), filled up with -1."""
        if self._gpu is not None and allowed is None and max(nprobe, want) <= GPU_MOST:
            parameters = faiss.SearchParametersIVF(nprobe=nprobe)  # type: ignore[call-arg]
            return np.asarray(self._gpu.search(queries, want, params=parameters)[1])
        options: dict[str, Any] = {"nprobe": nprobe}
        if isinstance(faiss.downcast_index(self._lists.quantizer), faiss.IndexHNSW):
            known: Any = faiss  # the wheel's type stubs lack this one
            options["quantizer_params"] = known.SearchParametersHNSW(efSearch=max(64, 2 * nprobe))
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")  # held here: the selector only borrows it
            options["sel"] = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg,arg-type]
        parameters = faiss.SearchParametersIVF(**options)
        found = [
            self._index.search(queries[begin : begin + _TOGETHER], want, params=parameters)[1]
            for begin in range(0, len(queries), _TOGETHER)
        ]
        return np.concatenate(found)

    def scores(self, query: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Exact cosines of some vectors, -inf where the id is -1.

        Shape:
            (D,), (C,) -> (C,).
        """
        there = ids >= 0
        known, places = np.unique(ids[there], return_inverse=True)
        exact = np.full(len(ids), -np.inf)
        if len(known):
            exact[there] = score(query, self._read(known), "cosine", places)
        return exact

    def to_gpu(self) -> None:
        """Let the first GPU visit the cells where no filter acts; candidates are re-ranked here as ever.

        Raises:
            ValueError: FAISS sees no GPU, or is a build without them.
        """
        self._gpu = copy_to_gpu(self._index)

    def save(self, path: Path) -> None:
        """Write the index and its recipe as one file; the caller syncs and renames the folder it lies in."""
        faiss.write_index(self._index, str(path))
        size = path.stat().st_size
        self.recipe = replace(self.recipe, count=len(self))
        told = {"recipe": self.recipe.record(), "faiss": faiss.__version__}
        text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        with path.open("ab") as file:  # FAISS reads no further than its own part
            file.write(text + _TAIL.pack(size, len(text), _MAGIC))

    @classmethod
    def load(cls, path: Path, fetch: Fetch) -> ApproximateIndex:
        """An index written by `save`; codes stay on disk and are mapped.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no such index, or is cut short.
        """
        recipe, version = _told(path)
        try:
            index = read_faiss(path, faiss.IO_FLAG_MMAP)
            loaded = cls(index, fetch, recipe)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path}: expected an inverted file that FAISS {faiss.__version__} reads, got one of FAISS {version}"
            ) from error
        if (len(loaded), loaded.width) != (recipe.count, recipe.width):
            got = len(loaded), loaded.width
            raise ValueError(
                f"{path}: expected {recipe.count} vectors of {recipe.width}, as its recipe says, got {got}"
            )
        loaded._last = None
        lists = faiss.downcast_InvertedLists(loaded._lists.invlists)
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = 0  # 32 threads a query cost more than they bring once pages are warm
        return loaded

    def _rank(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        allowed: npt.NDArray[np.bool_] | None,
        count: int,
        metric: Metric,
    ) -> list[Found]:
        # One more than k at least, so that a tie of the last candidate with the k-th can be seen.
        want = min(count, max(self.recipe.candidates, math.ceil(self.recipe.candidates * k / RECALL_AT), k + 1))
        if want > _BLOCK:  # so deep that reading all in turn costs less than reading what cells say
            return scan(self._fetch, self.ids if allowed is None else self.ids[allowed[self.ids]], queries, k, metric)
        if want * len(queries) > _BLOCK and len(queries) > 1:  # no more in memory at once
            return [found for one in queries for found in self._rank(one[None], k, allowed, count, metric)]
        nprobe = min(self.cells, math.ceil(self.recipe.nprobe * len(self) / count))
        rows = self.coarse(queries, want, nprobe, allowed)
        known = np.unique(rows[rows >= 0])
        vectors = self._read(known)
        found = []
        for query, row in zip(queries, rows, strict=True):
            ids = np.sort(row[row >= 0])
            best = self._order(query, ids, vectors, np.searchsorted(known, ids), count, metric)
            if len(ids) < k:
                best = self._more(query, want, allowed, count, metric, k)
            elif len(ids) < count and best.scores[-1] == best.scores[k - 1]:  # copies go on past the candidates
                best = self._more(query, 4 * want, allowed, count, metric, k)
            found.append(Found(best.ids[:k], best.scores[:k], count))
        return found

    def _more(
        self,
        query: npt.NDArray[np.float32],
        want: int,
        allowed: npt.NDArray[np.bool_] | None,
        count: int,
        metric: Metric,
        k: int,
    ) -> Found:
        """The same from every cell, for more candidates each time; at last all that are allowed, in full."""
        while want < min(count, _BLOCK):
            row = self.coarse(query[None], want, self.cells, allowed)[0]
            ids = np.sort(row[row >= 0])
            best = self._order(query, ids, self._read(ids), np.arange(len(ids)), count, metric)
            if len(ids) >= k and best.scores[-1] < best.scores[k - 1]:
                return best
            want *= 4
        ids = self.ids if allowed is None else self.ids[allowed[self.ids]]
        return scan(self._fetch, ids, query[None], k, metric)[0]

    @staticmethod
    def _order(
        query: npt.NDArray[np.float32],
        ids: npt.NDArray[np.int64],
        vectors: npt.NDArray[np.float32],
        rows: npt.NDArray[np.intp],
        count: int,
        metric: Metric,
    ) -> Found:
        scores = score(query, vectors, metric, rows)
        order = np.argsort(-scores, kind="stable")  # ids ascend, so ties keep that order
        return Found(ids[order], scores[order], count)

    def _read(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        vectors = self._fetch(ids)
        assert vectors.shape == (len(ids), self.width), (vectors.shape, len(ids), self.width)
        return vectors


def scan(
    fetch: Fetch, ids: npt.NDArray[np.int64], queries: npt.NDArray[np.float32], k: int, metric: Metric = "cosine"
) -> list[Found]:
    """The exact nearest among some ids, whose vectors are read block by block."""
    parts: list[list[Found]] = [[] for _ in queries]
    for begin in range(0, max(1, len(ids)), _BLOCK):
        some, index = ids[begin : begin + _BLOCK], VectorIndex(queries.shape[1])
        if len(some):
            index.add(some, fetch(some))
        for row, found in enumerate(index.search_many(queries, k, metric=metric)):
            parts[row] = [best_of([*parts[row], found], k)]
    return [held[0] for held in parts]


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS on one thread, so that sums come in one order."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def is_approximate(path: Path) -> bool:
    """Whether the file ends as `ApproximateIndex.save` ends it."""
    return path.is_file() and _tail(path)[2] == _MAGIC


def _tail(path: Path) -> tuple[int, int, bytes]:
    with path.open("rb") as file:
        file.seek(-min(_TAIL.size, path.stat().st_size), 2)
        size, length, magic = _TAIL.unpack(file.read(_TAIL.size).rjust(_TAIL.size, b"\0"))
    return size, length, magic


def _told(path: Path) -> tuple[Recipe, str]:
    """The recipe at the end of a file, and the FAISS that wrote it."""
    if not path.is_file():
        raise FileNotFoundError(f"expected an index at {path}, got no file")
    size, length, magic = _tail(path)
    if magic != _MAGIC or size + length + _TAIL.size != path.stat().st_size:
        raise ValueError(
            f"{path}: expected an approximate index with its recipe at the end, got another file or a part"
        )
    with path.open("rb") as file:
        file.seek(size)
        text = file.read(length)
    try:
        told = json.loads(text)
        return Recipe.from_record(told["recipe"]), str(told["faiss"])
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a recipe at the end of the index, got {error}") from error
