"""Rankings where the nearest clips are fetched a few at a time and fetching costs, as from a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from library_builder.types import Modality

from .policy import Policy
from .ranking import Choice, Ranking, choose, reach, weighed

_MARGIN = 1e-9
"""More than float64 sums of a few thousand products differ by: what lies this near a bound is not yet certain."""
_WIDER = 4


@dataclass(frozen=True, slots=True)
class Nearest:
    """The head of one modality's ranking: no clip outside it is better than any in it.

    Attributes:
        rows: int64, shape (N,), best first; equal scores by ascending row.
        scores: float64, shape (N,).
        complete: nothing else may be found.
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    complete: bool


class Source(Protocol):
    """Where the clips come from that one query may find; pinned ones are not among them."""

    def nearest(self, modality: Modality, wanted: int) -> Nearest:
        """At least the `wanted` nearest of one modality, or all there are."""
        ...

    def scores(self, modality: Modality, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The query's score for any clips, allowed or not; NaN for those that lack the modality."""
        ...

    def groups(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A number per clip that clips of equal text share; 0 for unknown words."""
        ...


def rank(
    source: Source, modalities: Iterable[Modality], k: int, policy: Policy, pinned: npt.NDArray[np.int64]
) -> tuple[dict[Modality, Ranking], Choice]:
    """The rankings of a query as far as they were needed, and who of them got one of the k places.

    Args:
        pinned: rows that come first, in any order.
    """
    asking = tuple(modalities)
    wanted = dict.fromkeys(asking, k * (len(asking) if policy.distinct else 1))
    once = frozenset[Modality]() if policy.repeat_text else frozenset[Modality](["text"])
    rankings: dict[Modality, Ranking] = {}
    hungry = frozenset(asking)
    while True:
        if policy.weights is not None:
            rankings = _weighed(source, asking, max(wanted.values()), policy.weights)
        else:
            rankings |= {m: _ranking(source, source.nearest(m, wanted[m])) for m in hungry}
        rankings |= {m: _behind_pins(source, asking, m, rankings[m], policy, pinned) for m in hungry}
        choice = choose(
            {m: rankings[m] for m in asking}, k, once=once, distinct=policy.distinct, minimum=policy.minimum
        )
        if not choice.hungry:
            return rankings, choice
        # Weighing begins anew for all, so all get their pins again.
        hungry = choice.hungry if policy.weights is None else frozenset(asking)
        for modality in choice.hungry:
            wanted[modality] *= _WIDER


def _ranking(source: Source, found: Nearest) -> Ranking:
    groups, nowhere = source.groups(found.rows), np.zeros(len(found.rows), dtype=np.int64)
    return Ranking(found.scores, nowhere, found.rows, groups, found.complete, 0)


def _weighed(
    source: Source, asking: tuple[Modality, ...], wanted: int, weights: Mapping[Modality, float]
) -> dict[Modality, Ranking]:
    """Rankings by the weighted mean of cosines, exactly.

    The nearest of every weighty modality are fetched. A clip that none has shown so far cannot score higher than their
    last scores allow, so what lies above that is certain (Fagin, Lotem & Naor's threshold algorithm, 2001).
    """
    depth = wanted
    while True:
        pools = {m: source.nearest(m, depth) for m in asking if weights.get(m)}
        tails = {m: float(pool.scores[-1]) for m, pool in pools.items() if not pool.complete}
        rows = np.unique(np.concatenate([pool.rows for pool in pools.values()]))
        scores = {m: source.scores(m, rows) for m in asking}
        means = weighed(scores, weights)
        result = {}
        for modality in asking:
            sure = ~np.isnan(scores[modality]) & (means > reach(modality, tails, weights) + _MARGIN)
            order = np.lexsort((rows[sure], -means[sure]))
            result[modality] = _ranking(source, Nearest(rows[sure][order], means[sure][order], not tails))
        if not tails or all(len(ranking) >= wanted for ranking in result.values()):
            return result
        depth *= _WIDER


def _behind_pins(
    source: Source,
    asking: tuple[Modality, ...],
    modality: Modality,
    ranking: Ranking,
    policy: Policy,
    pinned: npt.NDArray[np.int64],
) -> Ranking:
    """A ranking with the pinned clips that have its modality in front, the nearest first."""
    if not len(pinned):
        return ranking
    scores = source.scores(modality, pinned)
    if policy.weights is not None:
        means = weighed({m: source.scores(m, pinned) for m in asking}, policy.weights)
        scores = np.where(np.isnan(scores), np.nan, means)
    rows, scores = pinned[~np.isnan(scores)], scores[~np.isnan(scores)]
    order = np.lexsort((rows, -scores))
    first = _ranking(source, Nearest(rows[order], scores[order], ranking.complete))
    return replace(
        ranking,
        scores=np.concatenate([first.scores, ranking.scores]),
        segments=np.concatenate([first.segments, ranking.segments]),
        rows=np.concatenate([first.rows, ranking.rows]),
        groups=np.concatenate([first.groups, ranking.groups]),
        pinned=len(first),
    )
