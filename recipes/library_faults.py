"""What a library survives: killed writers, flipped bytes, a full disk.

    python recipes/library_faults.py [--kills 60] [--json]

Writers are child processes that die by `kill -9`: half of them at a random time, half at a random one of their calls
that touch the disk (fsync, link, rename, replace, rmtree), which wrappers in the child announce before they make them.
`build` reads footage with the light extractors, shard by shard; `commit` writes a whole version of vectors. After each
death the library must open, whole, as it was before or as it was to be; after the work is done again, records, vectors
and answers must equal those of an undisturbed library, and after `gc` no file may be left that no manifest names. A
build that goes on reads no clip of a shard that was done. Counts are printed, and where each writer died.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from killing import Announce, Death, Killer

from authentic_dubber.librarian import BuildJob, BuildOptions, build_library
from authentic_dubber.reading import WORK
from library_builder.mux import write_video
from library_builder.readers import Readers, build_readers
from library_builder.shards import STAGING, is_done
from library_builder.types import MODALITIES, Clip, Emotion
from retrieval.editing import add, commit
from retrieval.library import Library
from retrieval.store import encode
from retrieval.upkeep import gc, publish, verify
from retrieval.versions import CURRENT, MANIFEST, current_version, read_manifest, version_names

WIDTH = 32
OPERATIONS = ("build", "commit", "add", "publish", "gc")
BETWEEN = "before rename to a version"
SHARD_CLIPS = 4
FILMS, LINES = 6, 4
TOO_MANY = 3000
"""Clips for four megabytes."""


@dataclass(slots=True)
class Counts:
    """What is printed."""

    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    between_write_and_rename: int = 0
    done_but_read_again: int = 0
    not_whole: int = 0
    different_after_again: int = 0
    orphans: int = 0
    flips: int = 0
    flips_found: int = 0
    disk_full: str = ""
    disk_full_error: str = ""
    disk_full_survived: bool = False


def make_clips(first: int, last: int, seed: int = 0) -> Iterator[Clip]:
    """Clips of five speakers with every modality, in no order."""
    for i in np.random.default_rng(seed).permutation(np.arange(first, last)).tolist():
        vectors = np.random.default_rng([seed, i]).standard_normal((len(MODALITIES), WIDTH))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        emotions = {m: Emotion(f"fault/{WIDTH}", vector) for m, vector in zip(MODALITIES, vectors, strict=True)}
        yield Clip(f"clip-{i:05d}", "film.mkv", i, i + 1, f"speaker {i % 5}", f"line {i % 97}", emotions=emotions)


def digest(root: Path) -> str:
    """Of the records in order of id, their vectors, and the answers to some queries."""
    library = Library.open(root)
    total = hashlib.sha256()
    asking = []
    for number, clip in enumerate(library.clips()):
        total.update(encode(clip))
        if number % 40 == 0:
            asking.append(dict(clip.emotions))
    for answer in library.top_k_many(asking, 3):
        for modality, hits in answer.hits.items():
            total.update(json.dumps([modality, [(hit.clip.id, hit.score) for hit in hits]]).encode())
    return total.hexdigest()


class Stage:
    """The states that operations begin with, made once and copied; and what undisturbed ones end with."""

    def __init__(self, folder: Path, clips: int, rng: random.Random, footage: Path | None = None) -> None:
        self.folder, self.clips = folder, clips
        self.films = sorted((footage or draw_films(folder / "films")).glob("*.mp4"))[:FILMS]
        self.readers: Readers = build_readers()
        base = folder / "base"
        commit(base, make_clips(0, clips), most_clips=clips // 3 + 1)
        waiting = folder / "waiting"
        shutil.copytree(base, waiting)
        self.version = add(waiting, make_clips(clips, clips + clips // 4), publish=False).version
        many = folder / "many"
        shutil.copytree(base, many)
        for step in range(4):
            add(many, make_clips(clips + 20 * step, clips + 20 * step + 20))
        self.build(folder / "episode", self.films[:2])
        self.starts = {"build": folder / "episode", "commit": base, "add": base, "publish": waiting, "gc": many}
        self.before = {name: digest(start) for name, start in self.starts.items()}
        self.after: dict[str, str] = {}
        self.killer = Killer(rng, {}, dict.fromkeys(OPERATIONS, 30))
        for name in OPERATIONS:
            root = self.fresh(name)
            begun = time.perf_counter()
            self.run(name, root, lambda what: None)
            self.killer.seconds[name] = time.perf_counter() - begun
            self.after[name] = digest(root)

    def build(self, root: Path, films: Sequence[Path]) -> int:
        """Read footage into a library; returns how many clips were read."""
        options = BuildOptions(shard_clips=SHARD_CLIPS, cache=False)
        return build_library(BuildJob(root, tuple(films)), self.readers, options=options).read

    def fresh(self, name: str) -> Path:
        root = self.folder / "work"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.starts[name], root)
        return root

    def run(self, name: str, root: Path, announce: Announce) -> int:
        """Do an operation; returns how many clips of footage were read for it."""
        clips = self.clips
        match name:
            case "build":
                return self.build(root, self.films)
            case "commit":
                commit(root, announced(make_clips(0, clips + clips // 2, 1), announce), most_clips=clips // 2)
            case "add":
                add(root, announced(make_clips(clips, clips + clips // 2), announce))
            case "publish":
                publish(root, self.version)
            case "gc":
                gc(root, keep=1)
        return 0


def draw_films(folder: Path) -> Path:
    """Small films of a square that wanders, a line a second, each with its sheet."""
    folder.mkdir()
    for number in range(FILMS):
        path = (
            np.random.default_rng(number).integers(0, 40, (LINES, 2)).repeat(8, axis=0) + np.arange(8 * LINES)[:, None]
        )
        frames = np.full((len(path), 96, 96, 3), 40 + 20 * number, dtype=np.uint8)
        for frame, (x, y) in zip(frames, path % 80, strict=True):
            frame[y : y + 16, x : x + 16] = (200, 120, 60)
        write_video(folder / f"film{number}.mp4", iter(frames), 8)
        rows = [f"{i}.0,{i}.9,{'AB'[i % 2]},line {i} of {number}" for i in range(LINES)]
        (folder / f"film{number}.csv").write_text("\n".join(["start,end,character,text", *rows]) + "\n")
    return folder


def announced(clips: Iterator[Clip], announce: Announce) -> Iterator[Clip]:
    for number, clip in enumerate(clips):
        if number % 50 == 0:
            announce("reading clips")
        yield clip


def check(stage: Stage, death: Death, counts: Counts) -> None:
    """What must hold after a death, after the work was done again, and after `gc`."""
    root, name = stage.folder / "work", death.operation
    counts.kills[name] += 1
    counts.phases[f"{name}: {death.phase}"] += 1
    counts.between_write_and_rename += death.phase == BETWEEN
    if digest(root) not in (stage.before[name], stage.after[name]) or verify(root):
        counts.not_whole += 1
    done = sum(is_done(shard) for shard in (root / WORK / "shards").glob("[0-9a-f]*"))
    read = stage.run(name, root, lambda what: None)
    counts.done_but_read_again += name == "build" and read > FILMS * LINES - done * SHARD_CLIPS
    counts.different_after_again += digest(root) != stage.after[name]
    gc(root, keep=1)
    counts.orphans += len(orphans(root)) + (verify(root) != ())


def orphans(root: Path) -> list[Path]:
    """Files that no manifest names, and shards that nobody finished."""
    named = {root / CURRENT, *(root / WORK).rglob("*"), root / WORK} - set((root / WORK).rglob(f"{STAGING}-*"))
    for version in version_names(root):
        named |= {root / version, root / version / MANIFEST}
        named |= {root / version / name for name in read_manifest(root, version).files}
    return sorted(set(root.rglob("*")) - named)


def flip_bytes(stage: Stage, flips: int, rng: random.Random, counts: Counts) -> None:
    """Flip a bit somewhere in a file of some version, or in the pointer; `verify` must name that file."""
    root = stage.fresh("gc")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for _ in range(flips):
        path = rng.choice(files)
        path.chmod(0o644)
        data = path.read_bytes()
        harmed = bytearray(data)
        harmed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(harmed)
        counts.flips += 1
        counts.flips_found += any(str(path) in problem for problem in verify(root))
        path.write_bytes(data)


def fill_disk(stage: Stage, counts: Counts) -> None:
    """Add more than fits; then make room and add again."""
    with small_disk(stage.folder / "small") as (root, limit, make_room):
        counts.disk_full = limit
        commit(root, make_clips(0, 300))
        first, before = current_version(root), digest(root)
        counts.disk_full_error = refused(root, limit)
        whole = current_version(root) == first and digest(root) == before and not verify(root)
        left = [path.name for path in root.iterdir() if path.name not in (CURRENT, first)]
        make_room()
        add(root, make_clips(300, TOO_MANY))
        commit(stage.folder / "undisturbed", make_clips(0, TOO_MANY))
        same = digest(root) == digest(stage.folder / "undisturbed")
        counts.disk_full_survived = bool(counts.disk_full_error) and whole and not left and same


def refused(root: Path, limit: str) -> str:
    """What a writer says that has no room, in a process of its own; "" when it had."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            if limit == "file size limit":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            add(root, make_clips(300, TOO_MANY))
        except OSError as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = b""
    while part := os.read(reading, 4096):
        said += part
    os.close(reading)
    os.waitpid(process, 0)
    return said.decode()


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, str, Callable[[], None]]]:
    """A library's folder on a file system of 4 MB where one may be mounted, else any with a limit on a file's size."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    try:
        subprocess.run([*mount, "size=4m", "none", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield folder / "library", "file size limit", lambda: None
        return
    try:
        bigger = [*mount, "remount,size=64m", "none", str(folder)]
        yield folder / "library", "tmpfs of 4 MB", lambda: subprocess.run(bigger, check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def measure(options: argparse.Namespace, folder: Path) -> Counts:
    """All faults; kills are shared evenly by the operations."""
    rng, counts = random.Random(options.seed), Counts()
    stage = Stage(folder, options.clips, rng, options.footage)
    for number in range(options.kills):
        name, death = OPERATIONS[number % len(OPERATIONS)], None
        while death is None:  # the first two die where it would hurt most, between write and rename
            root = stage.fresh(name)
            write = partial(stage.run, name, root)
            death = stage.killer.kill(name, write, BETWEEN if number < 2 else "")
        check(stage, death, counts)
    flip_bytes(stage, options.flips, rng, counts)
    fill_disk(stage, counts)
    return counts


def sound(counts: Counts, kills: int, flips: int) -> bool:
    """Whether nothing was lost."""
    return (
        counts.kills.total() >= kills
        and not (counts.done_but_read_again or counts.not_whole or counts.different_after_again or counts.orphans)
        and counts.flips_found == counts.flips == flips
        and counts.disk_full_survived
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--clips", type=int, default=400, help="of the library that is worked on")
    parser.add_argument("--footage", type=Path, help="six videos with sheets of four lines; drawn by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = measure(options, Path(folder))
    facts = {name: getattr(counts, name) for name in Counts.__slots__}
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            if isinstance(value, dict):
                print(f"{name}:")
                for key, number in sorted(value.items()):
                    print(f"  {number:4d}  {key}")
            else:
                print(f"{name:26} {value}")
    if not sound(counts, options.kills, options.flips):
        sys.exit("a fault was not survived")


if __name__ == "__main__":
    main()
