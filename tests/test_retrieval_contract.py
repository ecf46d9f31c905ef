"""One contract for a library on disk and one on a Milvus server: every policy, against the plainest reading of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from library_builder.types import MODALITIES, QUERY_MODALITIES, Clip, Emotion
from recipes.milvus_parity import equal, make_clips, make_policy, question
from retrieval.library import Library, SpaceMismatch, commit
from retrieval.milvus import MilvusLibrary
from retrieval.policy import Policy, leave_out, spoken

CLIPS = make_clips(160, 6, seed=3)
Ranked = list[tuple[str, float]]
needs_milvus = pytest.mark.skipif(
    find_spec("pymilvus") is None or find_spec("milvus_lite") is None,
    reason="pymilvus and milvus-lite are not installed",
)


@pytest.fixture(scope="module", params=["disk", pytest.param("milvus", marks=needs_milvus)])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library | MilvusLibrary:
    root = tmp_path_factory.mktemp(request.param)
    commit(root / "library", CLIPS)
    opened = Library.open(root / "library")
    return opened if request.param == "disk" else MilvusLibrary.load(opened, root / "served.db")


# The oracle: no index, no rows, no numbers for names; `fsum` rounds once, so equal vectors score equally.


def cosine(one: Emotion, other: Emotion) -> float:
    return math.fsum(a * b for a, b in zip(one.vector.tolist(), other.vector.tolist(), strict=True))


def may_come(clip: Clip, policy: Policy) -> bool:
    for scope, wanted, has in (
        (policy.scope, policy.speaker, clip.speaker),
        (policy.film_scope, policy.film, clip.film),
    ):
        if scope != "any" and (not has or (has == wanted) != (scope == "same")):
            return False
    if policy.licences is not None and (clip.licence or "") not in policy.licences:
        return False
    groups = {(speaker, spoken(text)) for speaker, text in policy.without_groups}
    return clip.id not in policy.without and (clip.speaker, spoken(clip.text)) not in groups


def score_of(clip: Clip, query: dict, modality: str, policy: Policy) -> float | None:
    """How a clip scores for a modality; None when it lacks that, or has nothing of weight."""
    if modality not in clip.emotions:
        return None
    if policy.weights is None:
        return cosine(query[modality], clip.emotions[modality])
    shared = [(policy.weights.get(m, 0), m) for m in query if m in clip.emotions and policy.weights.get(m, 0) > 0]
    total = sum(weight for weight, _ in shared)
    return sum(w * cosine(query[m], clip.emotions[m]) for w, m in shared) / total if shared else None


def claims(query: dict, policy: Policy) -> list[tuple[bool, float, int, str, Clip]]:
    """Whoever wants a place, in the order in which they are heard: pinned or not, minus the score, modality, id."""
    found = []
    for clip in CLIPS:
        pinned = clip.id in policy.pinned
        for modality in query:
            score = score_of(clip, query, modality, policy)
            if score is None or not (pinned or may_come(clip, policy)):
                continue
            if pinned or policy.minimum is None or score >= policy.minimum:
                # Copies score alike to the last bits only; twelve decimals make them equal.
                found.append((not pinned, -round(score, 12), MODALITIES.index(modality), clip.id, clip))
    return sorted(found, key=lambda claim: claim[:4])


def oracle(query: dict, k: int, policy: Policy) -> dict[str, Ranked]:
    places: dict[str, Ranked] = {m: [] for m in query}
    taken: set[str] = set()
    said: set[str] = set()
    for unpinned, minus, number, id, clip in claims(query, policy):
        modality, text = MODALITIES[number], spoken(clip.text)
        repeats = modality == "text" and not policy.repeat_text and unpinned and text in said
        if len(places[modality]) == k or repeats or (policy.distinct and id in taken):
            continue
        places[modality].append((id, -minus))
        taken.add(id)
        if modality == "text" and text:
            said.add(text)
    return places


def check(found, query: dict, k: int, policy: Policy) -> None:
    expected = oracle(query, k, policy)
    assert set(found.hits) == set(expected)
    known = {clip.id: clip for clip in CLIPS}
    for modality, hits in found.hits.items():
        assert [hit.clip.id for hit in hits] == [id for id, _ in expected[modality]], (modality, policy)
        # Sums of six products in float64 are good to 1e-15; the oracle's are rounded to 1e-12.
        np.testing.assert_allclose([hit.score for hit in hits], [s for _, s in expected[modality]], rtol=0, atol=2e-12)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert all(equal(hit.clip, known[hit.clip.id]) and hit.modality == modality for hit in hits)
        assert all(hit.audio == hit.clip.emotions.get("audio") for hit in hits if "audio" not in hit.clip.emotions)
        assert (len(hits) < k) == any(note.startswith(f"{modality}:") for note in found.notes)


@pytest.mark.parametrize("seed", range(20))
def test_any_policy_answers_as_it_reads(library: Library | MilvusLibrary, seed: int) -> None:
    draw = random.Random(seed)
    asking = draw.choice(CLIPS)
    policy, query, k = make_policy(CLIPS, asking, draw), question(asking), draw.choice([1, 3, 10])
    check(library.top_k(query, k, policy=policy), query, k, policy)


PLAIN: dict[str, Callable[[Clip], Policy]] = {
    "nothing": lambda clip: Policy(),
    "its speaker": lambda clip: Policy(scope="same", speaker="anna"),
    "other speakers, none unknown": lambda clip: Policy(scope="other", speaker='cleo "the cat"'),
    "a speaker nobody is": lambda clip: Policy(scope="same", speaker="nobody"),
    "its film": lambda clip: Policy(film_scope="same", film="film's end"),
    "other films": lambda clip: Policy(film_scope="other", film="lantern"),
    "two licences": lambda clip: Policy(licences={"CC0-1.0", "ours"}),
    "no licence named": lambda clip: Policy(licences={""}),
    "no licence at all": lambda clip: Policy(licences=()),
    "without itself and its line": leave_out,
    "without ids that are not there": lambda clip: Policy(without={"ghost", clip.id}),
    "a minimum": lambda clip: Policy(minimum=0.8),
    "a minimum none reach": lambda clip: Policy(minimum=1.5),
    "texts repeated": lambda clip: Policy(repeat_text=True),
    "each clip once": lambda clip: Policy(distinct=True),
    "weighted": lambda clip: Policy(weights={"scene": 1.0, "face": 2.0, "text": 0.5}),
    "weighted by one": lambda clip: Policy(weights={"text": 1.0}),
    "pinned from elsewhere": lambda clip: Policy(pinned=sorted(c.id for c in CLIPS)[:4], scope="same", speaker="ben"),
    "pinned, once, weighted": lambda clip: Policy(
        pinned=[clip.id], distinct=True, weights={"scene": 1.0, "text": 1.0}, minimum=0.2
    ),
}


@pytest.mark.parametrize("k", [3, 200])
@pytest.mark.parametrize("name", PLAIN)
def test_each_thing_a_policy_says(library: Library | MilvusLibrary, name: str, k: int) -> None:
    """200 is more than there are clips."""
    asking = next(clip for clip in CLIPS if len(clip.emotions) == len(MODALITIES))
    policy, query = PLAIN[name](asking), question(asking)
    check(library.top_k(query, k, policy=policy), query, k, policy)


def test_a_batch_answers_as_one_by_one(library: Library | MilvusLibrary) -> None:
    draw = random.Random(0)
    asking = draw.sample(CLIPS, 30)
    policies = [make_policy(CLIPS, clip, draw) if turn % 2 else Policy() for turn, clip in enumerate(asking)]
    found = library.top_k_many([question(clip) for clip in asking], 4, policies=policies)
    for clip, policy, one in zip(asking, policies, found, strict=True):
        check(one, question(clip), 4, policy)
    assert library.top_k_many([], 3) == []


def test_metrics_agree_on_the_order(library: Library | MilvusLibrary) -> None:
    asking = next(clip for clip in CLIPS if set(QUERY_MODALITIES) <= set(clip.emotions))
    query = question(asking)
    by = {metric: library.top_k(query, 5, metric=metric) for metric in ("cosine", "dot", "euclidean")}
    for modality in query:
        ids = {metric: [hit.clip.id for hit in found.hits[modality]] for metric, found in by.items()}
        assert ids["cosine"] == ids["dot"] == ids["euclidean"]
        for near, far in zip(by["cosine"].hits[modality], by["euclidean"].hits[modality], strict=True):
            # The root magnifies what float32 leaves of a unit length near distance zero.
            assert far.score == pytest.approx(-math.sqrt(max(0, 2 - 2 * near.score)), abs=1e-3)


def test_clips_come_back_whole_and_in_order(library: Library | MilvusLibrary) -> None:
    expected = sorted(CLIPS, key=lambda clip: clip.id)
    assert all(equal(a, b) for a, b in zip(library.clips(), expected, strict=True))
    assert len(library) == len(CLIPS)
    assert equal(library.clip(expected[7].id), expected[7])
    assert set(library.spaces) == set(MODALITIES)
    assert library.info()["modalities"] == {m: sum(m in clip.emotions for clip in CLIPS) for m in MODALITIES}


def test_what_cannot_be_asked_is_refused(library: Library | MilvusLibrary) -> None:
    query = question(CLIPS[0])
    stranger = {"scene": Emotion("elsewhere/6", np.eye(6, dtype=np.float32)[0])}
    for refused, message in (
        (lambda: library.top_k({}), "empty"),
        (lambda: library.top_k(query, 0), "k >= 1"),
        (lambda: library.top_k({"smell": CLIPS[0].emotions["scene"]}), "smell"),
        (lambda: library.top_k(query, metric="hamming"), "hamming"),
        (lambda: library.top_k(query, policy=Policy(pinned=["ghost"])), "ghost"),
        (lambda: library.top_k(query, policy=Policy(weights={"audio": 1.0})), "weight"),
        (lambda: library.top_k(query, policy=Policy(weights={"scene": 1.0}), metric="euclidean"), "euclidean"),
        (lambda: library.top_k_many([query] * 2, policies=[Policy()]), "1 for 2"),
        (lambda: library.clip("ghost"), "ghost"),
        (lambda: library.top_k(stranger), "elsewhere/6"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    with pytest.raises(SpaceMismatch):
        library.check_spaces({"face": "elsewhere/6"})


def test_a_pin_cannot_overrule_a_licence(library: Library | MilvusLibrary) -> None:
    free = next(clip for clip in CLIPS if clip.licence == "CC0-1.0")
    policy = Policy(pinned=[free.id], licences={"CC0-1.0"})
    query = question(free)
    check(library.top_k(query, 3, policy=policy), query, 3, policy)
    with pytest.raises(ValueError, match=r"CC0-1\.0"):
        library.top_k(query, 3, policy=replace(policy, licences={"ours"}))
