"""Shards: they come back as they were, and nothing forged or contradictory gets in or out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from library_builder.manifest import ManifestError, read_shard, write_shard
from library_builder.types import Clip

from .test_build import unit


def shard_clips() -> list[Clip]:
    random = np.random.default_rng(0)
    clips = []
    for number in range(5):
        emotions = {"scene": unit("s/4", random.normal(size=3)), "audio": unit("a/3", random.normal(size=2))}
        if number % 2:
            del emotions["audio"]
        facts = Clip(f"f/A/{number:04d}", "dir/f.mp4", number, number + 1, "A", "é\u2028!", "f", {"scene": "dim"})
        clips.append(facts.with_(emotions=emotions, notes=("x: y",), label="sad", licence="CC0"))
    return clips


def test_a_shard_comes_back_as_it_was(tmp_path: Path) -> None:
    clips = shard_clips()
    folder = write_shard(tmp_path / "shard", clips, {"by": "toy"})
    back = list(read_shard(folder))
    assert [clip.record() for clip in back] == [clip.record() for clip in clips]
    for before, after in zip(clips, back, strict=True):
        assert set(before.emotions) == set(after.emotions)
        for modality, emotion in before.emotions.items():
            assert after.emotions[modality].space == emotion.space
            # A vector may be brought to unit length again on reading: one rounding of float32.
            assert np.allclose(after.emotions[modality].vector, emotion.vector, atol=1e-7)
    assert np.load(folder / "vectors_audio.npy").shape == (3, 3)
    header = json.loads((folder / "shard.json").read_text())
    assert (header["count"], header["spaces"], header["info"]) == (5, {"scene": "s/4", "audio": "a/3"}, {"by": "toy"})
    assert header["sha256"]["clips.jsonl"] == hashlib.sha256((folder / "clips.jsonl").read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]


@pytest.mark.parametrize("media", ["../f.mp4", "/f.mp4", "a/../../f.mp4", "a\\f.mp4", "C:/f.mp4", ""])
def test_paths_that_climb_out_are_not_written(tmp_path: Path, media: str) -> None:
    with pytest.raises(ManifestError, match="relative path"):
        write_shard(tmp_path / "shard", [shard_clips()[0].with_(media=media)])
    assert list(tmp_path.iterdir()) == []


def test_contradictory_clips_are_not_written(tmp_path: Path) -> None:
    first, second = shard_clips()[:2]
    with pytest.raises(ManifestError, match="once"):
        write_shard(tmp_path / "shard", [first, first])
    other = second.with_(emotions={"scene": unit("other/4", [1, 2, 3])})
    with pytest.raises(ManifestError, match=r"scene in s/4, got other/4"):
        write_shard(tmp_path / "shard", [first, other])
    write_shard(tmp_path / "shard", [first])
    with pytest.raises(FileExistsError):
        write_shard(tmp_path / "shard", [second])
    assert [clip.id for clip in read_shard(tmp_path / "shard")] == [first.id]


def forge(folder: Path, name: str, change: Callable[[Path], None]) -> None:
    """Changes a file and signs it anew, as someone who wants to be believed would."""
    change(folder / name)
    header = json.loads((folder / "shard.json").read_text())
    header["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "shard.json").write_text(json.dumps(header))


def edit_header(folder: Path, **changes: Any) -> None:
    header = json.loads((folder / "shard.json").read_text())
    (folder / "shard.json").write_text(json.dumps({**header, **changes}))


def edit_line(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "schema": (lambda f: edit_header(f, schema="authentic-dubber/shard/99"), "expected schema"),
    "modality": (lambda f: edit_header(f, spaces={"smell": "s/4"}), "modalities"),
    "count": (lambda f: edit_header(f, count=6), "expected 6 clips, got 5"),
    "width": (lambda f: edit_header(f, spaces={"scene": "s/5", "audio": "a/3"}), r"\(rows, 5\)"),
    "bytes": (lambda f: edit_line(f / "clips.jsonl", "dim", "Dim"), "SHA-256"),
    "path": (
        lambda f: forge(f, "clips.jsonl", lambda p: edit_line(p, "dir/f.mp4", "../f.mp4")),
        "line 1: expected a relative",
    ),
    "id": (
        lambda f: forge(f, "clips.jsonl", lambda p: edit_line(p, "f/A/0001", "f/A/0000")),
        "line 2: expected each id",
    ),
    "row": (lambda f: forge(f, "clips.jsonl", lambda p: edit_line(p, '"scene": 1', '"scene": -1')), "line 2: .*row"),
    "field": (lambda f: forge(f, "clips.jsonl", lambda p: edit_line(p, '"film"', '"movie"')), "line 1: "),
    "nan": (
        lambda f: forge(f, "vectors_scene.npy", lambda p: np.save(p, np.full((5, 4), np.nan, dtype=np.float32))),
        "finite",
    ),
    "long": (
        lambda f: forge(f, "vectors_scene.npy", lambda p: np.save(p, np.ones((5, 4), dtype=np.float32))),
        "length 1",
    ),
    "type": (lambda f: forge(f, "vectors_scene.npy", lambda p: np.save(p, np.ones((5, 4)))), "float32"),
    "pickle": (
        lambda f: forge(f, "vectors_scene.npy", lambda p: np.save(p, np.array([{}] * 5), allow_pickle=True)),
        "vectors_scene.npy",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_shards_are_refused(tmp_path: Path, name: str) -> None:
    change, message = FORGERIES[name]
    folder = write_shard(tmp_path / "shard", shard_clips())
    change(folder)
    with pytest.raises(ManifestError, match=message):
        list(read_shard(folder))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"shard\.json"):
        read_shard(tmp_path)
    folder = write_shard(tmp_path / "shard", shard_clips())
    (folder / "vectors_audio.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"vectors_audio\.npy"):
        read_shard(folder)
