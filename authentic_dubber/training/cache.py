"""The prepared corpus on disk: one flat wave file and named features beside it, read by memory map.

index.json          utterances in order: who, what, licence, where its samples lie; and which extractors read them
waves.i16           all samples, one after another
<feature>.npy       one row per utterance, or with <feature>.offsets.npy a ragged run of rows per utterance
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from library_builder.extractors import extractor_facts

from .corpora import Utterance
from .heldout import is_held_out

if TYPE_CHECKING:
    from library_builder.readers import Readers

SCHEMA = 1
INT16_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One prepared utterance.

    Attributes:
        start: seconds into the media where the kept samples begin (silence before them was cut).
        offset, samples: where its samples lie in `waves.i16`.
    """

    id: str
    corpus: str
    speaker: str
    language: str
    text: str
    emotion: str | None
    licence: str
    media: str
    has_picture: bool
    start: float
    offset: int
    samples: int
    held_out: bool = False

    @property
    def voice(self) -> str:
        return f"{self.corpus}/{self.speaker}"

    @property
    def key(self) -> str:
        return f"{self.corpus}/{self.id}"

    def utterance(self) -> Utterance:
        return Utterance(
            self.id,
            self.corpus,
            self.speaker,
            self.language,
            self.text,
            self.emotion,
            Path(self.media),
            self.has_picture,
            held_out=self.held_out,
        )


@dataclass(frozen=True, slots=True)
class ReadBy:
    """Whose vectors a prepared corpus holds.

    Attributes:
        spaces: of each modality.
        lip_space: of its lips.
        extractors: what each reader says of itself: its models, their revisions, checksums and licences.
    """

    spaces: Mapping[str, str]
    lip_space: str
    extractors: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, readers: Readers) -> ReadBy:
        """What these readers are."""
        spaces: dict[str, str] = {modality: space for modality, space in readers.spaces().items()}
        return cls(spaces, readers.lips.space, extractor_facts(readers))

    def told(self) -> str:
        """The spaces, for people."""
        return ", ".join([*(f"{name} {space}" for name, space in self.spaces.items()), f"lips {self.lip_space}"])


class Cache:
    """A prepared corpus, opened for reading.

    Raises:
        FileNotFoundError: the folder holds no index.
        ValueError: the index has another schema.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "index.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a prepared corpus; `dub prepare` makes one")
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["schema"] != SCHEMA:
            raise ValueError(f"{path}: expected schema {SCHEMA}, got {index['schema']}")
        self.sample_rate: int = index["sample_rate"]
        self.entries: tuple[Entry, ...] = tuple(Entry(**entry) for entry in index["entries"])
        self.read_by = ReadBy(**index["read_by"]) if "read_by" in index else None
        """None in a corpus that was prepared before this was written down: by the light readers."""

    @cached_property
    def _waves(self) -> npt.NDArray[np.int16]:
        return np.memmap(self.folder / "waves.i16", dtype=np.int16, mode="r")

    def wave(self, i: int) -> npt.NDArray[np.float32]:
        """Samples of utterance `i` in [-1, 1), (S,)."""
        entry = self.entries[i]
        return self._waves[entry.offset : entry.offset + entry.samples].astype(np.float32) / INT16_SCALE

    def training_rows(self) -> list[int]:
        """Rows a training may see: all but the held-out ones."""
        return [i for i, entry in enumerate(self.entries) if not is_held_out(entry.utterance())]

    def held_out_rows(self) -> list[int]:
        return [i for i, entry in enumerate(self.entries) if is_held_out(entry.utterance())]

    def has(self, feature: str) -> bool:
        return (self.folder / f"{feature}.npy").is_file()

    def rows(self, feature: str) -> npt.NDArray[Any]:
        """A feature with one row per utterance."""
        array: npt.NDArray[Any] = np.load(self.folder / f"{feature}.npy", mmap_mode="r", allow_pickle=False)
        if len(array) != len(self.entries):
            raise ValueError(f"{self.folder}/{feature}.npy: expected {len(self.entries)} rows, got {len(array)}")
        return array

    def ragged(self, feature: str) -> Ragged:
        """A feature with a run of rows per utterance."""
        values = np.load(self.folder / f"{feature}.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.load(self.folder / f"{feature}.offsets.npy", allow_pickle=False)
        if len(offsets) != len(self.entries) + 1:
            raise ValueError(f"{self.folder}/{feature}: expected {len(self.entries)} runs, got {len(offsets) - 1}")
        return Ragged(values, offsets)


@dataclass(frozen=True, slots=True)
class Ragged:
    """Runs of rows, one run per utterance."""

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    def __getitem__(self, i: int) -> npt.NDArray[Any]:
        return np.asarray(self.values[self.offsets[i] : self.offsets[i + 1]])


def save_rows(folder: Path, feature: str, rows: npt.NDArray[Any]) -> None:
    """Write a feature with one row per utterance, atomically."""
    _save(folder / f"{feature}.npy", rows)


def save_ragged(folder: Path, feature: str, runs: Sequence[npt.NDArray[Any]]) -> None:
    """Write a feature with a run of rows per utterance; its offsets go first, so that the feature file means done."""
    offsets = np.concatenate([[0], np.cumsum([len(run) for run in runs])]).astype(np.int64)
    _save(folder / f"{feature}.offsets.npy", offsets)
    _save(folder / f"{feature}.npy", np.concatenate(list(runs)))


def save_index(folder: Path, sample_rate: int, entries: Sequence[Entry], read_by: ReadBy | None = None) -> None:
    """Write the index, atomically."""
    index: dict[str, Any] = {"schema": SCHEMA, "sample_rate": sample_rate}
    if read_by is not None:
        index["read_by"] = asdict(read_by)
    index["entries"] = [{name: getattr(entry, name) for name in Entry.__slots__} for entry in entries]
    text = json.dumps(index, ensure_ascii=False, indent=0)
    temporary = folder / "index.json.part"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "index.json")


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
