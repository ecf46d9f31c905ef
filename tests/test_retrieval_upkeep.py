"""A library is looked after: harm is found by name, the old goes and the kept stays, and builders wait their turn."""

import json
import multiprocessing
import os
import random
import shutil
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import lmdb
import pytest

from library_builder.checksum import file_digest
from library_builder.types import MODALITIES, Clip
from retrieval.editing import add, commit, remove
from retrieval.library import Library
from retrieval.lock import LOCK, LibraryLocked, builder_lock, lock_owner
from retrieval.migration import migrate
from retrieval.upkeep import gc, keep, publish, rollback, status, unkeep, verify
from retrieval.versions import CURRENT, DirtyVersion, NoLibrary, OldSchema, current_version, version_names

from .test_retrieval_policies import make_clips

ROOT = Path(__file__).parents[1]


@pytest.fixture
def grown(tmp_path: Path) -> tuple[Path, list[str]]:
    """Five versions, each with five clips more."""
    clips = make_clips(45, seed=1)
    root = tmp_path / "library"
    names = [commit(root, clips[:25])]
    names += [add(root, clips[start : start + 5]).version for start in range(25, 45, 5)]
    return root, names


# Verify


def test_every_flipped_byte_is_found_and_its_file_named(grown: tuple[Path, list[str]]) -> None:
    root, names = grown
    assert verify(root) == ()
    rng = random.Random(0)
    files = [path for name in names for path in sorted((root / name).iterdir())] + [root / CURRENT]
    for path in [*rng.sample(files, 30), root / CURRENT]:
        path.chmod(0o644)
        data = path.read_bytes()
        harmed = bytearray(data)
        harmed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(harmed)
        assert any(str(path) in problem for problem in verify(root)), path
        path.write_bytes(data)
    assert verify(root) == ()


def test_missing_and_strange_files_are_found(grown: tuple[Path, list[str]]) -> None:
    root, names = grown
    (root / names[0] / "surprise.txt").write_text("")
    next((root / names[1]).glob("*_text.faiss")).unlink()
    problems = verify(root)
    assert len(problems) == 2 and "surprise.txt" in problems[0] and "_text.faiss" in problems[1]
    (root / CURRENT).write_text("v0009-00000000\n")
    assert any(CURRENT in problem for problem in verify(root))
    with pytest.raises(NoLibrary):
        verify(root / "none")


# Versions that come and go


def test_collecting_keeps_the_current_the_kept_and_the_newest(grown: tuple[Path, list[str]]) -> None:
    root, names = grown
    keep(root, names[0])
    publish(root, names[2])
    reader = Library.open(root, names[1])
    before = [hit.clip.id for hit in reader.top_k(reader.clip("c0000").emotions or {}, 3).hits.get("scene", ())]
    (root / ".new-killed").mkdir()
    (root / ".new-killed" / "half").write_bytes(b"x" * 1000)
    would = gc(root, keep=1, dry=True)
    assert would.versions == (names[1], names[3]) and len(version_names(root)) == 5
    assert gc(root, keep=1) == would and would.leftovers == (".new-killed",) and would.freed > 1000
    assert version_names(root) == (names[0], names[2], names[4]) and verify(root) == ()
    assert sorted(path.name for path in root.iterdir()) == sorted([CURRENT, "kept", names[0], names[2], names[4]])
    after = [hit.clip.id for hit in reader.top_k(reader.clip("c0000").emotions or {}, 3).hits.get("scene", ())]
    assert before == after and len(list(reader.clips())) == 30, "a reader outlives its folder"
    unkeep(root, names[0])
    assert gc(root, keep=1).versions == (names[0],) and not (root / "kept").exists()
    with pytest.raises(ValueError, match="at least the newest"):
        gc(root, keep=0)


def test_what_lost_its_licence_is_gone_from_the_disk_after_collecting(tmp_path: Path) -> None:
    clips = make_clips(40, seed=2)
    secret = clips[0].with_(text="the words that must go", licence="ended")
    commit(tmp_path, [secret, *clips[1:]])
    remove(tmp_path, licences=["ended"])
    gc(tmp_path, keep=1)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"the words that must go" not in path.read_bytes()


