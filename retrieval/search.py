"""The nearest clips of several segments under a policy, for one query or many, as rankings to choose from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from library_builder.types import Emotion, Modality

from .index import Metric
from .policy import Mask, Policy
from .ranking import Choice, Ranking, choose, merge, reach, score_rows, weighed
from .segment import Segment

_MARGIN = 1e-9
"""More than float64 sums of a few thousand products differ by: what lies this near a bound is not yet certain."""
_WIDER = 4


@dataclass(frozen=True, slots=True)
class Search:
    """One query under one policy, and what of the policy each segment has.

    Attributes:
        query: one emotion per modality that asks.
        left_out: per segment, rows that may not be found, pinned ones among them.
        pins: (segment, row) of each pinned clip.
    """

    query: Mapping[Modality, Emotion]
    policy: Policy
    left_out: tuple[npt.NDArray[np.int64], ...]
    pins: tuple[tuple[int, int], ...]

    @classmethod
    def plan(cls, segments: Sequence[Segment], query: Mapping[Modality, Emotion], policy: Policy) -> Search:
        """What a policy means here.

        Raises:
            ValueError: a pinned clip is not here, or of a licence that is not allowed.
        """
        pins = tuple(_find_pin(segments, id, policy) for id in policy.pinned)
        if policy.without or policy.without_groups or policy.pinned:
            left_out = tuple(segment.left_out(policy) for segment in segments)
        else:
            left_out = (np.empty(0, dtype=np.int64),) * len(segments)
        return cls(query, policy, left_out, pins)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search came to.

    Attributes:
        rankings: of each modality that asked, as far as they were needed.
        choice: who of them got a place.
    """

    rankings: Mapping[Modality, Ranking]
    choice: Choice


def search(segments: Sequence[Segment], searches: Sequence[Search], k: int, metric: Metric) -> list[Answer]:
    """Answer all searches; those that look at the same clips go through an index together.

    A ranking is asked for as many clips as there are places, and for more when those were not enough.
    """
    wanted = [{m: k * (len(one.query) if one.policy.distinct else 1) for m in one.query} for one in searches]
    rankings: list[dict[Modality, Ranking]] = [{} for _ in searches]
    answers: list[Answer | None] = [None] * len(searches)
    todo = {number: frozenset(one.query) for number, one in enumerate(searches)}
    while todo:
        for number, found in _rankings(segments, searches, todo, wanted, metric):
            rankings[number] |= found
        hungry = {}
        for number in todo:
            one = searches[number]
            once = frozenset[Modality]() if one.policy.repeat_text else frozenset[Modality](["text"])
            choice = choose(rankings[number], k, once=once, distinct=one.policy.distinct, minimum=one.policy.minimum)
            answers[number] = Answer(rankings[number], choice)
            if choice.hungry:
                hungry[number] = choice.hungry
                for modality in choice.hungry:
                    wanted[number][modality] *= _WIDER
        todo = hungry
    return [answer for answer in answers if answer is not None]


def _rankings(
    segments: Sequence[Segment],
    searches: Sequence[Search],
    todo: Mapping[int, Iterable[Modality]],
    wanted: Sequence[Mapping[Modality, int]],
    metric: Metric,
) -> Iterable[tuple[int, dict[Modality, Ranking]]]:
    """The rankings that are still to be found, those without weights together."""
    plain: list[tuple[int, Modality]] = []
    for number, modalities in todo.items():
        one = searches[number]
        if one.policy.weights is None:
            plain += [(number, modality) for modality in modalities]
        else:
            yield number, _weighed(segments, one, max(wanted[number].values()), one.policy.weights)
    asks = [_Ask(searches[number], modality, wanted[number][modality]) for number, modality in plain]
    for (number, modality), ranking in zip(plain, _plain(segments, asks, metric), strict=True):
        one = searches[number]
        vector = one.query[modality].vector
        yield number, {modality: _pinned(segments, one, modality, ranking, {modality: vector}, None, metric)}


@dataclass(frozen=True, slots=True)
class _Ask:
    search: Search
    modality: Modality
    wanted: int


def _plain(segments: Sequence[Segment], asks: Sequence[_Ask], metric: Metric) -> list[Ranking]:
    """Rankings by each modality's own scores, without pins."""
    together: dict[tuple[Modality, Mask | None], list[int]] = defaultdict(list)
    for number, ask in enumerate(asks):
        together[ask.modality, ask.search.policy.mask].append(number)
    rankings: dict[int, Ranking] = {}
    for (modality, mask), numbers in together.items():
        queries = np.stack([asks[number].search.query[modality].vector for number in numbers])
        found = []
        for place, segment in enumerate(segments):
            # Left-out clips are few: so many more are fetched, and one filter serves all.
            most = max(asks[number].wanted + len(asks[number].search.left_out[place]) for number in numbers)
            found.append(segment.search(modality, queries, most, segment.mask(mask), metric))
        for at, number in enumerate(numbers):
            ask, own = asks[number], [one[at] for one in found]
            out = ask.search.left_out
            scores, places, rows = merge(own, out, ask.wanted, lambda s, r: segments[s].store.ids(r))
            less = sum(segments[place].countable(modality, mask, gone) for place, gone in enumerate(out) if len(gone))
            allowed = sum(one.allowed for one in own) - less
            groups = _groups(segments, places, rows)
            rankings[number] = Ranking(scores, places, rows, groups, ask.wanted >= allowed, allowed)
    return [rankings[number] for number in range(len(asks))]


