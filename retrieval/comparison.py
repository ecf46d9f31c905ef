"""Two versions of a library side by side: whether they find the same clips, how many different ones, of what feeling.

The clips that both have are the queries. What a query may find is what a training line may: not itself, and no other
take of its line by its speaker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from library_builder.types import MODALITIES, Clip, Emotion, Modality

from .library import Library
from .policy import leave_out
from .recipe import RECALL_AT

SAMPLE = 2000
SHUFFLES = 1000
_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often hits are of the query's label.

    Attributes:
        share: of `pairs`, which are hits that have a label, of queries that have one; None when not measured.
        shuffled: mean share when the labels are dealt out anew among these clips.
        low, high: 95 % of the shuffles lie between them.
        reason: why it was not measured.
    """

    share: float | None
    pairs: int
    shuffled: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One modality of one version.

    Attributes:
        space: of its vectors.
        extractor: what the manifest says of the reader.
        distinct: different clips that were ever found.
        clips: that have the modality, and could be.
        agreement: of labels among the nearest.
    """

    space: str
    extractor: Mapping[str, Any]
    distinct: int
    clips: int
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Compared:
    """One modality of both versions.

    Attributes:
        queries: clips that have it in both and asked.
        unchanged: of these, whose vector and caption are the same to the last bit.
        overlap: share of the nearest that both find, mean over queries; None when nothing was found.
        sides: first and second; None where the modality could not be compared.
        reason: why it could not.
    """

    queries: int
    unchanged: int = 0
    overlap: float | None = None
    sides: tuple[Side, Side] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions side by side.

    Attributes:
        versions: their names.
        clips: of each.
        only: clips that only the first, and only the second has.
        sampled: queries were drawn from so many common clips; None when all asked.
        k: nearest that count.
        seed: of the sample and the shuffles.
    """

    versions: tuple[str, str]
    clips: tuple[int, int]
    only: tuple[int, int]
    sampled: int | None
    k: int
    seed: int
    modalities: Mapping[Modality, Compared]