def test_publishing_and_rolling_back(grown: tuple[Path, list[str]]) -> None:
    root, names = grown
    assert rollback(root) == (names[3], None) and current_version(root) == names[3]
    publish(root, names[0])
    with pytest.raises(NoLibrary, match="before"):
        rollback(root)
    publish(root, names[4])
    path = next((root / names[4]).glob("*_names.json"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DirtyVersion, match="altered"):
        publish(root, names[4])


def test_status_counts_what_is_shared_once(grown: tuple[Path, list[str]]) -> None:
    root, names = grown
    found = status(root)
    assert [one.version for one in found.versions] == names and found.current == names[-1]
    assert [one.clips for one in found.versions] == [25, 30, 35, 40, 45]
    on_disk = {path.stat().st_ino: path.stat().st_size for name in names for path in (root / name).iterdir()}
    assert found.bytes == sum(on_disk.values()) < sum(one.bytes for one in found.versions)
    assert found.versions[-1].own_bytes < found.versions[-1].bytes
    assert found.owner is None and found.leftovers == found.unfinished == ()
    shutil.rmtree(root / names[1])
    (root / "v0009-00000000").mkdir()
    with builder_lock(root, "testing"):
        found = status(root)
    assert found.owner is not None and found.owner.pid == os.getpid() and found.owner.purpose == "testing"
    assert len(found.versions) == 4 and found.unfinished == ("v0009-00000000",)


# The lock


def test_a_second_builder_is_told_who_and_since_when(tmp_path: Path) -> None:
    commit(tmp_path, make_clips(5, 1))
    code = (
        "import sys, pathlib, retrieval.lock as l\n"
        "with l.builder_lock(pathlib.Path(sys.argv[1]), 'adding clips'):\n"
        "    print('mine', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"mine\n"
        with pytest.raises(LibraryLocked, match=rf"process {child.pid} on .*adding clips, for \d+ seconds?") as refusal:
            commit(tmp_path, make_clips(6, 1))
        assert "\n" not in str(refusal.value)
        with pytest.raises(LibraryLocked):
            gc(tmp_path)
        child.kill()
        child.wait()
    assert (tmp_path / LOCK).exists(), "kill -9 leaves it"
    commit(tmp_path, make_clips(6, 1))
    assert not (tmp_path / LOCK).exists() and lock_owner(tmp_path) is None


def test_whose_process_number_was_given_to_another_is_dead(tmp_path: Path) -> None:
    with builder_lock(tmp_path, "living"):
        owner = lock_owner(tmp_path)
    assert owner is not None and owner.is_alive()
    assert not replace(owner, started="1").is_alive() and not replace(owner, boot="before").is_alive()
    elsewhere = replace(owner, host="elsewhere", pid=1)
    assert elsewhere.is_alive(), "of another machine's process nothing is known"
    (tmp_path / LOCK).write_text(json.dumps(asdict(elsewhere)))
    with (
        pytest.raises(LibraryLocked, match=r"on elsewhere.*if that machine is gone, remove .*LOCK"),
        builder_lock(tmp_path, "x"),
    ):
        pass
    (tmp_path / LOCK).write_bytes(b"{half a li")
    with builder_lock(tmp_path, "outer"), builder_lock(tmp_path, "inner"):
        owner = lock_owner(tmp_path)
        assert owner is not None and owner.purpose == "outer"
    assert not (tmp_path / LOCK).exists()


def _count_up(root: Path, times: int) -> None:
    done = 0
    while done < times:
        try:
            with builder_lock(root, "counting"):
                number = int((root / "number").read_text())
                (root / "number").write_text(str(number + 1))
                done += 1
        except LibraryLocked:
            pass


def test_many_builders_never_hold_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=(tmp_path, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4 and (tmp_path / "number").read_text() == "100"


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # root may write anywhere, but not below a file
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="file"):
            commit(tmp_path / "file", make_clips(3, 1))
        return
    commit(tmp_path / "library", make_clips(3, 1))
    (tmp_path / "library").chmod(0o555)
    with pytest.raises(PermissionError, match="LOCK"):
        commit(tmp_path / "library", make_clips(4, 1))
    assert len(Library.open(tmp_path / "library")) == 3


# Schema 1


def write_old_library(root: Path, clips: list[Clip]) -> str:
    """A library as it was written before segments, as far as it is read now: one file of records, and a manifest."""
    version = "v0001-0a1b2c3d"
    (root / version).mkdir(parents=True)
    path = root / version / "clips.lmdb"
    with lmdb.open(str(path), subdir=False, lock=False) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"schema", b"1")
        for row, clip in enumerate(sorted(clips, key=lambda clip: clip.id)):
            present = [m for m in MODALITIES if m in clip.emotions]
            spaces = [[m, clip.emotions[m].space] for m in present]
            text = json.dumps({"record": clip.record(), "spaces": spaces}).encode()
            vectors = b"".join(clip.emotions[m].vector.tobytes() for m in present)
            transaction.put(struct.pack(">cQ", b"c", row), struct.pack("<I", len(text)) + text + vectors)
    files = {"clips.lmdb": file_digest(path)}
    manifest = {"schema": 1, "version": version, "count": len(clips), "files": files, "source": {"footage": "films"}}
    (root / version / "manifest.json").write_text(json.dumps(manifest))
    (root / CURRENT).write_text(version + "\n")
    return version


def test_an_old_library_is_refused_with_its_cure_and_migrated(tmp_path: Path) -> None:
    clips = make_clips(30, seed=4)
    old = write_old_library(tmp_path, clips)
    with pytest.raises(OldSchema, match=r"expected schema 2, got 1: run `dub library migrate"):
        Library.open(tmp_path)
    assert "migrate" in status(tmp_path).versions[0].trouble and verify(tmp_path) == ()
    version = migrate(tmp_path)
    library = Library.open(tmp_path)
    assert library.version == version and version != old and migrate(tmp_path) is None
    commit(tmp_path / "fresh", clips)
    assert library.content == Library.open(tmp_path / "fresh").content
    assert library.info()["source"] == {"footage": "films", "migrated_from": old}
    assert gc(tmp_path, keep=1).versions == (old,)


def test_a_harmed_old_library_is_not_migrated(tmp_path: Path) -> None:
    old = write_old_library(tmp_path, make_clips(30, seed=4))
    path = tmp_path / old / "clips.lmdb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DirtyVersion, match=r"clips\.lmdb was altered"):
        migrate(tmp_path)
    assert verify(tmp_path) == (f"{path} was altered, or is missing",)
