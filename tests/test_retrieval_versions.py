"""A library on disk never shows half a version, refuses what it cannot trust, and stores what it is given."""

import hashlib
import json
import math
import os
import random
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest

from library_builder.checksum import file_digest
from library_builder.types import Clip, Emotion
from retrieval.index import FAISS_VERSION, VectorIndex
from retrieval.library import Library, SpaceMismatch, commit
from retrieval.store import RecordStore, decode, encode, write_records
from retrieval.versions import CURRENT, MANIFEST, DirtyVersion, NoLibrary, current_version, version_names

SPACE = "toy/8"


def emotion(*values: float, space: str = SPACE) -> Emotion:
    width = int(space.rpartition("/")[2])
    vector = np.zeros(width)
    vector[: len(values)] = values
    return Emotion(space, vector / np.linalg.norm(vector))


def make_clip(i: int, *, speaker: str = "anna", words: str = "", **emotions: Emotion) -> Clip:
    emotions = emotions or {"scene": emotion(1, i)}
    return Clip(f"clip-{i:05d}", "film.mkv", i, i + 1.5, speaker, words or f"line {i}", "film", emotions=emotions)


def file_of(folder: Path, suffix: str) -> Path:
    (path,) = (path for path in folder.iterdir() if path.name.endswith(suffix))
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Versions


def test_a_reader_keeps_its_version_and_old_versions_never_change(tmp_path: Path) -> None:
    first = commit(tmp_path, [make_clip(0)])
    before = snapshot(tmp_path / first)
    reader = Library.open(tmp_path)
    second = commit(tmp_path, [make_clip(0), make_clip(1)])
    assert (first[:6], second[:6]) == ("v0001-", "v0002-")
    assert version_names(tmp_path) == (first, second)
    assert snapshot(tmp_path / first) == before
    assert (len(reader), reader.version) == (1, first)
    assert len(reader.top_k({"scene": emotion(1)}, 2).hits["scene"]) == 1
    assert (Library.open(tmp_path).version, Library.open(tmp_path, first).version) == (second, first)


def test_the_same_clips_are_the_same_version(tmp_path: Path) -> None:
    first = commit(tmp_path, [make_clip(0)])
    commit(tmp_path, [make_clip(1)])
    assert commit(tmp_path, [make_clip(0)]) == first == current_version(tmp_path)
    assert len(version_names(tmp_path)) == 2
    file_of(tmp_path / first, ".lmdb").unlink()
    assert commit(tmp_path, [make_clip(0)]) == "v0003" + first[5:], "a damaged version is written anew"
    assert len(Library.open(tmp_path)) == 1


