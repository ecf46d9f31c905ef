"""A build is made of shards: killed, spread over jobs and workers, or run again, it comes to the same clips."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from authentic_dubber.librarian import BuildJob, BuildOptions, build_library
from authentic_dubber.reading import FootageRead, read_footage
from library_builder.ahead import ahead
from library_builder.build import ClipEmotions
from library_builder.cues import Cue, read_cues
from library_builder.manifest import ManifestError
from library_builder.mux import write_video, write_wave
from library_builder.planning import Work, plan_works, portions
from library_builder.readings import Readings
from library_builder.shards import Desk, Order, make_shard
from library_builder.workers import WorkerDied
from retrieval.library import Library

from .toy_readers import DEATHS, LOG, PAUSE, Scene, draw_films, leave, load, seen, unit

ROOT = Path(__file__).resolve().parents[1]
SMALL = partial(BuildOptions, shard_clips=4, load=load)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    return draw_films(tmp_path / "films", 6)


def read(films: Path, library: Path, **options: Any) -> FootageRead:
    return read_footage(BuildJob(library, (films,), licence="ours"), options=SMALL(**options))


def content(read: FootageRead) -> list[Any]:
    """Everything of every clip."""
    return [
        (clip.record(), {m: (e.space, e.vector.tolist()) for m, e in clip.emotions.items()}) for clip in read.clips()
    ]


def test_a_build_that_is_run_again_reads_nothing_and_makes_no_version(films: Path, tmp_path: Path) -> None:
    job = BuildJob(tmp_path / "lib", (films,))
    first = build_library(job, options=SMALL())
    assert (first.counts["ok"], first.read, seen()) == (18, 18, 18)
    shards = sorted((tmp_path / "lib" / "work" / "shards").iterdir())
    again = build_library(job, options=SMALL(finish=True))
    assert (again.version, again.read, seen()) == (first.version, 0, 18)
    assert sorted((tmp_path / "lib" / "work" / "shards").iterdir()) == shards
    assert len(Library.open(tmp_path / "lib")) == 18


def test_only_shards_that_are_missing_are_made_again(films: Path, tmp_path: Path) -> None:
    whole = read(films, tmp_path / "lib", cache=False)
    before = content(whole)
    lost, torn = (tmp_path / "lib" / "work" / "shards" / key for key in whole.keys[1:3])
    sizes = [len([line for line in (f / "outcomes.jsonl").read_text().splitlines()]) for f in (lost, torn)]
    shutil.rmtree(lost)
    (torn / "done.json").unlink()  # as one whose writer was killed would look under another file system's rename
    again = read(films, tmp_path / "lib", cache=False)
    assert again.read == sum(sizes) and seen() == 18 + sum(sizes)
    assert content(again) == before and again.digest == whole.digest


def test_a_damaged_shard_is_named_and_made_anew(films: Path, tmp_path: Path) -> None:
    whole = read(films, tmp_path / "lib")
    before = content(whole)
    vectors = tmp_path / "lib" / "work" / "shards" / whole.keys[0] / "clips" / "vectors_scene.npy"
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.chmod(0o644)
    vectors.write_bytes(data)
    with pytest.raises(ManifestError, match=r"vectors_scene\.npy.*run again"):
        content(whole)
    assert content(read(films, tmp_path / "lib")) == before


def test_footage_that_changed_is_read_again_and_the_rest_is_not(films: Path, tmp_path: Path) -> None:
    before = content(read(films, tmp_path / "lib"))
    film = films / "film03.mp4"
    os.utime(film, ns=(1, 1))  # another time, the same bytes
    assert read(films, tmp_path / "lib").read == 0
    write_video(film, [np.full((48, 64, 3), 99, dtype=np.uint8)] * 24, 8)
    changed = read(films, tmp_path / "lib")
    after = content(changed)
    assert changed.read == 3
    assert {a[0]["media"] for a, b in zip(after, before, strict=True) if a != b} == {"film03.mp4"}


def test_bytes_changed_behind_an_old_time_and_size_are_found_by_checksum(films: Path, tmp_path: Path) -> None:
    first = read(films, tmp_path / "lib")
    film, was = films / "film00.mp4", (films / "film00.mp4").stat()
    data = bytearray(film.read_bytes())
    data[-1] ^= 1  # in the index at the end: the pictures stay what they are
    film.write_bytes(data)
    os.utime(film, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert read(films, tmp_path / "lib").digest == first.digest
    assert read(films, tmp_path / "lib", rehash=True).digest != first.digest


def test_the_same_bytes_under_another_name_are_read_once(films: Path, tmp_path: Path) -> None:
    for number in range(6):
        for suffix in ("mp4", "csv"):
            os.link(films / f"film{number:02d}.{suffix}", films / f"twin{number:02d}.{suffix}")
    kept = read(films, tmp_path / "kept")
    assert (kept.counts["ok"], kept.read) == (36, 18)
    plain = read(films, tmp_path / "plain", cache=False)
    assert plain.read == 36 and not (tmp_path / "plain" / "work" / "readings").exists()
    assert content(kept) == content(plain)


def test_parts_of_a_build_add_up_to_the_whole(films: Path, tmp_path: Path) -> None:
    whole = read(films, tmp_path / "whole")
    with pytest.raises(ValueError, match="make the missing parts first"):
        read(films, tmp_path / "parts", finish=True)
    parts = [read(films, tmp_path / "parts", part=(i, 3)) for i in (3, 1, 2)]
    keys = [set(part.keys) for part in parts]
    assert set.union(*keys) == set(whole.keys) and sum(map(len, keys)) == len(whole.keys)
    assert sum(part.read for part in parts) == 18
    finished = read(films, tmp_path / "parts", finish=True)
    assert (finished.read, finished.digest, content(finished)) == (0, whole.digest, content(whole))


def test_footage_that_joins_leaves_other_shards_alone(tmp_path: Path) -> None:
    films = draw_films(tmp_path / "films", 30, clips=1)
    before = set(read(films, tmp_path / "lib", cache=False).keys)
    (films / "film00.mp4").rename(films / "film15b.mp4")
    (films / "film00.csv").rename(films / "film15b.csv")
    after = read(films, tmp_path / "lib", cache=False)
    assert len(before & set(after.keys)) >= len(before) - 4 and after.read <= 4 * 4


@pytest.mark.parametrize("most", [1, 4, 64])
def test_portions_are_everything_in_order_and_never_too_much(films: Path, tmp_path: Path, most: int) -> None:
    paths = sorted(films.glob("*.mp4"))
    works = [
        w for w in plan_works(paths, films, lambda p: read_cues(p.with_suffix(".csv")).cues) if isinstance(w, Work)
    ]
    cut = list(portions(works, most))
    assert [work for portion in cut for work in portion] == works
    assert max(map(len, cut)) <= most
    assert [Work.from_record(work.record()) for work in works] == works


# Trouble.


def test_a_clip_that_failed_says_why_and_is_tried_again_alone(films: Path, tmp_path: Path) -> None:
    write_video(films / "film09.mp4", [np.full((48, 64, 3), 30 * (i // 8), dtype=np.uint8) for i in range(24)], 8)
    (films / "film09.csv").write_text("start,end,character,text,audio\n0,1,A,x,\n1,2,A,y,late.wav\n9,10,A,z,\n")
    first = read(films, tmp_path / "lib")
    assert first.counts == {"ok": 19, "skipped": 1, "failed": 1}
    assert any("late.wav" in trouble for trouble in first.troubles())
    write_wave(films / "late.wav", np.ones(16000, dtype=np.float32) * 0.1, 16000)
    second = read(films, tmp_path / "lib")
    assert second.counts == {"ok": 20, "skipped": 1, "failed": 0}
    assert second.read == 1


def test_an_extractor_that_chokes_loses_one_clip(films: Path, tmp_path: Path) -> None:
    write_video(films / "white.mp4", [np.full((48, 64, 3), 255, dtype=np.uint8)] * 8, 8)
    (films / "white.csv").write_text("start,end,character,text\n0,0.9,A,x\n")
    found = read(films, tmp_path / "lib")
    assert found.counts["failed"] == 1 and any("too bright" in trouble for trouble in found.troubles())


def test_files_that_are_no_video_fail_by_name(films: Path, tmp_path: Path) -> None:
    (films / "empty.mp4").touch()
    (films / "letter.mp4").write_text("Dear Sir or Madam, I am not a film.\n" * 50)
    (films / "letter.csv").write_text("start,end,character,text\n0,1,A,x\n1,2,A,y\n")
    for _ in range(2):
        found = read(films, tmp_path / "lib")
        assert found.counts == {"ok": 18, "skipped": 0, "failed": 3}
    told = "\n".join(found.troubles())
    assert "empty.mp4: expected a video, got an empty file" in told and "letter.mp4: cannot be read as media" in told


def test_footage_that_changes_while_it_is_read_fails(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = load()
    look = readers.scene.read

    def touch(frames: Sequence[Any]) -> Any:
        for film in films.glob("*.mp4"):
            os.utime(film)
        return look(frames)

    readers.scene.read = touch
    job = BuildJob(tmp_path / "lib", (films,))
    found = read_footage(job, readers, options=SMALL())
    assert found.counts["failed"] > 0
    assert all("changed while it was read" in trouble for trouble in found.troubles())
    assert read_footage(job, options=SMALL()).counts == {"ok": 18, "skipped": 0, "failed": 0}


FULL = """
import resource, signal
from pathlib import Path
from authentic_dubber.reading import BuildJob, BuildOptions, read_footage
from tests.toy_readers import load
readers = load()
look = readers.scene.read
def read(frames):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    return look(frames)
readers.scene.read = read
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    job = BuildJob(Path({library!r}), (Path({films!r}),), licence="ours")
    read_footage(job, readers, options=BuildOptions(shard_clips=4))
