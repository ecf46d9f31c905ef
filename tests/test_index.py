"""An index finds what a plain product finds: exactly while it is scanned, as often as it promises when it is not."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest

import retrieval.index
from retrieval.approximate import ApproximateIndex
from retrieval.choice import Budget, Index, build_index, open_index, recall_of
from retrieval.found import Fetch, Found
from retrieval.index import METRICS, VectorIndex
from retrieval.recipe import Recipe

WIDTH = 24
GAP = 3
"""Ids are every third number: an index is never to take a place for an id."""


def clustered(count: int, seed: int, width: int = WIDTH) -> npt.NDArray[np.float32]:
    """Unit vectors around 30 points; the points are the same for every seed."""
    points = np.random.default_rng(99).standard_normal((30, width))
    rng = np.random.default_rng(seed)
    vectors = points[rng.integers(30, size=count)] + 0.5 * rng.standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def ids_of(count: int) -> npt.NDArray[np.int64]:
    return GAP * np.arange(count)


def reader(vectors: npt.NDArray[np.float32]) -> Fetch:
    return lambda ids: vectors[ids // GAP]


def exact_index(vectors: npt.NDArray[np.float32]) -> VectorIndex:
    index, half = VectorIndex(vectors.shape[1]), len(vectors) // 2
    index.add(ids_of(len(vectors))[:half], vectors[:half])
    index.add(ids_of(len(vectors))[half:], vectors[half:])
    return index


def truth(
    vectors: npt.NDArray[np.float32], query: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_] | None, metric: str
) -> tuple[list[int], list[float]]:
    """All allowed ids, best first, ties by id, and their scores; `fsum` rounds once, so copies score alike."""
    wide, rows = query.astype(float).tolist(), vectors.astype(float).tolist()
    found = []
    for place, row in enumerate(rows):
        if allowed is None or allowed[GAP * place]:
            pairs = zip(row, wide, strict=True)
            near = (
                -math.sqrt(math.fsum((a - b) ** 2 for a, b in pairs))
                if metric == "euclidean"
                else math.fsum(a * b for a, b in pairs)
            )
            found.append((-near, GAP * place))
    found.sort()
    return [id for _, id in found], [-near for near, _ in found]


def same(one: Found, other: Found) -> bool:
    return (
        one.ids.tolist() == other.ids.tolist()
        and one.scores.tolist() == other.scores.tolist()
        and one.allowed == other.allowed
    )


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Products in one piece and in pieces of 1 024 and, where a filter gathers, of 100."""
    if request.param == "many blocks":
        monkeypatch.setattr(retrieval.index, "_PRODUCTS", 1)
        monkeypatch.setattr(retrieval.index, "_GATHERED", 100 * WIDTH)
        monkeypatch.setattr(retrieval.index, "_QUERIES", 3)
    yield


# Exact.


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [1.0, 0.6, 0.1, 0.001])
def test_an_exact_index_is_a_product_and_a_sort(blocks: None, metric: str, share: float) -> None:
    vectors = clustered(2500, seed=1)
    vectors[1800:1900] = vectors[:100]  # copies, further apart than a block is long
    allowed = np.random.default_rng(2).random(GAP * len(vectors)) < share if share < 1 else None
    index, queries = exact_index(vectors), np.concatenate([vectors[:4], clustered(3, seed=3)])
    many = index.search_many(queries, 9, allowed=allowed, metric=metric)
    for query, found in zip(queries, many, strict=True):
        ids, scores = truth(vectors, query, allowed, metric)
        assert found.ids.tolist() == ids[:9] and found.allowed == len(ids)
        np.testing.assert_allclose(found.scores, scores[:9], rtol=0, atol=1e-12)
        assert same(found, index.search(query, 9, allowed=allowed, metric=metric))


def test_when_every_vector_is_the_same_the_first_ids_come(blocks: None) -> None:
    vectors = np.repeat(clustered(1, seed=4), 3000, axis=0)
    allowed = np.ones(GAP * 3000, dtype=np.bool_)
    allowed[: 3 * GAP] = False
    index = exact_index(vectors)
    assert index.search_many(vectors[:2], 4)[1].ids.tolist() == [0, 3, 6, 9]
    assert index.search(vectors[0], 4, allowed=allowed).ids.tolist() == [9, 12, 15, 18]


