"""Retrieval is exact, filters inside the search, breaks ties by id, and never shows half a version."""

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from library_builder.types import QUERY_MODALITIES, Clip, Emotion
from retrieval.index import METRICS, VectorIndex
from retrieval.library import Library, SpaceMismatch, commit
from retrieval.policy import Policy, leave_out

SPACE = "toy/8"


def emotion(*values: float, space: str = SPACE) -> Emotion:
    width = int(space.rpartition("/")[2])
    vector = np.zeros(width)
    vector[: len(values)] = values
    return Emotion(space, vector / np.linalg.norm(vector))


def make_clip(i: int, *, speaker: str = "anna", words: str = "", **emotions: Emotion) -> Clip:
    emotions = emotions or {"scene": emotion(1, i)}
    return Clip(f"clip-{i:05d}", "film.mkv", i, i + 1.5, speaker, words or f"line {i}", "film", emotions=emotions)


def random_clips(count: int, seed: int, width: int = 8) -> list[Clip]:
    """Clips with all modalities, a third of them copies of others' vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, len(QUERY_MODALITIES) + 1, width))
    vectors[: count // 3] = vectors[rng.integers(count // 3, count, size=count // 3)]
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    clips = []
    for i in rng.permutation(count).tolist():
        emotions = {
            m: Emotion(f"toy/{width}", v) for m, v in zip([*QUERY_MODALITIES, "audio"], vectors[i], strict=True)
        }
        clips.append(make_clip(i, speaker=f"speaker {i % 7}", words=f"line {i % 50}", **emotions))
    return clips


def exact(query: Emotion, clips: list[Clip], modality: str, metric: str = "cosine") -> list[tuple[float, str]]:
    """(-score, id) of every clip, best first. `fsum` rounds once, so equal vectors score equally without any care."""
    found = []
    wide = query.vector.astype(float).tolist()
    for clip in clips:
        pairs = list(zip(clip.emotions[modality].vector.tolist(), wide, strict=True))
        if metric == "euclidean":
            score = -math.sqrt(math.fsum((a - b) ** 2 for a, b in pairs))
        else:
            score = math.fsum(a * b for a, b in pairs)
        found.append((-score, clip.id))
    return sorted(found)


def ids(hits) -> list[str]:
    return [hit.clip.id for hit in hits]


# Search


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scope", ["any", "same", "other"])
def test_top_k_is_exact_for_every_metric_and_scope(tmp_path: Path, metric: str, scope: str) -> None:
    clips = random_clips(300, seed=1)
    commit(tmp_path, clips)
    library = Library.open(tmp_path)
    for asking in clips[:5]:
        policy = replace(leave_out(asking), scope=scope, speaker=asking.speaker, repeat_text=True)
        answer = library.top_k(asks(asking), 7, policy=policy, metric=metric)
        kept = [c for c in clips if (c.speaker, c.text) != (asking.speaker, asking.text)]
        if scope != "any":
            kept = [c for c in kept if (c.speaker == asking.speaker) == (scope == "same")]
        assert list(answer.hits) == list(QUERY_MODALITIES)
        assert answer.notes == ()
        for modality, hits in answer.hits.items():
            expected = exact(asking.emotions[modality], kept, modality, metric)[:7]
            assert ids(hits) == [id for _, id in expected]
            assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
            np.testing.assert_allclose([hit.score for hit in hits], [-s for s, _ in expected], rtol=0, atol=1e-12)


def asks(clip: Clip) -> dict:
    return {modality: clip.emotions[modality] for modality in QUERY_MODALITIES}


def test_ten_thousand_clips_equal_numpy(tmp_path: Path) -> None:
    clips = random_clips(10_000, seed=2, width=64)
    commit(tmp_path, clips)
    library = Library.open(tmp_path)
    matrices = {m: np.stack([c.emotions[m].vector for c in clips]).astype(np.float64) for m in QUERY_MODALITIES}
    names = np.array([clip.id for clip in clips])
    for asking in clips[:20]:
        kept = np.array([(c.speaker, c.text) != (asking.speaker, asking.text) for c in clips])
        answer = library.top_k(asks(asking), 10, policy=replace(leave_out(asking), repeat_text=True))
        for modality, hits in answer.hits.items():
            scores = matrices[modality] @ asking.emotions[modality].vector.astype(np.float64)
            # A matrix product scores copies apart in the last bits; 12 decimals bring them together again.
            order = np.lexsort((names[kept], -scores[kept].round(12)))[:10]
            assert ids(hits) == names[kept][order].tolist()
            np.testing.assert_allclose([hit.score for hit in hits], scores[kept][order], rtol=0, atol=1e-6)


def test_copies_that_straddle_the_boundary_come_by_id(tmp_path: Path) -> None:
    near, copy, far = emotion(1, 0.1), emotion(1, 0.5), emotion(-1, 1)
    clips = [make_clip(i, scene=copy) for i in range(40)]
    clips += [make_clip(90, scene=near), *(make_clip(i, scene=far) for i in range(50, 60))]
    random.Random(0).shuffle(clips)
    commit(tmp_path, clips)
    hits = Library.open(tmp_path).top_k({"scene": emotion(1)}, 4, policy=Policy(without=["clip-00001"])).hits["scene"]
    assert ids(hits) == ["clip-00090", "clip-00000", "clip-00002", "clip-00003"]
    assert hits[1].score == hits[3].score


def test_five_takes_of_a_sentence_are_one_answer_when_the_words_ask(tmp_path: Path) -> None:
    clips = [
        make_clip(i, words=f"Line {i % 6}" + " " * (i % 3), text=emotion(1, i), face=emotion(1, i)) for i in range(60)
    ]
    commit(tmp_path, clips)
    library = Library.open(tmp_path)
    query = {"text": emotion(1), "face": emotion(1)}
    answer = library.top_k(query, 4)
    assert ids(answer.hits["text"]) == ids(answer.hits["face"]) == [f"clip-{i:05d}" for i in range(4)]
    last = library.top_k(query, 4, policy=Policy(without=[f"clip-{i:05d}" for i in range(1, 6)]))
    assert ids(last.hits["face"]) == [f"clip-{i:05d}" for i in (0, 6, 7, 8)]
    assert [(h.clip.text.split()[1], h.rank) for h in last.hits["text"]] == [("0", 1), ("1", 2), ("2", 3), ("3", 4)]
    assert ids(last.hits["text"]) == [f"clip-{i:05d}" for i in (0, 7, 8, 9)] and last.notes == ()
    # Seven are asked for and sixty allowed, but there are six sentences.
    short = library.top_k(query, 7)
    assert len(short.hits["text"]) == 6 and len(short.hits["face"]) == 7
    assert short.notes == (
        "text: 6 of 7 found: 60 of 60 clips have a text vector, 60 of them allowed, equal texts counted once",
    )
    assert len(library.top_k(query, 7, policy=Policy(repeat_text=True)).hits["text"]) == 7


@pytest.mark.parametrize("seed", range(3))
def test_counting_a_text_once_leaves_the_best_of_each_in_order(tmp_path: Path, seed: int) -> None:
    """Whatever the search had to fetch to find them: the whole ranking, with later takes struck out by hand."""
    clips = random_clips(300, seed)
    commit(tmp_path, clips)
    library, words = Library.open(tmp_path), {clip.id: clip.text for clip in clips}
    for asking in clips[:3]:
        seen: dict[str, str] = {}
        for _, id in exact(asking.emotions["text"], clips, "text"):
            seen.setdefault(words[id], id)
        hits = library.top_k({"text": asking.emotions["text"]}, 40).hits["text"]
        assert ids(hits) == list(seen.values())[:40] and [hit.rank for hit in hits] == list(range(1, 41))


def test_clips_of_unknown_words_are_not_takes_of_one_another(tmp_path: Path) -> None:
    mute = [
        Clip(f"mute-{i}", "film.mkv", i, i + 1, "anna", " ", "film", emotions={"text": emotion(1)}) for i in range(3)
    ]
    commit(tmp_path, mute)
    assert len(Library.open(tmp_path).top_k({"text": emotion(1)}, 3).hits["text"]) == 3


def test_scores_closer_than_float32_can_tell_are_still_ordered() -> None:
    rng = np.random.default_rng(3)
    query = rng.standard_normal(384)
    query = (query / np.linalg.norm(query)).astype(np.float32)
    vectors = np.repeat(query[None], 400, axis=0)
    flips = rng.integers(384, size=400)
    vectors[np.arange(400), flips] = np.nextafter(vectors[np.arange(400), flips], np.float32(2))
    index = VectorIndex(384)
    index.add(np.arange(400), vectors)
    truth = [math.fsum(a * b for a, b in zip(v, query.tolist(), strict=True)) for v in vectors.tolist()]
    found = index.search(query, 20)
    # 1e-15: what pairwise summation in float64 may differ from a sum rounded once; float32 differs by 1e-7 here.
    np.testing.assert_allclose(found.scores, sorted(truth, reverse=True)[:20], rtol=0, atol=1e-15)


def test_k_clips_come_back_when_nearly_all_are_left_out(tmp_path: Path) -> None:
    clips = random_clips(400, seed=4)
    commit(tmp_path, clips)
    query = clips[0].emotions["face"]
    best_first = [id for _, id in exact(query, clips, "face")]
    answer = Library.open(tmp_path).top_k({"face": query}, 20, policy=Policy(without=best_first[:380]))
    assert ids(answer.hits["face"]) == best_first[380:]
    assert answer.notes == ()


def test_a_small_library_returns_what_it_has_and_says_so(tmp_path: Path) -> None:
    commit(tmp_path, [make_clip(i, speaker="ben" if i else "anna") for i in range(3)])
    library = Library.open(tmp_path)
    answer = library.top_k({"scene": emotion(1), "text": emotion(1)}, 5)
    assert ids(answer.hits["scene"]) == ["clip-00000", "clip-00001", "clip-00002"]
    assert answer.hits["text"] == ()
    assert answer.notes == (
        "scene: 3 of 5 found: 3 of 3 clips have a scene vector, 3 of them allowed",
        "text: 0 of 5 found: 0 of 3 clips have a text vector, 0 of them allowed",
    )
    nobody = library.top_k({"scene": emotion(1)}, 1, policy=Policy(scope="same", speaker="nobody"))
    assert nobody.hits["scene"] == () and len(nobody.notes) == 1
    assert library.top_k({"scene": emotion(1)}, 3).notes == ()


def test_a_clip_without_the_modality_never_answers(tmp_path: Path) -> None:
    clips = [make_clip(i, **({"face": emotion(1, i)} if i % 2 else {"text": emotion(1, i)})) for i in range(10)]
    clips += [make_clip(20, face=emotion(1), audio=emotion(0, 1)), Clip("mute", "film.mkv", 0, 1)]
    commit(tmp_path, clips)
    library = Library.open(tmp_path)
    hits = library.top_k({"face": emotion(1)}, 100).hits["face"]
    assert sorted(ids(hits)) == ["clip-00001", "clip-00003", "clip-00005", "clip-00007", "clip-00009", "clip-00020"]
    assert np.array_equal(hits[0].emotion.vector, emotion(1).vector)
    assert hits[0].audio is not None and np.array_equal(hits[0].audio.vector, emotion(0, 1).vector)
    assert {hit.audio for hit in hits[1:]} == {None}
    assert dict(library.clip("mute").emotions) == {}


def test_an_unknown_speaker_is_neither_the_same_nor_another(tmp_path: Path) -> None:
    commit(tmp_path, [make_clip(0, speaker=""), make_clip(1, speaker="anna"), make_clip(2, speaker="ben")])
    library = Library.open(tmp_path)
    found = {
        s: ids(library.top_k({"scene": emotion(1)}, 3, policy=Policy(scope=s, speaker="anna")).hits["scene"])
        for s in ("same", "other")
    }
    assert found == {"same": ["clip-00001"], "other": ["clip-00002"]}


def test_a_training_query_finds_neither_itself_nor_its_line(tmp_path: Path) -> None:
    same = emotion(1)
    asking = make_clip(0, words="Come  here,\tSTRASSE", scene=same)
    clips = [
        asking,
        make_clip(1, words="come here, straße ", scene=same),
        make_clip(2, words="come here, strasse", speaker="ben", scene=same),
        make_clip(3, words="go away", scene=same),
    ]
    commit(tmp_path, clips)
    left = leave_out(asking)
    answer = Library.open(tmp_path).top_k({"scene": same}, 4, policy=left)
    assert ids(answer.hits["scene"]) == ["clip-00002", "clip-00003"]
    assert leave_out(asking.with_(text=" ")) == Policy(without={"clip-00000"})


def test_the_order_of_commit_changes_neither_answers_nor_content(tmp_path: Path) -> None:
    clips = random_clips(200, seed=5)
    first = commit(tmp_path / "a", clips)
    second = commit(tmp_path / "b", sorted(clips, key=lambda clip: clip.id, reverse=True))
    assert first == second
    one, two = Library.open(tmp_path / "a"), Library.open(tmp_path / "b")
    for clip in clips[:20]:
        assert [[(h.clip.id, h.score) for h in hits] for hits in one.top_k(asks(clip), 5).hits.values()] == [
            [(h.clip.id, h.score) for h in hits] for hits in two.top_k(asks(clip), 5).hits.values()
        ]


# Reading


def test_clips_come_back_to_the_last_bit(tmp_path: Path) -> None:
    odd = Clip(
        "ünï/" + "x" * 600,
        "a/b.mkv",
        0,
        2.5,
        "анна",
        "Ну?",
        "f",
        {"scene": "dark"},
        {"scene": emotion(1, 2)},
        ("n",),
        "joy",
        "CC0",
    )
    clips = sorted([odd, *random_clips(100, seed=6)], key=lambda clip: clip.id)
    commit(tmp_path, reversed(clips))
    library = Library.open(tmp_path)
    assert len(library) == 101
    for stored, clip in zip(library.clips(), clips, strict=True):
        assert stored.record() == clip.record() == library.clip(clip.id).record()
        assert list(stored.emotions) == list(clip.emotions)
        for modality, own in clip.emotions.items():
            assert stored.emotions[modality].vector.tobytes() == own.vector.tobytes()
            assert not stored.emotions[modality].vector.flags.writeable
    # Last bits matter: a library read and committed again is the same content.
    assert commit(tmp_path / "again", library.clips()) == library.version


def test_spaces_and_info(tmp_path: Path) -> None:
    clips = [
        make_clip(0, speaker="ben"),
        make_clip(1),
        make_clip(2, face=emotion(1, space="other/4"), audio=emotion(1)),
    ]
    version = commit(tmp_path, clips, source={"shards": ["a"]})
    library = Library.open(tmp_path)
    info = json.loads(json.dumps(library.info()))
    assert info.pop("created").startswith("20")
    made = info.pop("indices")
    assert {m: [(one["kind"], one["count"]) for one in of] for m, of in made.items()} == {
        "scene": [("exact", 2)],
        "face": [("exact", 1)],
        "audio": [("exact", 1)],
    }
    assert info == {
        "version": version,
        "parent": None,
        "schema": 2,
        "clips": 3,
        "modalities": {"scene": 2, "face": 1, "audio": 1},
        "spaces": {"scene": SPACE, "face": "other/4", "audio": SPACE},
        "speakers": {"anna": 2, "ben": 1},
        "films": {"film": 3},
        "licences": {"": 3},
        "extractors": {},
        "segments": [3],
        "seed": 0,
        "source": {"shards": ["a"]},
    }
    assert dict(library.spaces) == info["spaces"]
    library.check_spaces({"scene": SPACE, "text": "anything/3"})
    with pytest.raises(SpaceMismatch, match=r"face.*other/4.*toy/8"):
        library.check_spaces({"face": SPACE})


def test_several_readers_and_forked_workers_share_a_version(tmp_path: Path) -> None:
    commit(tmp_path, random_clips(20, seed=7))
    one, two = Library.open(tmp_path), Library.open(tmp_path, verify=False)
    assert one.clip("clip-00003").record() == two.clip("clip-00003").record()
    if not hasattr(os, "fork"):
        return
    child = os.fork()
    if child == 0:
        os._exit(0 if len(list(one.clips())) == len(list(Library.open(tmp_path).clips())) == 20 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_reading_a_library_needs_no_torch(tmp_path: Path) -> None:
    commit(tmp_path, [make_clip(0)])
    code = (
        "import sys, pathlib, retrieval.library as r;"
        "print('torch' in sys.modules, len(r.Library.open(pathlib.Path(sys.argv[1]))))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "1"]


# Refusals


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda top_k: top_k({}), "empty"),
        (lambda top_k: top_k({"scene": emotion(1)}, 0), "k >= 1, got 0"),
        (lambda top_k: top_k({"smell": emotion(1)}), "smell"),
        (lambda top_k: top_k({"scene": emotion(1)}, policy=Policy("same")), "speaker"),
        (lambda top_k: top_k({"scene": emotion(1)}, policy=Policy("other", "")), "speaker"),
        (lambda top_k: top_k({"scene": emotion(1)}, policy=Policy("mine", "anna")), "scope.*mine"),
        (lambda top_k: top_k({"scene": emotion(1)}, metric="manhattan"), "metric.*manhattan"),
        (lambda top_k: top_k({"scene": emotion(1)}, policy=Policy(without="clip-00000")), "collection"),
        (lambda top_k: top_k({"scene": emotion(1, space="other/8")}), "toy/8.*other/8"),
    ],
)
def test_questions_without_an_answer_are_refused(tmp_path: Path, ask: Callable, message: str) -> None:
    commit(tmp_path, [make_clip(0)])
    with pytest.raises(ValueError, match=message):
        ask(Library.open(tmp_path).top_k)


def test_an_unknown_id_is_refused_by_name_but_harmless_in_a_filter(tmp_path: Path) -> None:
    commit(tmp_path, [make_clip(0)])
    library = Library.open(tmp_path)
    with pytest.raises(ValueError, match="no clip 'gone'"):
        library.clip("gone")
    assert (
        library.top_k({"scene": emotion(1)}, 1, policy=Policy(without={"gone"}, without_groups={("x", "y")})).notes
        == ()
    )
