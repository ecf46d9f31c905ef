"""Run a study: teach what must be taught, answer every cell, and leave nothing half done.

OUT/models/<training>/           graph and director of each training, shared by all studies in OUT
OUT/features/                    rankings, and variants of corpus and set
OUT/<study>/study.json           what was asked
OUT/<study>/runs/<cell>/         settings.json, lines.json, hits.json, attention.npz; where lines are spoken run.json,
                                 takes/ and scores/; scores.json; done.json, which is written last
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from authentic_dubber.evaluation.measured import Measured
from authentic_dubber.evaluation.scoring import write_scores
from authentic_dubber.evaluation.sets import EvaluationSet
from authentic_dubber.training.cache import Cache

from .answering import answer, write_json
from .asking import Enquiry
from .features import set_of
from .models import Workshop
from .settings import Progress, SettingError, Study, Values, cell_name, training_of
from .speaking import Booth

STUDY, SETTINGS, SCORES, DONE, RUNS = "study.json", "settings.json", "scores.json", "done.json", "runs"


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything cells share besides their settings.

    Attributes:
        cases: folder of the evaluation set.
        study: name of the study, and of its folder.
    """

    workshop: Workshop
    cases: Path
    study: str

    @property
    def folder(self) -> Path:
        return self.workshop.folder / self.study

    def cell(self, values: Values) -> Path:
        """Folder of a cell."""
        return self.folder / RUNS / cell_name(values)


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of a sweep.

    Attributes:
        cells: in all; `kept` were there already.
        taught: models that were taught now.
        failed: why a cell has no answer, by its name.
    """

    cells: int
    kept: int
    taught: int
    failed: Mapping[str, str]


def sweep(study: Study, bench: Bench, *, jobs: int = 1, progress: Progress | None = None) -> Swept:
    """Answer every cell of a study; what an interrupted sweep left is gone on with.

    Args:
        jobs: processes that teach and answer at once.

    Raises:
        FileNotFoundError: corpus, set or checkpoint are not there.
        SettingError: the study has no cell, a cell's settings contradict each other, or the folder holds cells of
            another set or corpus.
    """
    if jobs < 1:
        raise SettingError(f"expected one job or more, got {jobs}")
    cells = study.resolved()
    if not cells:
        raise SettingError(f"study {study.name}: expected a cell at least, got none")
    places = _checked(bench, cells)
    bench.folder.mkdir(parents=True, exist_ok=True)
    write_json(bench.folder / STUDY, _told(study))
    todo = [values for values in cells if not finished(bench.cell(values))]
    missing = {place: values for values, place in zip(cells, places, strict=True) if not place.is_dir()}
    failed: dict[str, str] = {}
    # Variants first and one by one: several trainings may want the same.
    for features in sorted({str(values["features"]) for values in cells}):
        prepare_features(bench, features)
    with _workers(jobs) as pool:
        for values, error in _each(pool, teach, bench, list(missing.values()), "models", progress):
            failed |= {cell_name(v): error for v in todo if training_of(v) == training_of(values)}
        ready = [values for values in todo if cell_name(values) not in failed]
        failed |= {cell_name(v): e for v, e in _each(pool, run_cell, bench, ready, "cells", progress)}
    return Swept(len(cells), len(cells) - len(todo), len(missing), failed)


def finished(folder: Path) -> bool:
    """Whether a cell has its answer."""
    return (folder / DONE).is_file()


def _checked(bench: Bench, cells: Sequence[Values]) -> list[Path]:
    """Where each cell's model is; all that can be refused is refused before the first is taught."""
    from authentic_dubber.checkpoint import load_acoustic, packaged_checkpoint

    from .models import varied_config

    Cache(bench.workshop.corpus)
    digest = EvaluationSet.open(bench.cases).digest
    config = load_acoustic((bench.workshop.checkpoint or packaged_checkpoint()) / "acoustic").config
    places: dict[str, Path] = {}
    for values in cells:
        key = json.dumps(training_of(values), sort_keys=True)
        if key not in places:
            varied_config(config, values)
            places[key] = bench.workshop.place(values)
        path = bench.cell(values) / SETTINGS
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            for name, now in (("set", digest), ("model", places[key].name)):
                if before[name] != now:
                    raise SettingError(
                        f"{path.parent}: expected the cell of {name} {before[name]} that is there, got {now}; "
                        "choose another folder"
                    )
    return [places[json.dumps(training_of(values), sort_keys=True)] for values in cells]


