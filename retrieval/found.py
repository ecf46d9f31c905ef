"""What a search finds, how it is scored and ordered, and what may be asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Metric: TypeAlias = Literal["cosine", "dot", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""Vectors are unit, so cosine and dot are the same number, and all three give the same order."""

Fetch: TypeAlias = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Vectors by id, shape (N,) -> (N, D): how an index that keeps none in full reads them from where they lie."""

_SCORED = 1 << 22
"""So many numbers are scored at a time."""


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


def best_of(parts: Sequence[Found], k: int) -> Found:
    """The k best of answers to one query from parts that share no vector."""
    ids = np.concatenate([part.ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((ids, -scores))[:k]
    return Found(ids[order], scores[order], sum(part.allowed for part in parts))


def check_vectors(vectors: npt.NDArray[np.float32], count: int, width: int) -> None:
    """Raises: ValueError: the shape is another than (count, width), or a value is not finite."""
    if vectors.shape != (count, width):
        raise ValueError(f"expected vectors of shape {(count, width)}, got {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError("expected finite vectors, got NaN or infinity")


def check_queries(queries: npt.NDArray[np.float32], width: int, k: int, metric: str) -> npt.NDArray[np.float32]:
    """Queries that may be multiplied, contiguous.

    Raises:
        ValueError: the shape is not (B, width), a value is not finite, k < 1, or the metric is unknown.
    """
    if queries.ndim != 2 or queries.shape[1] != width:
        raise ValueError(f"expected queries of shape (B, {width}), got {queries.shape}")
    if not math.isfinite(
        queries.sum()
    ):  # NaN and infinity outlast a sum, which is one step where a test of each is two
        raise ValueError("expected a finite query, got NaN or infinity")
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    if metric not in METRICS:
        raise ValueError(f"expected a metric of {', '.join(METRICS)}, got {metric!r}")
    return np.ascontiguousarray(queries, dtype=np.float32)


def allowed_mask(ids: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """Which of the ascending ids are allowed, shape (N,); None when all are.

    Raises:
        ValueError: the filter says nothing about the largest id.
    """
    if allowed is None or not len(ids):
        return None
    last = int(ids[-1])
    if len(allowed) <= last:
        raise ValueError(f"expected a filter over more than {last} ids, got {len(allowed)}")
    mask = allowed[: len(ids)] if last == len(ids) - 1 else allowed[ids]
    return None if mask.all() else mask


def score(
    query: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
    metric: Metric,
    rows: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float64]:
    """Scores in float64, row by row, so that equal vectors score equally to the last bit wherever they lie.

    Args:
        rows: score only these rows of `vectors`, so many at a time that copies stay small.

    Shape:
        (D,), (N, D) -> (N,)
    """
    rows = np.arange(len(vectors)) if rows is None else rows
    block = max(1, _SCORED // len(query))
    if len(rows) > block:
        parts = [score(query, vectors, metric, rows[begin : begin + block]) for begin in range(0, len(rows), block)]
        return np.concatenate(parts)
    if metric == "euclidean":
        apart = np.subtract(vectors[rows], query, dtype=np.float64)
        return 0.0 - np.sqrt(np.square(apart, out=apart).sum(axis=1))
    # Not a matrix product: BLAS sums the last rows of a block in another order than the first.
    return np.asarray(np.multiply(vectors[rows], query, dtype=np.float64).sum(axis=1))
