"""From what segments found to what a query gets: one ranking per modality, and who of them gets a place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from library_builder.types import MODALITIES, Modality

from .index import Found, Metric


@dataclass(frozen=True, slots=True)
class Ranking:
    """Clips in the order in which one modality would take them, ties by id; pinned ones first.

    Attributes:
        scores: float64, shape (n,), higher is nearer.
        segments, rows: int64, shape (n,): where each clip is.
        groups: int64, shape (n,): its text group, 0 for unknown words.
        complete: whether no clip that may be found lies beyond.
        allowed: how many clips of this modality may be found.
        pinned: the first so many are pinned.
    """

    scores: npt.NDArray[np.float64]
    segments: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    complete: bool
    allowed: int
    pinned: int = 0

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who got a place.

    Attributes:
        places: positions in each modality's ranking, best first.
        hungry: modalities that have places left, and whose ranking may go on.
        weak: per modality, whether it stopped at the minimum.
    """

    places: Mapping[Modality, tuple[int, ...]]
    hungry: frozenset[Modality]
    weak: frozenset[Modality]


def merge(
    found: Sequence[Found],
    left_out: Sequence[npt.NDArray[np.int64]],
    wanted: int,
    ids: Callable[[int, Sequence[int]], Sequence[str]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The nearest of several segments' nearest, without those left out.

    Args:
        found: per segment, at least `wanted` more than are left out of it, or all it has.
        left_out: per segment, rows in ascending order.
        wanted: how many are needed.
        ids: of rows in a segment; asked only where scores tie across segments.

    Shape:
        -> scores (n,), segments (n,), rows (n,); n is at most `wanted`.
    """
    kept = [
        ~np.isin(one.ids, out) if len(out) else np.ones(len(one.ids), np.bool_)
        for one, out in zip(found, left_out, strict=True)
    ]
    scores = np.concatenate([one.scores[keep] for one, keep in zip(found, kept, strict=True)])
    rows = np.concatenate([one.ids[keep] for one, keep in zip(found, kept, strict=True)])
    segments = np.repeat(np.arange(len(found)), [int(keep.sum()) for keep in kept])
    order = np.lexsort((rows, segments, -scores))
    scores, segments, rows = scores[order], segments[order], rows[order]
    if len(found) > 1:
        order = _ties_by_id(scores, segments, rows, wanted, ids)
        scores, segments, rows = scores[order], segments[order], rows[order]
    return scores[:wanted], segments[:wanted], rows[:wanted]


def choose(
    rankings: Mapping[Modality, Ranking],
    k: int,
    *,
    once: frozenset[Modality],
    distinct: bool,
    minimum: float | None,
) -> Choice:
    """Who gets one of the k places that each modality has.

    Without `distinct` every modality fills its own. With it, all claims are heard from the highest score down (pinned
    ones before others, equal ones in the order of modalities), and a clip that has a place gets no second one.

    Args:
        once: modalities that give one place to clips of equal text.
        minimum: claims that score lower are not heard, but for pinned ones.
    """
    strong = {m: _strong(ranking, minimum) for m, ranking in rankings.items()}
    places: dict[Modality, list[int]] = {m: [] for m in rankings}
    taken: set[tuple[int, int]] = set()
    texts: set[tuple[Modality, int]] = set()
    for modality, position in _claims(rankings, strong, distinct):
        if len(places[modality]) == k:
            continue
        ranking = rankings[modality]
        clip = int(ranking.segments[position]), int(ranking.rows[position])
        text = modality, int(ranking.groups[position])
        repeated = modality in once and text[1] != 0 and text in texts and position >= ranking.pinned
        if repeated or (distinct and clip in taken):
            continue
        places[modality].append(position)
        taken.add(clip)
        texts.add(text)
    short = {m for m in rankings if len(places[m]) < k}
    weak = frozenset(m for m in short if strong[m] < len(rankings[m]))
    hungry = frozenset(m for m in short if m not in weak and not rankings[m].complete)
    return Choice({m: tuple(found) for m, found in places.items()}, hungry, weak)


def score_rows(
    query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], metric: Metric
) -> npt.NDArray[np.float64]:
    """Scores in float64, row by row, so that equal vectors score equally wherever they lie, as an index's own do.

    Shape:
        (D,), (N, D) -> (N,); NaN for a row of NaN.
    """
    wide, rows = query.astype(np.float64), vectors.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(0.0 - np.sqrt(np.square(rows - wide).sum(axis=1)))
    return np.asarray((rows * wide).sum(axis=1))


def weighed(
    scores: Mapping[Modality, npt.NDArray[np.float64]], weights: Mapping[Modality, float]
) -> npt.NDArray[np.float64]:
    """The weighted mean of cosines over the modalities that a clip has; NaN for a clip that has nothing of weight.

    Args:
        scores: per modality, shape (N,), NaN where a clip lacks it.

    Shape:
        -> (N,)
    """
    count = len(next(iter(scores.values())))
    total, share = np.zeros(count), np.zeros(count)
    for modality in MODALITIES:  # always in this order, so that equal clips score equally
        weight = weights.get(modality, 0.0)
        if modality in scores and weight:
            has = ~np.isnan(scores[modality])
            total[has] += weight * scores[modality][has]
            share[has] += weight
    return np.divide(total, share, out=np.full(count, np.nan), where=share > 0)


def reach(modality: Modality, tails: Mapping[Modality, float], weights: Mapping[Modality, float]) -> float:
    """The highest weighted mean that a clip may have which no ranking has shown so far.

    Args:
        modality: which it has.
        tails: the last score of each ranking that may go on; the others have shown all they have.
    """
    own = weights.get(modality, 0.0)
    if own and modality not in tails:
        return -np.inf
    total, share = (own * tails[modality], own) if own else (0.0, 0.0)
    for tail, weight in sorted(((tails[m], weights.get(m, 0.0)) for m in tails if m != modality), reverse=True):
        if weight and (not share or tail > total / share):
            total, share = total + weight * tail, share + weight
    return total / share if share else -np.inf


def _strong(ranking: Ranking, minimum: float | None) -> int:
    """How many of a ranking may claim a place."""
    if minimum is None:
        return len(ranking)
    below = np.flatnonzero(ranking.scores[ranking.pinned :] < minimum)
    return ranking.pinned + int(below[0]) if len(below) else len(ranking)


def _claims(
    rankings: Mapping[Modality, Ranking], strong: Mapping[Modality, int], distinct: bool
) -> Iterable[tuple[Modality, int]]:
    if not distinct:
        return [(modality, position) for modality in rankings for position in range(strong[modality])]
    claims = [
        (position >= ranking.pinned, -float(ranking.scores[position]), MODALITIES.index(modality), position)
        for modality, ranking in rankings.items()
        for position in range(strong[modality])
    ]
    return [(MODALITIES[number], position) for _, _, number, position in sorted(claims)]


def _ties_by_id(
    scores: npt.NDArray[np.float64],
    segments: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    wanted: int,
    ids: Callable[[int, Sequence[int]], Sequence[str]],
) -> npt.NDArray[np.int64]:
    """The order in which equal scores of several segments follow their clips' ids; the rest stays as it is."""
    order = np.arange(len(scores))
    ends = [*(np.flatnonzero(np.diff(scores) != 0) + 1).tolist(), len(scores)]
    for start, end in pairwise([0, *ends]):
        if start >= min(wanted, len(scores)):
            break
        if segments[start] == segments[end - 1]:  # ascending within a tie
            continue
        names: list[str] = []
        for segment in np.unique(segments[start:end]).tolist():
            names += ids(segment, rows[start:end][segments[start:end] == segment].tolist())
        order[start:end] = start + np.array(sorted(range(len(names)), key=names.__getitem__))
    return order