def _told(study: Study) -> dict[str, Any]:
    return {
        "name": study.name,
        "question": study.question,
        "fixed": dict(study.fixed),
        "grid": {key: list(values) for key, values in study.grid.items()},
        "cells": [dict(cell) for cell in study.cells],
        "baseline": dict(study.baseline),
    }


@contextmanager
def _workers(jobs: int) -> Iterator[Executor | None]:
    """Processes that hold one thread each, or None for one job, which is done here.

    An interrupt lets none begin another cell.
    """
    if jobs == 1:
        yield None
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _each(
    pool: Executor | None,
    work: Callable[[Bench, Values], None],
    bench: Bench,
    cells: Sequence[Values],
    what: str,
    progress: Progress | None,
) -> Iterator[tuple[Values, str]]:
    """Do the same for cells; yields those that failed for a reason of their own, with the reason."""
    waiting = {} if pool is None else {pool.submit(work, bench, values): values for values in cells}
    calls: Iterable[tuple[Values, Callable[[], None]]] = (
        ((values, partial(work, bench, values)) for values in cells)
        if pool is None
        else ((waiting[one], one.result) for one in as_completed(waiting))
    )
    for done, (values, call) in enumerate(calls, start=1):
        try:
            call()
        except (ValueError, FileNotFoundError) as error:
            yield values, " ".join(str(error).split())
        if progress is not None:
            progress(what, done, len(cells))


def prepare_features(bench: Bench, features: str) -> None:
    """Make the variants of corpus and set that a cell needs."""
    from .features import corpus_of

    corpus_of(features, bench.workshop.corpus, bench.workshop.features)
    set_of(features, bench.cases, bench.workshop.features)


def teach(bench: Bench, values: Values) -> None:
    """Teach the model of a cell."""
    bench.workshop.model(values)


def run_cell(bench: Bench, values: Values) -> None:
    """Answer one cell; its done-marker is written last."""
    began, folder = time.monotonic(), bench.cell(values)
    folder.mkdir(parents=True, exist_ok=True)
    enquiry = _enquiry(bench, str(values["features"]))
    place = bench.workshop.place(values)
    write_json(folder / SETTINGS, _settings(bench, values, enquiry, place))
    model = bench.workshop.model(values)
    found = answer(model, enquiry, values, folder)
    if values["outcome"] == "voice":
        booth = _booth(bench.workshop.checkpoint, bench.workshop.corpus)
        found = [*booth.speak(model, place.name, enquiry, values, folder, None), *found]
    write_scores(folder / SCORES, place.name, _of_note(found))
    write_json(folder / DONE, {"seconds": round(time.monotonic() - began, 2)})


def _settings(bench: Bench, values: Values, enquiry: Enquiry, place: Path) -> dict[str, Any]:
    return {
        "settings": dict(values),
        "set": EvaluationSet.open(bench.cases).digest,
        "set_name": enquiry.cases.content.name,
        "libraries": enquiry.libraries,
        "model": place.name,
        "engine": version("authentic-dubber"),
        "clusters": {case.id: case.group or case.id for case in enquiry.cases.cases},
    }


def _of_note(found: Sequence[Measured]) -> list[Measured]:
    """What a study compares: macro F1 tells what balanced accuracy does."""
    return [one for one in found if one.statistic in ("balanced", "mean")]


@lru_cache(maxsize=4)
def _enquiry(bench: Bench, features: str) -> Enquiry:
    cases = EvaluationSet.open(set_of(features, bench.cases, bench.workshop.features))
    return Enquiry(cases, bench.workshop.features)


@lru_cache(maxsize=1)
def _booth(checkpoint: Path | None, corpus: Path) -> Booth:
    return Booth.open(checkpoint, corpus)
