"""One builder at a time: a lock that says who holds it, and that the dead do not hold.

The file LOCK names its owner. Whoever reads or writes it holds the file's own lock (`flock`) for that moment, which the
kernel takes back when a process dies; so an owner is replaced by one builder only, whenever somebody is killed.
Windows has no such lock: there two builders that take over one dead lock in the same instant are not told apart.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "LOCK"
_MOST = 4096
"""No owner's line is longer."""


class LibraryLocked(ValueError):
    """Somebody else is changing the library."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: the machine's name.
        machine: its identity, as far as the system tells: machines and containers may share a name.
        boot: what the system calls its present start, so that a number of before means nothing after.
        pid: the process.
        started: when that process began, in the kernel's ticks: numbers of processes are used again.
        since: when it took the lock, seconds since 1970.
        purpose: what for.
        token: tells two locks of one process apart.
    """

    host: str
    machine: str
    boot: str
    pid: int
    started: str
    since: float
    purpose: str
    token: str

    @property
    def age(self) -> float:
        """Seconds for which it has been held."""
        return max(0.0, time.time() - self.since)

    def is_alive(self) -> bool:
        """Whether it may still be at work; of another machine's process only its owner knows, so it is."""
        if (self.host, self.machine) != _here()[:2]:
            return True
        if self.boot != _here()[2]:
            return False
        return self.started == _started(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, {self.purpose}, for {_spoken(self.age)}"


_held: dict[Path, tuple[int, int, str]] = {}
"""Locks of this process: which process and thread took them, and for what token. A forked child holds none."""


@contextmanager
def builder_lock(root: Path, purpose: str) -> Iterator[None]:
    """Nobody else changes the library while the block runs. The same thread may take it again inside.

    Args:
        root: the library's folder, which exists.
        purpose: what is done, in a word, for whoever comes second.

    Raises:
        LibraryLocked: somebody alive holds it; the message says who, and for how long.
    """
    key = Path(root).resolve()
    me = os.getpid(), threading.get_ident()
    if _held.get(key, (0, 0, ""))[:2] == me:
        yield
        return
    owner = _acquire(key, purpose)
    _held[key] = (*me, owner.token)
    try:
        yield
    finally:
        del _held[key]
        _release(key, owner)


def lock_owner(root: Path) -> Owner | None:
    """Who holds the library's lock, dead or alive; None when nobody does."""
    try:
        return _read((Path(root) / LOCK).read_bytes()[:_MOST])
    except FileNotFoundError:
        return None


def _acquire(root: Path, purpose: str) -> Owner:
    path = root / LOCK
    with _guarded(path, create=True) as file:
        other = _read(os.read(file, _MOST))
        if other is not None and other.is_alive():
            here = (other.host, other.machine) == _here()[:2]
            cure = "" if here else f" (if that machine is gone, remove {path})"
            raise LibraryLocked(f"{root} is being changed by {other}{cure}: wait until it is done")
        owner = Owner(*_here(), os.getpid(), _started(os.getpid()), time.time(), purpose, secrets.token_hex(8))
        # Whoever dies between these two leaves a line that cannot be read, which is nobody's.
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(owner)).encode(), 0)
        os.fsync(file)
    return owner


def _release(root: Path, owner: Owner) -> None:
    path = root / LOCK
    try:
        with _guarded(path, create=False) as file:
            if _read(os.read(file, _MOST)) == owner:
                path.unlink()
    except FileNotFoundError:  # removed by hand, or with the whole library
        pass


@contextmanager
def _guarded(path: Path, *, create: bool) -> Iterator[int]:
    """The lock's file, open, and nobody else in here. A file that was removed while we waited is not it any more."""
    while True:
        file = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file), os.stat(path))
            except FileNotFoundError:
                same = False
            if same:
                yield file
                return
        finally:
            os.close(file)


def _read(line: bytes) -> Owner | None:
    try:
        return Owner(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _here() -> tuple[str, str, str]:
    """This machine: its name, its identity, and its present start. A container is a machine of its own."""
    machine = _file("/etc/machine-id")
    with suppress(OSError):
        machine += " " + os.readlink("/proc/self/ns/pid")
    return socket.gethostname(), machine, _file("/proc/sys/kernel/random/boot_id")


def _started(pid: int) -> str:
    """When a process began; "" when there is none. Where the kernel does not say, that it is there must do."""
    stat = _file(f"/proc/{pid}/stat")
    if stat:
        fields = stat.rpartition(")")[2].split()  # a program's name may hold spaces and brackets
        return "" if fields[0] in "ZX" else fields[19]
    if os.path.isdir("/proc/self") or os.name == "nt":
        return "" if os.name != "nt" else "?"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"


def _file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _spoken(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
