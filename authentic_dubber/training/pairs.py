"""The same clips, read twice: what two versions of a library say of them in one modality, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from graphs import DialogueGraph
from library_builder.types import MODALITIES, QUERY_MODALITIES, Clip, Modality, space_width
from retrieval import Library

Rows = npt.NDArray[np.float32]

FEWEST = 50
"""Pairs below which nothing could be held out that is worth a figure."""
_POOL = 64
"""Clips among which a line finds its nearest when a graph is drawn."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Clips that have a vector in the old space and one in the new.

    Attributes:
        modality: the one that was read again.
        old, new: its vectors, (n, D) and (n, D').
        others: vectors of the other modalities, (n, D_m), zero rows where a clip has none.
        spaces: of the others.
    """

    modality: Modality
    old_space: str
    new_space: str
    ids: tuple[str, ...]
    old: Rows
    new: Rows
    others: Mapping[Modality, Rows]
    spaces: Mapping[Modality, str]

    def __len__(self) -> int:
        return len(self.ids)


def read_pairs(root: Path, old: str, new: str, modality: Modality | None = None) -> Pairs:
    """The clips of two versions of a library that one modality was read of again.

    Args:
        modality: the one whose space differs, by default whichever it is.

    Raises:
        NoLibrary: there is no such version.
        ValueError: the versions do not differ in the space of one modality alone, or share too few clips.
    """
    before, after = Library.open(root, old), Library.open(root, new)
    modality = _differing(before, after, modality)
    told = {clip.id: clip for clip in before.clips() if modality in clip.emotions}
    pairs = [
        (told[clip.id], clip)
        for clip in after.clips()
        if modality in clip.emotions and clip.id in told and _same_cut(told[clip.id], clip)
    ]
    if len(pairs) < FEWEST:
        raise ValueError(
            f"expected at least {FEWEST} clips with {modality} vectors in both versions, got {len(pairs)}: "
            f"{before.version} has {len(told)} such clips, {after.version} has {len(after)} clips"
        )
    return Pairs(
        modality,
        before.spaces[modality],
        after.spaces[modality],
        tuple(clip.id for clip, _ in pairs),
        np.stack([clip.emotions[modality].vector for clip, _ in pairs]).astype(np.float32),
        np.stack([clip.emotions[modality].vector for _, clip in pairs]).astype(np.float32),
        {m: _rows(m, before.spaces[m], pairs) for m in before.spaces if m != modality},
        {m: space for m, space in before.spaces.items() if m != modality},
    )


def _differing(before: Library, after: Library, modality: Modality | None) -> Modality:
    """The modality whose space the two versions do not share."""
    changed = [m for m in MODALITIES if before.spaces.get(m) != after.spaces.get(m)]
    names = f"{before.version} and {after.version}"
    if modality is not None and modality not in changed:
        raise ValueError(
            f"{modality}: expected spaces that differ, got {before.spaces.get(modality)} in both of {names}"
        )
    if len(changed) != 1:
        got = ", ".join(f"{m} ({before.spaces.get(m)} and {after.spaces.get(m)})" for m in changed) or "none"
        raise ValueError(f"expected {names} to differ in the space of one modality alone, got {got}")
    if changed[0] not in before.spaces or changed[0] not in after.spaces:
        raise ValueError(f"{changed[0]}: expected vectors in both of {names}, one of them has none")
    return changed[0]


def _same_cut(one: Clip, other: Clip) -> bool:
    return (one.media, one.start, one.end) == (other.media, other.start, other.end)


def _rows(modality: Modality, space: str, pairs: list[tuple[Clip, Clip]]) -> Rows:
    rows = np.zeros((len(pairs), space_width(space)), dtype=np.float32)
    for row, (clip, _) in zip(rows, pairs, strict=True):
        if modality in clip.emotions:
            row[:] = clip.emotions[modality].vector
    return rows


def draw_graphs(
    pairs: Pairs, rows: npt.NDArray[np.int64], widths: Mapping[str, int], lines: int, k: int, rng: np.random.Generator
) -> tuple[DialogueGraph, DialogueGraph]:
    """The same lines twice, with old vectors and with new ones: clips that ask for the nearest of a few others.

    Args:
        rows: the pairs that may take part.
        widths: of each modality that the library may lack altogether.

    Shape:
        -> B lines, K references each.
    """
    nothing = {m: np.zeros((len(pairs), widths[m]), dtype=np.float32) for m in MODALITIES}
    old: dict[Modality, Rows] = {**nothing, **pairs.others, pairs.modality: pairs.old}
    new: dict[Modality, Rows] = {**old, pairs.modality: pairs.new}
    asking, pool = rng.choice(rows, lines), rng.choice(rows, min(_POOL, len(rows)), replace=False)
    k = min(k, len(pool) - 1)
    hits, live, scores = {}, [], []
    for m in QUERY_MODALITIES:
        cosines = old[m][asking] @ old[m][pool].T
        there = old[m][asking].any(1)[:, None] & old[m][pool].any(1)[None] & (asking[:, None] != pool[None])
        order = np.argsort(np.where(there, -cosines, np.inf), axis=1, kind="stable")[:, :k]
        hits[m] = pool[order]
        live.append(np.take_along_axis(there, order, 1))
        scores.append(np.take_along_axis(cosines, order, 1) * live[-1])
    own = np.stack([old[m][asking].any(1) for m in QUERY_MODALITIES], 1)
    found = np.stack(live, 1)
    heard = found & np.stack([old["audio"][hits[m]].any(2) for m in QUERY_MODALITIES], 1)

    def graph(vectors: Mapping[Modality, Rows]) -> DialogueGraph:
        return DialogueGraph(
            own={m: torch.from_numpy(vectors[m][asking]) for m in QUERY_MODALITIES},
            own_mask=torch.from_numpy(own),
            references={m: torch.from_numpy(vectors[m][hits[m]]) for m in QUERY_MODALITIES},
            audio={m: torch.from_numpy(vectors["audio"][hits[m]]) for m in QUERY_MODALITIES},
            reference_mask=torch.from_numpy(found),
            audio_mask=torch.from_numpy(heard),
            similarity=torch.from_numpy(np.stack(scores, 1)),
        )

    return graph(old), graph(new)
