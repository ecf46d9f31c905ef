"""Footage on disk becomes a library: which videos, which sheets, and what is said of those that failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from authentic_dubber.enquiry import answer, enquire
from authentic_dubber.librarian import SHARDS, BuildJob, build_library
from library_builder.manifest import read_shard
from library_builder.mux import write_video
from library_builder.types import Emotion, Frame, Reading
from retrieval.library import Library, Policy


def read_frames(frames: Sequence[Frame]) -> Reading:
    """The mean colour, as a unit vector: enough to tell a red film from a blue one."""
    colour = np.mean([frame.image.mean(axis=(0, 1)) for frame in frames], axis=0).astype(np.float32) + 1
    return Reading(Emotion("colour/3", colour / np.linalg.norm(colour)), "a colour")


READERS: Any = SimpleNamespace(
    scene=SimpleNamespace(space="colour/3", read=read_frames),
    face=SimpleNamespace(read=lambda frames: SimpleNamespace(reading=None, track=None, notes=("face: none",))),
    text=SimpleNamespace(read=lambda line, captions: None),
    audio=SimpleNamespace(read=lambda wave, rate: None),
)


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Two films of two seconds, red and blue, with a sheet beside the red one, and a file that is no film."""
    folder = tmp_path / "films"
    (folder / "sub").mkdir(parents=True)
    for path, colour in (("red.mp4", (200, 20, 20)), ("sub/blue.mp4", (20, 20, 200))):
        write_video(folder / path, [np.full((48, 64, 3), colour, dtype=np.uint8)] * 50, 25)
    write_sheet(folder / "red.csv", "0.0,1.0,Ada,Hello", "1.0,1.9,Bo,Goodbye", "7.0,8.0,Bo,Too late")
    write_sheet(folder / "sub/blue.csv", "0.0,1.5,Ada,Blue")
    return folder


def write_sheet(path: Path, *rows: str, columns: str = "start,end,character,text") -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_folder_becomes_a_library_that_says_what_is_not_in_it(footage: Path, tmp_path: Path) -> None:
    (footage / "broken.mp4").write_bytes(b"no film")
    told: list[int] = []
    job = BuildJob(tmp_path / "lib", (footage,), licence="ours")
    result = build_library(job, READERS, lambda what, done, total: told.append(done))
    assert dict(result.counts) == {"ok": 3, "skipped": 1, "failed": 1} and not result.complete
    assert any("broken.mp4" in trouble for trouble in result.troubles)
    assert any("red.mp4 7.00 to 8.00 s" in trouble for trouble in result.troubles)
    library = Library.open(tmp_path / "lib")
    assert library.version == result.version and told == [1, 2, 3, 4, 5]
    assert {clip.media for clip in library.clips()} == {"red.mp4", "sub/blue.mp4"}
    assert {clip.licence for clip in library.clips()} == {"ours"}
    assert (Path(library.info()["source"]["footage"]) / "sub/blue.mp4").is_file()
    assert sorted(clip.id for clip in read_shard(result.shard)) == sorted(clip.id for clip in library.clips())


def test_the_same_footage_again_makes_no_second_version(footage: Path, tmp_path: Path) -> None:
    job = BuildJob(tmp_path / "lib", (footage,))
    first, second = (build_library(job, READERS) for _ in range(2))
    assert first.version == second.version
    assert [path.name for path in (tmp_path / "lib" / SHARDS).iterdir()] == [first.version]


def test_one_sheet_may_name_the_films_of_its_rows(footage: Path, tmp_path: Path) -> None:
    sheet = write_sheet(
        tmp_path / "all.csv", "0,1,Ada,One,red", "0,1,Ada,Two,blue", columns="start,end,character,text,film"
    )
    build_library(BuildJob(tmp_path / "lib", (footage,), cues=(sheet,)), READERS)
    clips = list(Library.open(tmp_path / "lib").clips())
    assert {(clip.text, clip.media) for clip in clips} == {("One", "red.mp4"), ("Two", "sub/blue.mp4")}


def test_a_sheet_without_a_video_is_refused(footage: Path, tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path / "green.csv", "0,1,Ada,One")
    with pytest.raises(ValueError, match=r"green\.csv: expected a video named green"):
        build_library(BuildJob(tmp_path / "lib", (footage,), cues=(sheet,)), READERS)
    assert not (tmp_path / "lib").exists()


def test_nothing_readable_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    for footage in (tmp_path, tmp_path / "broken.mp4"):
        with pytest.raises(ValueError, match="found none"):
            build_library(BuildJob(tmp_path / "lib", (footage,)), READERS)
    assert not (tmp_path / "lib").exists()


def test_a_clip_finds_its_like_and_never_itself(footage: Path, tmp_path: Path) -> None:
    build_library(BuildJob(tmp_path / "lib", (footage,)), READERS)
    library = Library.open(tmp_path / "lib")
    by_text = {clip.text: clip.id for clip in library.clips()}
    asked = enquire(library, None, clip=by_text["Hello"])
    hits = answer(library, asked, 3, Policy()).hits["scene"]
    assert [hit.clip.text for hit in hits] == ["Goodbye", "Blue"]
    same = answer(library, asked, 3, Policy("same", "Ada")).hits["scene"]
    assert [hit.clip.text for hit in same] == ["Blue"]
