"""Which index suits so many vectors and so much memory, and how hard it has to search, found by measurement."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .approximate import ApproximateIndex, is_approximate
from .found import Fetch, Found, best_of
from .index import VectorIndex
from .recipe import RECALL_AT, Recipe

Index: TypeAlias = VectorIndex | ApproximateIndex

EXACT_BYTES = 256 << 20
"""Up to so many bytes of vectors are scanned in full: at the 10 GB/s of one core a query takes 25 ms, which a line
hardly feels, while cells would have to be trained anew whenever the library is built."""
HNSW_FROM = 16_384
"""From so many cells on, a graph finds the nearest ones; below, comparing with all of them costs less than a cell."""
LEAST_PER_CELL = 39
"""Fewer training vectors than this to a cell and FAISS warns that the cells fit the sample, not the library."""
_SAMPLE_PER_CELL = 48
_ASKED = 256
_CANDIDATES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_READ_COST = 25_000
"""Reading and scoring a candidate takes as long as scanning so many bytes of codes: 2.5 us at 10 GB/s."""
_BLOCK = 16_384
_COPIES = 32
"""So many candidates are looked at where vectors have copies, which come early or not at all."""
_ROUNDING = 1e-9
"""Scores are of float64, and the order of a sum may change their last bits."""
_HEADER = 1024
"""More than FAISS writes before everything, and the recipe behind it."""


class BudgetMissed(ValueError):
    """No index within the memory reaches the recall."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What indices may cost, and what each must find.

    Attributes:
        recall: share of the exact nearest three that a search finds, on average.
        memory_bytes: of the index files together, mapped or not: all of a library's, or of whatever is built under it;
            as much as the vectors themselves without it.

    Raises:
        ValueError: the recall is not in (0, 1], or the memory is not positive.
    """

    recall: float = 0.95
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise ValueError(f"expected a recall above 0 and of at most 1, got {self.recall}")
        if self.memory_bytes is not None and self.memory_bytes < 1:
            raise ValueError(f"expected a positive memory, got {self.memory_bytes} bytes")


def choose(count: int, width: int, budget: Budget) -> str:
    """FAISS's name of the index for so many vectors: `Flat`, or cells with the longest codes that fit.

    Eight bits a number lose little, and what they lose the re-ranking mends; shorter codes need more candidates to do
    it, so they are taken only where memory asks.

    Raises:
        BudgetMissed: not even the shortest codes fit.
    """
    memory = math.inf if budget.memory_bytes is None else budget.memory_bytes
    if 4 * width * count <= EXACT_BYTES and (4 * width + 8) * count <= memory:
        return "Flat"
    power = 2 ** round(math.log2(math.sqrt(max(1, count))))
    cells = max(1, min(power, count // (2 * LEAST_PER_CELL)))
    coarse = f"IVF{cells}_HNSW32" if cells >= HNSW_FROM else f"IVF{cells}"
    parts = max(part for part in range(1, max(1, width // 8) + 1) if width % part == 0)
    needed = math.inf
    # `np`: without a training for Hamming distances, which takes an hour and serves a search that is not used here.
    sizes = {"SQ8": width, "SQ6": math.ceil(width * 3 / 4), "SQ4": math.ceil(width / 2), f"PQ{parts}x8np": parts}
    for code, size in sizes.items():
        needed = (size + 8) * count + _table_bytes(code, width, cells) + _HEADER
        if needed <= memory:
            return f"{coarse},{code}"
    raise BudgetMissed(
        f"expected {count} vectors of {width} to fit {memory} bytes, got {needed} for the shortest codes"
    )


def _table_bytes(factory: str, width: int, cells: int) -> int:
    """Bytes of what all vectors share: the middles and lengths of the cells, and what codes are read with."""
    codes = 256 if "PQ" in factory else 2
    return (4 * width + 16) * cells + codes * 4 * width


def build_index(
    ids: npt.NDArray[np.int64],
    fetch: Fetch,
    *,
    budget: Budget | None = None,
    seed: int = 0,
    factory: str | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Index, Recipe]:
    """Build the index of one modality from vectors that are read block by block, and set it to the recall asked for.

    Cells are trained on a seeded sample. Some of the library's other vectors then ask, each without itself as an
    answer, and the cheapest number of cells and candidates that meets the recall against the exact answers is kept.

    Args:
        ids: ascending, not negative, shape (N,).
        fetch: reads unit vectors by id; the index keeps it to re-rank.
        factory: FAISS's name of the index, instead of the one `choose` would take.
        progress: called with the number of vectors a block had, as they are added.

    Raises:
        BudgetMissed: the memory does not hold the vectors, or the recall is not reached.
        ValueError: there are no ids, they do not ascend, or a vector is not finite.
    """
    budget = budget or Budget()
    if not len(ids):
        raise ValueError("expected at least one vector to index, got none")
    width = fetch(ids[:1]).shape[1]
    factory = factory or choose(len(ids), width, budget)
    if factory == "Flat":
        index = VectorIndex(width)
        for begin in range(0, len(ids), _BLOCK):
            index.add(ids[begin : begin + _BLOCK], fetch(ids[begin : begin + _BLOCK]))
            progress(len(ids[begin : begin + _BLOCK]))
        return index, Recipe(
            "exact", "Flat", width, len(ids), seed, wanted=budget.recall, bytes_per_vector=4 * width + 8
        )
    sampled, asked = _samples(len(ids), factory, seed)
    built = ApproximateIndex.train(factory, fetch(ids[sampled]), fetch, seed)
    queries = fetch(ids[asked])
    truth = _fill(built, ids, fetch, queries, ids[asked], progress)
    recipe = _tune(built, queries, ids[asked], truth, budget)
    built.recipe = recipe
    return built, recipe


def open_index(path: Path, fetch: Fetch) -> Index:
    """An index that was saved, of either kind.

    Args:
        fetch: reads the vectors it was built from, by id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no index, is cut short, or is of a FAISS that this one does not read.
    """
    return ApproximateIndex.load(path, fetch) if is_approximate(path) else VectorIndex.load(path)


def recall_of(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """The share of the true ids, shape (B, K), that are among those found, shape (B, C)."""
    return float((_places(found, truth) < found.shape[1]).mean())


def _places(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Where each true id, shape (B, K), stands among those found, shape (B, C); C where it is not."""
    equal = found[:, None, :] == truth[:, :, None]  # (B, K, C)
    return np.where(equal.any(axis=2), equal.argmax(axis=2), found.shape[1])


