"""Clips as records: JSON for what is said, raw float32 for what is felt. The only importer of LMDB."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import numpy.typing as npt

from library_builder.types import MODALITIES, Clip, Emotion, Modality, space_width

RECORD_SCHEMA = 2
_SCHEMA_KEY, _SPACES_KEY = b"schema", b"spaces"
_HEAD = struct.Struct("<IB3x")
"""Length of the JSON, and one bit per modality that has a vector: vectors are found without reading the JSON."""
_ROW = struct.Struct(">cQ")
"""Key of a record: `c`, then the row big-endian, so byte order is row order."""
_NUMBER = struct.Struct("<Q")
_OLD_HEAD = struct.Struct("<I")
_DIGEST = 16
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in (Clip, Emotion)}
_ROOM = 1 << 20
"""A disk with less is full: what was refused is larger than what is left."""
_BATCH_BYTES = 8 << 20
"""Records of one transaction: LMDB keeps the pages of an open transaction in memory."""

Checked = TypeVar("Checked", Clip, Emotion)


def encode(clip: Clip) -> bytes:
    """A clip as bytes: its head, JSON, then the vectors little-endian. Equal clips give equal bytes."""
    record = clip.record()
    record["start"], record["end"] = float(clip.start), float(clip.end)  # 1 and 1.0 are the same second
    present = [modality for modality in MODALITIES if modality in clip.emotions]
    header = {"record": record, "spaces": [[modality, clip.emotions[modality].space] for modality in present]}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    vectors = [clip.emotions[modality].vector.astype("<f4").tobytes() for modality in present]
    bits = sum(1 << MODALITIES.index(modality) for modality in present)
    return b"".join([_HEAD.pack(len(text), bits), text, *vectors])


def decode(value: bytes | memoryview) -> Clip:
    """The clip of `encode`, equal to the last bit."""
    return _clip(value, _HEAD.size, _HEAD.unpack_from(value)[0])


def header(value: bytes | memoryview) -> dict[str, Any]:
    """What `Clip.record` said of an encoded clip, without its vectors."""
    record: dict[str, Any] = _json(value, _HEAD.size, _HEAD.unpack_from(value)[0])["record"]
    return record


def modality_bits(value: bytes | memoryview) -> int:
    """One bit per modality, in their order, of which an encoded clip has a vector."""
    bits: int = _HEAD.unpack_from(value)[1]
    return bits


class RecordStore:
    """Records of one segment, by row and by id. Read-only and shared: one environment per file and process.

    Versions share files, so a file is known by its inode and not by its name. Reads are safe from several threads and,
    since nothing is ever written here, in forked workers. The file may be deleted while it is read.
    """

    _open: ClassVar[WeakValueDictionary[tuple[int, int], RecordStore]] = WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, environment: lmdb.Environment, path: Path) -> None:
        self._environment = environment
        self._path = path
        with environment.begin() as transaction:
            schema, spaces = transaction.get(_SCHEMA_KEY), transaction.get(_SPACES_KEY)
            if schema != str(RECORD_SCHEMA).encode() or spaces is None:
                raise ValueError(f"{path}: expected records of schema {RECORD_SCHEMA}, got {schema!r}")
        self._widths = {modality: space_width(space) for modality, space in json.loads(spaces).items()}
        self._count = (environment.stat()["entries"] - 2) // 2  # a record and its id each, and two keys of our own

    @classmethod
    def open(cls, path: Path) -> RecordStore:
        """The records at `path`, written by `write_records`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no records, or records of another schema.
        """
        if not path.is_file():
            raise FileNotFoundError(f"expected records at {path}, got no file")
        facts = path.stat()
        with cls._lock:
            store = cls._open.get((facts.st_dev, facts.st_ino))
            if store is None:
                environment = _read(path)
                try:
                    store = cls(environment, path)
                except ValueError:
                    environment.close()  # or the file would stay taken for as long as the error is looked at
                    raise
                cls._open[facts.st_dev, facts.st_ino] = store
            return store

    def __len__(self) -> int:
        return self._count

    def values(self) -> Iterator[bytes]:
        """Every record as it was encoded, in row order."""
        with self._environment.begin() as transaction:
            yield from _values(transaction)

    def iterate(self) -> Iterator[Clip]:
        """Every clip, in row order."""
        return map(decode, self.values())

    def encoded(self, row: int) -> bytes:
        """The record of a row as it was encoded."""
        value: bytes = self._each([row], bytes)[0]
        return value

    def row(self, id: str) -> int | None:
        """The row of a clip; None when it is not here."""
        with self._environment.begin() as transaction:
            row = transaction.get(_id_key(id))
        return None if row is None else int(_NUMBER.unpack(row)[0])

    def get_many(self, rows: Sequence[int]) -> list[Clip]:
        """The clips at `rows`, in the order asked.

        Raises:
            IndexError: a row lies outside the store.
        """
        return self._each(rows, decode)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """The ids of the clips at `rows`, in the order asked.

        Raises:
            IndexError: a row lies outside the store.
        """
        return self._each(rows, lambda value: str(header(value)["id"]))

    def vectors(self, rows: Sequence[int] | npt.NDArray[np.int64], modality: Modality) -> npt.NDArray[np.float32]:
        """Vectors of one modality, read past everything else; a row without one gives NaN.

        Shape:
            (N,) -> (N, D)

        Raises:
            IndexError: a row lies outside the store.
            KeyError: no clip here has this modality.
        """
        width, bit = self._widths[modality], MODALITIES.index(modality)
        before = [self._widths.get(other, 0) for other in MODALITIES[:bit]]
        found = np.full((len(rows), width), np.nan, dtype=np.float32)
        places = iter(range(len(rows)))

        def copy(value: memoryview) -> None:
            place = next(places)
            length, bits = _HEAD.unpack_from(value)
            if bits >> bit & 1:
                skipped = sum(wide for other, wide in enumerate(before) if bits >> other & 1)
                found[place] = np.frombuffer(value, "<f4", width, _HEAD.size + length + 4 * skipped)

        self._each(rows.tolist() if isinstance(rows, np.ndarray) else rows, copy)
        return found

    def _each(self, rows: Sequence[int], read: Callable[[memoryview], Any]) -> list[Any]:
        found = []
        # Buffers point into the map: nothing is copied that the reader does not want.
        with self._environment.begin(buffers=True) as transaction:
            for row in rows:
                value = transaction.get(_ROW.pack(b"c", row)) if row >= 0 else None
                if value is None:
                    raise IndexError(f"{self._path}: expected rows of 0 to {len(self) - 1}, got {row}")
                found.append(read(value))
        return found


def write_records(
    path: Path, values: Iterable[bytes], spaces: Mapping[Modality, str], *, map_bytes: int = 1 << 24
) -> int:
    """Write encoded clips to a new LMDB file, as a stream; the map grows by itself when it is full.

    Args:
        values: encoded clips, in row order.
        spaces: of every modality they have.
        map_bytes: first size of the map.

    Returns:
        How many there were.

    Raises:
        FileExistsError: there is a file already.
        OSError: the disk is full, or cannot be written to.
    """
    if path.exists():
        raise FileExistsError(f"expected no file at {path}, got one: records are written once")
    digests = bytearray()
    try:
        # Not synced after each part: a file that is not finished is never looked at.
        environment = lmdb.open(str(path), subdir=False, lock=False, map_size=map_bytes, sync=False, metasync=False)
        try:
            for first, part in _parts(values):
                # In the order of their keys, appended: pages come out full.
                _put(environment, [(_ROW.pack(b"c", first + row), value) for row, value in enumerate(part)])
                digests += b"".join(_digest(header(value)["id"]) for value in part)
            own = json.dumps(dict(spaces), sort_keys=True).encode()
            for ids in _id_rows(digests):
                _put(environment, ids)
            _put(environment, [(_SCHEMA_KEY, str(RECORD_SCHEMA).encode()), (_SPACES_KEY, own)])
            environment.sync(True)
        finally:
            environment.close()
    except lmdb.Error as error:
        # LMDB's own errors would pass for a bug, and say nothing of the file.
        raise disk_error(path, f"records could not be written ({error})") from error
    return len(digests) // _DIGEST


def disk_error(path: Path, what: str) -> OSError:
    """The error of a write that failed where its writer does not say of what; a disk without room is told so."""
    room = shutil.disk_usage(path.parent).free
    if room < _ROOM:
        return OSError(errno.ENOSPC, f"{what}: no space is left on the disk", str(path))
    return OSError(errno.EIO, what, str(path))


def read_old_records(path: Path) -> Iterator[Clip]:
    """The clips of a file of records of schema 1, in row order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no records of that schema.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected records at {path}, got no file")
    environment = _read(path)
    try:
        with environment.begin() as transaction:
            if (schema := transaction.get(_SCHEMA_KEY)) != b"1":
                raise ValueError(f"{path}: expected records of schema 1, got {schema!r}")
            for value in _values(transaction):
                yield _clip(value, _OLD_HEAD.size, _OLD_HEAD.unpack_from(value)[0])
    finally:
        environment.close()