def compare(
    first: Library,
    second: Library,
    *,
    sample: int = SAMPLE,
    k: int = RECALL_AT,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Comparison:
    """Compare two versions modality by modality.

    Args:
        sample: most queries; drawn by the seed when there are more common clips.

    Raises:
        ValueError: the sample, k or the shuffles are not positive, or no clip is in both.
    """
    if min(sample, k, shuffles) < 1:
        raise ValueError(f"expected a sample, k and shuffles of at least one, got {sample}, {k} and {shuffles}")
    ours = set(first.ids())
    common = sorted(id for id in second.ids() if id in ours)
    if not common:
        raise ValueError(f"expected versions that share clips, got none in both {first.version} and {second.version}")
    drawn = common
    if len(common) > sample:
        places = np.random.default_rng(seed).choice(len(common), size=sample, replace=False)
        drawn = [common[place] for place in np.sort(places).tolist()]
    return Comparison(
        versions=(first.version, second.version),
        clips=(len(first), len(second)),
        only=(len(first) - len(common), len(second) - len(common)),
        sampled=len(common) if len(common) > sample else None,
        k=k,
        seed=seed,
        modalities={m: _modality(m, (first, second), drawn, k, shuffles, seed) for m in MODALITIES},
    )


@dataclass(slots=True)
class _Seen:
    """What one version found: hits as (query, clip) pairs of numbers, and the clips' labels."""

    numbers: dict[str, int]
    labels: list[str | None]
    pairs: list[tuple[int, int]]

    def number(self, clip: Clip) -> int:
        if clip.id not in self.numbers:
            self.numbers[clip.id] = len(self.labels)
            self.labels.append(clip.label)
        return self.numbers[clip.id]


def _modality(
    modality: Modality, both: tuple[Library, Library], ids: Sequence[str], k: int, shuffles: int, seed: int
) -> Compared:
    for library in both:
        if modality not in library.spaces:
            return Compared(0, reason=f"no clip of {library.version} has a {modality} vector")
    seen = _Seen({}, [], []), _Seen({}, [], [])
    queries = unchanged = 0
    shares: list[float] = []
    for begin in range(0, len(ids), _TOGETHER):
        pairs = [(both[0].clip(id), both[1].clip(id)) for id in ids[begin : begin + _TOGETHER]]
        pairs = [pair for pair in pairs if all(modality in clip.emotions for clip in pair)]
        queries += len(pairs)
        unchanged += sum(_same(modality, *pair) for pair in pairs)
        found = [
            _nearest(modality, library, [pair[at] for pair in pairs], k, seen[at]) for at, library in enumerate(both)
        ]
        for one, other in zip(*found, strict=True):
            if one or other:
                shares.append(len(one & other) / max(len(one), len(other)))
    if not queries:
        return Compared(0, reason=f"no clip asked has a {modality} vector in both")
    sides = [_side(modality, both[at], seen[at], shuffles, seed) for at in range(2)]
    overlap = float(np.mean(shares)) if shares else None
    return Compared(queries, unchanged, overlap, (sides[0], sides[1]))


def _same(modality: Modality, one: Clip, other: Clip) -> bool:
    a, b = one.emotions[modality], other.emotions[modality]
    captions = one.captions.get(modality), other.captions.get(modality)
    return a.space == b.space and a.vector.tobytes() == b.vector.tobytes() and captions[0] == captions[1]


def _nearest(modality: Modality, library: Library, clips: Sequence[Clip], k: int, seen: _Seen) -> list[set[str]]:
    queries: list[dict[Modality, Emotion]] = [{modality: clip.emotions[modality]} for clip in clips]
    answers = library.top_k_many(queries, k, policies=[leave_out(clip) for clip in clips])
    for clip, answer in zip(clips, answers, strict=True):
        asking = seen.number(clip)
        seen.pairs += [(asking, seen.number(hit.clip)) for hit in answer.hits[modality]]
    return [{hit.clip.id for hit in answer.hits[modality]} for answer in answers]


def _side(modality: Modality, library: Library, seen: _Seen, shuffles: int, seed: int) -> Side:
    facts = library.info()
    return Side(
        space=library.spaces[modality],
        extractor=facts["extractors"].get(modality, {}),
        distinct=len({found for _, found in seen.pairs}),
        clips=facts["modalities"][modality],
        agreement=agreement(seen.labels, seen.pairs, shuffles, seed),
    )


def agreement(
    labels: Sequence[str | None], pairs: Sequence[tuple[int, int]], shuffles: int = SHUFFLES, seed: int = 0
) -> Agreement:
    """The share of hits that carry their query's label, beside shuffles of the labels.

    Args:
        labels: of clips, by number.
        pairs: query and hit, as numbers; those without two labels do not count.
    """
    has = np.array([label is not None and label != "" for label in labels], dtype=np.bool_)
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    places = places[has[places].all(axis=1)]
    if not len(places):
        reason = (
            "no clip that asked or was found carries a label" if not has.any() else "no hit and its query have both"
        )
        return Agreement(None, 0, reason=reason)
    # Only clips that take part, so that shuffles deal out exactly the labels that were counted.
    involved, flat = np.unique(places, return_inverse=True)
    places = flat.reshape(-1, 2)
    names, kinds = np.unique([labels[number] for number in involved.tolist()], return_inverse=True)
    if len(names) == 1:
        return Agreement(None, len(places), reason=f"all {len(involved)} clips carry the label {str(names[0])!r}")
    random = np.random.default_rng(seed)
    dealt = [_share(random.permutation(kinds), places) for _ in range(shuffles)]
    low, high = np.quantile(dealt, [0.025, 0.975]).tolist()
    return Agreement(_share(kinds, places), len(places), float(np.mean(dealt)), low, high)


def _share(kinds: npt.NDArray[np.intp], places: npt.NDArray[np.int64]) -> float:
    return float((kinds[places[:, 0]] == kinds[places[:, 1]]).mean())
