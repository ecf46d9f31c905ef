"""What a library survives: killed writers, flipped bytes, a full disk.

    python recipes/library_faults.py [--kills 60] [--json]

Writers are child processes that die by `kill -9`: half of them at a random time, half at a random one of their calls
that touch the disk (fsync, link, rename, replace, rmtree), which wrappers in the child announce before they make them.
After each death the library must open, whole, as it was before or as it was to be; after the work is done again,
records, vectors and answers must equal those of an undisturbed library, and after `gc` no file may be left that no
manifest names. Counts are printed, and where each writer died.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from library_builder.types import MODALITIES, Clip, Emotion
from retrieval.editing import add, commit
from retrieval.library import Library
from retrieval.store import encode
from retrieval.upkeep import gc, publish, verify
from retrieval.versions import CURRENT, MANIFEST, current_version, read_manifest, version_names

WIDTH = 32
OPERATIONS = ("build", "add", "publish", "gc")
BETWEEN = "before rename to a version"
PATIENCE = 60.0
TOO_MANY = 3000
"""Clips for four megabytes."""


@dataclass(frozen=True, slots=True)
class Death:
    """Where a writer died: what it was about to do, or had done last, as it announced it."""

    operation: str
    announced: int
    phase: str


@dataclass(slots=True)
class Counts:
    """What is printed."""

    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    between_write_and_rename: int = 0
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

    def __init__(self, folder: Path, clips: int) -> None:
        self.folder, self.clips = folder, clips
        base = folder / "base"
        commit(base, make_clips(0, clips), most_clips=clips // 3 + 1)
        waiting = folder / "waiting"
        shutil.copytree(base, waiting)
        self.version = add(waiting, make_clips(clips, clips + clips // 4), publish=False).version
        many = folder / "many"
        shutil.copytree(base, many)
        for step in range(4):
            add(many, make_clips(clips + 20 * step, clips + 20 * step + 20))
        self.starts = {"build": base, "add": base, "publish": waiting, "gc": many}
        self.before = {name: digest(start) for name, start in self.starts.items()}
        self.after: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.calls = dict.fromkeys(OPERATIONS, 30)
        for name in OPERATIONS:
            root = self.fresh(name)
            begun = time.perf_counter()
            self.run(name, root, lambda what: None)
            self.seconds[name] = time.perf_counter() - begun
            self.after[name] = digest(root)

    def fresh(self, name: str) -> Path:
        root = self.folder / "work"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.starts[name], root)
        return root

    def run(self, name: str, root: Path, announce: Callable[[str], None]) -> None:
        clips = self.clips
        match name:
            case "build":
                commit(root, announced(make_clips(0, clips + clips // 2, 1), announce), most_clips=clips // 2)
            case "add":
                add(root, announced(make_clips(clips, clips + clips // 2), announce))
            case "publish":
                publish(root, self.version)
            case "gc":
                gc(root, keep=1)


def announced(clips: Iterator[Clip], announce: Callable[[str], None]) -> Iterator[Clip]:
    for number, clip in enumerate(clips):
        if number % 50 == 0:
            announce("reading clips")
        yield clip


def child(stage: Stage, name: str, root: Path, pipe: int, pause: float) -> None:
    """Do the operation, and tell before each call that touches the disk."""

    def announce(what: str) -> None:
        os.write(pipe, f"{what}\n".encode())
        time.sleep(pause)

    def wrapped(module: object, function: str, label: Callable[..., str]) -> None:
        real = getattr(module, function)

        def call(*args: object, **named: object) -> object:
            announce(label(*args))
            return real(*args, **named)

        setattr(module, function, call)

    wrapped(os, "fsync", lambda *_: "fsync")
    wrapped(os, "link", lambda *_: "sharing a file")
    wrapped(os, "rename", lambda _, target: f"before rename to {shown(target)}")
    wrapped(os, "replace", lambda _, target: f"before replace of {shown(target)}")
    wrapped(shutil, "rmtree", lambda *_: "removing a folder")
    announce("started")
    stage.run(name, root, announce)
    announce("done")


def shown(path: object) -> str:
    name = Path(str(path)).name
    if name.startswith(".new-gone"):
        return "a hidden name"
    return "a version" if name.startswith("v0") else re.sub(r"^s[0-9a-f]{16}", "a segment's ", name)


def kill_one(stage: Stage, name: str, rng: random.Random, at: str = "") -> Death | None:
    """Fork a writer and kill it; None when it was done before.

    Args:
        at: kill it when it announces this; else at random.
    """
    root = stage.fresh(name)
    reading, writing = os.pipe()
    by_call = bool(at) or rng.random() < 0.5
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            child(stage, name, root, writing, 0.004 if by_call else 0.0)
        finally:
            os._exit(0)
    os.close(writing)
    stop = rng.randrange(1, stage.calls[name] + 1)
    deadline = time.monotonic() + (PATIENCE if by_call else rng.uniform(0, 1.1 * stage.seconds[name]))
    heard = b""
    while not (by_call and (at.encode() in heard if at else heard.count(b"\n") >= stop)):
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(reading, 65536) if ready else b""
        heard += part
        if not part:
            break
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    while part := os.read(reading, 65536):
        heard += part
    os.close(reading)
    phases = heard.decode().splitlines() or ["starting"]
    if not os.WIFSIGNALED(status) or phases[-1] == "done":
        stage.calls[name] = len(phases)
        return None
    return Death(name, len(phases), phases[-1])


def check(stage: Stage, death: Death, counts: Counts) -> None:
    """What must hold after a death, after the work was done again, and after `gc`."""
    root, name = stage.folder / "work", death.operation
    counts.kills[name] += 1
    counts.phases[f"{name}: {death.phase}"] += 1
    counts.between_write_and_rename += death.phase == BETWEEN
    if digest(root) not in (stage.before[name], stage.after[name]) or verify(root):
        counts.not_whole += 1
    stage.run(name, root, lambda what: None)
    counts.different_after_again += digest(root) != stage.after[name]
    gc(root, keep=1)
    counts.orphans += len(orphans(root)) + (verify(root) != ())


def orphans(root: Path) -> list[Path]:
    """Files that no manifest names."""
    named = {root / CURRENT}
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


def measure(kills: int, flips: int, clips: int, seed: int, folder: Path) -> Counts:
    """All faults; kills are shared evenly by the operations."""
    rng, counts = random.Random(seed), Counts()
    stage = Stage(folder, clips)
    for number in range(kills):
        name, death = OPERATIONS[number % len(OPERATIONS)], None
        while death is None:  # the first two die where it would hurt most, between write and rename
            death = kill_one(stage, name, rng, BETWEEN if number < 2 else "")
        check(stage, death, counts)
    flip_bytes(stage, flips, rng, counts)
    fill_disk(stage, counts)
    return counts


def sound(counts: Counts, kills: int, flips: int) -> bool:
    """Whether nothing was lost."""
    return (
        counts.kills.total() >= kills
        and not (counts.not_whole or counts.different_after_again or counts.orphans)
        and counts.flips_found == counts.flips == flips
        and counts.disk_full_survived
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--clips", type=int, default=400, help="of the library that is worked on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = measure(options.kills, options.flips, options.clips, options.seed, Path(folder))
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
