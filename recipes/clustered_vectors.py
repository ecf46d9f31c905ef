"""Vectors that have neighbours, by a stated law: what an index is measured on where no footage is large enough.

A clip lies at one of 8 centres (the k-th has a share that falls as 1 / k), by 0.7 towards one of its 40 sub-modes, by
0.55 along 32 directions that the centre's clips share, and by 0.15 anywhere; then it is made unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.types import Clip, Emotion, Modality
from retrieval.store import encode, write_records

CENTRES, MODES, RANK, TOWARDS, ALONG, ANYWHERE = 8, 40, 32, 0.7, 0.55, 0.15
BLOCK = 65_536


class Law:
    """Where vectors of one modality lie."""

    def __init__(self, width: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.width = width
        self.centres = _unit(rng.standard_normal((CENTRES, width)))
        self.modes = _unit(rng.standard_normal((CENTRES, MODES, width)))
        self.along = (rng.standard_normal((CENTRES, RANK, width)) / np.sqrt(RANK * width)).astype(np.float32)
        self.shares = 1 / np.arange(1, CENTRES + 1)
        self.shares /= self.shares.sum()

    def draw(self, count: int, seed: int, name: str = "") -> npt.NDArray[np.float32]:
        """Unit vectors, shape (N, D)."""
        rng = np.random.default_rng(seed)
        vectors = np.empty((count, self.width), dtype=np.float32)
        with tqdm(total=count, desc=f"{name} drawn", unit="vec", disable=not name) as bar:
            for begin in range(0, count, BLOCK):
                part = vectors[begin : begin + BLOCK]
                rng.standard_normal(dtype=np.float32, out=part)
                part *= np.float32(ANYWHERE / np.sqrt(self.width))
                centre = rng.choice(CENTRES, size=len(part), p=self.shares)
                mode = rng.integers(MODES, size=len(part))
                for one in range(CENTRES):
                    rows = np.flatnonzero(centre == one)
                    weights = rng.standard_normal((len(rows), RANK), dtype=np.float32)
                    towards = self.centres[one] + np.float32(TOWARDS) * self.modes[one, mode[rows]]
                    part[rows] += towards + np.float32(ALONG) * (weights @ self.along[one])
                part /= np.linalg.norm(part, axis=1, keepdims=True)
                bar.update(len(part))
        return vectors


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def write_clips(path: Path, vectors: Mapping[Modality, npt.NDArray[np.float32]], name: str) -> None:
    """Records of clips that have these vectors, (N, D) per modality, as a library stores them."""
    count = len(next(iter(vectors.values())))
    spaces = {modality: f"law-{modality}/{rows.shape[1]}" for modality, rows in vectors.items()}

    def record(row: int) -> bytes:
        emotions = {m: Emotion(spaces[m], rows[row]) for m, rows in vectors.items()}
        media = f"film-{row // 1000}.mkv"
        return encode(Clip(f"clip-{row:08d}", media, row, row + 2.5, "anna", f"line {row}", "film", emotions=emotions))

    write_records(path, map(record, tqdm(range(count), desc=f"{name} records", unit="clip")), spaces)
