"""Speak a set, measure it, and write down what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authentic_dubber.dubber import Dubber
from authentic_dubber.training.cache import Cache

from .conditions import Listening
from .manner import CONDITIONS, Condition, Manner, check_names
from .page import write_page
from .recordings import Progress
from .runs import Run
from .scoring import all_scores, score
from .sets import EvaluationSet
from .speak import speak_set
from .suite import Suite
from .table import Figure, figures, run_facts, write_clips, write_table


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of an evaluation.

    Attributes:
        facts: of the run, as in `scores.json`.
        table: every cell, by condition and measure.
        missing: cases without a take, of those that were asked for.
    """

    run: Run
    facts: Mapping[str, Any]
    table: Mapping[Condition, Mapping[str, Figure]]
    page: Path
    missing: int


def evaluate(
    folder: Path,
    cases: EvaluationSet,
    dubber: Dubber,
    manner: Manner,
    *,
    corpus: Cache | None = None,
    models: Path | None = None,
    measures: Sequence[str] = (),
    conditions: Sequence[str] = (),
    limit: int | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Speak and judge a set; what an interrupted evaluation of the same kind left is gone on with.

    Args:
        corpus: recordings for measures that learn from some; see `suite`.
        models: folder of published listeners; see `suite`.
        measures: families by name; all that apply by default.
        conditions: see `conditions`; takes, and recordings where the set has some, by default.
        limit: only the first so many cases.

    Raises:
        ValueError: a name is unknown, the folder holds another run, or nothing can be measured.
    """
    check_names(measures, conditions, limit)
    chosen = _conditions(cases, conditions)
    families = Suite(cases, corpus, models, dubber.speakers, progress).families(measures)
    run = speak_set(cases, folder, dubber, manner, limit=limit, progress=progress)
    listening = Listening(cases, folder, run, dubber, limit=limit)
    for condition in chosen:
        score(listening.heard(condition), families, folder, progress=progress)
    scores = all_scores(folder)
    facts, table = run_facts(run, len(cases.cases)), figures(scores)
    write_table(folder, facts, table)
    write_clips(folder, scores)
    page = write_page(folder, cases, run, facts, scores, table)
    return Evaluated(run, facts, table, page, sum(case.id not in run.takes for case in cases.cases[:limit]))


def _conditions(cases: EvaluationSet, asked: Sequence[str]) -> list[Condition]:
    recorded = any(case.reference is not None for case in cases.cases)
    if not asked:
        return ["takes", "recordings"] if recorded else ["takes"]
    if not recorded and set(asked) != {"takes"}:
        raise ValueError(
            f"set {cases.content.name} has no recordings, so only takes can be judged, got {', '.join(asked)}"
        )
    for condition, kinds in (
        ("wrong-text", {c.text for c in cases.cases}),
        ("wrong-speaker", {c.voice for c in cases.cases}),
    ):
        if condition in asked and len(kinds) < 2:
            raise ValueError(f"{condition}: expected a set with two to confuse, got {cases.content.name} with one")
    return [condition for condition in CONDITIONS if condition in asked]
