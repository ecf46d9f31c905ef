"""What each line of a set is shown in a cell: its own vectors, and the clips that the cell's retrieval finds for it.

Rankings are kept beside the runs: a cell with another K, or other switches, takes what was found before.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from authentic_dubber.evaluation.references import other_references
from authentic_dubber.evaluation.sets import Case, EvaluationSet
from library_builder.atomic import whole_file
from library_builder.types import QUERY_MODALITIES, Clip, Emotion, Modality
from retrieval import Hit, Library, Policy
from retrieval.found import Metric, score
from retrieval.policy import spoken

from .settings import Values, digest

Ranked: TypeAlias = dict[str, list[tuple[str, float]]]
"""Per modality ids and scores, best first."""
LEAST = 10
"""So many are ranked even where fewer are asked for, so that cells of other K share a ranking."""
SEED = 0
"""Of random references: the same for every cell, so that models are shown the same."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The library of a film, in memory.

    Attributes:
        clips: by id, ascending.
    """

    library: Library
    clips: Mapping[str, Clip]

    @classmethod
    def open(cls, root: Path) -> Shelf:
        library = Library.open(root)
        return cls(library, {clip.id: clip for clip in library.clips()})


@dataclass(slots=True)
class Enquiry:
    """Asks a set's libraries as cells want it.

    Args:
        cases: the set.
        folder: where rankings are kept.
    """

    cases: EvaluationSet
    folder: Path
    _shelves: dict[Path, Shelf] = field(default_factory=dict)
    _ranked: dict[str, list[Ranked]] = field(default_factory=dict)

    def shelf(self, case: Case) -> Shelf | None:
        """The library that answers a case."""
        root = self.cases.library(case)
        if root is None:
            return None
        if root not in self._shelves:
            self._shelves[root] = Shelf.open(root)
        return self._shelves[root]

    @property
    def libraries(self) -> dict[str, str]:
        """The version of each library that answers, by film."""
        found = {str(case.film): self.shelf(case) for case in self.cases.cases}
        return {film: shelf.library.version for film, shelf in sorted(found.items()) if shelf is not None}

    def own(self, i: int, values: Values) -> dict[Modality, Emotion]:
        """The vectors of case `i` that a cell leaves it."""
        return {m: emotion for m, emotion in self.cases.feelings(i).items() if m != values["input.off"]}

    def hits(self, i: int, values: Values) -> dict[Modality, tuple[Hit, ...]]:
        """What case `i` finds in a cell, best first."""
        case, k, off = self.cases.cases[i], int(values["retrieval.k"]), values["retrieval.off"]
        shelf = self.shelf(case)
        if shelf is None or k == 0 or off == "all":
            return {}
        own = self.own(i, values)
        ranked = self.rankings(values)[i]
        hits = {m: _hits(ranked[m][:k], m, shelf) for m in own if m in ranked}
        if values["retrieval.references"] != "nearest":
            rng = np.random.default_rng([SEED, zlib.crc32(case.id.encode())])
            mode = values["retrieval.references"]
            hits = dict(other_references(hits, own, tuple(shelf.clips.values()), mode, rng))  # type: ignore[arg-type]
        if off == "audio":
            return {m: tuple(replace(hit, audio=None) for hit in found) for m, found in hits.items()}
        return {m: found for m, found in hits.items() if m != off}

    def rankings(self, values: Values) -> list[Ranked]:
        """The nearest clips of every case, more of them than the cell asks for."""
        names = ("retrieval.metric", "retrieval.vectors", "retrieval.scope")
        most = max(LEAST, int(values["retrieval.k"]))
        parts = [self.cases.digest, self.libraries, [values[name] for name in names], most]
        key = digest(parts)
        if key not in self._ranked:
            path = self.folder / f"ranking-{key}.json"
            if not path.is_file():
                found = self._rank(values, most)
                self.folder.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as temporary:
                    temporary.write_text(json.dumps(found), encoding="utf-8")
            read = json.loads(path.read_text(encoding="utf-8"))
            self._ranked[key] = [{m: [(id, s) for id, s in some] for m, some in one.items()} for one in read]
        return self._ranked[key]

    def _rank(self, values: Values, most: int) -> list[Ranked]:
        found: list[Ranked] = [{} for _ in self.cases.cases]
        standard: dict[int, Standardised] = {}
        for i, case in enumerate(self.cases.cases):
            shelf, own = self.shelf(case), self.cases.feelings(i)
            if shelf is None or not own:
                continue
            scope = str(values["retrieval.scope"])
            metric: Metric = values["retrieval.metric"]  # type: ignore[assignment]
            if values["retrieval.vectors"] == "standardised":
                rows = standard.setdefault(id(shelf), Standardised(shelf))
                allowed = _allowed(scope, case, shelf)
                found[i] = {m: rows.nearest(e, m, most, metric, allowed) for m, e in own.items()}
                continue
            policy = _policy(scope, case, shelf)
            answer = shelf.library.top_k(own, most, policy=policy, metric=metric)
            found[i] = {m: [(hit.clip.id, hit.score) for hit in hits] for m, hits in answer.hits.items()}
        return found


class Standardised:
    """A library's vectors with every dimension brought to mean 0 and spread 1 over the library.

    Unit vectors are ranked alike by cosine, dot product and Euclidean distance. These are not, so a metric matters.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._clips: dict[str, list[Clip]] = {}
        self._rows: dict[str, npt.NDArray[np.float32]] = {}
        self._scale: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}
        for modality in QUERY_MODALITIES:
            clips = [clip for clip in shelf.clips.values() if modality in clip.emotions]
            if clips:
                rows = np.stack([clip.emotions[modality].vector for clip in clips])
                mean, spread = rows.mean(0), rows.std(0)
                # What does not vary tells nothing, and must not be divided by nothing.
                self._scale[modality] = mean, np.where(spread > 1e-6, spread, np.inf).astype(np.float32)
                self._clips[modality], self._rows[modality] = clips, self._standard(rows, modality)

    def _standard(self, rows: npt.NDArray[np.float32], modality: str) -> npt.NDArray[np.float32]:
        mean, spread = self._scale[modality]
        return np.asarray((rows - mean) / spread, dtype=np.float32)

    def nearest(
        self, own: Emotion, modality: Modality, most: int, metric: Metric, allowed: Collection[str]
    ) -> list[tuple[str, float]]:
        """Ids and scores, best first, ties by id; of clips that say the same words, the text asks for one only."""
        if modality not in self._rows:
            return []
        query, rows = self._standard(own.vector[None], modality)[0], self._rows[modality]
        if metric == "cosine":
            query, rows = _unit(query[None])[0], _unit(rows)
        scores = score(query, rows, metric)
        found: list[tuple[str, float]] = []
        said: set[str] = set()
        for j in np.lexsort((np.arange(len(scores)), -scores)):
            clip = self._clips[modality][j]
            words = spoken(clip.text) if modality == "text" else ""
            if words in said or clip.id not in allowed:
                continue
            said |= {words} - {""}
            found.append((clip.id, float(scores[j])))
            if len(found) == most:
                break
        return found