def _read(path: Path) -> lmdb.Environment:
    try:
        # No lock file: nobody writes to a version, and its folder may be read-only.
        return lmdb.open(str(path.resolve()), subdir=False, readonly=True, lock=False, readahead=False)
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
        raise ValueError(f"{path}: expected an LMDB file, got another: {error}") from error
    except lmdb.Error as error:
        if not path.exists():  # collected between a look and this one
            raise FileNotFoundError(f"expected records at {path}, got no file") from error
        raise


def _values(transaction: lmdb.Transaction) -> Iterator[bytes]:
    with transaction.cursor() as cursor:
        found = cursor.set_range(_ROW.pack(b"c", 0))
        while found and cursor.key()[:1] == b"c":
            yield bytes(cursor.value())
            found = cursor.next()


def _put(environment: lmdb.Environment, items: Sequence[tuple[bytes, bytes]]) -> None:
    """One transaction, begun again on a larger map for as long as the map is full."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in items:
                    transaction.put(key, value, append=True)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _parts(values: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Values in parts that fit a transaction, each with the row it begins at."""
    part: list[bytes] = []
    first = size = 0
    for value in values:
        part.append(value)
        size += len(value)
        if size >= _BATCH_BYTES:
            yield first, part
            first, part, size = first + len(part), [], 0
    if part:
        yield first, part


