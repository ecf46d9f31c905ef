"""The cheap outcome of a cell: what its director judges each line to feel, with all that led to the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from authentic_dubber.context import line_graph
from authentic_dubber.evaluation.emotion import constant_baseline
from authentic_dubber.evaluation.measured import Measured, Row
from authentic_dubber.synthesizer import Synthesizer
from graphs import DialogueGraph, collate
from library_builder.atomic import whole_file
from library_builder.types import QUERY_MODALITIES, Modality
from retrieval import Hit

from .asking import Enquiry
from .settings import Progress, Values

BATCH = 100
LINES, HITS, ATTENTION = "lines.json", "hits.json", "attention.npz"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a director makes of a line.

    Attributes:
        felt: what it should feel.
        shares: of the taxonomy, by name.
    """

    felt: str
    shares: Mapping[str, float]

    @property
    def judged(self) -> str:
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def log_loss(self) -> float:
        """Nats by which the right feeling was doubted."""
        return -math.log(max(self.shares[self.felt], 1e-12))


def chosen_cases(enquiry: Enquiry, values: Values) -> list[int]:
    """The lines of a cell: those that should feel something, up to its limit.

    Raises:
        ValueError: there are none.
    """
    limit = int(values["limit"]) or None
    rows = [i for i, case in enumerate(enquiry.cases.cases) if case.emotion is not None][:limit]
    if not rows:
        raise ValueError(f"expected a set whose lines say what they feel, got {enquiry.cases.content.name}")
    return rows


@torch.inference_mode()
def answer(
    model: Synthesizer, enquiry: Enquiry, values: Values, folder: Path, *, progress: Progress | None = None
) -> list[Measured]:
    """Ask a director about every line; the answers, the hits and the attention are written into `folder`.

    Raises:
        ValueError: a vector lives in another space than the model's, or a feeling is none of its taxonomy.
    """
    names, spaces = model.config.emotions, model.config.spaces
    answers: dict[str, Answer] = {}
    hits: dict[str, dict[str, list[tuple[str, float]]]] = {}
    attention = Attended(model, int(values["retrieval.k"]))
    rows = chosen_cases(enquiry, values)
    for first in range(0, len(rows), BATCH):
        if progress is not None:
            progress("lines", first, len(rows))
        some = rows[first : first + BATCH]
        found = {i: enquiry.hits(i, values) for i in some}
        graph = collate([line_graph(enquiry.own(i, values), found[i], spaces) for i in some])
        shares = model.director(model.graph(graph)).float().softmax(1).numpy()
        attention.add(graph)
        for i, row in zip(some, shares, strict=True):
            case = enquiry.cases.cases[i]
            if case.emotion not in names:
                raise ValueError(f"case {case.id}: expected one of {', '.join(names)}, got {case.emotion}")
            answers[case.id] = Answer(case.emotion, dict(zip(names, map(float, row), strict=True)))
            hits[case.id] = told_hits(found[i])
    write_json(folder / LINES, {id: _told(one) for id, one in answers.items()})
    write_json(folder / HITS, hits)
    attention.write(folder / ATTENTION, [enquiry.cases.cases[i].id for i in rows])
    return measured(answers)


def measured(answers: Mapping[str, Answer]) -> list[Measured]:
    """Balanced accuracy and log loss, with a row per line."""
    felt = [one.felt for one in answers.values()]
    baseline = constant_baseline(felt)
    note = f"One answer to all lines would score {baseline.balanced:.3f} balanced, {baseline.plain:.3f} plain."
    classes = tuple(dict.fromkeys(felt))
    right = {id: Row((float(one.judged == one.felt),), one.felt) for id, one in answers.items()}
    doubt = {id: Row((one.log_loss,), one.felt) for id, one in answers.items()}
    return [
        Measured("judged", "Director, balanced accuracy", "share", "higher", "balanced", right, {}, note, classes),
        Measured("log_loss", "Director, log loss", "nats", "lower", "mean", doubt, {}, "", classes),
    ]


def told_hits(hits: Mapping[Modality, Sequence[Hit]]) -> dict[str, list[tuple[str, float]]]:
    """Ids and scores per modality, for JSON."""
    return {m: [(hit.clip.id, round(hit.score, 6)) for hit in found] for m, found in hits.items()}


def _told(one: Answer) -> dict[str, Any]:
    shares = {name: round(share, 6) for name, share in one.shares.items()}
    return {"felt": one.felt, "judged": one.judged, "log_loss": round(one.log_loss, 6), "shares": shares}


def write_json(path: Path, values: object) -> None:
    """Plain values, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


class Attended:
    """The attention of a cell's graphs, gathered over batches.

    `write` gives per stage `<stage>_edges` (edges, 4): line, source node, target node, relation; `<stage>_spread`
    (edges, heads) and `<stage>_join` (edges, 1). Nodes are numbered as `graphs.dialogue` lays them, by `k`.
    """

    def __init__(self, model: Synthesizer, k: int) -> None:
        self._model, self._k, self._lines = model, k, 0
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, graph: DialogueGraph) -> None:
        """The next lines."""
        for stage, one in self._model.graph.attention(graph).items():
            nodes = graph.mask(stage).shape[1]
            source, target = one.edges.index.numpy()
            ends = [_numbered(side % nodes, graph.k, self._k) for side in (source, target)]
            edges = np.stack([self._lines + source // nodes, *ends, one.edges.relation.numpy()], 1).astype(np.int16)
            for name, part in (("edges", edges), ("spread", one.spread.numpy()), ("join", one.join.numpy())):
                kept = part if name == "edges" else part.astype(np.float16)
                self._parts.setdefault(f"{stage}_{name}", []).append(kept)
        self._lines += graph.lines

    def write(self, path: Path, ids: Sequence[str]) -> None:
        arrays = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        with whole_file(path) as temporary:
            np.savez_compressed(temporary, lines=np.array(ids), k=np.array(self._k), **arrays)  # type: ignore[arg-type]


def _numbered(nodes: npt.NDArray[np.int64], found: int, k: int) -> npt.NDArray[np.int64]:
    """Nodes of a batch that found fewer than `k` references, as if it had room for all."""
    queries = len(QUERY_MODALITIES)
    slot = nodes - queries
    row, rank = slot // max(found, 1), slot % max(found, 1)
    return np.where(nodes < queries, nodes, queries + row * k + rank)