except OSError as error:
    print("refused:", error)
"""


def test_a_disk_that_fills_up_keeps_what_is_done(films: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the write of a marker or a table fails in the same way."""
    library = tmp_path / "lib"
    before = read(films, library)
    shutil.rmtree(library / "work" / "shards" / before.keys[-1])
    shutil.rmtree(library / "work" / "readings")
    code = FULL.format(library=str(library), films=str(films))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "refused: [Errno 27] File too large; finished shards are kept" in done.stdout, done.stdout + done.stderr
    assert {f.name for f in (library / "work" / "shards").iterdir()} == set(before.keys[:-1])
    assert content(read(films, library)) == content(before)


def test_a_folder_that_may_not_be_written_is_refused(films: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        read(films, tmp_path / "file" / "lib")


def test_two_clips_of_one_id_are_refused(films: Path, tmp_path: Path) -> None:
    work = Work("a/b/0001", films / "film00.mp4", "film00.mp4", Cue(0, 1, "b", "x"), "a")
    with pytest.raises(ValueError, match="each clip id once, got 'a/b/0001' again"):
        make_shard(Order((work, work)), Desk(tmp_path / "work", load()))
    assert not (tmp_path / "work").exists()


def test_a_library_that_was_damaged_is_made_anew_from_its_shards(films: Path, tmp_path: Path) -> None:
    job = BuildJob(tmp_path / "lib", (films,))
    first = build_library(job, options=SMALL())
    file = next((tmp_path / "lib" / first.version).glob("*.faiss"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    again = build_library(job, options=SMALL())
    assert again.read == 0 and again.version != first.version
    assert len(Library.open(tmp_path / "lib")) == 18


# Workers.


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deaths").mkdir()
    monkeypatch.setenv(DEATHS, str(tmp_path / "deaths"))
    return tmp_path / "deaths"


def test_two_workers_make_the_same_though_one_is_killed(films: Path, tmp_path: Path, deaths: Path) -> None:
    alone = read(films, tmp_path / "alone")
    (deaths / "one").touch()
    told: list[int] = []
    job = BuildJob(tmp_path / "two", (films,), licence="ours")
    pair = read_footage(job, None, lambda what, done, total: told.append(done), SMALL(workers=2))
    assert not any(deaths.iterdir())
    assert (pair.digest, content(pair)) == (alone.digest, content(alone))
    assert told[-1] == 18


def test_a_shard_that_kills_every_worker_fails_and_the_rest_is_made(films: Path, tmp_path: Path, deaths: Path) -> None:
    for number in range(2):
        (deaths / str(number)).touch()
    job = BuildJob(tmp_path / "lib", (films / "film00.mp4",))
    found = read_footage(job, options=SMALL(workers=2, retries=1))
    assert found.counts["failed"] == 3 and all("died 2 times, last by signal 9" in t for t in found.troubles())
    assert read_footage(job, options=SMALL()).counts["ok"] == 3


def test_workers_that_cannot_start_are_told_from_shards_that_kill(films: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match="load their extractors, 1 died over it, the last by exit code 3"):
        read_footage(BuildJob(tmp_path / "lib", (films,)), load(), options=SMALL(workers=2, retries=0, load=leave))


BUILD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has children ignore it
from pathlib import Path
from authentic_dubber.reading import BuildJob, BuildOptions, read_footage
from tests.toy_readers import load
job = BuildJob(Path({library!r}), (Path({films!r}),), licence="ours")
read_footage(job, options=BuildOptions(shard_clips=4, cache=False, load=load))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_run_again_it_redoes_at_most_the_shard_in_hand(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setenv(PAUSE, "0.1")
    library = tmp_path / "lib"
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD.format(library=str(library), films=str(films))],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while seen() < 6 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(60) != 0
    killed_at = seen()
    monkeypatch.setenv(PAUSE, "0")
    again = read(films, library, cache=False)
    assert 6 <= killed_at < 18 and again.read < 18
    assert seen() - 18 <= 4, "at most one shard of four was read twice"
    assert not list((library / "work" / "shards").glob(".new*"))
    assert content(again) == content(read(films, tmp_path / "whole", cache=False))


# Parts.


def test_ahead_is_map_with_bounded_lead_and_errors_in_turn() -> None:
    made: list[int] = []

    def square(value: int) -> int:
        made.append(value)
        if value == 7:
            raise ValueError("seven")
        return value * value

    results = ahead(square, range(10), depth=2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(made) <= 3 + 2
    with pytest.raises(ValueError, match="seven"):
        list(results)


def test_readings_come_back_and_torn_ones_do_not(tmp_path: Path) -> None:
    kept, key = Readings(tmp_path), "ab" * 32
    assert kept.get(key) is None
    put = ClipEmotions({"scene": unit(Scene.space, [0.1, 0.2, 0.3])}, {"scene": "dim \u2028 é"}, ("a: b",))
    kept.put(key, put)
    back = kept.get(key)
    assert back is not None and (back.captions, back.notes) == (put.captions, put.notes)
    assert np.array_equal(back.emotions["scene"].vector, put.emotions["scene"].vector)
    file = tmp_path / "ab" / key
    for torn in (file.read_bytes()[:-3], b"", b"{}\n"):
        file.write_bytes(torn)
        assert kept.get(key) is None
