"""What builds keep of footage is told apart by what made it, is not cleared under them, and is not committed twice."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.librarian import BuildJob, BuildOptions, add_footage, build_library, clear_work
from library_builder.atomic import sync
from library_builder.in_use import working
from library_builder.readers import Readers
from retrieval.choice import Budget, build_index
from retrieval.library import Library
from retrieval.versions import version_names

from .toy_readers import LOG, draw_films, load, seen

SMALL = partial(BuildOptions, shard_clips=4, load=load)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    return draw_films(tmp_path / "films", 3)


def trained(weights: Path) -> Readers:
    """The toy readers, of which the scene's says that it has weights."""
    readers = load()
    readers.scene.weight_files = (weights,)  # type: ignore[attr-defined]
    return readers


def test_other_weights_of_the_same_space_read_everything_anew(films: Path, tmp_path: Path) -> None:
    """Else a library would hold vectors of two extractors, under the name of one."""
    weights, job = tmp_path / "weights", BuildJob(tmp_path / "lib", (films,))
    weights.write_bytes(b"one")
    build_library(job, trained(weights), options=SMALL())
    read = seen()
    assert build_library(job, trained(weights), options=SMALL()).read == 0
    weights.write_bytes(b"two")
    os.utime(weights, ns=(1, 1))
    again = build_library(job, trained(weights), options=SMALL())
    assert again.read == 9 and seen() == 2 * read


def test_shards_of_another_size_are_handed_over_once(films: Path, tmp_path: Path) -> None:
    job = BuildJob(tmp_path / "lib", (films,))
    first = build_library(job, options=SMALL())
    for _ in range(2):
        assert build_library(job, options=SMALL(shard_clips=5)).version == first.version
    note = tmp_path / "lib" / "work" / "handed-over.json"
    before = note.stat().st_mtime_ns
    build_library(job, options=SMALL(shard_clips=5))
    assert note.stat().st_mtime_ns == before
    assert version_names(tmp_path / "lib") == (first.version,)


def test_a_clip_is_not_replaced_by_one_of_another_file(tmp_path: Path) -> None:
    """Lines are numbered anew in every run, so a second episode of a show has the ids of the first."""
    for episode in ("one", "two"):
        draw_films(tmp_path / "show" / episode, 1)
        (tmp_path / "show" / episode).rename(tmp_path / "show" / f"part-{episode}")
    show = tmp_path / "show"
    build_library(BuildJob(tmp_path / "lib", (show / "part-one",), film="show", root=show), options=SMALL())
    before = [clip.media for clip in Library.open(tmp_path / "lib").clips()]
    job = BuildJob(tmp_path / "lib", (show / "part-two",), film="show")
    with pytest.raises(ValueError, match=r"expected to replace the clip of part-one/.*, got one of part-two/"):
        add_footage(job, options=SMALL(), replaced=True)
    assert [clip.media for clip in Library.open(tmp_path / "lib").clips()] == before


def test_nothing_is_cleared_under_a_build(films: Path, tmp_path: Path) -> None:
    build_library(BuildJob(tmp_path / "lib", (films,)), options=SMALL())
    work = tmp_path / "lib" / "work"
    with working(work):
        with working(work):  # another build
            pass
        with pytest.raises(ValueError, match="expected nobody at work here"):
            clear_work(tmp_path / "lib")
    assert clear_work(tmp_path / "lib", dry=True) > 0 and work.is_dir()
    assert clear_work(tmp_path / "lib") > 0 and not work.exists()
    assert len(Library.open(tmp_path / "lib")) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system: nobody to try it as")
def test_a_file_that_may_not_be_written_any_more_is_synced(tmp_path: Path) -> None:
    """By its owner, who is not root: root may write anything, and would not notice."""
    file = tmp_path / "sealed"
    file.write_bytes(b"x")
    file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    tmp_path.chmod(0o755)
    handle = os.open(tmp_path, os.O_RDONLY)  # the way to it may be closed to others
    child = os.fork()
    if not child:
        try:
            os.fchdir(handle)
            if os.getuid() == 0:
                os.setuid(65534)
            sync(Path(file.name))
            os._exit(0)
        except OSError:
            os._exit(1)
    os.close(handle)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_copies_are_as_good_an_answer_as_the_vectors_they_copy() -> None:
    """Forty vectors, each two hundred times: which of the copies is found is chance, and no fault of the index."""
    rng = np.random.default_rng(0)
    few = rng.standard_normal((40, 32)).astype(np.float32)
    vectors = np.repeat(few / np.linalg.norm(few, axis=1, keepdims=True), 200, axis=0)
    index, recipe = build_index(
        np.arange(len(vectors)), lambda rows: vectors[rows], budget=Budget(0.99), factory="IVF16,SQ8"
    )
    assert recipe.recall == 1.0
    for found in index.search_many(vectors[:: len(vectors) // 16], 3):
        assert found.scores == pytest.approx(np.ones(3), abs=1e-6)
