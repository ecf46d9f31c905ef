"""A version on a Milvus server is served whole or not at all, and never changes under a reader."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")

from library_builder.types import Clip, Emotion
from recipes.milvus_parity import equal, make_clips, question
from retrieval import milvus_server as server
from retrieval.library import Library, commit
from retrieval.milvus import MilvusLibrary
from retrieval.milvus_rows import HEADER_ROW, clip_of, number, row_of
from retrieval.milvus_search import MOST, Asking, Seen, Shelf
from retrieval.milvus_server import MilvusIndex
from retrieval.policy import Policy
from retrieval.versions import DirtyVersion, NoLibrary

MADE = make_clips(140, 4, seed=5)
CLIPS = [clip.with_(emotions={"scene": clip.emotions["scene"]}) for clip in MADE if "scene" in clip.emotions][:120]
"""The server takes half a second for each modality, so one has to do."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("library")
    commit(root, CLIPS, source={"corpus": "made"})
    return Library.open(root)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One server for all tests of this file: each uses a name of its own."""
    return tmp_path_factory.mktemp("served") / "served.db"


class Killed(Exception):
    """Stands for the end of the process that loads."""


class Cut:
    """A library whose reader is killed after so many clips."""

    def __init__(self, library: Library, after: int) -> None:
        self._library, self._after = library, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._library, name)

    def __len__(self) -> int:
        return len(self._library)

    def clips(self) -> Iterator[Clip]:
        yield from islice(self._library.clips(), self._after)
        raise Killed


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BATCH_BYTES", 50_000)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("after", [5, 70, 120])
def test_a_half_loaded_version_is_not_served_and_a_second_load_ends_it(library: Library, uri: Path, after: int) -> None:
    name = f"cut_{after}"
    with pytest.raises(Killed):
        MilvusLibrary.load(Cut(library, after), uri, collection=name)
    with pytest.raises(NoLibrary):
        MilvusLibrary.open(uri, name)
    client = server.connect(str(uri))
    (half,) = (one for one in client.list_collections() if one.startswith(f"{name}__"))
    with pytest.raises(DirtyVersion, match="half loaded"):
        MilvusLibrary.open(uri, half)
    there = server.count(client, half, "row >= 0")
    batch = server._batch_rows(library.spaces)
    assert 20 < batch < 30 and there == after // batch * batch
    sent = []
    upsert, client_type = type(client).upsert, type(client)
    try:
        client_type.upsert = lambda self, c, data, **k: sent.append(len(data)) or upsert(self, c, data, **k)
        remote = MilvusLibrary.load(library, uri, collection=name)
    finally:
        client_type.upsert = upsert
    assert sum(sent) == len(library) - there + 1, "what was there is not sent again; one more is the header"
    assert all(equal(a, b) for a, b in zip(remote.clips(), library.clips(), strict=True))


def test_a_version_that_is_there_is_only_served_again(library: Library, uri: Path) -> None:
    first = MilvusLibrary.load(library, uri, collection="twice")
    told = []
    second = MilvusLibrary.load(library, uri, collection="twice", progress=lambda *what: told.append(what))
    assert told == []
    assert first.info() == second.info()
    assert second.info()["source"] == {"corpus": "made"}


def test_readers_keep_their_version_until_others_are_dropped(library: Library, uri: Path, tmp_path: Path) -> None:
    commit(tmp_path, CLIPS[:40])
    less = Library.open(tmp_path)
    reader = MilvusLibrary.load(less, uri, collection="moving")
    MilvusLibrary.load(library, uri, collection="moving")
    assert (len(reader), len(MilvusLibrary.open(uri, "moving"))) == (40, 120)
    assert {clip.id for clip in reader.clips()} == {clip.id for clip in CLIPS[:40]}
    with pytest.raises(DirtyVersion, match=less.version):
        MilvusLibrary.open(uri, "moving", version=less.version)
    client = server.connect(str(uri))
    assert server.prune(client, "moving") == (reader.info()["collection"],)
    assert len(MilvusLibrary.open(uri, "moving", version=library.version)) == 120


def test_another_index_is_another_collection_and_other_search_settings_are_not(library: Library, uri: Path) -> None:
    with pytest.raises(Killed):
        MilvusLibrary.load(Cut(library, 60), uri, collection="other", index=MilvusIndex("HNSW", {"M": 8}))
    flat = MilvusLibrary.load(library, uri, collection="other")
    query = question(CLIPS[0])
    before = flat.top_k(query)
    assert flat.index.exact
    assert before.hits["scene"][0].score == library.top_k(query).hits["scene"][0].score
    walked = MilvusLibrary.load(library, uri, collection="other", index=MilvusIndex("HNSW", {"M": 8}))
    further = MilvusIndex("HNSW", {"M": 8}, {"ef": 100}, candidates=100)
    again = MilvusLibrary.load(library, uri, collection="other", index=further)
    assert (flat.top_k(query).hits["scene"][0].clip.id, len(walked)) == (before.hits["scene"][0].clip.id, 120)
    assert again.info()["collection"] == walked.info()["collection"] != flat.info()["collection"]
    assert MilvusLibrary.open(uri, "other").index == further


@pytest.mark.parametrize(
    "index",
    [
        MilvusIndex("HNSW", {"M": 16, "efConstruction": 100}, {"ef": 128}),
        MilvusIndex("IVF_SQ8", {"nlist": 4}, {"nprobe": 4}),
    ],
    ids=lambda index: index.kind,
)
def test_an_inexact_index_finds_candidates_and_scores_are_still_exact(
    library: Library, uri: Path, index: MilvusIndex
) -> None:
    remote = MilvusLibrary.load(library, uri, collection=f"by_{index.kind}", index=index)
    assert MilvusLibrary.open(uri, f"by_{index.kind}").index == index
    shared = 0
    for asking in CLIPS[:30]:
        query = question(asking)
        own, theirs = (one.top_k(query, 3) for one in (library, remote))
        for modality, hits in theirs.hits.items():
            shared += len({hit.clip.id for hit in hits} & {hit.clip.id for hit in own.hits[modality]})
            for hit in hits:
                wide = hit.emotion.vector.astype(np.float64) * query[modality].vector
                assert hit.score == pytest.approx(wide.sum(), abs=1e-15)
    # Every list is probed and 64 of 120 are scored again, so hardly any is missed: what remains is the walk of HNSW.
    assert shared >= 0.95 * 3 * 30


class Spiteful(Shelf):
    """A server that brings of equal scores the last first, which none promises not to."""

    def search(self, modality, vectors, where, limit):
        answers = []
        for rows, scores in super().search(modality, vectors, where, 60):
            order = np.lexsort((-rows, -np.round(scores, 6)))[:limit]
            answers.append((rows[order], scores[order]))
        return answers


def test_more_ties_than_the_server_returns(uri: Path, tmp_path: Path) -> None:
    """Thirty clips tie where a search asks for a few more than wanted, or gets eight at most, and ids decide."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 4))
    rows[10:40] = rows[10]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    commit(
        tmp_path, [Clip(f"c{i:02d}", "m", i, i + 1, emotions={"scene": Emotion("t/4", v)}) for i, v in enumerate(rows)]
    )
    library = Library.open(tmp_path)
    MilvusLibrary.load(library, uri, collection="ties")
    client = server.connect(str(uri))
    collection = server.served(client, "ties")
    for most, at, wanted in itertools.product((8, MOST), (10, 50), (1, 3, 8, 12, 29, 31, 60)):
        shelf = Spiteful(client, collection, MilvusIndex(), most=most)
        asking = Asking(Seen(shelf), {"scene": rows[at]}, Policy(), "cosine", wanted)
        found = asking.nearest("scene", wanted)
        expected = library.top_k({"scene": Emotion("t/4", rows[at])}, wanted).hits["scene"]
        assert found.rows[:wanted].tolist() == [int(hit.clip.id[1:]) for hit in expected]
        assert found.scores[:wanted].tolist() == [hit.score for hit in expected]
        assert found.complete == (len(found.rows) == 60)
        assert found.complete or wanted < 60


