"""Readers under writers: processes that search while versions are published and old ones collected.

    python recipes/library_readers.py [--readers 8] [--versions 20] [--json]

Every clip says which version it was written for, so an answer mixed of two would show. Readers open the library anew
every few searches and keep an earlier opening until its version is gone from the disk; each answer is compared with the
one that its version has.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path

import numpy as np

from library_builder.types import QUERY_MODALITIES, Clip, Emotion
from retrieval.editing import commit
from retrieval.library import Library
from retrieval.upkeep import gc, verify
from retrieval.versions import version_names

WIDTH, K, QUERIES = 64, 3, 8


@dataclass(frozen=True, slots=True)
class Reads:
    """What the readers met.

    Attributes:
        answers: that were compared.
        versions_read: different ones, by all readers.
        outlived: answers of a version whose folder was gone.
        errors: what went wrong, each with its number; none is the aim.
        torn: answers that mixed two versions, or were not those of theirs.
    """

    readers: int
    versions: int
    answers: int
    versions_read: int
    outlived: int
    errors: dict[str, int]
    torn: int


def make_clips(version: int, count: int) -> Iterator[Clip]:
    """The clips of one version; film and licence say which."""
    vectors = np.random.default_rng(version).standard_normal((count, len(QUERY_MODALITIES), WIDTH))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    for i, rows in enumerate(vectors):
        emotions = {m: Emotion(f"read/{WIDTH}", row) for m, row in zip(QUERY_MODALITIES, rows, strict=True)}
        yield Clip(f"clip-{i:05d}", "film.mkv", i, i + 1, "anna", f"line {i}", f"version {version}", emotions=emotions)


def questions() -> list[dict[str, Emotion]]:
    vectors = np.random.default_rng(-1 % 2**32).standard_normal((QUERIES, len(QUERY_MODALITIES), WIDTH))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return [{m: Emotion(f"read/{WIDTH}", v) for m, v in zip(QUERY_MODALITIES, rows, strict=True)} for rows in vectors]


def expected(version: int, count: int) -> list[dict[str, list[str]]]:
    """Ids of the nearest, by one matrix product and a sort."""
    clips = list(make_clips(version, count))
    matrices = {m: np.stack([clip.emotions[m].vector for clip in clips]).astype(np.float64) for m in QUERY_MODALITIES}
    answers = []
    for query in questions():
        answer = {}
        for modality, matrix in matrices.items():
            scores = matrix @ query[modality].vector.astype(np.float64)
            answer[str(modality)] = [clips[row].id for row in np.argsort(-scores, kind="stable")[:K]]
        answers.append(answer)
    return answers


def read(
    root: Path,
    count: int,
    versions: int,
    ready: Semaphore,
    stop: Event,
    report: multiprocessing.SimpleQueue[dict[str, object]],
) -> None:
    """Ask again and again until told to stop."""
    hands = {f"version {n}": expected(n, count) for n in range(versions + 1)}
    asked = questions()
    errors: Counter[str] = Counter()
    seen: set[str] = set()
    answers = torn = outlived = turn = 0
    older: Library | None = None
    ready.release()
    while not stop.is_set():
        turn += 1
        try:
            library = Library.open(root, verify=turn % 4 == 0)
            for one in (library, older):
                if one is None:
                    continue
                gone = not (root / one.version).exists()
                found = one.top_k_many(asked, K)
                films = {hit.clip.film for answer in found for hits in answer.hits.values() for hit in hits}
                ids = [{str(m): [hit.clip.id for hit in hits] for m, hits in answer.hits.items()} for answer in found]
                torn += len(films) != 1 or ids != hands[next(iter(films))]
                answers += len(found)
                outlived += len(found) * gone
                seen |= films
            if older is None or (not (root / older.version).exists() and turn % 7 == 0):
                older = library
        except Exception as error:  # whatever it is, it is what this counts
            errors[f"{type(error).__name__}: {error}"] += 1
    report.put({"answers": answers, "torn": torn, "outlived": outlived, "errors": dict(errors), "seen": sorted(seen)})


def measure(readers: int, versions: int, count: int, pause: float) -> Reads:
    """Publish and collect while readers read."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        root, stop, report = Path(folder), context.Event(), context.SimpleQueue()
        commit(root, make_clips(0, count))
        ready = context.Semaphore(0)
        task = root, count, versions, ready, stop, report
        processes = [context.Process(target=read, args=task) for _ in range(readers)]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        time.sleep(pause)
        for version in range(1, versions + 1):
            commit(root, make_clips(version, count))
            gc(root, keep=1)
            time.sleep(pause)
        stop.set()
        told = [report.get() for _ in processes]
        for process in processes:
            process.join()
        assert len(version_names(root)) == 1 and not verify(root)
    errors: Counter[str] = Counter()
    for one in told:
        errors.update(one["errors"])
    return Reads(
        readers=readers,
        versions=versions,
        answers=sum(one["answers"] for one in told),
        versions_read=len({film for one in told for film in one["seen"]}),
        outlived=sum(one["outlived"] for one in told),
        errors=dict(errors),
        torn=sum(one["torn"] for one in told),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--clips", type=int, default=2000, help="of each version")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between publications")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    reads = measure(options.readers, options.versions, options.clips, options.pause)
    if options.json:
        print(json.dumps(asdict(reads), indent=2))
    else:
        for name, value in asdict(reads).items():
            print(f"{name:14} {value}")
    if reads.errors or reads.torn or not reads.answers:
        sys.exit("readers were disturbed")


if __name__ == "__main__":
    main()