def test_best_at_the_end_of_many_blocks_is_found(blocks: None) -> None:
    """Each block is better than all before it, so no early bound may settle anything."""
    angles = np.linspace(1.5, 0.01, 5000)
    vectors = np.zeros((5000, WIDTH), dtype=np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    query = np.eye(WIDTH, dtype=np.float32)[:1]
    assert exact_index(vectors).search_many(np.repeat(query, 4, axis=0), 3)[3].ids.tolist() == [14997, 14994, 14991]


def test_no_query_and_nothing_allowed_are_no_error() -> None:
    index = exact_index(clustered(50, seed=5))
    assert index.search_many(np.empty((0, WIDTH), dtype=np.float32), 3) == []
    found = index.search(clustered(1, seed=6)[0], 3, allowed=np.zeros(GAP * 50, dtype=np.bool_))
    assert len(found.ids) == found.allowed == 0
    assert VectorIndex(WIDTH).search(clustered(1, seed=6)[0], 3).allowed == 0


def test_what_is_added_is_copied() -> None:
    vectors = clustered(40, seed=7)
    index, query = exact_index(vectors), vectors[5].copy()
    vectors[:] = 0
    assert index.search(query, 1).ids.tolist() == [15]


# Approximate.


@pytest.fixture(scope="module")
def library() -> npt.NDArray[np.float32]:
    return clustered(6000, seed=10)


@pytest.fixture(scope="module", params=["IVF32,SQ8", "IVF64_HNSW8,SQ4"])
def built(request: pytest.FixtureRequest, library: npt.NDArray[np.float32]) -> tuple[ApproximateIndex, Recipe]:
    index, recipe = build_index(ids_of(6000), reader(library), budget=Budget(0.97), seed=3, factory=request.param)
    assert isinstance(index, ApproximateIndex)
    return index, recipe


def recall(index: Index, vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]) -> float:
    """As somebody outside measures it: against a product in float64."""
    best = GAP * np.argsort(-(queries.astype(float) @ vectors.T.astype(float)), axis=1, kind="stable")[:, :3]
    return recall_of(np.stack([found.ids for found in index.search_many(queries, 3)]), best)


def test_the_recall_in_the_recipe_is_what_an_outsider_measures(
    built: tuple[ApproximateIndex, Recipe], library: npt.NDArray[np.float32]
) -> None:
    index, recipe = built
    assert recipe.wanted == 0.97 <= recipe.recall <= 1 and recipe.asked == 256
    # 1 500 answers of probability 0.97 or more spread by at most sqrt(0.97 * 0.03 / 1 500) = 0.0044; three times that.
    assert recall(index, library, clustered(500, seed=11)) > 0.97 - 0.0132


def test_scores_are_exact_and_ordered(built: tuple[ApproximateIndex, Recipe], library: npt.NDArray[np.float32]) -> None:
    index, exact = built[0], exact_index(library)
    for metric in METRICS:
        for query, found in zip(clustered(9, 12), index.search_many(clustered(9, 12), 7, metric=metric), strict=True):
            mask = np.isin(np.arange(GAP * 6000), found.ids)
            assert same(Found(found.ids, found.scores, 7), exact.search(query, 7, allowed=mask, metric=metric))
            assert found.allowed == 6000


def test_a_batch_gets_what_each_query_gets(built: tuple[ApproximateIndex, Recipe]) -> None:
    queries = clustered(70, seed=13)
    allowed = np.random.default_rng(1).random(GAP * 6000) < 0.5
    for some in (None, allowed):
        many = built[0].search_many(queries, 5, allowed=some)
        assert all(same(m, built[0].search(q, 5, allowed=some)) for m, q in zip(many, queries, strict=True))


@pytest.mark.parametrize("share", [0.9, 0.3, 0.18, 0.02, 0.0005])
def test_k_allowed_come_back_whenever_they_exist(
    built: tuple[ApproximateIndex, Recipe], library: npt.NDArray[np.float32], share: float
) -> None:
    allowed = np.random.default_rng(14).random(GAP * 6000) < share
    count = int(allowed[::GAP].sum())
    exact, hits, queries = exact_index(library), 0, clustered(60, seed=15)
    for query, found in zip(queries, built[0].search_many(queries, 5, allowed=allowed), strict=True):
        assert found.allowed == count and len(found.ids) == min(5, count) and allowed[found.ids].all()
        hits += len(set(found.ids) & set(exact.search(query, 5, allowed=allowed).ids))
    assert hits >= 0.93 * 60 * min(5, count)


def test_a_whole_cell_forbidden_still_gives_k(library: npt.NDArray[np.float32]) -> None:
    """Everything near the query is forbidden, so the cells it would visit hold nothing that is allowed."""
    index, _ = build_index(ids_of(6000), reader(library), seed=3, factory="IVF32,SQ8", budget=Budget(0.5))
    query = library[0]
    near = library @ query
    allowed = np.repeat(near < np.sort(near)[2000], GAP)
    found = index.search(query, 4, allowed=allowed)
    assert len(found.ids) == 4 and allowed[found.ids].all() and found.allowed == 2000


