"""Retrieval beside exact NumPy: largest score difference, answers that differ, and the time of one query.

    python recipes/retrieval_parity.py --clips 10000 --json

Clips are made here: random unit vectors, half of them copied from another clip, one copied often enough to straddle any
boundary. Queries are made from clips, leave them and their line out, and take turns among scopes and metrics.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when FAISS and BLAS are loaded: time is that of one thread

import numpy as np
import numpy.typing as npt

from library_builder.types import QUERY_MODALITIES, Clip, Emotion, Modality
from retrieval.index import METRICS, Metric
from retrieval.library import SCOPES, Library, Scope, commit

SPEAKERS = ("anna", "ben", "cleo", "dan", "eve")


@dataclass(frozen=True, slots=True)
class Parity:
    """What was measured.

    Attributes:
        max_score_difference: against NumPy in float64, rank by rank; at most 1e-6 is expected.
        different_answers: rankings in which another clip stands, or another number of clips; 0 is expected.
        rankings: queries times modalities.
        ms_per_query: milliseconds of `top_k`, mean and 95th percentile, three modalities, one thread, records read.
    """

    clips: int
    width: int
    k: int
    queries: int
    rankings: int
    max_score_difference: float
    different_answers: int
    commit_seconds: float
    open_seconds: float
    ms_per_query: float
    ms_per_query_p95: float


def make_vectors(count: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Unit vectors, shape (N, D): half fresh, half copies, and a hundredth all the same."""
    vectors = rng.standard_normal((count, width))
    vectors[count // 2 :] = vectors[rng.integers(count // 2, size=count - count // 2)]
    vectors[rng.permutation(count)[: max(1, count // 100)]] = vectors[0]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_clips(count: int, width: int, rng: np.random.Generator) -> Iterator[Clip]:
    """Clips of five speakers who say one of N / 20 lines each."""
    spaces = {modality: make_vectors(count, width, rng) for modality in QUERY_MODALITIES}
    lines = rng.integers(max(1, count // 20), size=count)
    for row, line in enumerate(lines):
        emotions = {modality: Emotion(f"parity/{width}", vectors[row]) for modality, vectors in spaces.items()}
        speaker = SPEAKERS[row % len(SPEAKERS)]
        yield Clip(f"clip-{row:06d}", "made.mkv", row, row + 1, speaker, f"line {line}", emotions=emotions)


class Exact:
    """The same question answered by one matrix product in float64 and a sort."""

    def __init__(self, clips: list[Clip]) -> None:
        self.clips = clips
        self.vectors = {
            modality: np.stack([clip.emotions[modality].vector for clip in clips]).astype(np.float64)
            for modality in QUERY_MODALITIES
        }

    def top_k(
        self, asking: Clip, modality: Modality, k: int, scope: Scope, metric: Metric
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        vectors, query = self.vectors[modality], asking.emotions[modality].vector.astype(np.float64)
        scores = -np.linalg.norm(vectors - query, axis=1) if metric == "euclidean" else vectors @ query
        rows = [row for row, clip in enumerate(self.clips) if _may_answer(clip, asking, scope)]
        # A matrix product scores copies differently in the last bits; 12 decimals make them equal again.
        rows.sort(key=lambda row: (-round(float(scores[row]), 12), self.clips[row].id))
        return [self.clips[row].id for row in rows[:k]], scores[rows[:k]]


def _may_answer(clip: Clip, asking: Clip, scope: Scope) -> bool:
    same = clip.speaker == asking.speaker
    return not (same and clip.text == asking.text) and scope in ("any", "same" if same else "other")


def measure(count: int, width: int, k: int, queries: int, seed: int) -> Parity:
    """Commit, open, and ask `queries` times; every answer is compared."""
    rng = np.random.default_rng(seed)
    clips = list(make_clips(count, width, rng))
    exact, times, worst, different = Exact(clips), [], 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        commit(Path(folder), clips, source={"made": "retrieval_parity", "seed": seed})
        committed = time.perf_counter()
        library = Library.open(Path(folder))
        opened = time.perf_counter()
        for turn, row in enumerate(rng.integers(count, size=queries)):
            asking, scope, metric = clips[row], SCOPES[turn % len(SCOPES)], METRICS[turn // 3 % len(METRICS)]
            left = Library.leave_out(asking)
            begun = time.perf_counter()
            policy = replace(left, scope=scope, speaker=asking.speaker, repeat_text=True)
            answer = library.top_k(asking.emotions, k, policy=policy, metric=metric)
            times.append(1e3 * (time.perf_counter() - begun))
            for modality, hits in answer.hits.items():
                ids, scores = exact.top_k(asking, modality, k, scope, metric)
                different += ids != [hit.clip.id for hit in hits]
                gaps = [abs(hit.score - score) for hit, score in zip(hits, scores, strict=False)]
                worst = max([worst, *gaps])
        del library, answer  # closes the files before their folder goes
    return Parity(
        clips=count,
        width=width,
        k=k,
        queries=queries,
        rankings=queries * len(QUERY_MODALITIES),
        max_score_difference=float(worst),
        different_answers=different,
        commit_seconds=round(committed - started, 3),
        open_seconds=round(opened - committed, 3),
        ms_per_query=round(float(np.mean(times)), 3),
        ms_per_query_p95=round(float(np.percentile(times, 95)), 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--queries", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if min(options.clips, options.width, options.k, options.queries) < 1 or options.clips < 2:
        parser.error("expected at least 2 clips, and width, k and queries of at least 1")
    parity = measure(options.clips, options.width, options.k, options.queries, options.seed)
    if options.json:
        print(json.dumps(asdict(parity), indent=2))
    else:
        for name, value in asdict(parity).items():
            print(f"{name:22} {value}")
    if parity.max_score_difference > 1e-6 or parity.different_answers:
        raise SystemExit("retrieval differs from NumPy")


if __name__ == "__main__":
    main()
