"""Clips as records: JSON for what is said, raw float32 for what is felt. The only importer of LMDB."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import numpy.typing as npt

from library_builder.types import MODALITIES, Clip, Emotion, Modality, space_width

from .versions import SCHEMA

_SCHEMA_KEY = b"schema"
_LENGTH = struct.Struct("<I")
_ROW = struct.Struct(">cQ")
"""Key of a record: `c`, then the row big-endian, so byte order is row order and ids may be of any length."""


def encode(clip: Clip) -> bytes:
    """A clip as bytes: length of the JSON, JSON, then the vectors little-endian. Equal clips give equal bytes."""
    record = clip.record()
    record["start"], record["end"] = float(clip.start), float(clip.end)  # 1 and 1.0 are the same second
    present = [modality for modality in MODALITIES if modality in clip.emotions]
    header = {"record": record, "spaces": [[modality, clip.emotions[modality].space] for modality in present]}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    vectors = [clip.emotions[modality].vector.astype("<f4").tobytes() for modality in present]
    return b"".join([_LENGTH.pack(len(text)), text, *vectors])


def decode(value: bytes) -> Clip:
    """The clip of `encode`, equal to the last bit."""
    header = _header(value)
    offset = _LENGTH.size + _LENGTH.unpack_from(value)[0]
    emotions: dict[Modality, Emotion] = {}
    for modality, space in header["spaces"]:
        width = space_width(space)
        emotions[modality] = Emotion(space, np.frombuffer(value, "<f4", width, offset))
        offset += 4 * width
    return Clip.from_record(header["record"], emotions)


def _header(value: bytes) -> dict[str, Any]:
    end = _LENGTH.size + _LENGTH.unpack_from(value)[0]
    header: dict[str, Any] = json.loads(value[_LENGTH.size : end])
    return header


@lru_cache(maxsize=256)
def _layout(spaces: bytes, modality: Modality) -> tuple[int, int]:
    """Where a modality's vector begins behind the header that ends in `spaces`, in bytes, and its width."""
    offset = 0
    for name, space in json.loads(b"{" + spaces)["spaces"]:
        width = space_width(space)
        if name == modality:
            return offset, width
        offset += 4 * width
    raise ValueError(f"expected a clip with modality {modality}, got one with {spaces.decode()[:-1]}")


class RecordStore:
    """Records of one version, by row. Read-only and shared: LMDB allows one environment per file and process.

    Reads are safe from several threads and, since nothing is ever written here, in forked workers.
    """

    _open: ClassVar[WeakValueDictionary[str, RecordStore]] = WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, environment: lmdb.Environment, path: Path) -> None:
        self._environment = environment
        self._path = path
        with environment.begin() as transaction:
            schema = transaction.get(_SCHEMA_KEY)
            if schema != str(SCHEMA).encode():
                raise ValueError(f"{path}: expected records of schema {SCHEMA}, got {schema!r}")
        self._count = environment.stat()["entries"] - 1

    @classmethod
    def open(cls, path: Path) -> RecordStore:
        """The records at `path`, written by `write_records`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no records, or records of another schema.
        """
        if not path.is_file():
            raise FileNotFoundError(f"expected records at {path}, got no file")
        key = str(path.resolve())
        with cls._lock:
            store = cls._open.get(key)
            if store is None:
                try:
                    # No lock file: nobody writes to a version, and its folder may be read-only.
                    environment = lmdb.open(key, subdir=False, readonly=True, lock=False, readahead=False)
                except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
                    raise ValueError(f"{path}: expected an LMDB file, got another: {error}") from error
                try:
                    store = cls(environment, path)
                except ValueError:
                    environment.close()  # or the file would stay taken for as long as the error is looked at
                    raise
                cls._open[key] = store
            return store

    def __len__(self) -> int:
        return self._count

    def headers(self) -> Iterator[dict[str, Any]]:
        """Every record without its vectors, in row order."""
        for value in self._values():
            record: dict[str, Any] = _header(value)["record"]
            yield record

    def iterate(self) -> Iterator[Clip]:
        """Every clip, in row order."""
        for value in self._values():
            yield decode(value)

    def get_many(self, rows: Sequence[int]) -> list[Clip]:
        """The clips at `rows`, in the order asked.

        Raises:
            IndexError: a row lies outside the store.
        """
        clips = []
        with self._environment.begin() as transaction:
            for row in rows:
                value = transaction.get(_ROW.pack(b"c", row)) if row >= 0 else None
                if value is None:
                    raise IndexError(f"{self._path}: expected rows of 0 to {len(self) - 1}, got {row}")
                clips.append(decode(value))
        return clips

    def vectors(self, rows: Sequence[int] | npt.NDArray[np.int64], modality: Modality) -> npt.NDArray[np.float32]:
        """The vectors of one modality at `rows`, in the order asked, without decoding the rest of the records.

        Shape:
            (N,) -> (N, D)

        Raises:
            IndexError: a row lies outside the store.
            ValueError: a clip has no such vector, or two have vectors of different widths.
        """
        found: npt.NDArray[np.float32] | None = None
        with self._environment.begin(buffers=True) as transaction:  # no copy: only the pages of this vector are read
            for place, row in enumerate(rows.tolist() if isinstance(rows, np.ndarray) else rows):
                value = transaction.get(_ROW.pack(b"c", row)) if row >= 0 else None
                if value is None:
                    raise IndexError(f"{self._path}: expected rows of 0 to {len(self) - 1}, got {row}")
                end = _LENGTH.size + _LENGTH.unpack_from(value)[0]
                text = bytes(value[_LENGTH.size : end])
                # Keys are sorted, so the spaces come last; within a string the quotes would be escaped.
                offset, width = _layout(text[text.rindex(b'"spaces":') :], modality)
                if found is None:
                    found = np.empty((len(rows), width), dtype=np.float32)
                if width != found.shape[1]:
                    raise ValueError(f"{self._path}: expected {modality} of {found.shape[1]} at row {row}, got {width}")
                found[place] = np.frombuffer(value, "<f4", width, end + offset)
        return np.empty((0, 0), dtype=np.float32) if found is None else found

    def _values(self) -> Iterator[bytes]:
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(_ROW.pack(b"c", 0))
            while found and cursor.key()[:1] == b"c":
                yield cursor.value()
                found = cursor.next()


def write_records(path: Path, values: Sequence[bytes], *, map_bytes: int | None = None) -> None:
    """Write encoded clips to a new LMDB file, in one transaction that is begun again on a larger map when it is full.

    Args:
        values: encoded clips, in row order.
        map_bytes: first size of the map; by default what the values need, more or less.

    Raises:
        FileExistsError: there is a file already.
    """
    if path.exists():
        raise FileExistsError(f"expected no file at {path}, got one: records are written once")
    size = map_bytes or (1 << 20) + 3 * sum(map(len, values)) // 2
    environment = lmdb.open(str(path), subdir=False, lock=False, map_size=size)
    try:
        while True:
            try:
                with environment.begin(write=True) as transaction:
                    transaction.put(_SCHEMA_KEY, str(SCHEMA).encode())
                    for row, value in enumerate(values):
                        # `c` sorts before `schema`, so rows are not appended at the very end of the tree.
                        transaction.put(_ROW.pack(b"c", row), value)
                break
            except lmdb.MapFullError:
                size *= 2
                environment.set_mapsize(size)
        environment.sync(True)
    finally:
        environment.close()
