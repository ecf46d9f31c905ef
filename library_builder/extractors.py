"""What a library's manifest keeps of the extractors that read it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from .checksum import file_digest

if TYPE_CHECKING:  # readers bring torch, and whoever has others does not wait for it
    from .readers import Readers


def extractor_facts(readers: Readers) -> dict[str, dict[str, str]]:
    """What a library's manifest keeps of each modality's reader: its name, its space, the checksum of its weights.

    Weights are what a reader names as `weight_files`; a reader that has none, as a measure of colour, names none.
    """
    return {
        modality: {"reader": type(reader).__name__, "space": space, "weights": _weights(reader)}
        for modality, space in readers.spaces().items()
        for reader in [getattr(readers, modality)]
    }


def _weights(reader: object) -> str:
    paths: tuple[Path, ...] = getattr(reader, "weight_files", ())
    digests = [file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""
