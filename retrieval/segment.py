"""A segment: some clips of a library on disk that never change, with an index per modality and facts in columns.

    s<digest>.lmdb              records, by row and by id; rows ascend with ids
    s<digest>_<modality>.faiss  vectors of the rows that have the modality
    s<digest>_facts.npy         int64 (5, N): numbers of speaker, film and licence, text group, one bit per modality
    s<digest>_names.json        what those numbers mean

Columns make a library quick to open and to filter: no record is read for either.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from library_builder.types import MODALITIES, Clip, Modality, space_width

from .choice import Budget, Index, build_index
from .choice import open_index as read_index
from .found import Fetch, Found, Metric
from .index import VectorIndex
from .policy import Mask, Policy, Scope, spoken, text_group
from .recipe import Kind, Recipe
from .store import RecordStore, disk_error, header, modality_bits, write_records
from .versions import SegmentFacts, share

COLUMNS = ("speaker", "film", "licence")
MOST_MASKS = 16


def write_segment(
    folder: Path,
    values: Iterable[bytes],
    spaces: Mapping[Modality, str],
    *,
    shared: Mapping[Modality, tuple[Path, Mapping[str, Any]]] | None = None,
    budget: Budget | None = None,
    seed: int = 0,
) -> SegmentFacts:
    """Write encoded clips as a segment. They pass as a stream; one modality's vectors at a time are held.

    Args:
        values: encoded clips, at least one, in ascending order of id.
        spaces: of every modality they have.
        shared: indices of these very rows that exist already, and how they were made.
        budget: of the indices; the memory is for all modalities together.
        seed: of what is drawn while an index is made.

    Raises:
        BudgetMissed: an index cannot be as small and as good as wished.
        OSError: the disk is full, or cannot be written to.
    """
    columns = _Columns()
    draft = folder / "draft.lmdb"
    count = write_records(draft, columns.passing(values), spaces)
    assert count, "a segment without clips"
    name = f"s{columns.order.hexdigest()[:16]}"
    draft.rename(folder / f"{name}.lmdb")
    facts = np.frombuffer(columns.rows, dtype=np.int64).reshape(-1, 5).T
    np.save(folder / f"{name}_facts.npy", np.ascontiguousarray(facts), allow_pickle=False)
    names = {column: list(found) for column, found in zip(COLUMNS, columns.names, strict=True)}
    (folder / f"{name}_names.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
    store = RecordStore.open(folder / f"{name}.lmdb")
    counts: dict[str, int] = {}
    indices: dict[str, Mapping[str, Any]] = {}
    has = {modality: np.flatnonzero(facts[4] >> bit & 1) for bit, modality in enumerate(MODALITIES)}
    has = {modality: rows for modality, rows in has.items() if len(rows)}
    shares = _shares(budget or Budget(), {m: len(rows) * space_width(spaces[m]) for m, rows in has.items()})
    for modality, rows in has.items():
        counts[modality] = len(rows)
        path = folder / index_name(name, modality)
        if shared and modality in shared:
            source, indices[modality] = shared[modality]
            share(source, path)
        else:
            fetch = partial(store.vectors, modality=modality)
            indices[modality] = _write_index(path, rows, fetch, shares[modality], seed)
    return SegmentFacts(name, count, f"{columns.content:064x}", counts, dict(columns.licences), indices)


class Segment:
    """One segment, open for reading; what was opened stays, whatever becomes of the folder. `Segment.open` fetches it.

    Args:
        facts: what the manifest says of it.
        store: its records.
        indices: of the modalities that any of its clips has.
        columns: int64, shape (5, N), as on disk.
        names: what the numbers in the first three columns mean.
    """

    def __init__(
        self,
        facts: SegmentFacts,
        store: RecordStore,
        indices: Mapping[Modality, Index],
        columns: npt.NDArray[np.int64],
        names: Mapping[str, Sequence[str]],
    ) -> None:
        self.facts, self.store, self.indices, self.columns = facts, store, indices, columns
        self.names = {column: list(names[column]) for column in COLUMNS}
        self._numbers = {column: {name: n for n, name in enumerate(found)} for column, found in self.names.items()}
        self._masks: dict[Mask, npt.NDArray[np.bool_]] = {}

    @classmethod
    def open(cls, folder: Path, facts: SegmentFacts, spaces: Mapping[str, str]) -> Segment:
        """The segment of these facts in a version's folder.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not what the facts say.
        """
        store = RecordStore.open(folder / f"{facts.name}.lmdb")
        indices = {
            m: open_index(folder / index_name(facts.name, m), facts.indices[m], partial(store.vectors, modality=m))
            for m in MODALITIES
            if m in facts.counts
        }
        for modality, index in indices.items():
            expected = facts.counts[modality], space_width(spaces[modality])
            if (len(index), index.width) != expected:
                raise ValueError(f"expected {expected} {modality} vectors, got {(len(index), index.width)}")
        mapped = np.load(folder / f"{facts.name}_facts.npy", mmap_mode="r", allow_pickle=False)
        columns = mapped.view(np.ndarray)  # a memmap makes every little slice a memmap, which takes its time
        names = json.loads((folder / f"{facts.name}_names.json").read_text(encoding="utf-8"))
        if len(store) != facts.count or columns.shape != (5, facts.count) or columns.dtype != np.int64:
            raise ValueError(f"expected {facts.count} records, got {len(store)} and columns of {columns.shape}")
        return cls(facts, store, indices, columns, names)

    def __len__(self) -> int:
        return self.facts.count

    def row(self, id: str) -> int | None:
        """The row of a clip; None when it is not here."""
        return self.store.row(id)

    def said(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The text groups of rows; 0 for unknown words."""
        return np.asarray(self.columns[3, rows])

    def counted(self, column: str) -> Counter[str]:
        """Clips per speaker, film or licence."""
        numbers = np.bincount(self.columns[COLUMNS.index(column)], minlength=len(self.names[column]))
        return Counter(dict(zip(self.names[column], numbers.tolist(), strict=True)))

    def rows_where(self, column: str, names: Collection[str]) -> npt.NDArray[np.int64]:
        """Rows whose speaker, film or licence is one of these, ascending."""
        numbers = [self._numbers[column][name] for name in names if name in self._numbers[column]]
        return np.flatnonzero(np.isin(self.columns[COLUMNS.index(column)], numbers))

    def countable(self, modality: Modality, mask: Mask | None, rows: npt.NDArray[np.int64]) -> int:
        """How many of these rows have the modality, and are allowed."""
        has = np.asarray(self.columns[4, rows]) >> MODALITIES.index(modality) & 1
        allowed = self.mask(mask)
        return int(has.sum() if allowed is None else (has * allowed[rows]).sum())

    def left_out(self, policy: Policy) -> npt.NDArray[np.int64]:
        """Rows that the policy leaves out by id or by group, and those it pins, each once."""
        rows = [row for id in (*policy.without, *policy.pinned) if (row := self.row(id)) is not None]
        for speaker, text in policy.without_groups:
            found = self._saying(text_group(text)) if spoken(text) else self._silent()
            number = self._numbers["speaker"].get(speaker, -1)
            rows += found[self.columns[0, found] == number].tolist()
        return np.unique(np.array(rows, dtype=np.int64))

    def mask(self, mask: Mask | None) -> npt.NDArray[np.bool_] | None:
        """Which rows a policy's columns allow, shape (N,); None when all are."""
        if mask is None:
            return None
        allowed = self._masks.get(mask)
        if allowed is None:  # another thread may make the same one meanwhile, or forget it: each keeps what it made
            allowed = self._allowed(mask)
            if len(self._masks) >= MOST_MASKS:
                self._masks.clear()
            self._masks[mask] = allowed
        return allowed

    def search(
        self,
        modality: Modality,
        queries: npt.NDArray[np.float32],
        k: int,
        allowed: npt.NDArray[np.bool_] | None,
        metric: Metric,
    ) -> list[Found]:
        """The k nearest rows for each query; none where no clip has the modality.

        Shape:
            (B, D) -> B answers
        """
        index = self.indices.get(modality)
        if index is None:
            return [Found(np.empty(0, np.int64), np.empty(0), 0) for _ in queries]
        return index.search_many(queries, k, allowed=allowed, metric=metric)

    def check_replaceable(self, row: int, value: bytes) -> None:
        """Make sure that an encoded clip may take the place of the one in a row.

        Raises:
            ValueError: it is of another file. Lines are numbered anew in every run, so the same number of another file
                is another line.
        """
        old, new = header(self.store.encoded(row)), header(value)
        if old["media"] != new["media"]:
            raise ValueError(
                f"clip {new['id']}: expected to replace the clip of {old['media']}, got one of {new['media']}: "
                "name another film"
            )

    def told_apart(self, row: int, value: bytes) -> str:
        """How an encoded clip differs from the one of its id in a row, and what to do about it."""
        old, new = header(self.store.encoded(row)), header(value)
        other = [name for name in old if old[name] != new.get(name)] or ["vectors"]
        return f"the library has a clip of this id with other {', '.join(other)}: ask for it to be replaced (--replace)"

    def clips(self) -> Iterator[Clip]:
        """Every clip, in order of id."""
        return self.store.iterate()

    def ids(self) -> Iterator[str]:
        """Every clip's id, ascending; a thousand are read at a time."""
        for begin in range(0, len(self), 1024):
            yield from self.store.ids(range(begin, min(begin + 1024, len(self))))

    def _allowed(self, mask: Mask) -> npt.NDArray[np.bool_]:
        scope, speaker, film_scope, film, licences = mask
        allowed = self._scoped("speaker", scope, speaker) & self._scoped("film", film_scope, film)
        if licences is not None:
            numbers = [number for name, number in self._numbers["licence"].items() if name in licences]
            allowed &= np.isin(self.columns[2], numbers)
        return allowed

    def _scoped(self, column: str, scope: Scope, name: str) -> npt.NDArray[np.bool_]:
        numbers = self.columns[COLUMNS.index(column)]
        own, unknown = (self._numbers[column].get(one, -1) for one in (name, ""))
        match scope:
            case "any":
                return np.ones(len(self), dtype=np.bool_)
            case "same":
                return np.asarray(numbers == own)
            case "other":
                return np.asarray((numbers != own) & (numbers != unknown))

    @cached_property
    def _by_text(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        order = np.argsort(self.columns[3], kind="stable")
        return order, np.asarray(self.columns[3])[order]

    def _saying(self, group: int) -> npt.NDArray[np.int64]:
        order, groups = self._by_text
        return order[np.searchsorted(groups, group, "left") : np.searchsorted(groups, group, "right")]

    def _silent(self) -> npt.NDArray[np.int64]:
        return self._saying(0)


class _Columns:
    """What is noted of clips while their records are written."""

    def __init__(self) -> None:
        self.rows = array("q")
        self.names: tuple[dict[str, int], ...] = ({}, {}, {})
        self.licences: Counter[str] = Counter()
        self.order, self.content = hashlib.sha256(), 0

    def passing(self, values: Iterable[bytes]) -> Iterator[bytes]:
        for value in values:
            record = header(value)
            named = record["speaker"], record["film"], record["licence"] or ""
            speaker, film, licence = (
                known.setdefault(name, len(known)) for known, name in zip(self.names, named, strict=True)
            )
            self.rows.extend((speaker, film, licence, text_group(record["text"]), modality_bits(value)))
            self.licences[named[2]] += 1
            digest = hashlib.sha256(value).digest()
            self.order.update(digest)
            self.content = (self.content + int.from_bytes(digest, "big")) % (1 << 256)
            yield value


def index_name(segment: str, modality: str) -> str:
    """The file of a segment's index."""
    return f"{segment}_{modality}.faiss"


def open_index(path: Path, how: Mapping[str, Any], fetch: Fetch) -> Index:
    """The index that was made in this way.

    Args:
        fetch: vectors by row, for an index that holds less than them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such index, or this version of the project knows no such way.
    """
    recipe = Recipe.from_record(how)
    index = read_index(path, fetch)
    found: Kind = "exact" if isinstance(index, VectorIndex) else "approximate"
    if found != recipe.kind:
        raise ValueError(f"{path}: expected an {recipe.kind} index, got an {found} one")
    return index


def _shares(budget: Budget, numbers: Mapping[Modality, int]) -> dict[Modality, Budget]:
    """What each modality may take of the memory: by how many numbers its vectors have in all."""
    memory, total = budget.memory_bytes, sum(numbers.values())
    if memory is None:
        return {modality: budget for modality in numbers}
    return {m: Budget(budget.recall, max(1, memory * number // total)) for m, number in numbers.items()}


def _write_index(path: Path, rows: npt.NDArray[np.int64], fetch: Fetch, budget: Budget, seed: int) -> Mapping[str, Any]:
    """Make, save and read back the index of one modality, and say how it was made."""
    index, recipe = build_index(rows, fetch, budget=budget, seed=seed)
    try:
        index.save(path)
        kept = len(read_index(path, fetch))
    except (RuntimeError, ValueError) as error:  # FAISS says so little, and of what its last flush lost nothing
        raise disk_error(path, f"the {path.stem.rpartition('_')[2]} index could not be written") from error
    assert kept == len(index), (kept, len(index))
    return recipe.record()
