"""A pack back to a prepared corpus, checked first; interrupted, it goes on where it was."""

from __future__ import annotations

import json
import lzma
import os
import shutil
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.checksum import file_digest
from library_builder.manifest import check_relative
from vocoder.mel import MelConfig

from .cache import INT16_SCALE, SCHEMA, Cache, Entry, ReadBy, save_index, save_ragged, save_rows
from .features import prepare_mels
from .pack import INDEX, MANIFEST, PACK_SCHEMA, SETTINGS, array_name, strip_name, travels
from .strips import read_strip

CLAIM = "unpacked.json"
"""Says in an unpacked corpus which pack it is of."""


def unpack(pack: Path, folder: Path) -> Cache:
    """A pack to a prepared corpus in `folder`, all but the mels from the pack and the mels from its sound.

    Raises:
        FileNotFoundError: there is no pack, or a file of it is missing.
        ValueError: a file is not the one that was packed, a path leaves the pack, the pack contradicts itself or is for
            another mel, or `folder` holds something else.
    """
    opened = Pack(pack)
    _claim(folder, pack)
    _unpack_sound(opened, folder)
    for name in tqdm(opened.features, desc="features", unit="feature"):
        _unpack_feature(opened, name, folder)
    if SETTINGS in opened.sha256:
        shutil.copyfile(opened.file(SETTINGS), folder / SETTINGS)
    save_index(folder, opened.sample_rate, opened.entries, opened.read_by)
    cache = Cache(folder)
    prepare_mels(cache, MelConfig())
    return cache


class Pack:
    """A pack, checked and opened for reading.

    Raises:
        FileNotFoundError, ValueError: as `unpack`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = _read_manifest(folder / MANIFEST)
        self.sha256: dict[str, str] = manifest["sha256"]
        self.strips: list[int] = manifest["strips"]
        self.features: dict[str, str] = manifest["features"]
        for name in self.sha256:
            self._check_file(name)
        for name in self.features:
            if not travels(name):
                raise ValueError(f"{folder / MANIFEST}: expected names of features, got {name!r}")
        self.sample_rate: int = MelConfig().sample_rate
        self.read_by: ReadBy | None = None
        self.entries = self._read_index()
        if sum(self.strips) != len(self.entries):
            raise ValueError(f"{folder / MANIFEST}: expected {len(self.entries)} recordings, got {sum(self.strips)}")

    def file(self, name: str) -> Path:
        """A file whose bytes were checked."""
        if name not in self.sha256:
            raise ValueError(f"{self.folder / MANIFEST}: expected {name} among the files, got none")
        return self.folder / name

    def array(self, name: str) -> npt.NDArray[Any]:
        with lzma.open(self.file(name)) as file:
            array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
        return array

    def _check_file(self, name: str) -> None:
        try:
            path = self.folder / check_relative(name)
        except ValueError as error:
            raise ValueError(f"{self.folder / MANIFEST}: {error}") from error
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected as part of the pack, there is none")
        if file_digest(path) != self.sha256[name]:
            raise ValueError(f"{path}: expected the file that was packed, its SHA-256 differs")

    def _read_index(self) -> tuple[Entry, ...]:
        path = self.file(INDEX)
        index = json.loads(lzma.decompress(path.read_bytes()))
        if (index["schema"], index["sample_rate"]) != (SCHEMA, self.sample_rate):
            raise ValueError(
                f"{path}: expected schema {SCHEMA} at {self.sample_rate} Hz, "
                f"got {index['schema']} at {index['sample_rate']} Hz"
            )
        try:
            self.read_by = ReadBy(**index["read_by"]) if "read_by" in index else None
        except TypeError as error:
            raise ValueError(f"{path}: read_by: {error}") from error
        offset, entries = 0, []
        for record in index["entries"]:
            try:
                entry = Entry(**record)
                check_relative(entry.media)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: {record.get('id')}: {error}") from error
            if entry.offset != offset:
                raise ValueError(f"{path}: {entry.id}: expected its sound at {offset}, got {entry.offset}")
            offset += entry.samples
            entries.append(entry)
        return tuple(entries)


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a pack; `dub pack` makes one")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != PACK_SCHEMA:
        raise ValueError(f"{path}: expected schema {PACK_SCHEMA}, got {schema!r}")
    for field, kind in (("mel", dict), ("strips", list), ("features", dict), ("sha256", dict)):
        if not isinstance(manifest.get(field), kind):
            raise ValueError(f"{path}: expected {field} as {kind.__name__}, got {type(manifest.get(field)).__name__}")
    if manifest["mel"] != MelConfig().to_dict():
        raise ValueError(f"{path}: expected a pack for the mel {MelConfig().to_dict()}, got {manifest['mel']}")
    return manifest


def _claim(folder: Path, pack: Path) -> None:
    """Two corpora in one folder would be one that nobody prepared."""
    path, wanted = folder / CLAIM, json.dumps({"pack": file_digest(pack / MANIFEST)}) + "\n"
    if path.is_file():
        if path.read_text(encoding="utf-8") != wanted:
            raise ValueError(f"{folder}: was unpacked from another pack; choose another folder")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: expected a new or empty folder, got something else")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")


def _unpack_sound(pack: Pack, folder: Path) -> None:
    done, temporary = folder / "waves.i16", folder / "waves.i16.part"
    if done.is_file():
        return
    lengths = [entry.samples for entry in pack.entries]
    lasts = list(accumulate(pack.strips))
    ends = [sum(lengths[:last]) * np.dtype(np.int16).itemsize for last in lasts]
    temporary.touch()
    ready = sum(end <= temporary.stat().st_size for end in ends)
    with temporary.open("r+b") as file, tqdm(total=len(lengths), desc="sound", unit="clip") as bar:
        file.truncate(ends[ready - 1] if ready else 0)
        file.seek(0, os.SEEK_END)
        for number in range(ready, len(lasts)):
            part = lengths[lasts[number] - pack.strips[number] : lasts[number]]
            file.write(_integers(read_strip(pack.file(strip_name(number)), part, pack.sample_rate)))
            file.flush()
            os.fsync(file.fileno())
            bar.update(lasts[number] - bar.n)
    temporary.replace(done)


def _integers(waves: Sequence[npt.NDArray[np.float32]]) -> bytes:
    sound = np.rint(np.concatenate(waves) * INT16_SCALE)
    return np.clip(sound, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16).tobytes()


def _unpack_feature(pack: Pack, name: str, folder: Path) -> None:
    if (folder / f"{name}.npy").is_file():
        return
    values, kind = pack.array(array_name(name)), pack.features[name]
    if kind == "rows":
        _check_count(pack, name, len(values))
        save_rows(folder, name, values)
        return
    if kind not in ("ragged", "rounded"):
        raise ValueError(f"{pack.folder / MANIFEST}: expected rows, ragged or rounded {name}, got {kind!r}")
    if kind == "rounded":
        scales = pack.array(array_name(name, "scales"))
        values = (values.T * scales.astype(np.float32)).astype(scales.dtype)  # (W, V) -> (V, W)
    lengths = pack.array(array_name(name, "lengths"))
    _check_count(pack, name, len(lengths))
    if lengths.sum() != len(values):
        raise ValueError(f"{pack.folder / array_name(name)}: expected {lengths.sum()} rows, got {len(values)}")
    save_ragged(folder, name, np.split(values, np.cumsum(lengths)[:-1]))


def _check_count(pack: Pack, name: str, count: int) -> None:
    if count != len(pack.entries):
        raise ValueError(f"{pack.folder / array_name(name)}: expected {len(pack.entries)} recordings, got {count}")
