"""What a library's manifest keeps of the extractors that read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .checksum import file_digest

if TYPE_CHECKING:  # readers bring torch, and whoever has others does not wait for it
    from .readers import Readers

ExtractorFacts: TypeAlias = Mapping[str, Mapping[str, str]]


def extractor_facts(readers: Readers) -> dict[str, dict[str, str]]:
    """What a library's manifest keeps of each modality's reader: its name, its space, the checksum of its weights.

    Shards and kept readings are named by it too: other weights make other clips.

    Weights are what a reader names as `weight_files`; a reader that has none, as a measure of colour, names none. A
    pretrained reader says more in its `facts`: how its models were asked, and of each its revision, checksum, licence.
    """
    return {
        modality: {"reader": type(reader).__name__, "space": space, "weights": _weights(reader), **_told(reader)}
        for modality, space in readers.spaces().items()
        for reader in [getattr(readers, modality)]
    }


def decisive(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a reader's facts decides its vectors.

    Facts with a point in their name, such as `classifier.licence`, only tell: a model whose folder got another name, or
    a model card, is the same model.
    """
    return {name: value for name, value in facts.items() if "." not in name}


def licences(extractors: ExtractorFacts) -> dict[str, str]:
    """The licence of each model that read a library, by the model's name and checksum."""
    found: dict[str, str] = {}
    for facts in extractors.values():
        for name, licence in facts.items():
            role, _, kind = name.rpartition(".")
            if kind == "licence":
                found[f"{facts.get(f'{role}.name', role)} {facts.get(f'{role}.sha256', '')[:8]}".strip()] = licence
    return found


def _told(reader: object) -> Mapping[str, str]:
    facts: Mapping[str, str] = getattr(reader, "facts", {})
    return facts


def _weights(reader: object) -> str:
    paths: tuple[Path, ...] = getattr(reader, "weight_files", ())
    digests = [_digest(path, path.stat().st_mtime_ns) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


@lru_cache(maxsize=32)
def _digest(path: Path, changed: int) -> str:
    """Once per process: every shard asks."""
    return file_digest(path)