def test_a_commit_that_dies_leaves_the_old_version_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = commit(tmp_path, [make_clip(0)])
    before = sorted(path.name for path in tmp_path.iterdir())

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full_disk)
        with pytest.raises(OSError, match="no space"):
            commit(tmp_path, [make_clip(1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Library.open(tmp_path).version == first


def test_a_killed_writer_is_never_seen(tmp_path: Path) -> None:
    first = commit(tmp_path, [make_clip(0)])
    shutil.copytree(tmp_path / first, tmp_path / ".new-killed")
    half = tmp_path / "v0007-00000000"
    half.mkdir()
    (half / "s0.lmdb").write_bytes(b"half")
    assert version_names(tmp_path) == (first,)
    assert Library.open(tmp_path).version == first
    with pytest.raises(DirtyVersion, match="unfinished"):
        Library.open(tmp_path, half.name)
    assert commit(tmp_path, [make_clip(1)]).startswith("v0008-"), "a number is never taken twice"


@pytest.mark.parametrize("suffix", [".lmdb", "_scene.faiss", "_facts.npy", "_names.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_an_altered_file_is_refused(tmp_path: Path, suffix: str, harm: str) -> None:
    path = file_of(tmp_path / commit(tmp_path, [make_clip(i) for i in range(20)]), suffix)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    match harm:
        case "flip":
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "gone":
            path.unlink()
    with pytest.raises(DirtyVersion, match=path.name):
        Library.open(tmp_path)


def edit_manifest(folder: Path, *, sealed: bool, **changes: object) -> None:
    """Change a manifest by hand, and seal it anew as nobody should."""
    path = folder / MANIFEST
    path.chmod(0o644)
    values = json.loads(path.read_text()) | changes
    if sealed:
        plain = {key: value for key, value in values.items() if key != "seal"}
        values["seal"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 3}, "expected schema 2, got 3"),
        ({"schema": None}, "expected schema 2, got None"),
        ({"version": "v0001-00000000"}, "expected the manifest of"),
        ({"count": 4}, "contradicts its manifest"),
        ({"spaces": {"scene": "toy/9"}}, "contradicts its manifest"),
        ({"files": {"../../outside": "0"}}, "not in the version"),
        ({"segments": []}, "contradicts its manifest"),
        ({"segments": [{"name": "s0"}]}, "expected a library manifest"),
        (
            {"segments": [{"name": "../s", "count": 3, "content": "0", "counts": {}, "licences": {}, "indices": {}}]},
            "contradicts its manifest|version's own files",
        ),
        ({"surprise": 1}, "expected a library manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    version = commit(tmp_path, [make_clip(i) for i in range(3)])
    (tmp_path / "outside").write_text("")
    edit_manifest(tmp_path / version, sealed=True, **changes)
    with pytest.raises(DirtyVersion, match=message):
        Library.open(tmp_path)


def test_a_manifest_seals_itself(tmp_path: Path) -> None:
    """Not a byte of it can change, white space included, and no other file vouches for it."""
    path = tmp_path / commit(tmp_path, [make_clip(i) for i in range(3)]) / MANIFEST
    path.chmod(0o644)
    data = path.read_bytes()
    for at in random.Random(0).sample(range(len(data)), 60):
        harmed = bytearray(data)
        harmed[at] ^= 1 << at % 8
        path.write_bytes(harmed)
        with pytest.raises(DirtyVersion, match=MANIFEST):
            Library.open(tmp_path, verify=False)
    path.write_bytes(data)
    assert len(Library.open(tmp_path)) == 3


def test_an_index_of_another_faiss_is_refused_with_both_versions(tmp_path: Path) -> None:
    folder = tmp_path / commit(tmp_path, [make_clip(i) for i in range(3)])
    path = file_of(folder, "_scene.faiss")
    path.chmod(0o644)
    path.write_bytes(b"IxNw" + path.read_bytes()[4:])  # the format's name comes first; a future one is unknown
    files = json.loads((folder / MANIFEST).read_text())["files"] | {path.name: file_digest(path)}
    edit_manifest(folder, sealed=True, files=files, tools={"faiss": "9.0"})
    with pytest.raises(DirtyVersion, match=rf"_scene\.faiss.*written by FAISS 9\.0, this is FAISS {FAISS_VERSION}"):
        Library.open(tmp_path)


def test_pointers_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoLibrary, match="build one"):
        Library.open(tmp_path / "none")
    version = commit(tmp_path, [make_clip(0)])
    with pytest.raises(NoLibrary, match=version):
        Library.open(tmp_path, "v0009-00000000")
    with pytest.raises(ValueError, match="expected a version"):
        Library.open(tmp_path, f"../{tmp_path.name}/{version}")
    (tmp_path / CURRENT).write_text("../elsewhere")
    with pytest.raises(DirtyVersion, match=CURRENT):
        Library.open(tmp_path)


# Refusals


def with_vector(clip: Clip, value: float) -> Clip:
    """A clip whose vector went bad after it was made, as a memory-mapped one may."""
    spoilt = emotion(1)
    object.__setattr__(spoilt, "vector", np.full(8, value, dtype=np.float32))
    return clip.with_(emotions={"scene": spoilt})


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "at least one clip"),
        ([make_clip(1), make_clip(2), make_clip(1)], "clip-00001.* twice"),
        ([with_vector(make_clip(1), math.nan)], "clip-00001.*finite"),
        ([with_vector(make_clip(1), math.inf)], "clip-00001.*finite"),
        ([with_vector(make_clip(1), 0.0)], "clip-00001.*length 1, got 0"),
        ([make_clip(1).with_(end=math.inf)], "clip-00001.*finite"),
        ([make_clip(1).with_(media="../film.mkv")], "clip-00001.*relative"),
        ([make_clip(1).with_(media="a/../../film.mkv")], "clip-00001.*relative"),
        ([make_clip(1).with_(media="/film.mkv")], "clip-00001.*relative"),
        ([make_clip(1).with_(media="C:film.mkv")], "clip-00001.*relative"),
        ([make_clip(1).with_(media="..\\film.mkv")], "clip-00001.*relative"),
        ([make_clip(1, smell=emotion(1))], "clip-00001.*smell"),
    ],
)
def test_clips_that_cannot_be_stored_are_refused(tmp_path: Path, clips: list[Clip], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        commit(tmp_path / "library", clips)
    assert not (tmp_path / "library").exists()


def test_mixed_spaces_are_refused(tmp_path: Path) -> None:
    clips = [make_clip(1), make_clip(2, scene=emotion(1, space="other/8"))]
    with pytest.raises(SpaceMismatch, match=r"clip-00002.*toy/8.*other/8"):
        commit(tmp_path, clips)


def test_a_source_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        commit(tmp_path, [make_clip(0)], source={"shard": object()})
    assert list(tmp_path.iterdir()) == []


# Parts


def test_the_record_map_grows_by_itself(tmp_path: Path) -> None:
    clips = [make_clip(i).with_(text="long " * 500) for i in range(300)]
    assert write_records(tmp_path / "r.lmdb", map(encode, clips), {"scene": SPACE}, map_bytes=1 << 15) == 300
    store = RecordStore.open(tmp_path / "r.lmdb")
    assert [clip.id for clip in store.iterate()] == [clip.id for clip in clips]
    assert store.ids([7, 0, 7]) == ["clip-00007", "clip-00000", "clip-00007"]
    assert [store.row(clip.id) for clip in clips] == list(range(300)) and store.row("clip-1") is None
    with pytest.raises(IndexError, match="0 to 299, got 300"):
        store.get_many([300])
    with pytest.raises(FileExistsError):
        write_records(tmp_path / "r.lmdb", [], {})


def test_vectors_are_read_past_everything_else(tmp_path: Path) -> None:
    clips = [
        make_clip(i, **({"face": emotion(1, i, space="a/3")} if i % 2 else {}), text=emotion(2, i)) for i in range(9)
    ]
    write_records(tmp_path / "r.lmdb", map(encode, clips), {"face": "a/3", "text": SPACE})
    store = RecordStore.open(tmp_path / "r.lmdb")
    texts = store.vectors(np.array([3, 0, 3]), "text")
    assert np.array_equal(texts, np.stack([clips[i].emotions["text"].vector for i in (3, 0, 3)]))
    faces = store.vectors(range(9), "face")
    assert np.array_equal(faces[1::2], np.stack([clip.emotions["face"].vector for clip in clips[1::2]]))
    assert np.isnan(faces[::2]).all()


def test_records_of_another_schema_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.lmdb"
    write_records(path, [encode(make_clip(0))], {"scene": SPACE})
    with lmdb.open(str(path), subdir=False, lock=False) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"schema", b"9")
    held = []  # an error keeps what it met alive; the file must be closed all the same
    for _ in range(2):
        with pytest.raises(ValueError, match="schema 2, got b'9'") as refusal:
            RecordStore.open(path)
        held.append(refusal)
    path.write_bytes(b"x" * 9000)
    with pytest.raises(ValueError, match="LMDB"):
        RecordStore.open(path)


def test_equal_clips_have_equal_bytes_whatever_order_their_mappings_have() -> None:
    one = make_clip(0, scene=emotion(1), face=emotion(2, 1)).with_(captions={"a": "1", "b": "2"})
    two = make_clip(0, face=emotion(2, 1), scene=emotion(1)).with_(captions={"b": "2", "a": "1"}, start=0.0)
    assert encode(one) == encode(two) == encode(decode(encode(one)))
    assert encode(one) != encode(one.with_(label="joy"))


def test_the_index_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    index = VectorIndex(2)
    assert len(index.search(np.array([1, 0], dtype=np.float32), 3).ids) == 0
    row = np.array([[1, 0]], dtype=np.float32)
    index.add(np.array([4]), row)
    for numbers, vectors, message in [
        ([4], row, "ascend"),
        ([5], row[:, :1], "shape"),
        ([5], row * np.nan, "finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            index.add(np.array(numbers), vectors)
    with pytest.raises(ValueError, match="more than 4 ids, got 3"):
        index.search(row[0], 1, allowed=np.ones(3, dtype=bool))
    (tmp_path / "no.faiss").write_bytes(b"no index")
    with pytest.raises(ValueError, match=r"no\.faiss"):
        VectorIndex.load(tmp_path / "no.faiss")
    index.save(tmp_path / "yes.faiss")
    assert VectorIndex.load(tmp_path / "yes.faiss").ids.tolist() == [4]