def _weighed(
    segments: Sequence[Segment], one: Search, wanted: int, weights: Mapping[Modality, float]
) -> dict[Modality, Ranking]:
    """Rankings by the weighted mean of cosines, exactly.

    Each modality's own ranking is read from the top; a clip that none has shown so far cannot score higher than their
    last scores allow, so what lies above that is certain (Fagin's threshold algorithm).
    """
    depth, vectors = wanted, {modality: emotion.vector for modality, emotion in one.query.items()}
    while True:
        plain = dict(zip(vectors, _plain(segments, [_Ask(one, m, depth) for m in vectors], "cosine"), strict=True))
        tails = {m: float(r.scores[-1]) for m, r in plain.items() if not r.complete and weights.get(m)}
        seen = np.unique(np.concatenate([np.stack([r.segments, r.rows]) for r in plain.values()], axis=1), axis=1)
        scores = _scores(segments, vectors, seen[0], seen[1])
        means = weighed(scores, weights)
        result = {
            m: _certain(segments, seen, np.where(np.isnan(scores[m]), np.nan, means), reach(m, tails, weights))
            for m in vectors
        }
        # A modality without weight may have clips that no other ranking shows; they have nothing to be ranked by.
        allowed = {m: plain[m].allowed for m in vectors}
        if not tails or all(len(ranking) >= wanted for ranking in result.values()):
            done = {m: replace(r, complete=not tails, allowed=allowed[m]) for m, r in result.items()}
            return {m: _pinned(segments, one, m, r, vectors, weights, "cosine") for m, r in done.items()}
        depth *= _WIDER


def _certain(
    segments: Sequence[Segment], seen: npt.NDArray[np.int64], means: npt.NDArray[np.float64], bound: float
) -> Ranking:
    """The seen clips that no unseen one can outdo, in order."""
    kept = np.flatnonzero(means > bound + _MARGIN) if np.isfinite(bound) else np.flatnonzero(~np.isnan(means))
    places, rows = seen[0, kept], seen[1, kept]
    ids = _ids(segments, places, rows)
    order = np.array(sorted(range(len(kept)), key=lambda at: (-means[kept[at]], ids[at])), dtype=np.int64)
    places, rows = places[order], rows[order]
    return Ranking(means[kept][order], places, rows, _groups(segments, places, rows), False, 0)


def _pinned(
    segments: Sequence[Segment],
    one: Search,
    modality: Modality,
    ranking: Ranking,
    vectors: Mapping[Modality, npt.NDArray[np.float32]],
    weights: Mapping[Modality, float] | None,
    metric: Metric,
) -> Ranking:
    """A ranking with the pinned clips that have its modality in front, the nearest first."""
    if not one.pins:
        return ranking
    places, rows = (np.array(column, dtype=np.int64) for column in zip(*one.pins, strict=True))
    scores = _scores(segments, vectors, places, rows, metric)
    values = scores[modality]
    if weights is not None:
        values = np.where(np.isnan(values), np.nan, weighed(scores, weights))
    ids = _ids(segments, places, rows)
    kept = [at for at in range(len(rows)) if not np.isnan(values[at])]
    order = np.array(sorted(kept, key=lambda at: (-values[at], ids[at])), dtype=np.int64)
    places, rows = places[order], rows[order]
    return replace(
        ranking,
        scores=np.concatenate([values[order], ranking.scores]),
        segments=np.concatenate([places, ranking.segments]),
        rows=np.concatenate([rows, ranking.rows]),
        groups=np.concatenate([_groups(segments, places, rows), ranking.groups]),
        pinned=len(order),
    )


def _scores(
    segments: Sequence[Segment],
    vectors: Mapping[Modality, npt.NDArray[np.float32]],
    places: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    metric: Metric = "cosine",
) -> dict[Modality, npt.NDArray[np.float64]]:
    """Scores of clips in each modality, NaN where a clip lacks it."""
    scores = {modality: np.full(len(rows), np.nan) for modality in vectors}
    for place in np.unique(places).tolist():
        here = np.flatnonzero(places == place)
        for modality, query in vectors.items():
            if modality in segments[place].facts.counts:
                found = segments[place].store.vectors(rows[here], modality)
                scores[modality][here] = score_rows(query, found, metric)
    return scores


def _ids(segments: Sequence[Segment], places: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> list[str]:
    return [segments[place].store.ids([row])[0] for place, row in zip(places.tolist(), rows.tolist(), strict=True)]


def _groups(
    segments: Sequence[Segment], places: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    groups = np.empty(len(rows), dtype=np.int64)
    for place in np.unique(places).tolist():
        here = places == place
        groups[here] = segments[place].said(rows[here])
    return groups


def _find_pin(segments: Sequence[Segment], id: str, policy: Policy) -> tuple[int, int]:
    for place, segment in enumerate(segments):
        row = segment.row(id)
        if row is None:
            continue
        licence = segment.names["licence"][int(segment.columns[2, row])]
        if policy.licences is not None and licence not in policy.licences:
            allowed = ", ".join(sorted(policy.licences)) or "none"
            raise ValueError(f"pinned clip {id} is of licence {licence or '(none)'}; allowed are {allowed}")
        return place, row
    raise ValueError(f"expected to pin a clip of the library, it has no clip {id!r}")