def test_copies_beyond_the_candidates_come_by_id(library: npt.NDArray[np.float32]) -> None:
    vectors = library.copy()
    vectors[np.random.default_rng(16).permutation(6000)[:900]] = vectors[7]
    index, recipe = build_index(ids_of(6000), reader(vectors), factory="IVF32,SQ8", budget=Budget(0.3))
    assert recipe.candidates < 900
    assert index.search(vectors[7], 6).ids.tolist() == exact_index(vectors).search(vectors[7], 6).ids.tolist()


def test_asking_for_all_gives_all(built: tuple[ApproximateIndex, Recipe], library: npt.NDArray[np.float32]) -> None:
    query = clustered(1, seed=17)[0]
    assert same(built[0].search(query, 6000), exact_index(library).search(query, 6000))


# Files.


def test_a_seed_gives_one_file(tmp_path: Path, library: npt.NDArray[np.float32]) -> None:
    files = []
    for turn, seed in enumerate((5, 5, 6)):
        index, _ = build_index(ids_of(6000), reader(library), seed=seed, factory="IVF32,SQ8")
        index.save(tmp_path / f"{turn}.faiss")
        files.append((tmp_path / f"{turn}.faiss").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_file_opens_mapped_and_answers_alike(
    tmp_path: Path, built: tuple[ApproximateIndex, Recipe], library: npt.NDArray[np.float32]
) -> None:
    path, queries = tmp_path / "one.faiss", clustered(20, seed=18)
    allowed = np.random.default_rng(19).random(GAP * 6000) < 0.4
    built[0].save(path)
    opened = open_index(path, reader(library))
    assert isinstance(opened, ApproximateIndex) and opened.recipe == built[1]
    assert (len(opened), opened.width, opened.ids.tolist()) == (6000, WIDTH, ids_of(6000).tolist())
    for some in (None, allowed):
        pairs = zip(
            opened.search_many(queries, 3, allowed=some), built[0].search_many(queries, 3, allowed=some), strict=True
        )
        assert all(same(*pair) for pair in pairs)
    assert str(path) in Path("/proc/self/maps").read_text() if Path("/proc/self/maps").exists() else True
    with pytest.raises(ValueError, match="mapped from a file, which does not grow"):
        opened.add(np.array([30_000]), library[:1])


def test_an_exact_file_opens_by_the_same_door(tmp_path: Path, library: npt.NDArray[np.float32]) -> None:
    index, recipe = build_index(ids_of(6000), reader(library))
    index.save(tmp_path / "one.faiss")
    opened, query = open_index(tmp_path / "one.faiss", reader(library)), clustered(1, seed=20)[0]
    assert (recipe.kind, recipe.factory, recipe.recall) == ("exact", "Flat", 1.0)
    assert isinstance(opened, VectorIndex) and same(opened.search(query, 8), index.search(query, 8))


@pytest.mark.parametrize("factory", ["Flat", "IVF32,SQ8"])
def test_a_file_cut_short_is_refused_in_one_line(
    tmp_path: Path, library: npt.NDArray[np.float32], factory: str
) -> None:
    path = tmp_path / "one.faiss"
    build_index(ids_of(6000), reader(library), factory=factory)[0].save(path)
    whole = path.read_bytes()
    for kept in (0, 1, 7, 23, 24, 90, 1000, len(whole) // 2, len(whole) - 25, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="expected") as refused:
            open_index(path, reader(library))
        assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(FileNotFoundError, match="expected an index at"):
        open_index(tmp_path / "none.faiss", reader(library))


def test_an_index_of_another_faiss_is_refused_by_name(tmp_path: Path, library: npt.NDArray[np.float32]) -> None:
    path = tmp_path / "one.faiss"
    build_index(ids_of(6000), reader(library), factory="IVF32,SQ8")[0].save(path)
    whole = path.read_bytes()
    path.write_bytes(b"IwZz" + whole[4:].replace(f'"faiss":"{faiss.__version__}"'.encode(), b'"faiss":"99.1.0"'))
    with pytest.raises(ValueError, match=r"expected an approximate index|got one of FAISS 99\.1\.0"):
        open_index(path, reader(library))
    path.write_bytes(b"IwZz" + whole[4:])
    with pytest.raises(ValueError, match=f"got one of FAISS {faiss.__version__}"):
        open_index(path, reader(library))
    faiss.write_index(faiss.IndexLSH(WIDTH, 16), str(path))
    with pytest.raises(ValueError, match="expected a flat inner-product index with ids"):
        open_index(path, reader(library))


def test_a_recipe_comes_back_from_json_or_is_refused(built: tuple[ApproximateIndex, Recipe]) -> None:
    record = json.loads(json.dumps(built[1].record()))
    assert Recipe.from_record(record) == built[1]
    for change in ({"nprobe": "4"}, {"kind": "magic"}, {"unheard": 1}):
        with pytest.raises(ValueError, match="expected a recipe"):
            Recipe.from_record(record | change)
    with pytest.raises(ValueError, match="expected a recipe with kind"):
        Recipe.from_record({"kind": "exact"})
