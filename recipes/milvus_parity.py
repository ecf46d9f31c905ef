"""A library on a Milvus server beside the library itself: answers that differ, and the time of one query in both.

    python recipes/milvus_parity.py --clips 10000 --json

Clips are made here: vectors gather around a few feelings, a third are copies of others, some clips lack a modality,
names and texts repeat. Queries come from clips, each under a policy drawn at random from all a policy can say. Without
`--uri` the embedded server (milvus-lite) is used, over a file that is thrown away.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when FAISS and BLAS are loaded: time is that of one thread

import numpy as np

from library_builder.types import MODALITIES, QUERY_MODALITIES, Clip, Emotion, Modality
from retrieval.library import Library, Retrieved, commit
from retrieval.milvus import MilvusLibrary
from retrieval.policy import Policy

SPEAKERS = ("anna", "ben", 'cleo "the cat"', "Dorota Żak", "")
FILMS = ("lantern", "harbour", "film's end", "")
LICENCES = ("CC0-1.0", "CC BY 4.0", "ours", None)


@dataclass(frozen=True, slots=True)
class Parity:
    """What was measured.

    Attributes:
        rankings: queries times modalities, asked one by one; and as many again in batches.
        different_answers: rankings in which another clip stands, or another number of clips; 0 is expected.
        different_records: hits whose clip is not equal to the last bit; 0 is expected.
        max_score_difference: rank by rank; at most 1e-12 is expected.
        empty_rankings: without a hit in both; many would make parity cheap.
        library_ms, milvus_ms: milliseconds per query, mean and 95th percentile, three modalities, records read.
        library_batch_ms, milvus_batch_ms: the same per query in batches of 64.
    """

    clips: int
    width: int
    k: int
    queries: int
    rankings: int
    different_answers: int
    different_records: int
    max_score_difference: float
    empty_rankings: int
    commit_seconds: float
    load_seconds: float
    library_ms: tuple[float, float]
    milvus_ms: tuple[float, float]
    library_batch_ms: float
    milvus_batch_ms: float


def make_clips(count: int, width: int, seed: int) -> list[Clip]:
    """Clips with copies, ties, gaps and repeated names, in no order."""
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    centres = rng.standard_normal((12, len(MODALITIES), width))
    vectors = centres[rng.integers(12, size=count)] + 0.7 * rng.standard_normal((count, len(MODALITIES), width))
    vectors[: count // 3] = vectors[rng.integers(count // 3, count, size=count // 3)]
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    clips = []
    for row in rng.permutation(count).tolist():
        has = [m for m in MODALITIES if draw.random() < 0.9] or ["scene"]
        emotions = {m: Emotion(f"made-{m}/{width}", vectors[row, MODALITIES.index(m)]) for m in has}
        text = draw.choice(["", f"Line  {draw.randrange(count)}", f"line {draw.randrange(1 + count // 20)}"])
        speaker, film, licence = draw.choice(SPEAKERS), draw.choice(FILMS), draw.choice(LICENCES)
        id = f"clip-{row:06d}{draw.choice(['', ' ü', chr(34)])}"
        clip = Clip(id, "made.mkv", row, row + 1.5, speaker, text, film, {"scene": "dark"}, emotions, licence=licence)
        clips.append(clip)
    return clips


def make_policy(clips: Sequence[Clip], asking: Clip, draw: random.Random) -> Policy:
    """A policy that says a few of the things a policy can say."""

    def perhaps(chance: float = 0.25) -> bool:
        return draw.random() < chance

    some = [clip.id for clip in draw.sample(clips, 12)]
    groups = {(clip.speaker, clip.text) for clip in draw.sample(clips, 5)} | {(asking.speaker, asking.text)}
    licences = {draw.choice(LICENCES) or "" for _ in range(2)} if perhaps() else None
    weights = {m: draw.choice([0.0, 0.5, 1.0, 2.0]) for m in QUERY_MODALITIES} if perhaps() else None
    if weights is not None and not any(weights[m] for m in QUERY_MODALITIES if m in asking.emotions):
        weights = dict.fromkeys(QUERY_MODALITIES, 1.0)
    pins = [clip.id for clip in clips[:2000] if licences is None or (clip.licence or "") in licences]
    return Policy(
        scope=draw.choice(["any", "any", "same", "other"]),
        speaker=draw.choice(SPEAKERS[:4]),
        film_scope=draw.choice(["any", "any", "same", "other"]),
        film=draw.choice(FILMS[:3]),
        licences=licences,
        without={asking.id, *some[:6]} if perhaps(0.7) else (),
        without_groups=groups if perhaps(0.5) else (),
        pinned=set(draw.sample(pins, min(2, len(pins)))) - {asking.id, *some} if perhaps() else (),
        weights=weights,
        minimum=draw.choice([0.3, 0.6]) if perhaps() else None,
        repeat_text=perhaps(0.5),
        distinct=perhaps(),
    )


def question(asking: Clip) -> dict[Modality, Emotion]:
    """What a clip asks with: its picture, its face and its words, as far as it has them."""
    found = {m: asking.emotions[m] for m in QUERY_MODALITIES if m in asking.emotions}
    return found or {"audio": asking.emotions["audio"]}


def differences(one: Retrieved, other: Retrieved) -> tuple[int, int, int, float]:
    """Rankings that differ, records that differ, empty rankings, and the largest difference of scores."""
    rankings, records, empty, worst = 0, 0, 0, 0.0
    for modality, hits in one.hits.items():
        others = other.hits[modality]
        rankings += [hit.clip.id for hit in hits] != [hit.clip.id for hit in others]
        empty += not hits and not others
        for a, b in zip(hits, others, strict=False):
            worst = max(worst, abs(a.score - b.score))
            records += a.clip.id == b.clip.id and not equal(a.clip, b.clip)
    return rankings, records, empty, worst


def equal(one: Clip, other: Clip) -> bool:
    """Whether two clips are the same, vectors to the last bit."""
    if one.record() != other.record() or set(one.emotions) != set(other.emotions):
        return False
    return all(
        e.space == other.emotions[m].space and np.array_equal(e.vector, other.emotions[m].vector)
        for m, e in one.emotions.items()
    )


def timed(ask: Callable[[], Retrieved], times: list[float]) -> Retrieved:
    begun = time.perf_counter()
    answer = ask()
    times.append(1e3 * (time.perf_counter() - begun))
    return answer


def measure(count: int, width: int, k: int, queries: int, seed: int, uri: str | None, folder: Path) -> Parity:
    """Commit, load, and ask both `queries` times, one by one and in batches."""
    draw, clips = random.Random(seed), make_clips(count, width, seed)
    begun = time.perf_counter()
    commit(folder / "library", clips, source={"made": "milvus_parity", "seed": seed})
    library, committed = Library.open(folder / "library"), time.perf_counter()
    remote = MilvusLibrary.load(library, uri or folder / "library.db", collection="parity")
    loaded = time.perf_counter()
    asking = draw.sample(clips, queries)
    asks, policies = [question(clip) for clip in asking], [make_policy(clips, clip, draw) for clip in asking]
    own: list[float] = []
    theirs: list[float] = []
    found = []
    for query, policy in zip(asks, policies, strict=True):
        one = timed(lambda query=query, policy=policy: library.top_k(query, k, policy=policy), own)
        other = timed(lambda query=query, policy=policy: remote.top_k(query, k, policy=policy), theirs)
        found.append(differences(one, other))
    whole = [0.0, 0.0]
    for start in range(0, queries, 64):
        some = slice(start, start + 64)
        several = []
        for place, one in enumerate((library, remote)):
            started = time.perf_counter()
            several.append(one.top_k_many(asks[some], k, policies=policies[some]))
            whole[place] += 1e3 * (time.perf_counter() - started)
        found += [differences(a, b) for a, b in zip(*several, strict=True)]
    remote.close()
    rankings, records, empty, worst = zip(*found, strict=True)
    return Parity(
        clips=count,
        width=width,
        k=k,
        queries=queries,
        rankings=sum(map(len, asks)),
        different_answers=sum(rankings),
        different_records=sum(records),
        max_score_difference=max(worst),
        empty_rankings=sum(empty) // 2,
        commit_seconds=round(committed - begun, 2),
        load_seconds=round(loaded - committed, 2),
        library_ms=(round(float(np.mean(own)), 2), round(float(np.percentile(own, 95)), 2)),
        milvus_ms=(round(float(np.mean(theirs)), 2), round(float(np.percentile(theirs, 95)), 2)),
        library_batch_ms=round(whole[0] / queries, 2),
        milvus_batch_ms=round(whole[1] / queries, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--uri", help="a Milvus server, http://HOST:PORT; by default the embedded one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if min(options.width, options.k, options.queries) < 1 or options.clips < max(100, options.queries):
        parser.error("expected at least 100 clips, as many as queries, and width, k and queries of at least 1")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        parity = measure(
            options.clips, options.width, options.k, options.queries, options.seed, options.uri, Path(folder)
        )
    if options.json:
        print(json.dumps(asdict(parity), indent=2))
    else:
        for name, value in asdict(parity).items():
            print(f"{name:22} {value}")
    if parity.different_answers or parity.different_records or parity.max_score_difference > 1e-12:
        raise SystemExit("Milvus differs from the library")


if __name__ == "__main__":
    main()
