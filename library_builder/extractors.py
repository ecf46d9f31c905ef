"""What a library's manifest keeps of the extractors that read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .checksum import file_digest

if TYPE_CHECKING:  # readers bring torch, and whoever has others does not wait for it
    from .readers import Readers

ExtractorFacts: TypeAlias = Mapping[str, Mapping[str, str]]


def extractor_facts(readers: Readers) -> dict[str, dict[str, str]]:
    """What a library's manifest keeps of each modality's reader: its name, its space, the checksum of its weights.

    Shards and kept readings are named by it too: other weights make other clips.

    Weights are what a reader names as `weight_files`; a reader that has none, as a measure of colour, names none.
    """
    return {
        modality: {"reader": type(reader).__name__, "space": space, "weights": _weights(reader)}
        for modality, space in readers.spaces().items()
        for reader in [getattr(readers, modality)]
    }


def _weights(reader: object) -> str:
    paths: tuple[Path, ...] = getattr(reader, "weight_files", ())
    digests = [_digest(path, path.stat().st_mtime_ns) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


@lru_cache(maxsize=32)
def _digest(path: Path, changed: int) -> str:
    """Once per process: every shard asks."""
    return file_digest(path)
