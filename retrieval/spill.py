"""Encoded clips put in order of id, however many there are: sorted runs on disk, merged as they are read."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

_RUN_BYTES = 64 << 20
_MOST_RUNS = 64
_HEAD = struct.Struct("<IQ")


def in_order(
    items: Iterable[tuple[str, bytes]], folder: Path, *, run_bytes: int = _RUN_BYTES
) -> Iterator[tuple[str, bytes]]:
    """Pairs of id and value in ascending order of id, in the memory that one run takes.

    Everything is read before the first pair comes out. Runs lie in `folder` and are gone when the last pair is out,
    or the iterator is closed.

    Args:
        folder: an existing one, with room for all values.
        run_bytes: of values in one run.

    Raises:
        ValueError: an id comes twice.
    """
    runs: list[Path] = []
    held: list[tuple[str, bytes]] = []
    size = 0
    try:
        for item in items:
            held.append(item)
            size += len(item[1]) + 200  # and what Python needs for it
            if size >= run_bytes:
                runs.append(_write(folder / f"run{len(runs)}", _sorted(held)))
                held, size = [], 0
                if len(runs) % _MOST_RUNS == 0:  # files that may be open at once are counted too
                    runs = [*runs[:-_MOST_RUNS], _join(runs[-_MOST_RUNS:])]
        yield from _once(heapq.merge(*map(_read, runs), _sorted(held), key=_id))
    finally:
        for run in runs:
            run.unlink(missing_ok=True)


def _id(item: tuple[str, bytes]) -> str:
    return item[0]


def _sorted(held: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return sorted(held, key=_id)


def _once(items: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    last: str | None = None
    for id, value in items:
        if id == last:
            raise ValueError(f"expected clip ids to be unique, got {id!r} twice")
        last = id
        yield id, value


def _join(runs: list[Path]) -> Path:
    joined = _write(runs[0].with_name(f"{runs[0].name}_{len(runs)}"), heapq.merge(*map(_read, runs), key=_id))
    for run in runs:
        run.unlink()
    return joined


def _write(path: Path, items: Iterable[tuple[str, bytes]]) -> Path:
    with path.open("wb", buffering=1 << 20) as file:
        for id, value in items:
            name = id.encode()
            file.write(_HEAD.pack(len(name), len(value)) + name + value)
    return path


def _read(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb", buffering=1 << 18) as file:
        while head := file.read(_HEAD.size):
            name, value = _HEAD.unpack(head)
            yield _exactly(file, name).decode(), _exactly(file, value)


def _exactly(file: BinaryIO, count: int) -> bytes:
    read = file.read(count)
    assert len(read) == count, (file.name, count, len(read))
    return read
