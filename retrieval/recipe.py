"""How an index was made and how hard it searches: what a manifest keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["exact", "approximate"]
RECALL_AT = 3
"""Recall is measured among so many nearest, as many as a line asks for."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that makes an index the one it is; equal recipes over equal vectors give equal indices.

    Attributes:
        kind: scanned in full, or approximate and re-ranked.
        factory: FAISS's name of the structure, such as `IVF1024,SQ8`; `Flat` of an exact index.
        width: D.
        count: vectors.
        seed: of the samples.
        trained: vectors of the training sample.
        asked: vectors of the library, none of the sample, that recall was measured with.
        wanted: the recall that was asked for.
        recall: the share of the exact nearest three that a search finds; 1 by construction of an exact index.
        nprobe: cells that a search visits.
        candidates: vectors that are scored again exactly, for three wanted.
        bytes_per_vector: of the file, whether it is mapped or read: code, id, and a share of the cells.
    """

    kind: Kind
    factory: str
    width: int
    count: int
    seed: int = 0
    trained: int = 0
    asked: int = 0
    wanted: float = 1.0
    recall: float = 1.0
    nprobe: int = 0
    candidates: int = 0
    bytes_per_vector: float = 0.0

    def record(self) -> dict[str, Any]:
        """Everything, ready for JSON; `from_record` is its inverse."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Recipe:
        """The recipe of `record()`.

        Raises:
            ValueError: a field is missing, unknown or of another type.
        """
        wanted = {field.name: type(field.default) for field in fields(cls)}
        wanted.update(kind=str, factory=str, width=int, count=int)
        if set(record) != set(wanted):
            raise ValueError(f"expected a recipe with {', '.join(wanted)}, got {', '.join(map(str, record))}")
        for name, kind in wanted.items():
            if not isinstance(record[name], kind) and not (kind is float and isinstance(record[name], int)):
                raise ValueError(f"expected a recipe whose {name} is of type {kind.__name__}, got {record[name]!r}")
        if record["kind"] not in ("exact", "approximate"):
            raise ValueError(f"expected a recipe of kind exact or approximate, got {record['kind']!r}")
        return cls(**record)