def _reached(
    index: ApproximateIndex, query: npt.NDArray[np.float32], found: npt.NDArray[np.int64], truth: Found
) -> npt.NDArray[np.intp]:
    """After how many candidates each of the nearest was among them. Where copies make it chance which those are, as
    of a sentence said a thousand times, whatever scores as high is as good.
    """
    most = min(RECALL_AT, len(truth.ids))
    bound = truth.scores[most - 1]
    if len(truth.ids) == most or truth.scores[most] < bound - _ROUNDING:
        return _places(found[None], truth.ids[None, :most])[0]
    near = np.flatnonzero(index.scores(query, found[:_COPIES]) >= bound - _ROUNDING)
    return np.concatenate([near, np.full(most, len(found))])[:most]


def _samples(count: int, factory: str, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places that train and places that ask, both ascending and none in both."""
    named = re.match(r"IVF(\d+)", factory)
    if not named:
        raise ValueError(f"expected a factory of cells, such as IVF256,SQ8, got {factory!r}")
    cells = int(named[1])
    # Product codes need 256 words each, however few the cells.
    wanted = max(_SAMPLE_PER_CELL * cells, 256 * 40 if ",PQ" in factory else 1024)
    asked = max(1, min(_ASKED, count // 10))
    drawn = np.random.default_rng(seed).choice(count, size=min(count, wanted + asked), replace=False)
    return np.sort(drawn[asked:]), np.sort(drawn[:asked])


def _fill(
    index: ApproximateIndex,
    ids: npt.NDArray[np.int64],
    fetch: Fetch,
    queries: npt.NDArray[np.float32],
    own: npt.NDArray[np.int64],
    progress: Callable[[int], object],
) -> list[Found]:
    """Add every vector and, on the same way through them, find what each query should get, itself left out: one more
    than recall is measured among, so that it shows where that is a matter of chance.
    """
    best = None
    for begin in range(0, len(ids), _BLOCK):
        some = ids[begin : begin + _BLOCK]
        vectors = fetch(some)
        index.add(some, vectors)
        exact = VectorIndex(index.width)
        exact.add(some, vectors)
        found = exact.search_many(queries, RECALL_AT + 2)
        pairs = zip(best, found, strict=True) if best else ((one,) for one in found)
        best = [best_of(parts, RECALL_AT + 2) for parts in pairs]
        progress(len(some))
    assert best is not None
    kept = [found.ids != one for found, one in zip(best, own, strict=True)]
    return [
        Found(found.ids[here][: RECALL_AT + 1], found.scores[here][: RECALL_AT + 1], found.allowed)
        for found, here in zip(best, kept, strict=True)
    ]


def _tune(
    index: ApproximateIndex,
    queries: npt.NDArray[np.float32],
    own: npt.NDArray[np.int64],
    truth: Sequence[Found],
    budget: Budget,
) -> Recipe:
    """The cheapest search that meets the recall. Cost is counted, not timed, so that a seed gives one recipe."""
    codes = index.code_bytes * len(index) / index.cells
    cheapest, chosen, reached = math.inf, (0, 0, 0.0), 0.0
    for nprobe in _steps(index.cells):
        if codes * nprobe >= cheapest:
            break
        found = index.coarse(queries, min(len(index), _CANDIDATES[-1] + 1), nprobe)
        found = np.stack(
            [np.append(row[row != one], -1)[: found.shape[1]] for row, one in zip(found, own, strict=True)]
        )
        places = np.concatenate([_reached(index, *each) for each in zip(queries, found, truth, strict=True)])
        for candidates in _CANDIDATES:
            recall = float((places < candidates).mean())
            reached = max(reached, recall)
            if recall >= budget.recall:
                cost = codes * nprobe + _READ_COST * candidates
                if cost < cheapest:
                    cheapest, chosen = cost, (nprobe, candidates, recall)
                break
    if math.isinf(cheapest):
        raise BudgetMissed(
            f"expected recall@{RECALL_AT} of {budget.recall} from {index.recipe.factory}, got {reached:.4f} at best: "
            "allow more memory or less recall"
        )
    nprobe, candidates, recall = chosen
    tables = _table_bytes(index.recipe.factory, index.width, index.cells)
    return replace(
        index.recipe,
        count=len(index),
        asked=len(queries),
        wanted=budget.recall,
        recall=round(recall, 4),
        nprobe=nprobe,
        candidates=candidates,
        bytes_per_vector=round(index.code_bytes + 8 + tables / len(index), 1),
    )


def _steps(cells: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... and all cells."""
    steps = [1, *(base << power for power in range(31) for base in (2, 3))]
    return [*sorted(step for step in steps if step < cells), cells]