def test_rows_carry_clips_to_the_last_bit() -> None:
    spaces = {m: f"made-{m}/4" for m in ("scene", "face", "text", "audio")}
    for place, clip in enumerate(MADE):
        row = row_of(clip, place, spaces)
        assert equal(clip_of(row), clip)
        assert row["row"] == place != HEADER_ROW
    assert number("a", "b") != number("ab") != number("b", "a")
    assert all(-(2**63) <= number(clip.id) < 2**63 for clip in CLIPS)
    with pytest.raises(ValueError, match="65535"):
        row_of(CLIPS[0].with_(text="x" * 70_000), 0, spaces)


def test_what_is_no_library_is_refused(library: Library, uri: Path, tmp_path: Path) -> None:
    MilvusLibrary.load(library, uri, collection="good")
    client = server.connect(str(uri))
    with pytest.raises(NoLibrary, match="nothing_here"):
        MilvusLibrary.open(uri, "nothing_here")
    with pytest.raises(NoLibrary, match="no file"):
        MilvusLibrary.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists(), "looking does not make it"
    with pytest.raises(ValueError, match="ends in"):
        MilvusLibrary.open(tmp_path / "none")
    with pytest.raises(ValueError, match="letters"):
        MilvusLibrary.load(library, uri, collection="bad-name")
    client.create_collection("foreign", dimension=4)
    with pytest.raises(DirtyVersion, match="another collection"):
        MilvusLibrary.open(uri, "foreign")
    with pytest.raises(ValueError, match="a collection of this name"):
        MilvusLibrary.load(library, uri, collection="foreign")
    with pytest.raises(ValueError, match="elsewhere/4"):
        MilvusLibrary.open(uri, "good", spaces={"scene": "elsewhere/4"})
    held = server.served(client, "good")
    row = client.query(held, filter=f"row == {HEADER_ROW}", output_fields=["*"])[0]
    client.upsert(held, [{**row, "record": json.dumps(json.loads(row["record"]) | {"schema": 99})}])
    with pytest.raises(DirtyVersion, match="99"):
        MilvusLibrary.open(uri, "good")


def test_without_pymilvus_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ImportError, match=r"authentic-dubber\[milvus\]"):
        MilvusLibrary.open("http://127.0.0.1:19530")