def _clip(value: bytes | memoryview, start: int, length: int) -> Clip:
    """A clip that was checked when it was written; checking it again would take most of a search's time."""
    stored = _json(value, start, length)
    spaces: list[tuple[Modality, str]] = stored["spaces"]
    widths = [_width(space) for _, space in spaces]
    # One copy for all vectors: the map they lie in is gone with the transaction.
    vectors = np.frombuffer(value, "<f4", sum(widths), start + length).astype(np.float32)
    vectors.setflags(write=False)
    emotions: dict[Modality, Emotion] = {}
    first = 0
    for (modality, space), width in zip(spaces, widths, strict=True):
        emotions[modality] = _trusted(Emotion, {"space": space, "vector": vectors[first : first + width]})
        first += width
    record: dict[str, Any] = stored["record"]
    record["notes"] = tuple(record["notes"])
    record["captions"] = MappingProxyType(record["captions"])
    return _trusted(Clip, {**record, "emotions": MappingProxyType(emotions)})


def _trusted(kind: type[Checked], fields: Mapping[str, Any]) -> Checked:
    """A value with all its fields, without the checks of its making."""
    made = object.__new__(kind)
    put = object.__setattr__
    for name in _FIELDS[kind]:
        put(made, name, fields[name])
    return made


_width = lru_cache(space_width)


def _json(value: bytes | memoryview, start: int, length: int) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(bytes(value[start : start + length]))
    return stored


def _id_key(id: str) -> bytes:
    return b"i" + _digest(id)


def _digest(id: str) -> bytes:
    # An id may be longer than LMDB's keys.
    return hashlib.sha256(id.encode()).digest()[:_DIGEST]


def _id_rows(digests: bytearray, most: int = 50_000) -> Iterator[list[tuple[bytes, bytes]]]:
    """Keys of ids with their rows, in the order of keys, in parts that fit a transaction."""
    halves = np.frombuffer(digests, dtype=">u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0])).tolist()
    for first in range(0, len(order), most):
        yield [
            (b"i" + bytes(digests[_DIGEST * row : _DIGEST * (row + 1)]), _NUMBER.pack(row))
            for row in order[first : first + most]
        ]
