"""Writers that die by `kill -9`: forked, made to tell each call that touches the disk, and killed at one of them."""

from __future__ import annotations

import os
import random
import re
import select
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Announce: TypeAlias = Callable[[str], None]

PATIENCE = 60.0
"""Seconds to wait for a call that may never come."""
SLOW = 0.004
"""Seconds that a writer waits after telling what it is about to do, so that it can be killed before it does."""


@dataclass(frozen=True, slots=True)
class Death:
    """Where a writer died: what it was about to do, or had done last, as it told."""

    operation: str
    announced: int
    phase: str


@dataclass(slots=True)
class Killer:
    """Kills writers: half of them at a random time, half at a random call.

    Attributes:
        seconds: by operation, how long an undisturbed one takes.
        calls: by operation, about how many calls it tells of; learned from writers that were done too soon.
    """

    rng: random.Random
    seconds: dict[str, float]
    calls: dict[str, int]

    def kill(self, name: str, write: Callable[[Announce], None], at: str = "") -> Death | None:
        """Fork a writer and kill it; None when it was done before.

        Args:
            write: does the work, and may tell of more than its calls.
            at: kill it when it tells this; else at random.
        """
        reading, writing = os.pipe()
        by_call = bool(at) or self.rng.random() < 0.5
        process = os.fork()
        if process == 0:
            os.close(reading)
            try:
                _tell_calls(write, writing, SLOW if by_call else 0.0)
            finally:
                os._exit(0)
        os.close(writing)
        stop = self.rng.randrange(1, self.calls[name] + 1)
        deadline = time.monotonic() + (PATIENCE if by_call else self.rng.uniform(0, 1.1 * self.seconds[name]))
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
            self.calls[name] = len(phases)
            return None
        return Death(name, len(phases), phases[-1])


def _tell_calls(write: Callable[[Announce], None], pipe: int, pause: float) -> None:
    """Do the work, and tell before each call that touches the disk."""

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
    wrapped(os, "rename", lambda _, target: f"before rename to {_shown(target)}")
    wrapped(os, "replace", lambda _, target: f"before replace of {_shown(target)}")
    wrapped(shutil, "rmtree", lambda *_: "removing a folder")
    announce("started")
    write(announce)
    announce("done")


def _shown(path: object) -> str:
    path = Path(str(path))
    if path.parent.name in ("shards", "readings") or path.parent.parent.name == "readings":
        return f"one of the {path.parent.name if path.parent.name == 'shards' else 'readings'}"
    if path.name.startswith(".new-gone"):
        return "a hidden name"
    return "a version" if path.name.startswith("v0") else re.sub(r"^s[0-9a-f]{16}", "a segment's ", path.name)