def _allowed(scope: str, case: Case, shelf: Shelf) -> frozenset[str]:
    """Ids of the clips that a scope leaves a line.

    `sized` asks what is left of a speaker's own clips when they are as few, but anyone's: drawn by the line's id.
    """
    known = shelf.clips.values()
    match scope:
        case "same":
            return frozenset(clip.id for clip in known if clip.speaker == case.voice)
        case "other":
            return frozenset(clip.id for clip in known if clip.speaker and clip.speaker != case.voice)
        case "sized":
            few = sum(clip.speaker == case.voice for clip in known)
            rng = np.random.default_rng([SEED, zlib.crc32(case.id.encode())])
            return frozenset(np.array(list(shelf.clips))[rng.permutation(len(known))[:few]].tolist())
        case _:
            return frozenset(shelf.clips)


def _policy(scope: str, case: Case, shelf: Shelf) -> Policy:
    if scope == "sized":
        return Policy(without=shelf.clips.keys() - _allowed(scope, case, shelf))
    return Policy(scope=scope, speaker=case.voice if scope != "any" else None)  # type: ignore[arg-type]


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)


def _hits(ranked: Sequence[tuple[str, float]], modality: Modality, shelf: Shelf) -> tuple[Hit, ...]:
    clips = [shelf.clips[id] for id, _ in ranked]
    return tuple(
        Hit(clip, modality, rank, score, clip.emotions[modality], clip.emotions.get("audio"))
        for rank, (clip, (_, score)) in enumerate(zip(clips, ranked, strict=True), start=1)
    )
